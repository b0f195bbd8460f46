"""What the tests of readers share: WARC records made by hand, and reading a whole input split by split."""

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from florilegium.pipelines.sources import REASONS, RecordReader, plan_splits
from florilegium.schemas.document import RECORD
from florilegium.schemas.recipe import ExtractionOptions, Input, Reading

Rows = list[dict[str, Any]]
ReadAll = Callable[..., tuple[Rows, dict[str, int]]]


@pytest.fixture(scope="session")
def read_all() -> ReadAll:
    """Reads an input and checks what holds for every reader: schema, bounds, unique places, known reasons."""

    def read(path: Path | str, **options: Any) -> tuple[Rows, dict[str, int]]:
        reading = Reading(**{key: options.pop(key) for key in list(options) if key in Reading.model_fields})
        paths = {} if options.get("format") == "huggingface" else {"paths": [str(path)]}
        source = Input(name="input", **paths, **options)
        rows: Rows = []
        skipped: Counter[str] = Counter()
        for split in plan_splits(source, reading):
            reader = RecordReader(split, source, reading, ExtractionOptions())
            for batch in reader:
                assert batch.schema.equals(RECORD)
                batch.validate(full=True)
                assert 0 < batch.num_rows <= reading.batch_rows
                texts = [len(text.encode()) for text in batch["text"].to_pylist()]
                assert sum(texts) <= reading.batch_bytes or batch.num_rows == 1
                rows += batch.to_pylist()
            skipped.update(reader.skipped)
        places = {(row["provenance"]["file"], row["provenance"]["offset"]) for row in rows}
        assert len(places) == len(rows)
        assert all(row["error"] is None or (row["error"] in REASONS and row["text"] == "") for row in rows)
        assert all(row["error"] is not None or row["text"] for row in rows)
        return rows, dict(skipped)

    return read


@pytest.fixture(scope="session")
def http() -> Callable[..., bytes]:
    """An HTTP response."""

    def make(body: bytes, content_type: str = "text/html; charset=utf-8", status: str = "200 OK", *extra: str) -> bytes:
        headers = [f"HTTP/1.1 {status}", *([f"Content-Type: {content_type}"] if content_type else []), *extra]
        return "\r\n".join(headers).encode() + b"\r\n\r\n" + body

    return make


@pytest.fixture(scope="session")
def warc() -> Callable[..., bytes]:
    """A WARC record; `length` lies about its payload, `extra` holds further header lines."""

    def make(number: int, payload: bytes, kind: str = "response", length: int | None = None, *extra: str) -> bytes:
        headers = [
            "WARC/1.1",
            f"WARC-Type: {kind}",
            f"WARC-Record-ID: <urn:test:{number}>",
            f"WARC-Target-URI: http://example.org/{number}",
            "WARC-Date: 2024-05-06T07:08:09Z",
            "Content-Type: " + ("text/plain" if kind == "conversion" else "application/http; msgtype=response"),
            f"Content-Length: {len(payload) if length is None else length}",
            *extra,
        ]
        return "\r\n".join(headers).encode() + b"\r\n\r\n" + payload + b"\r\n\r\n"

    return make


@pytest.fixture(scope="session")
def members() -> Callable[[list[bytes]], bytes]:
    """Records as gzip members, one each."""
    return lambda records: b"".join(gzip.compress(record, mtime=0) for record in records)
