"""Parquet: row groups, types, damage and the check of the text column."""

import random
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.sources import plan_splits
from florilegium.schemas.errors import InputError
from florilegium.schemas.recipe import Fields, Input, Reading

CREATED = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def write(path, columns, row_group_size: int = 1000, **options) -> None:
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size, **options)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int32(), pa.string())]
)
def test_text_may_have_any_string_type(tmp_path, read_all, kind: pa.DataType) -> None:
    values = pa.array(["one", None, "", " \n", "zwei ü", "x" * 3000]).cast(kind)
    write(tmp_path / "a.parquet", {"text": values})
    rows, _ = read_all(tmp_path / "a.parquet", max_document_bytes=2048)
    assert [row["error"] or row["text"] for row in rows] == [
        "one",
        "read.no_text",
        "read.empty",
        "read.empty",
        "zwei ü",
        "read.too_large",
    ]
    assert [row["provenance"] for row in rows] == [{"file": "a.parquet", "offset": at} for at in range(6)]


def test_fields_are_mapped_by_dotted_names(tmp_path, read_all) -> None:
    meta = pa.array(
        [{"id": 42, "url": "http://example.org", "forum": "gardening"}, None, {"id": 43, "url": "", "forum": None}]
    )
    columns = {"head": ["Head", "Only head", None], "body.text": ["Body", None, "Only body"], "meta": meta}
    write(tmp_path / "a.parquet", columns | {"license": ["CC0-1.0", "", None], "unused": [[1], [2], [3]]})
    fields = Fields(text=["head", "body.text"], id="meta.id", title="head", url="meta.url", group="meta.forum")
    rows, _ = read_all(tmp_path / "a.parquet", fields=fields, license="unknown")
    assert [row["text"] for row in rows] == ["Head\n\nBody", "Only head", "Only body"]
    assert [row["source_id"] for row in rows] == ["42", None, "43"]
    assert [row["title"] for row in rows] == ["Head", "Only head", None]
    assert [row["url"] for row in rows] == ["http://example.org", None, None]
    assert [row["group"] for row in rows] == ["gardening", None, None]
    assert [row["license"] for row in rows] == ["CC0-1.0", "unknown", "unknown"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1714979289, None]), [CREATED, None]),
        (pa.array([1714979289.25, 1e300]), [CREATED.replace(microsecond=250_000), None]),
        (pa.array(["2024-05-06T07:08:09Z", "never"]), [CREATED, None]),
        (pa.array([CREATED.replace(tzinfo=None), None], pa.timestamp("us")), [CREATED, None]),
        (pa.array([CREATED, None], pa.timestamp("ns", "Europe/Berlin")), [CREATED, None]),
        (pa.array([date(2024, 5, 6), None]), [datetime(2024, 5, 6, tzinfo=UTC), None]),
        (pa.array([[1], [2]]), [None, None]),
    ],
)
def test_created(tmp_path, read_all, values: pa.Array, expected: list[datetime | None]) -> None:
    write(tmp_path / "a.parquet", {"text": ["a", "b"], "when": values})
    rows, _ = read_all(tmp_path / "a.parquet", fields=Fields(created="when"))
    assert [row["created"] for row in rows] == expected


def test_invalid_utf8_is_replaced_and_flagged(tmp_path, read_all) -> None:
    raw = pa.array([b"fine", b"bad \xff byte", None], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    write(tmp_path / "a.parquet", {"text": text, "title": text})
    rows, _ = read_all(tmp_path / "a.parquet")
    assert [row["text"] for row in rows] == ["fine", "bad \ufffd byte", ""]
    assert [row["title"] for row in rows] == ["fine", "bad \ufffd byte", None]
    assert [row["flags"] for row in rows] == [[], ["encoding.replaced"], []]


@pytest.mark.parametrize("split_bytes", [1024, 5000, 40_000, 1 << 30])
@pytest.mark.parametrize("batch_rows", [1, 7, 4096])
def test_splits_add_up_to_the_whole(tmp_path, read_all, split_bytes: int, batch_rows: int) -> None:
    noise = random.Random(1)
    texts = [noise.randbytes(noise.randrange(1, 400)).hex() for _ in range(300)]
    write(tmp_path / "a.parquet", {"text": texts, "id": range(300)}, row_group_size=37)
    source = Input(name="input", paths=[str(tmp_path)])
    plan = plan_splits(source, Reading(split_bytes=split_bytes))
    assert len(plan) == {1024: 9, 5000: 9, 40_000: 4, 1 << 30: 1}[split_bytes]
    rows, _ = read_all(tmp_path, split_bytes=split_bytes, batch_rows=batch_rows, batch_bytes=1024)
    assert [(row["text"], row["source_id"], row["provenance"]["offset"]) for row in rows] == [
        (text, str(at), at) for at, text in enumerate(texts)
    ]


def test_splits_of_a_file_are_of_about_one_size(tmp_path) -> None:
    path = tmp_path / "posts.parquet"
    texts = pa.table({"text": [f"{number:064x}" for number in range(700)]})
    pq.write_table(texts, path, row_group_size=100, compression="none", use_dictionary=False)
    size = path.stat().st_size
    splits = plan_splits(Input(name="posts", paths=[str(path)]), Reading(split_bytes=size * 6 // 7))
    assert [(split.start, split.stop) for split in splits] == [(0, 3), (3, 7)]  # not six row groups and a crumb


def test_a_damaged_row_group_is_one_row(tmp_path, read_all) -> None:
    texts = [random.Random(at).randbytes(50).hex() for at in range(300)]
    path = tmp_path / "a.parquet"
    write(path, {"text": texts}, row_group_size=100, use_dictionary=False, compression="zstd")
    place = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[place + 20 : place + 400] = bytes(380)
    path.write_bytes(content)
    for split_bytes in (1024, 1 << 30):
        rows, _ = read_all(path, split_bytes=split_bytes)
        assert [row["text"] for row in rows] == [*texts[:100], "", *texts[200:]]
        assert (rows[100]["error"], rows[100]["provenance"]["offset"]) == ("read.damaged", 100)


@pytest.mark.parametrize("name", ["cut", "garbage", "tiny"])
@pytest.mark.parametrize("split_bytes", [1024, 1 << 30])
def test_a_file_that_is_no_parquet_is_one_row(tmp_path, read_all, name: str, split_bytes: int) -> None:
    write(tmp_path / "a.parquet", {"text": ["good " * 9] * 500})
    whole = (tmp_path / "a.parquet").read_bytes()
    bad = {"cut": whole[:-50], "garbage": b"<html>" * 900, "tiny": b"PA"}[name]
    (tmp_path / "b.parquet").write_bytes(bad)
    rows, _ = read_all(tmp_path, split_bytes=split_bytes)
    assert [row["error"] for row in rows] == [None] * 500 + ["read.truncated" if name == "cut" else "read.damaged"]


def test_a_later_file_without_the_text_column_is_one_row(tmp_path, read_all) -> None:
    write(tmp_path / "a.parquet", {"text": ["a"]})
    write(tmp_path / "b.parquet", {"content": ["b", "b"]})
    write(tmp_path / "c.parquet", {"text": [1, 2]})
    rows, _ = read_all(tmp_path)
    assert [(row["provenance"]["file"], row["error"]) for row in rows] == [
        ("a.parquet", None),
        ("b.parquet", "read.schema"),
        ("c.parquet", "read.schema"),
    ]


def test_a_missing_text_column_names_those_that_there_are(tmp_path) -> None:
    write(tmp_path / "a.parquet", {"texts": ["a"], "number": [1], "meta": [{"body": "b"}]})
    with pytest.raises(InputError, match=r"did you mean 'texts'\?.*texts, meta\.body"):
        plan_splits(Input(name="i", paths=[str(tmp_path)]), Reading())
    with pytest.raises(InputError, match=r"'number'.*holds no strings"):
        plan_splits(Input(name="i", paths=[str(tmp_path)], fields=Fields(text="number")), Reading())
