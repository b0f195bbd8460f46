"""WARC and WET: records framed by hand, so that damage costs a record and not its neighbours.

A split owns the records that begin inside it at a place where reading can start: a gzip member or zstd
frame with a record at its head, or in a plain file a record after a blank line whose length leads to
the next one. What lies between two such places (records inside a member, garbage) belongs to the split
of the first. Such a place inside a stored, uncompressed copy of another archive is mistaken for one of
the file's own; everything else makes the splits of a file add up to the whole.

Offsets are byte offsets in the file as found. Where a member holds several records, the one number k
(from 0) has the offset `member + k * file size`: unique, and the member can be told from it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from ...schemas.recipe import ExtractionOptions, Input, Reading
from . import Split
from .batches import Row, byte_length, milliseconds, record_batches
from .compression import Damage, Piece, codec_of, find_member, pieces
from .extraction import Page, shared_extractor
from .extraction_metadata import language_subtag
from .files import RawFile, open_binary
from .http import HttpHead, TooLarge, Undecodable, decode_body, parse_head

__all__ = ["WarcReader", "is_boundary"]

HEADER_BYTES = 64 << 10
SCAN_BYTES = 256 << 10
HEADER_END = re.compile(rb"\r?\n\r?\n")
LINE_ENDS = re.compile(rb"[\r\n]*")
RECORD_START = re.compile(rb"(?:\r\n\r\n|\n\n)WARC/[01]\.\d")
VERSION = b"WARC/"
VERSION_BYTES = len(b"WARC/1.0")
PAGES_AT_ONCE = 64
PAGE_BYTES_AT_ONCE = 4 << 20
HTML_TYPES = {"text/html", "application/xhtml+xml"}
PLAIN_TYPE = "text/plain"


@dataclass(slots=True)
class _Record:
    """One record: its head, its payload (the beginning of it, where `complete` is false) and its place."""

    offset: int
    headers: dict[str, str]
    payload: bytes
    complete: bool


class WarcReader:
    """Documents of a split: HTTP responses of 2xx with HTML, XHTML or plain text; in WET, conversions."""

    def __init__(self, split: Split, source: Input, reading: Reading, extraction: ExtractionOptions) -> None:
        self.skipped: dict[str, int] = {}
        self.bytes_read = 0
        self._split = split
        self._source = source
        self._reading = reading
        self._extraction = extraction
        self._wanted = "conversion" if split.format == "wet" else "response"

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return record_batches(self._extracted(), self._source.name, self._split.file, self._reading)

    def _extracted(self) -> Iterator[Row]:
        """Rows in their order, pages turned into text some at a time."""
        waiting: list[tuple[Row, Page | None]] = []
        pages = size = 0
        for row, page in self._rows():
            if page is None and not waiting:
                yield row
                continue
            waiting.append((row, page))
            pages += page is not None
            size += len(page.body) if page is not None else 0
            if pages >= PAGES_AT_ONCE or size >= PAGE_BYTES_AT_ONCE:
                yield from self._extract(waiting)
                waiting, pages, size = [], 0, 0
        yield from self._extract(waiting)

    def _extract(self, waiting: list[tuple[Row, Page | None]]) -> Iterator[Row]:
        pages = [page for _, page in waiting if page is not None]
        extractor = shared_extractor(self._extraction, self._reading.max_document_bytes)
        texts = iter(extractor.extract(pages) if pages else ())
        for row, page in waiting:
            if page is not None:
                result = next(texts)
                row.text, row.title, row.error = result.text, result.title, result.error
                row.created = row.created if result.published is None else result.published
                row.language_hint = result.language or row.language_hint
                row.flags += ("encoding.replaced",) if result.replaced else ()
            yield row

    def _rows(self) -> Iterator[tuple[Row, Page | None]]:
        split = self._split
        with RawFile(open_binary(split.url), split.start) as raw:
            codec = codec_of(raw.at(0, 16), split.url)
            find = _find_boundary if codec == "none" else lambda raw, start, stop: find_member(raw, codec, start, stop)
            start = find(raw, split.start, split.stop) if split.start else 0
            damaged: set[int] = set()  # places that have their row
            while start is not None and not 0 <= split.stop <= start:
                archive = _Archive(raw, codec, start, split.stop, self._reading.max_document_bytes)
                for item in archive:
                    self.bytes_read = raw.consumed - split.start
                    if isinstance(item, Row):
                        if item.offset not in damaged:
                            yield item, None
                        damaged.add(item.offset)
                    elif isinstance(found := self._row(item), Row):
                        yield found, None
                    elif isinstance(found, tuple):
                        yield found
                start = None if archive.resume is None else find(raw, archive.resume, split.stop)

    def _skip(self, kind: str) -> None:
        self.skipped[kind] = self.skipped.get(kind, 0) + 1

    def _row(self, record: _Record) -> Row | tuple[Row, Page] | None:
        """The record as a row, as a row that waits for its page's text, or None: skipped."""
        kind = record.headers.get("warc-type", "unknown").lower()
        if kind != self._wanted:
            return self._skip(f"warc.{kind if re.fullmatch('[a-z]{1,20}', kind) else 'unknown'}")
        url = record.headers.get("warc-target-uri", "").strip("<> ")
        row = Row(
            record.offset,
            source_id=record.headers.get("warc-record-id") or None,
            url=url or None,
            created=milliseconds(record.headers.get("warc-date", "")),
            license=self._source.license,
            flags=("warc.truncated",) if "warc-truncated" in record.headers else (),
        )
        return self._converted(row, record) if kind == "conversion" else self._response(row, record)

    def _converted(self, row: Row, record: _Record) -> Row:
        try:
            text = record.payload.decode()
        except UnicodeDecodeError:
            text = record.payload.decode(errors="replace")
            row.flags += ("encoding.replaced",)
        if not record.complete or byte_length(text) > self._reading.max_document_bytes:
            row.error = "read.too_large"
        elif not text or text.isspace():
            row.error = "read.empty"
        else:
            row.text = text
        return row

    def _response(self, row: Row, record: _Record) -> Row | tuple[Row, Page] | None:
        protocol = record.headers.get("content-type", "application/http").lower()
        if "http" not in protocol:
            return self._skip("warc.not_http")
        head = parse_head(record.payload)
        if head is None:
            row.error = "read.http_head"
            return row
        if not 200 <= head.status < 300:
            return self._skip(f"http.status_{head.status}")
        if not _is_document(head, record.payload):
            return self._skip("http.content_type")
        if not record.complete:
            row.error = "read.too_large"
            return row
        try:
            body = decode_body(record.payload[head.length :], head, self._reading.max_document_bytes)
        except TooLarge:
            row.error = "read.too_large"
        except Undecodable:
            row.error = "read.http_body"
        else:
            if body.strip():
                row.language_hint = language_subtag(head.language) or None
                plain = head.content_type == PLAIN_TYPE
                return row, Page(body, head.charset, plain, row.url or "", row.created)
            row.error = "read.empty"
        return row


def _is_document(head: HttpHead, payload: bytes) -> bool:
    if head.content_type:
        return head.content_type in HTML_TYPES or head.content_type == PLAIN_TYPE
    return payload[head.length : head.length + 64].lstrip()[:1] == b"<"


class _Bad(Exception):
    """A record that cannot be read; the next one is looked for from `after`, a position in the stream."""

    def __init__(self, reason: str, after: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class _Archive:
    """Records from one place where reading can start, up to the split's end, the file's end or damage.

    Iterating gives `_Record`s, and `Row`s with an error where a record cannot be read. Afterwards `resume`
    says where to look for the next place to start at, or None where all is read.
    """

    def __init__(self, raw: RawFile, codec: str, start: int, stop: int, max_payload: int) -> None:
        self.resume: int | None = None
        self._raw = raw
        self._plain = codec == "none"
        self._start = start
        self._stop = stop
        self._max_payload = max_payload + HEADER_BYTES
        self._pieces: Iterator[Piece] = pieces(raw, codec, start)
        self._damage: Damage | None = None
        self._data = bytearray()  # a window on the decompressed stream
        self._at = 0  # the reading position in it
        self._dropped = 0  # bytes of the stream before it
        self._marks: list[tuple[int, int]] = []  # (position in _data, offset in the file) where members begin
        self._member = start  # the member at the reading position
        self._number = 0  # records begun in it

    def __iter__(self) -> Iterator[_Record | Row]:
        while True:
            self._drop()
            self._pass_line_ends()
            if not self._fill(1):
                break
            if self._is_split_end():
                return
            offset = self._offset()
            begun = self._member
            try:
                yield self._record(offset)
            except _Bad as bad:
                if self._search(bad.after):
                    yield Row(offset, error="read.damaged")
                    if self._plain:
                        return
                elif bad.reason == "read.damaged" or self._damage is None:
                    yield Row(offset, error=bad.reason)
                    break
                else:
                    yield Row(offset, error=self._damage.reason)
                    self.resume = begun + 1
                    return
        if self._damage is not None:
            # A damaged zstd frame may seem to end inside a sound one: so not from the damage's place.
            self.resume = self._member + 1
            if self._damage.member > self._member:
                self._member, self._number = self._damage.member, 0
            yield Row(self._offset(), error=self._damage.reason)

    def _record(self, offset: int) -> _Record:
        headers, length = self._head()
        begin = self._dropped + self._at
        complete = length <= self._max_payload
        payload = self._take(length if complete else HEADER_BYTES, begin)
        if not complete:
            self._pass_over(length - HEADER_BYTES, begin)
        self._check_successor(begin)
        return _Record(offset, headers, payload, complete)

    def _head(self) -> tuple[dict[str, str], int]:
        """A record's headers and its payload's length; the reading position moves to the payload."""
        for ahead in (4 << 10, HEADER_BYTES):
            ended = not self._fill(ahead)
            head = bytes(self._data[self._at : self._at + ahead])
            parsed = _parse_headers(head)
            if parsed is not None:
                headers, length, size = parsed
                self._take(size, self._dropped + self._at + 1)
                return headers, length
            if not head.startswith(VERSION[: len(head)]):
                break
        cut = ended and HEADER_END.search(head) is None and head.startswith(VERSION[: len(head)])
        raise _Bad("read.truncated" if cut else "read.damaged", self._dropped + self._at + 1)

    def _take(self, count: int, begin: int) -> bytes:
        if not self._fill(count):
            raise _Bad("read.truncated", begin)
        if any(self._is_record(mark) for mark, _ in self._marks if self._at <= mark < self._at + count):
            # Another record begins inside this one: its length is a lie, or its head has lost its end.
            raise _Bad("read.damaged", begin)
        taken = bytes(self._data[self._at : self._at + count])
        self._at += count
        return taken

    def _pass_over(self, count: int, begin: int) -> None:
        while count:
            step = min(count, SCAN_BYTES)
            self._take(step, begin)
            self._drop()
            count -= step

    def _check_successor(self, begin: int) -> None:
        """A payload is followed by line ends, then a record or the end: else its length was a lie."""
        end = self._at
        self._pass_line_ends()
        self._fill(len(VERSION))
        following = self._data[self._at : self._at + len(VERSION)]
        if following and not VERSION.startswith(following):
            raise _Bad("read.damaged", begin)
        member = max((member for mark, member in self._marks if mark < end), default=self._member)
        if not following and self._damage and self._damage.reason == "read.damaged" and self._damage.member == member:
            raise _Bad("read.truncated", begin)
        self._at = end

    def _search(self, after: int) -> bool:
        """Whether there is another record at or behind a position in the stream; moves there."""
        if self._plain:
            self.resume = _find_boundary(self._raw, self._start + after, -1)
            return self.resume is not None
        self._at = max(after - self._dropped, 0)
        while True:
            found = [mark for mark, _ in self._marks if mark >= self._at and self._is_record(mark)][:1]
            if match := RECORD_START.search(self._data, max(self._at - 4, 0)):
                found.append(match.end() - VERSION_BYTES)
            if found := [position for position in found if position >= self._at]:
                self._at = min(found)
                return True
            self._at = max(self._at, len(self._data) - 2 * VERSION_BYTES)
            self._drop()
            if not self._fill(len(self._data) + 1):
                return False

    def _is_record(self, mark: int) -> bool:
        self._fill(mark - self._at + 2 * VERSION_BYTES)
        return self._data[mark : mark + 2 * VERSION_BYTES].lstrip(b"\r\n").startswith(VERSION)

    def _is_split_end(self) -> bool:
        """Whether the record at the reading position is another split's: the first that reading could start at."""
        if self._stop < 0:
            return False
        if self._plain:
            offset = self._start + self._dropped + self._at
            return offset >= self._stop and is_boundary(self._raw, offset)
        members = [member for mark, member in self._marks if mark <= self._at]
        return bool(members) and members[-1] >= self._stop and self._is_record(self._at)

    def _offset(self) -> int:
        """The provenance of what begins at the reading position; each call gives another one in a member."""
        if self._plain:
            return self._start + self._dropped + self._at
        while self._marks and self._marks[0][0] <= self._at:
            self._member, self._number = self._marks.pop(0)[1], 0
        self._number += 1
        return self._member + (self._number - 1) * self._raw.size if self._number > 1 else self._member

    def _fill(self, count: int) -> bool:
        """Whether `count` bytes lie ahead; reads until they do, the stream ends or it is damaged."""
        while len(self._data) - self._at < count:
            try:
                piece = next(self._pieces, None)
            except Damage as damage:
                self._damage = damage
                return False
            if piece is None:
                return False
            if piece.first and not self._plain:
                self._marks.append((len(self._data), piece.member))
            self._data += piece.data
        return True

    def _pass_line_ends(self) -> None:
        while self._fill(1):
            match = LINE_ENDS.match(self._data, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._data):
                return

    def _drop(self) -> None:
        """Forget what lies before the reading position."""
        while self._marks and self._marks[0][0] < self._at:
            self._member, self._number = self._marks.pop(0)[1], 0
        self._marks = [(mark - self._at, member) for mark, member in self._marks]
        del self._data[: self._at]
        self._dropped += self._at
        self._at = 0


def _parse_headers(data: bytes) -> tuple[dict[str, str], int, int] | None:
    """(headers by lower-case name, payload's length, head's length), or None where this is no whole head."""
    end = HEADER_END.search(data)
    if end is None or not data.startswith(VERSION):
        return None
    lines = data[: end.start()].decode(errors="replace").split("\n")[1:]
    headers = {name.strip().lower(): value.strip() for name, colon, value in (line.partition(":") for line in lines)}
    length = headers.get("content-length", "")
    return (headers, int(length), end.end()) if re.fullmatch("[0-9]{1,15}", length) else None


def is_boundary(raw: RawFile, offset: int) -> bool:
    """Whether reading a plain file can start here: a blank line, a record's head, and a record after its payload."""
    before = max(offset - 4, 0)
    if offset and not raw.at(before, offset - before).endswith((b"\r\n\r\n", b"\n\n")):
        return False
    parsed = _parse_headers(raw.at(offset, HEADER_BYTES))
    if parsed is None:
        return False
    following = raw.at(offset + parsed[2] + parsed[1], 4 * VERSION_BYTES)
    return not following or following.lstrip(b"\r\n").startswith(VERSION) or not following.strip(b"\r\n")


def _find_boundary(raw: RawFile, start: int, stop: int) -> int | None:
    """The first offset in [start, stop) where reading a plain file can start."""
    position = max(start - 4, 0)
    while len(data := raw.at(position, SCAN_BYTES)) > VERSION_BYTES:
        for match in RECORD_START.finditer(data):
            offset = position + match.end() - VERSION_BYTES
            if 0 <= stop <= offset:
                return None
            if offset >= start and is_boundary(raw, offset):
                return offset
        if 0 <= stop <= position:
            return None
        position += len(data) - 2 * VERSION_BYTES if len(data) == SCAN_BYTES else len(data)
    return None
