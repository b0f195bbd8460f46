"""Rows to record batches of bounded size, for the formats that are read a record at a time."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from ...schemas.document import PROVENANCE, RECORD
from ...schemas.recipe import Reading

__all__ = ["Row", "byte_length", "milliseconds", "record_batches"]

MAX_MILLISECONDS = 253_402_300_800_000  # the year 10000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)")  # 20080430204825, as in old archives
SECONDS = re.compile(r"\d{9,10}(\.\d+)?")
PARTIAL = re.compile(r"\d{4}(-\d\d)?")  # 2014 and 2014-03 are W3C dates


@dataclass(slots=True)
class Row:
    """One record: a document, or with `error` the reason why there is none."""

    offset: int
    text: str = ""
    source_id: str | None = None
    title: str | None = None
    url: str | None = None
    group: str | None = None
    created: int | None = None  # milliseconds since 1970
    language_hint: str | None = None
    license: str | None = None
    flags: tuple[str, ...] = ()
    error: str | None = None


def byte_length(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def milliseconds(value: Any) -> int | None:
    """Milliseconds since 1970 of ISO 8601 text (UTC where it names no zone) or of seconds; None where unclear."""
    if isinstance(value, str):
        value = value.strip()
        if SECONDS.fullmatch(value):
            value = float(value)
        else:
            return _from_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) * 1000 < MAX_MILLISECONDS:
        return None
    return round(value * 1000) if isinstance(value, float) else value * 1000


def _from_text(value: str) -> int | None:
    if PARTIAL.fullmatch(value):
        value = f"{value}-01-01"[:10]
    elif compact := COMPACT.fullmatch(value):
        value = "{}-{}-{}T{}:{}:{}".format(*compact.groups())
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH
    return (since.days * 86400 + since.seconds) * 1000 + since.microseconds // 1000


def record_batches(rows: Iterable[Row], source: str, file: str, reading: Reading) -> Iterator[pa.RecordBatch]:
    """Batches of schema RECORD, of at most `batch_rows` rows and, unless one row is larger, `batch_bytes` of text."""
    pending: list[Row] = []
    size = 0
    for row in rows:
        length = byte_length(row.text)
        if pending and (len(pending) >= reading.batch_rows or size + length > reading.batch_bytes):
            yield _to_batch(pending, source, file)
            pending, size = [], 0
        pending.append(row)
        size += length
    if pending:
        yield _to_batch(pending, source, file)


def _to_batch(rows: list[Row], source: str, file: str) -> pa.RecordBatch:
    names = [field.name for field in RECORD if field.name not in ("source", "provenance")]
    columns = {name: pa.array([getattr(row, name) for row in rows], RECORD.field(name).type) for name in names}
    columns["source"] = pa.repeat(pa.scalar(source, pa.string()), len(rows))
    offsets = pa.array([row.offset for row in rows], pa.int64())
    files = pa.repeat(pa.scalar(file, pa.string()), len(rows))
    columns["provenance"] = pa.StructArray.from_arrays([files, offsets], fields=list(PROVENANCE))
    return pa.RecordBatch.from_arrays([columns[field.name] for field in RECORD], schema=RECORD)
