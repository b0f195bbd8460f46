"""JSON lines: plain by byte ranges, gzip and zstd in one split.

A split owns the lines that begin inside it. Lines are read with a bound, so that a line of any length
costs one row and no memory; a bad line never harms its neighbours.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pyarrow as pa

from ...schemas.recipe import Input, Reading
from . import Split
from .batches import Row, byte_length, milliseconds, record_batches
from .compression import Damage, codec_of, pieces
from .files import RawFile, open_binary

__all__ = ["JsonlReader"]

LINE_FACTOR = 3  # a line may have so many times the bytes of the largest document: escapes and other fields
LINE_MARGIN = 64 << 10
SCAN_BYTES = 256 << 10
SURROGATES = re.compile("[\ud800-\udfff]")
BOM = b"\xef\xbb\xbf"
REPLACEMENT = "\ufffd"


class JsonlReader:
    """Documents of a split, a line each; `offset` is the line's byte offset in the decompressed file."""

    def __init__(self, split: Split, source: Input, reading: Reading) -> None:
        self.skipped: dict[str, int] = {}
        self.bytes_read = 0
        self._split = split
        self._source = source
        self._reading = reading
        self._limit = LINE_FACTOR * reading.max_document_bytes + LINE_MARGIN
        self._fields = {
            name: _getter(path)
            for name in ("id", "title", "url", "created", "license", "group")
            if (path := getattr(source.fields, name)) is not None
        }
        texts = source.fields.text
        self._texts = [_getter(path) for path in ([texts] if isinstance(texts, str) else texts)]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return record_batches(self._rows(), self._source.name, self._split.file, self._reading)

    def _rows(self) -> Iterator[Row]:
        split = self._split
        with RawFile(open_binary(split.url), split.start) as raw:
            start = _line_start(raw, split.start, split.stop)
            if start is None:
                return
            for offset, line, ended, damage in self._lines(raw, start):
                self.bytes_read = raw.consumed - split.start
                if line is None:
                    yield Row(offset, error="read.too_large")
                    continue
                content = (line.removeprefix(BOM) if offset == 0 else line).strip()
                row = self._row(offset, content) if content else None
                if row is not None and row.error == "read.not_json" and not ended and content.startswith(b"{"):
                    row.error = damage or "read.truncated"
                if row is not None:
                    yield row
                elif ended:
                    self.skipped["jsonl.blank"] = self.skipped.get("jsonl.blank", 0) + 1
                if damage and (row is None or row.error != damage):
                    yield Row(offset + len(line), error=damage)

    def _lines(self, raw: RawFile, offset: int) -> Iterator[tuple[int, bytes | None, bool, str | None]]:
        """Of each line: offset, bytes (None: over the limit), whether a newline ends it, why the file breaks off."""
        head: list[bytes] = []  # the beginning of a line that goes on in the next piece
        held = 0
        damage = None
        try:
            for piece in pieces(raw, codec_of(raw.at(0, 16), self._split.url), offset):
                data = piece.data
                begin = 0
                while (end := data.find(b"\n", begin)) >= 0:
                    length = held + end - begin
                    yield offset, b"".join((*head, data[begin:end])) if length <= self._limit else None, True, None
                    offset += length + 1
                    if 0 <= self._split.stop <= offset:
                        return
                    begin, head, held = end + 1, [], 0
                held += len(data) - begin
                head = [*head, data[begin:]] if held <= self._limit else []
        except Damage as error:
            damage = error.reason
        if held or damage:
            yield offset, b"".join(head) if held <= self._limit else None, False, damage

    def _row(self, offset: int, line: bytes) -> Row:
        flags: tuple[str, ...] = ()
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            try:
                record, flags = _lenient(line)
            except (ValueError, RecursionError):
                return Row(offset, error="read.not_json")
        if not isinstance(record, dict):
            return Row(offset, error="read.not_an_object")
        texts = [text for get in self._texts if isinstance(text := get(record), str)]
        if not texts:
            return Row(offset, error="read.no_text")
        text = "\n\n".join(part for part in texts if part and not part.isspace())
        values = {name: get(record) for name, get in self._fields.items()}
        row = Row(
            offset,
            text,
            source_id=_string(values.get("id")),
            title=_string(values.get("title")),
            url=_string(values.get("url")),
            group=_string(values.get("group")),
            created=milliseconds(values.get("created")),
            license=_string(values.get("license")) or self._source.license,
            flags=flags,
        )
        limit = self._reading.max_document_bytes
        if not text:
            row.error = "read.empty"
        elif len(text) * 4 > limit and byte_length(text) > limit:
            row.text, row.error = "", "read.too_large"
        return row


def _line_start(raw: RawFile, start: int, stop: int) -> int | None:
    """Where the first line that begins in [start, stop) begins; a line begins after a newline."""
    if start == 0:
        return 0
    position = start - 1
    while data := raw.at(position, SCAN_BYTES):
        newline = data.find(b"\n")
        position += newline + 1 if newline >= 0 else len(data)
        if 0 <= stop <= position:
            return None
        if newline >= 0:
            return position
    return None


def _getter(path: str) -> Callable[[dict[str, Any]], Any]:
    """What a field's name finds in an object: the key itself, else the way through nested objects."""
    parts = path.split(".")
    if len(parts) == 1:
        return lambda record: record.get(path)

    def get(record: dict[str, Any]) -> Any:
        if path in record:
            return record[path]
        value: Any = record
        for part in parts:
            if not isinstance(value, dict):
                return None
            value = value.get(part)
        return value

    return get


def _string(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    return None if isinstance(value, bool) or not isinstance(value, int | float) else str(value)


def _lenient(line: bytes) -> tuple[Any, tuple[str, ...]]:
    """JSON that orjson refuses: invalid UTF-8, lone surrogates, NaN; the flag tells where characters were lost."""
    try:
        text = line.decode()
        lost = False
    except UnicodeDecodeError:
        text = line.decode(errors="replace")
        lost = True
    record = json.loads(text)
    if "\\ud" in text.lower():
        dumped = json.dumps(record, ensure_ascii=False)
        if SURROGATES.search(dumped):
            record = json.loads(SURROGATES.sub(REPLACEMENT, dumped))
            lost = True
    return record, ("encoding.replaced",) if lost else ()
