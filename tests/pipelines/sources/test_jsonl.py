"""JSON lines: fields, bad lines, byte ranges, compression and damage."""

import gzip
import json
import tracemalloc
from datetime import UTC, datetime

import pytest
import zstandard
from florilegium.pipelines.sources import plan_splits
from florilegium.schemas.recipe import Fields, Input, Reading
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CREATED = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def test_fields_are_mapped_by_dotted_names(tmp_path, read_all) -> None:
    record = {
        "title": "Head",
        "body": {"text": "Body", "note": " "},
        "meta": {"id": 42, "when": "2024-05-06T09:08:09+02:00", "terms": "CC0-1.0", "forum": "gardening"},
        "meta.url": "http://example.org/literal",
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    fields = Fields(
        text=["title", "missing", "body.note", "body.text"],
        id="meta.id",
        url="meta.url",
        created="meta.when",
        license="meta.terms",
        group="meta.forum",
    )
    rows, _ = read_all(tmp_path / "a.jsonl", fields=fields, license="unknown")
    assert rows == [
        {
            "source": "input",
            "source_id": "42",
            "provenance": {"file": "a.jsonl", "offset": 0},
            "text": "Head\n\nBody",
            "title": "Head",
            "url": "http://example.org/literal",
            "group": "gardening",
            "created": CREATED,
            "language_hint": None,
            "license": "CC0-1.0",
            "flags": [],
            "error": None,
        }
    ]


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1714979289, CREATED),
        (1714979289.25, CREATED.replace(microsecond=250_000)),
        ("1714979289", CREATED),
        ("2024-05-06T07:08:09Z", CREATED),
        ("2024-05-06 07:08:09", CREATED),
        ("2024-05-06T07:08:09.123456+00:00", CREATED.replace(microsecond=123_000)),
        ("20240506070809", CREATED),
        ("2024-05", datetime(2024, 5, 1, tzinfo=UTC)),
        ("2024", datetime(2024, 1, 1, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (1e300, None),
        (10**40, None),
        (True, None),
        (None, None),
        ([1], None),
    ],
)
def test_created(tmp_path, read_all, value: object, moment: datetime | None) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "words", "when": value}))
    rows, _ = read_all(tmp_path / "a.jsonl", fields=Fields(created="when"))
    assert rows[0]["created"] == moment


def test_bad_lines_are_rows_and_leave_their_neighbours_alone(tmp_path, read_all) -> None:
    lines = [
        b'{"text": "first"}',
        b"{not json}",
        b"[1, 2]",
        b'"a string"',
        b"{}",
        b'{"text": null}',
        b'{"text": 5}',
        b'{"text": ""}',
        b'{"text": " \\n"}',
        b"",
        b"   ",
        b'{"text": "' + b"a" * 3000 + b'"}',
        b'{"text": "\xff\xfe bad bytes"}',
        b'{"text": "lone \\ud800 surrogate", "id": "\\udfff"}',
        b'{"text": "pair \\ud83d\\ude00"}',
        b'{"text": "nul \\u0000 kept", "score": NaN}',
        b"[" * 100_000,
        b'{"n": ' + b"1" * 6000 + b', "text": "long number"}',
        b'{"text": "last"}\r',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    rows, skipped = read_all(tmp_path / "a.jsonl", max_document_bytes=2048)
    assert skipped == {"jsonl.blank": 2}
    assert [row["error"] or row["text"] for row in rows] == [
        "first",
        "read.not_json",
        "read.not_an_object",
        "read.not_an_object",
        "read.no_text",
        "read.no_text",
        "read.no_text",
        "read.empty",
        "read.empty",
        "read.too_large",
        "\ufffd\ufffd bad bytes",
        "lone \ufffd surrogate",
        "pair \U0001f600",
        "nul \0 kept",
        "read.too_large",
        "read.not_json" if rows[15]["error"] else "long number",
        "last",
    ]
    flags = {row["text"]: row["flags"] for row in rows}
    assert flags["\ufffd\ufffd bad bytes"] == flags["lone \ufffd surrogate"] == ["encoding.replaced"]
    assert flags["pair \U0001f600"] == flags["first"] == []
    assert rows[11]["source_id"] == "\ufffd"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.text(max_size=300), st.integers(0, 3000)), max_size=30),
    st.integers(1024, 9000),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    st.booleans(),
)
def test_splits_add_up_to_the_whole(tmp_path_factory, read_all, items, split_bytes, end, terminated) -> None:
    """Offsets too: a line's offset is its byte offset in the file, whatever the splits."""
    lines = [json.dumps({"text": item if isinstance(item, str) else "x" * item}, ensure_ascii=False) for item in items]
    content = end.join(line.encode(errors="replace") for line in lines) + (end if terminated else b"")
    folder = tmp_path_factory.mktemp("split")
    path = folder / "a.jsonl"
    path.write_bytes(content)
    whole, skipped = read_all(path, split_bytes=1 << 30)
    parts, parts_skipped = read_all(path, split_bytes=split_bytes)
    assert parts == whole
    assert parts_skipped == skipped
    assert len(whole) == len(items)
    for row, item in zip(whole, lines, strict=True):
        assert content[row["provenance"]["offset"] :].startswith(item.encode(errors="replace"))
    plain = [{**row, "provenance": row["provenance"]["offset"]} for row in whole]
    for name, data in {"a.jsonl.gz": gzip.compress(content), "a.jsonl.zst": zstandard.compress(content)}.items():
        (folder / name).write_bytes(data)
        packed, _ = read_all(folder / name, split_bytes=split_bytes)
        assert [{**row, "provenance": row["provenance"]["offset"]} for row in packed] == plain


def test_plain_files_are_cut_and_compressed_ones_are_not(tmp_path) -> None:
    content = b'{"text": "words"}\n' * 1000
    (tmp_path / "a.jsonl").write_bytes(content)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(content, 0))
    plan = plan_splits(Input(name="i", paths=[str(tmp_path)]), Reading(split_bytes=4096))
    assert [(split.file, split.start, split.stop) for split in plan] == [
        ("a.jsonl", 0, 3600),
        ("a.jsonl", 3600, 7200),
        ("a.jsonl", 7200, 10800),
        ("a.jsonl", 10800, 14400),
        ("a.jsonl", 14400, -1),
        ("b.jsonl.gz", 0, -1),
    ]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_cut_stream_keeps_the_lines_before(tmp_path, read_all, suffix: str) -> None:
    content = b"".join(b'{"text": "%s"}\n' % (b"%09d" % number * 100) for number in range(1000))
    packed = gzip.compress(content) if suffix == ".gz" else zstandard.compress(content)
    (tmp_path / f"a.jsonl{suffix}").write_bytes(packed[: len(packed) * 3 // 4])
    rows, _ = read_all(tmp_path / f"a.jsonl{suffix}")
    assert 1 < len(rows) < 1000
    assert [row["error"] for row in rows] == [None] * (len(rows) - 1) + ["read.truncated"]
    assert rows[-2]["text"] == f"{len(rows) - 2:09d}" * 100


def test_a_damaged_stream_keeps_the_lines_before(tmp_path, read_all) -> None:
    content = b"".join(b'{"text": "%09d"}\n' % number for number in range(100_000))
    packed = bytearray(gzip.compress(content))
    packed[len(packed) // 2 : len(packed) // 2 + 400] = bytes(400)
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    rows, _ = read_all(tmp_path / "a.jsonl.gz")
    errors = [row["error"] for row in rows]
    assert errors[-1] == "read.damaged"
    assert 30_000 < errors.index(next(error for error in errors if error)) < 60_000


def test_a_last_line_cut_in_the_middle_is_truncated(tmp_path, read_all) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "whole"}\n{"text": "cu')
    rows, _ = read_all(tmp_path / "a.jsonl")
    assert [row["error"] for row in rows] == [None, "read.truncated"]


def test_an_endless_line_costs_one_row_and_no_memory(tmp_path, read_all) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "before"}\n{"text": "')
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n{"text": "after"}\n')
    tracemalloc.start()
    rows, _ = read_all(path, max_document_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["error"] or row["text"] for row in rows] == ["before", "read.too_large", "after"]
    assert rows[2]["provenance"]["offset"] == path.stat().st_size - len(b'{"text": "after"}\n')
    assert peak < 30 << 20
    assert read_all(path, max_document_bytes=1 << 20, split_bytes=20 << 20)[0] == rows


def test_a_bomb_is_passed_over_in_bounded_memory(tmp_path, read_all) -> None:
    with gzip.open(tmp_path / "a.jsonl.gz", "wb", 6) as file:
        file.write(b'{"text": "before"}\n')
        for _ in range(200):
            file.write(bytes(1 << 20))
        file.write(b'\n{"text": "after"}\n')
    tracemalloc.start()
    rows, _ = read_all(tmp_path / "a.jsonl.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["error"] or row["text"] for row in rows] == ["before", "read.too_large", "after"]
    assert peak < 100 << 20


def test_batches_are_bounded(tmp_path, read_all) -> None:
    """`read_all` checks the bounds of every batch."""
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": "x" * (at % 1500 + 1)}) + "\n" for at in range(3000)))
    assert len(read_all(tmp_path, batch_bytes=2048, batch_rows=7)[0]) == 3000


def test_an_empty_file_is_counted(tmp_path, read_all) -> None:
    for name in ("a.jsonl", "b.warc.gz", "c.parquet", "d.wet"):
        (tmp_path / name).touch()
    assert read_all(tmp_path) == ([], {"file.empty": 4})
