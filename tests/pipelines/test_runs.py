"""Sorted runs: any cut into runs and ranges gives the same rows, and locators lead back to them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from florilegium.pipelines.runs import KEY_SPACE, KeyRange, RunSet, RunWriter, sort_by_key, write_parquet
from florilegium.pipelines.storage import Folder
from florilegium.schemas.document import SCORED
from florilegium.schemas.hashing import document_id
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import scored_row, scored_table

UNKEYED = pa.schema([field for field in SCORED if field.name != "key"])


def write_runs(folder: Folder, texts: list[str], run_bytes: int, batch: int) -> RunSet:
    writer = RunWriter(folder, "scored/00000", seed=3, run_bytes=run_bytes)
    for start in range(0, len(texts), batch):
        table = scored_table(*(scored_row(text) for text in texts[start : start + batch]))
        writer.write(table.drop_columns("key").cast(UNKEYED).to_batches()[0])
    writer.flush()
    return RunSet(folder, [stored["name"] for stored in writer.outputs])


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_ranges_cover_all_rows_once(tmp_path: Path, parts: int) -> None:
    texts = [f"text number {number} " * (number % 7 + 1) for number in range(300)]
    runs = write_runs(Folder(str(tmp_path)), texts, run_bytes=20_000, batch=37)
    assert len(runs.names) > 2
    tables = [runs.scan(KeyRange.part(index, parts), ["key", "id", "text"]) for index in range(parts)]
    found = pa.concat_tables(tables)
    assert sorted(found["text"].to_pylist()) == sorted(texts)
    for index, table in enumerate(tables):
        keys = table["key"].to_pylist()
        assert all(KEY_SPACE * index // parts <= key < KEY_SPACE * (index + 1) // parts for key in keys)


def test_gather_follows_the_locators(tmp_path: Path) -> None:
    texts = [f"text number {number}" for number in range(200)]
    runs = write_runs(Folder(str(tmp_path)), texts, run_bytes=50_000, batch=50)
    located = sort_by_key(runs.scan(KeyRange(0, KEY_SPACE), ["key", "id", "text"]))
    some = located.take(pa.array(np.arange(0, 200, 3)[::-1].copy()))
    assert runs.gather(some, ["text"])["text"].to_pylist() == some["text"].to_pylist()
    assert runs.gather(some.slice(0, 0), ["text"]).num_rows == 0


def test_a_run_is_sorted_and_prunable(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    runs = write_runs(folder, [f"{number} " + "word " * 100 for number in range(5000)], run_bytes=8 << 20, batch=1000)
    with folder.open_parquet(runs.names[0]) as file:
        keys = file.read(columns=["key"])["key"].to_numpy()
        assert file.num_row_groups > 1
    assert (keys[1:] > keys[:-1]).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
@settings(max_examples=50, deadline=None)
def test_equal_keys_are_ordered_by_id(pairs: list[tuple[int, int]]) -> None:
    ids = [document_id(bytes([identity])) for _, identity in pairs]
    table = pa.table(
        {"key": pa.array([key for key, _ in pairs], pa.uint64()), "id": ids, "n": list(range(len(pairs)))},
        schema=pa.schema([("key", pa.uint64()), ("id", pa.string()), ("n", pa.int64())]),
    )
    rows = sort_by_key(table).to_pylist()
    assert rows == sorted(table.to_pylist(), key=lambda row: (row["key"], row["id"], row["n"]))


def test_chunks_do_not_change_the_bytes(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    table = scored_table(*(scored_row(f"{number} text") for number in range(100)))
    chunked = pa.concat_tables([table.slice(start, 9) for start in range(0, 100, 9)])
    sizes = np.full(100, 10, np.int64)
    first = write_parquet(folder, "one.parquet", table, row_group_bytes=200, sizes=sizes)
    second = write_parquet(folder, "two.parquet", chunked, row_group_bytes=200, sizes=sizes)
    assert first["sha256"] == second["sha256"]
    with folder.open_parquet("one.parquet") as file:
        assert file.num_row_groups == 5
