"""WARC and WET: which records become documents, what damage costs, and that splitting changes nothing."""

import gzip
import io
import random
import tracemalloc
import zlib
from typing import Any

import pytest
import zstandard
from florilegium.pipelines.sources import RecordReader, plan_splits
from florilegium.schemas.recipe import ExtractionOptions, Input, Reading
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PAGE = b"<html><head><title>Page %d</title></head><body><p>This is the text of page %d.</p></body></html>"


def text(number: int) -> str:
    return f"This is the text of page {number}."


@pytest.fixture
def page(warc, http):
    return lambda number, *args, **kw: warc(number, http(PAGE % (number, number)), *args, **kw)


def errors(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["error"] for row in rows]


def texts(rows: list[dict[str, Any]]) -> list[str]:
    return [row["text"] for row in rows if row["error"] is None]


def test_a_response_becomes_a_document_with_its_metadata(tmp_path, read_all, page) -> None:
    (tmp_path / "a.warc").write_bytes(page(7))
    rows, skipped = read_all(tmp_path / "a.warc", license="CC0-1.0")
    assert skipped == {}
    (row,) = rows
    assert row.pop("created").isoformat() == "2024-05-06T07:08:09+00:00"
    assert row == {
        "source": "input",
        "source_id": "<urn:test:7>",
        "provenance": {"file": "a.warc", "offset": 0},
        "text": text(7),
        "title": "Page 7",
        "url": "http://example.org/7",
        "group": None,
        "language_hint": None,
        "license": "CC0-1.0",
        "flags": [],
        "error": None,
    }


def test_records_that_are_no_documents_are_counted_by_kind(tmp_path, read_all, warc, http, page, members) -> None:
    records = [
        warc(0, b"software: test\r\n", "warcinfo"),
        warc(1, b"GET / HTTP/1.1\r\n\r\n", "request"),
        warc(2, b"", "revisit"),
        warc(3, b"a: b", "metadata"),
        warc(4, http(b"<p>gone</p>", "text/html", "404 Not Found")),
        warc(5, http(b"\x89PNG", "image/png")),
        warc(6, b"example.org. 1 IN A 1.2.3.4").replace(b"application/http; msgtype=response", b"text/dns"),
        page(8),
        warc(9, http(b"plain words", "TEXT/PLAIN")),
        warc(10, http(b"<p>XHTML words</p>", "application/xhtml+xml")),
        warc(11, http(b"<p>untyped words</p>", "")),
        warc(12, http(b"\x00\x01", "")),
        warc(13, b"not http at all"),
        warc(14, http(b" \r\n", "text/html")),
        warc(15, http(b"<title>only a title</title>", "text/html")),
        warc(16, http(b"<p>cut by the crawler</p>"), "response", None, "WARC-Truncated: length"),
    ]
    (tmp_path / "a.warc.gz").write_bytes(members(records))
    rows, skipped = read_all(tmp_path / "a.warc.gz")
    assert skipped == {
        "warc.warcinfo": 1,
        "warc.request": 1,
        "warc.revisit": 1,
        "warc.metadata": 1,
        "http.status_404": 1,
        "http.content_type": 2,
        "warc.not_http": 1,
    }
    assert texts(rows) == [text(8), "plain words", "XHTML words", "untyped words", "cut by the crawler"]
    assert [error for error in errors(rows) if error] == ["read.http_head", "read.empty", "extract.empty"]
    assert rows[-1]["flags"] == ["warc.truncated"]


def test_wet_conversions_are_documents(tmp_path, read_all, warc, members) -> None:
    records = [
        warc(0, b"x: y", "warcinfo"),
        warc(1, "Grüße\nzwei Zeilen".encode(), "conversion"),
        warc(2, b"bad \xff byte", "conversion"),
        warc(3, b" \n", "conversion"),
    ]
    (tmp_path / "a.warc.wet.gz").write_bytes(members(records))
    rows, skipped = read_all(tmp_path / "a.warc.wet.gz")
    assert skipped == {"warc.warcinfo": 1}
    assert texts(rows) == ["Grüße\nzwei Zeilen", "bad \ufffd byte"]
    assert [row["flags"] for row in rows] == [[], ["encoding.replaced"], []]
    assert errors(rows) == [None, None, "read.empty"]


def test_offsets_are_where_members_and_records_begin(tmp_path, read_all, page, members) -> None:
    records = [page(number) for number in range(4)]
    gz = [members([record]) for record in records]
    (tmp_path / "plain.warc").write_bytes(b"".join(records))
    (tmp_path / "members.warc.gz").write_bytes(b"".join(gz))
    (tmp_path / "single.warc.gz").write_bytes(gzip.compress(b"".join(records)))
    size = (tmp_path / "single.warc.gz").stat().st_size

    def offsets(name: str) -> list[int]:
        return [row["provenance"]["offset"] for row in read_all(tmp_path / name)[0]]

    assert offsets("plain.warc") == [sum(map(len, records[:k])) for k in range(4)]
    assert offsets("members.warc.gz") == [sum(map(len, gz[:k])) for k in range(4)]
    assert offsets("single.warc.gz") == [k * size for k in range(4)]


def archive(records: list[bytes], layout: str) -> tuple[str, bytes]:
    """A file of records: its suffix and bytes."""
    if layout == "plain":
        return ".warc", b"".join(records)
    if layout == "gzip":
        return ".warc.gz", b"".join(gzip.compress(record, mtime=0) for record in records)
    if layout == "zstd":
        return ".warc.zst", b"".join(zstandard.compress(record) for record in records)
    if layout == "pairs":  # two records a member
        pairs = [b"".join(records[at : at + 2]) for at in range(0, len(records), 2)]
        return ".warc.gz", b"".join(gzip.compress(pair, mtime=0) for pair in pairs)
    whole = b"".join(records)  # blocks that know nothing of records
    return ".warc.gz", b"".join(gzip.compress(whole[at : at + 700], mtime=0) for at in range(0, len(whole), 700))


@pytest.mark.parametrize("layout", ["plain", "gzip", "zstd", "pairs", "blocks"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_splits_and_damage_add_up_to_the_whole(
    tmp_path_factory, read_all, warc, layout: str, data: st.DataObject
) -> None:
    """Any file, damaged anywhere or not, cut into splits of any size, gives the rows of one split."""
    random_bytes = random.Random(data.draw(st.integers(0, 99), "seed"))
    payloads = [random_bytes.randbytes(random_bytes.randrange(900)).hex().encode() + b"." for _ in range(12)]
    kinds = ["conversion" if random_bytes.random() < 0.7 else "request" for _ in payloads]
    records = [warc(at, payload, kind) for at, (payload, kind) in enumerate(zip(payloads, kinds, strict=True))]
    suffix, content = archive(records, layout)
    damage = data.draw(st.sampled_from(["none", "overwrite", "cut", "insert"]), "damage")
    at = data.draw(st.integers(0, len(content) - 1), "at")
    if damage == "overwrite":
        content = content[:at] + random_bytes.randbytes(20) + content[at + 20 :]
    elif damage == "cut":
        content = content[: at + 1]
    elif damage == "insert":
        content = content[:at] + random_bytes.randbytes(50) + content[at:]
    path = tmp_path_factory.mktemp("split") / f"a{suffix}"
    path.write_bytes(content)
    whole, skipped = read_all(path, format="wet", split_bytes=1 << 30)
    if damage == "none":
        wanted = [payload.decode() for payload, kind in zip(payloads, kinds, strict=True) if kind == "conversion"]
        assert texts(whole) == wanted
        assert len(whole) == len(wanted)
        assert skipped.get("warc.request", 0) == kinds.count("request")
    else:
        assert set(texts(whole)) <= {payload.decode() for payload in payloads} or damage == "overwrite"
    split_bytes = data.draw(st.integers(1024, len(content) + 1024), "split_bytes")
    parts, parts_skipped = read_all(path, format="wet", split_bytes=split_bytes)
    assert parts == whole
    assert parts_skipped == skipped


def test_large_archives_are_cut_into_many_splits(tmp_path, warc) -> None:
    noise = random.Random(1)
    records = [warc(at, noise.randbytes(2000).hex().encode(), "conversion") for at in range(30)]
    for layout, splits in {"plain": 30, "gzip": 16, "zstd": 16, "pairs": 16}.items():
        suffix, content = archive(records, layout)
        path = tmp_path / f"{layout}{suffix}"
        path.write_bytes(content)
        source = Input(name="input", paths=[str(path)], format="wet")
        plan = plan_splits(source, Reading(split_bytes=4096))
        assert len(plan) >= splits
        assert sum(split.size for split in plan) == len(content)
    single = tmp_path / "single.warc.gz"
    single.write_bytes(gzip.compress(b"".join(records)))
    assert len(plan_splits(Input(name="i", paths=[str(single)]), Reading(split_bytes=4096))) == 1


@pytest.mark.parametrize("layout", ["plain", "gzip", "zstd", "single"])
@pytest.mark.parametrize("length", [0, 10, 300, 100_000, 20 << 20])
def test_a_lying_length_costs_only_its_record(tmp_path, read_all, page, layout: str, length: int) -> None:
    if layout == "single" and length > 10 << 20:
        pytest.skip("one member: nothing says where the next record begins while so much is passed over")
    records = [page(0), page(1, "response", length), page(2), page(3)]
    if layout == "single":
        suffix, content = ".warc.gz", gzip.compress(b"".join(records))
    else:
        suffix, content = archive(records, layout)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    rows, _ = read_all(path)
    assert errors(rows) == [None, "read.damaged", None, None]
    assert texts(rows) == [text(0), text(2), text(3)]


@pytest.mark.parametrize("header", [b"Content-Length: nonsense", b"Content-Length: -5", b"No-Length: 5"])
def test_a_head_without_a_length_costs_only_its_record(tmp_path, read_all, page, members, header: bytes) -> None:
    bad = page(1, "response", 123).replace(b"Content-Length: 123", header)
    for name, content in {
        "a.warc": b"".join([page(0), bad, page(2)]),
        "a.warc.gz": members([page(0), bad, page(2)]),
    }.items():
        (tmp_path / name).write_bytes(content)
        rows, _ = read_all(tmp_path / name)
        assert texts(rows) == [text(0), text(2)]
        assert errors(rows) == [None, "read.damaged", None]


@pytest.mark.parametrize("layout", ["plain", "gzip", "zstd", "single", "single zstd"])
def test_a_cut_file_keeps_all_documents_before_the_cut(tmp_path, read_all, page, layout: str) -> None:
    records = [page(number) for number in range(5)]
    if layout == "single":
        suffix, content = ".warc.gz", gzip.compress(b"".join(records), 0)
    elif layout == "single zstd":
        # Blocks end between records, as with a writer that flushes.
        buffer = io.BytesIO()
        with zstandard.ZstdCompressor().stream_writer(buffer, closefd=False) as writer:
            for record in records:
                writer.write(record)
                writer.flush(zstandard.FLUSH_BLOCK)
        suffix, content = ".warc.zst", buffer.getvalue()
    else:
        suffix, content = archive(records, layout)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content[: -8 if layout == "single zstd" else -60])
    rows, _ = read_all(path)
    assert texts(rows) == [text(number) for number in range(4)]
    assert errors(rows)[4:] == ["read.truncated"]


def test_a_cut_gzip_trailer_keeps_the_document_and_says_so(tmp_path, read_all, page, members) -> None:
    (tmp_path / "a.warc.gz").write_bytes(members([page(0), page(1)])[:-4])
    rows, _ = read_all(tmp_path / "a.warc.gz")
    assert texts(rows) == [text(0), text(1)]
    assert errors(rows) == [None, None, "read.truncated"]


def test_garbage_between_members_is_one_row(tmp_path, read_all, page, members) -> None:
    one, two = members([page(0)]), members([page(1)])
    (tmp_path / "a.warc.gz").write_bytes(one + b"garbage" * 99 + two)
    rows, _ = read_all(tmp_path / "a.warc.gz")
    assert [(row["provenance"]["offset"], row["error"]) for row in rows] == [
        (0, None),
        (len(one), "read.damaged"),
        (len(one) + 693, None),
    ]


def test_zeros_after_the_last_member_are_padding(tmp_path, read_all, page, members) -> None:
    (tmp_path / "a.warc.gz").write_bytes(members([page(0)]) + bytes(512))
    rows, _ = read_all(tmp_path / "a.warc.gz")
    assert errors(rows) == [None]


def test_a_damaged_member_costs_only_itself(tmp_path, read_all, page, members) -> None:
    parts = [members([page(number)]) for number in range(4)]
    broken = bytearray(parts[1])
    broken[-6] ^= 0xFF  # the checksum
    (tmp_path / "a.warc.gz").write_bytes(parts[0] + bytes(broken) + parts[2] + parts[3])
    rows, _ = read_all(tmp_path / "a.warc.gz")
    assert errors(rows) == [None, "read.damaged", None, None]
    assert texts(rows) == [text(0), text(2), text(3)]


def test_a_file_that_is_no_archive_is_one_row(tmp_path, read_all) -> None:
    for name in ("a.warc", "b.warc.gz", "c.warc.zst", "d.wet.gz"):
        (tmp_path / name).write_bytes(b"<html>this is something else</html>" * 50)
        assert errors(read_all(tmp_path / name)[0]) == ["read.damaged"], name


def test_a_suffix_that_lies_about_compression_does_no_harm(tmp_path, read_all, page, members) -> None:
    (tmp_path / "a.warc.gz").write_bytes(page(0))
    (tmp_path / "b.warc").write_bytes(members([page(1)]))
    assert texts(read_all(tmp_path)[0]) == [text(0), text(1)]


def test_line_feeds_alone_and_missing_blank_lines_are_read(tmp_path, read_all, warc) -> None:
    records = [warc(number, b"words %d" % number, "conversion") for number in range(3)]
    (tmp_path / "lf.wet").write_bytes(b"".join(records).replace(b"\r\n", b"\n"))
    (tmp_path / "tight.wet").write_bytes(b"".join(record.rstrip(b"\r\n") + b"\r\n" for record in records))
    rows, _ = read_all(tmp_path)
    assert texts(rows) == ["words 0", "words 1", "words 2"] * 2


def test_zstd_with_a_dictionary_in_its_first_frame(tmp_path, read_all, warc) -> None:
    noise = random.Random(3)
    words = [noise.randbytes(4).hex() for _ in range(200)]
    records = [warc(at, " ".join(noise.choices(words, k=80)).encode(), "conversion") for at in range(60)]
    dictionary = zstandard.train_dictionary(4096, records)
    frames = [zstandard.ZstdCompressor(dict_data=dictionary).compress(record) for record in records]
    for name, data in {"a": dictionary.as_bytes(), "b": zstandard.compress(dictionary.as_bytes())}.items():
        head = b"\x5d\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data
        path = tmp_path / f"{name}.wet.zst"
        path.write_bytes(head + b"".join(frames))
        whole, _ = read_all(path)
        assert len(texts(whole)) == 60
        assert read_all(path, split_bytes=1500)[0] == whole


def bomb(codec: str, size: int, head: bytes) -> bytes:
    compressor = (
        zlib.compressobj(9, zlib.DEFLATED, 31) if codec == "gzip" else zstandard.ZstdCompressor(9).compressobj()
    )
    zeros = bytes(1 << 20)
    parts = [compressor.compress(head), *(compressor.compress(zeros) for _ in range(size >> 20))]
    return b"".join([*parts, compressor.compress(b"\r\n\r\n"), compressor.flush()])


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
@pytest.mark.parametrize("place", ["record", "body"])
def test_a_decompression_bomb_is_one_row_in_bounded_memory(tmp_path, read_all, page, warc, http, codec, place) -> None:
    size = 200 << 20
    suffix = ".warc.gz" if codec == "gzip" else ".warc.zst"
    pack = (lambda data: gzip.compress(data, mtime=0)) if codec == "gzip" else zstandard.compress
    if place == "record":
        response = http(b"")
        head = warc(1, response, "response", len(response) + size).removesuffix(b"\r\n\r\n")
        middle = bomb(codec, size, head)
    else:
        middle = pack(warc(1, http(bomb(codec, size, b""), "text/html", "200 OK", f"Content-Encoding: {codec}")))
    (tmp_path / f"a{suffix}").write_bytes(pack(page(0)) + middle + pack(page(2)))
    read_all(tmp_path / f"a{suffix}", split_bytes=1 << 30)  # load what is loaded once
    tracemalloc.start()
    rows, _ = read_all(tmp_path / f"a{suffix}", split_bytes=1 << 30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert errors(rows) == [None, "read.too_large", None]
    assert texts(rows) == [text(0), text(2)]
    assert peak < 100 << 20


def test_documents_over_the_limit(tmp_path, read_all, warc, http) -> None:
    fits, over = b"<p>" + b"a " * 500, b"<p>" + b"a " * 5000
    records = [warc(0, http(fits)), warc(1, http(over)), warc(2, http(b"x" * (1 << 20), "video/mp4"))]
    (tmp_path / "a.warc").write_bytes(b"".join(records))
    rows, skipped = read_all(tmp_path / "a.warc", max_document_bytes=2048)
    assert errors(rows) == [None, "read.too_large"]
    assert skipped == {"http.content_type": 1}


def test_bytes_read_adds_up_to_about_the_file(tmp_path, warc) -> None:
    noise = random.Random(1)
    content = b"".join(gzip.compress(warc(at, noise.randbytes(3000).hex().encode(), "conversion")) for at in range(200))
    (tmp_path / "a.wet.gz").write_bytes(content)
    source, reading = Input(name="input", paths=[str(tmp_path)]), Reading(split_bytes=100 << 10)
    readers = [RecordReader(split, source, reading, ExtractionOptions()) for split in plan_splits(source, reading)]
    assert len(readers) > 5
    for reader in readers:
        assert reader.bytes_read == 0
        for _ in reader:
            pass
    assert len(content) * 0.9 < sum(reader.bytes_read for reader in readers) < len(content) * 1.3
