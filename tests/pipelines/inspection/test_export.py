"""Exports read back: the same documents, as often as they repeat, spread; and shards as every loader reads them."""

import itertools
import json
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import zstandard
from florilegium.pipelines.inspection.copies import _separated, with_copies
from florilegium.pipelines.inspection.export import EXPORT, export
from florilegium.pipelines.phases import Outcome
from florilegium.schemas.document import SHARD
from florilegium.schemas.errors import OutputError, RequestError, RunError

from tests.pipelines.test_cli import florilegium


@pytest.fixture(scope="module")
def shards(outcome: Outcome) -> pa.Table:
    names = [outcome.run.folder.address(table.name) for table in outcome.run.manifest.shards]
    return pa.concat_tables(pq.read_table(name, partitioning=None) for name in names)


def test_json_lines_hold_every_document(shards: pa.Table, run_folder: str, tmp_path: Path) -> None:
    described = export(run_folder, "jsonl", str(tmp_path / "out"))
    rows = []
    for file in described["files"]:
        with zstandard.open(tmp_path / "out" / file["name"], "rt", encoding="utf-8", newline="\n") as stream:
            read = [json.loads(line) for line in stream.read().split("\n") if line]
        assert len(read) == file["rows"]
        rows += read
    expected = shards.drop_columns(["key", "created"])
    assert pa.Table.from_pylist(rows, schema=expected.schema).equals(expected)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {EXPORT, *(f["name"] for f in described["files"])}


def test_copies_are_materialized_and_spread(shards: pa.Table, run_folder: str, tmp_path: Path) -> None:
    described = export(run_folder, "materialized", str(tmp_path / "out"))
    copies = pa.concat_tables(pq.read_table(tmp_path / "out" / file["name"]) for file in described["files"])
    assert Counter(copies["id"].to_pylist()) == +Counter(
        dict(zip(*(shards[n].to_pylist() for n in ("id", "repeats")), strict=False))
    )
    texts = dict(zip(shards["id"].to_pylist(), shards["text"].to_pylist(), strict=True))
    ids = copies["id"].to_pylist()
    assert [texts[document] for document in ids] == copies["text"].to_pylist()
    assert not [one for one, other in itertools.pairwise(ids) if one == other]
    assert not {"weight", "repeats", "contributions"} & set(copies.column_names)
    again = export(run_folder, "materialized", str(tmp_path / "again"))
    assert again == described


def test_places_keep_copies_apart_and_shuffle_the_rest() -> None:
    rows = 4000
    table = pa.Table.from_pylist(
        [
            dict.fromkeys(SHARD.names)
            | {"id": f"{number:032x}", "text": "", "source": "", "tokens": 1, "cluster_size": 1, "repeats": number % 5}
            | {"synthetic": False, "provenance": {}, "flags": []}
            for number in range(rows)
        ],
        schema=pa.schema([field.with_nullable(True) for field in SHARD]),
    )
    copies = with_copies(table, seed=3)
    place = copies["key"].to_numpy() / 2.0**64
    ids = np.array([int(document, 16) for document in copies["id"].to_pylist()])
    assert np.bincount(ids, minlength=rows).tolist() == [number % 5 for number in range(rows)]
    for repeats in range(2, 5):
        for document in range(repeats, 500, 5):
            own = np.sort(place[ids == document])
            gaps = np.append(np.diff(own), own[0] + 1 - own[-1])
            assert gaps.min() >= 1 / (2 * repeats) - 1e-9
    for repeats in range(1, 5):  # uniform: a Kolmogorov distance far below what a trend would show
        own = np.sort(place[ids % 5 == repeats])
        assert np.abs(own - np.arange(len(own)) / len(own)).max() < 0.05
    assert abs(np.corrcoef(ids[np.argsort(place)][:-1], ids[np.argsort(place)][1:])[0, 1]) < 0.05
    assert not np.array_equal(place, with_copies(table, seed=4)["key"].to_numpy() / 2.0**64)


def test_a_corpus_of_few_documents_is_separated_as_far_as_it_goes() -> None:
    def ids(text: str, last: str = "") -> str:
        return "".join(_separated(pa.table({"id": list(text)}), last)["id"].to_pylist())

    assert ids("aabbc") == "ababc"
    assert ids("abc", last="a") == "bac"
    assert ids("aaa") == "aaa"
    assert ids("abab") == "abab"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, shards: pa.Table) -> str:
    tokenizers = pytest.importorskip("tokenizers", reason="the extra `tokenizers` is not installed")
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    made = tokenizers.Tokenizer(BPE())
    made.pre_tokenizer, made.decoder = ByteLevel(add_prefix_space=False), Decoder()
    trainer = BpeTrainer(vocab_size=400, special_tokens=["<end>"], initial_alphabet=ByteLevel.alphabet())
    made.train_from_iterator([text[:2000] for text in shards["text"].to_pylist()], trainer)
    path = str(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")
    made.save(path)
    return path


def test_tokens_are_the_copies_in_order(run_folder: str, tokenizer: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(tokenizer)
    copies = export(run_folder, "materialized", str(tmp_path / "copies"))
    described = export(run_folder, "tokens", str(tmp_path / "out"), tokenizer, "<end>")
    assert described["token_bytes"] == 2
    end = loaded.token_to_id("<end>")
    assert len(described["files"]) == len(copies["files"])
    for tokens, materialized in zip(described["files"], copies["files"], strict=True):
        table = pq.read_table(tmp_path / "copies" / materialized["name"])
        place = tmp_path / "out" / tokens["name"]
        stream = np.fromfile(place, "<u2")
        ends = np.fromfile(f"{place}.index", "<u8").astype(int)
        assert len(stream) == tokens["tokens"] == ends[-1]
        pieces = np.split(stream, ends[:-1])
        assert all(piece[-1] == end and (piece[:-1] != end).all() for piece in pieces)
        decoded = loaded.decode_batch([piece[:-1].tolist() for piece in pieces], skip_special_tokens=False)
        assert decoded == table["text"].to_pylist()
        documents = pq.read_table(str(place).replace(".ds", ".documents.parquet"))
        assert documents["id"].equals(table["id"])
        assert documents["end"].to_pylist() == ends.tolist()
        assert Path(f"{place}.metadata").read_text().startswith("tokenizer.json|2\n")


def test_an_export_is_whole_or_refused(run_folder: str, copied: Path, tokenizer: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="choose one of"):
        export(run_folder, "csv", str(tmp_path / "out"))
    with pytest.raises(RequestError, match="needs --tokenizer"):
        export(run_folder, "tokens", str(tmp_path / "out"))
    with pytest.raises(RequestError, match="no such token"):
        export(run_folder, "tokens", str(tmp_path / "out"), tokenizer, "<none>")
    with pytest.raises(RequestError, match="tokenizer"):
        export(run_folder, "tokens", str(tmp_path / "out"), __file__)
    with pytest.raises(OutputError, match="not empty"):
        export(run_folder, "jsonl", run_folder)
    next((copied / "shards").iterdir()).unlink()
    with pytest.raises(RunError, match="is missing"):
        export(str(copied), "jsonl", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_on_the_command_line(run_folder: str, tmp_path: Path) -> None:
    done = florilegium("export", run_folder, "--format", "materialized", "-o", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == json.loads((tmp_path / "out" / EXPORT).read_text())["files"]


def pattern(run_folder: str) -> str:
    return f"{run_folder}/shards/*.parquet"


def test_pyarrow_polars_and_duckdb_load_the_shards(shards: pa.Table, run_folder: str) -> None:
    whole = pyarrow.dataset.dataset(f"{run_folder}/shards", format="parquet").to_table()
    assert whole.equals(shards)
    read = polars.scan_parquet(pattern(run_folder)).select("id", "text", "weight", "contributions").collect()
    assert read["text"].to_list() == shards["text"].to_pylist()
    assert read["contributions"].to_list() == shards["contributions"].to_pylist()
    sql = f"SELECT id, weight, prosocial.compassion, harm.hate.toxic FROM '{pattern(run_folder)}' ORDER BY key, id"
    assert [row[0] for row in duckdb.sql(sql).fetchall()] == shards["id"].to_pylist()


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_the_shards(streaming: bool, shards: pa.Table, run_folder: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `huggingface` is not installed")
    loaded = datasets.load_dataset(
        "parquet", data_files=pattern(run_folder), split="train", streaming=streaming, cache_dir=str(tmp_path)
    )
    rows = list(loaded)
    assert [row["id"] for row in rows] == shards["id"].to_pylist()
    assert [row["contributions"] for row in rows] == shards["contributions"].to_pylist()
    assert [row["weight"] for row in rows] == shards["weight"].to_pylist()


def test_datasets_loads_the_json_lines(shards: pa.Table, run_folder: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `huggingface` is not installed")
    export(run_folder, "jsonl", str(tmp_path / "out"))
    files = str(tmp_path / "out" / "*.jsonl.zst")
    # Without features, a column that is null in the first lines is taken for one that is always null.
    features = datasets.Features.from_arrow_schema(shards.schema.remove(shards.schema.get_field_index("key")))
    rows = datasets.load_dataset(
        "json", data_files=files, split="train", cache_dir=str(tmp_path / "cache"), features=features
    )
    assert rows["id"][:] == shards["id"].to_pylist()
    assert [row["weight"] for row in rows] == shards["weight"].to_pylist()


def test_spark_loads_the_shards(shards: pa.Table, run_folder: str) -> None:
    pyspark = pytest.importorskip("pyspark.sql", reason="PySpark is not installed (it needs Java)")
    session = pyspark.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        read = session.read.parquet(f"{run_folder}/shards")
        assert read.count() == shards.num_rows
        rows = read.select("id", "weight", "contributions", "harm.hate.toxic").collect()
        assert {row["id"]: row["weight"] for row in rows} == dict(
            zip(shards["id"].to_pylist(), shards["weight"].to_pylist(), strict=True)
        )
    finally:
        session.stop()
