"""HTTP responses as archives hold them: status, headers, and the body with its codings undone.

Archives are not the wire: many keep the headers of a coded body beside the decoded one. So a coding
that its body contradicts (no chunk size, no magic, readable text) counts as undone already.
"""

import io
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from .compression import Damage, pieces
from .files import in_memory

__all__ = ["HttpHead", "TooLarge", "Undecodable", "decode_body", "parse_head"]

STATUS = re.compile(rb"\s*HTTP/\d(?:\.\d)?[ \t]+(\d{3})")
HEAD_END = re.compile(rb"\r?\n\r?\n")
CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';,]+)", re.IGNORECASE)
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
SNIFF_BYTES = 1024
BATCH_BYTES = 64 << 10


class Undecodable(Exception):
    """The body is not what its headers say."""


class TooLarge(Exception):
    """The decoded body is over the limit."""


@dataclass(frozen=True, slots=True)
class HttpHead:
    """Status line and headers (names in lower case; repeated ones joined by a comma)."""

    status: int
    headers: dict[str, str]
    length: int  # bytes of the head; the body follows

    @property
    def content_type(self) -> str:
        """The media type alone, in lower case; empty where there is none."""
        return self.headers.get("content-type", "").partition(";")[0].partition(",")[0].strip().lower()

    @property
    def charset(self) -> str:
        """The charset that the server names, or an empty string."""
        match = CHARSET.search(self.headers.get("content-type", ""))
        return match[1] if match else ""

    @property
    def language(self) -> str:
        """The languages that the server names, as it writes them, or an empty string."""
        return self.headers.get("content-language", "")


def parse_head(payload: bytes) -> HttpHead | None:
    """The head at the beginning of a response, or None where there is no HTTP status line."""
    status = STATUS.match(payload)
    if status is None:
        return None
    end = HEAD_END.search(payload)
    lines = payload[: end.start() if end else len(payload)].decode("latin-1").split("\n")[1:]
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if colon and name:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return HttpHead(int(status[1]), headers, end.end() if end else len(payload))


def decode_body(body: bytes, head: HttpHead, limit: int) -> bytes:
    """The body without chunks and content codings; Undecodable where that fails, TooLarge over `limit` bytes."""
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        body = _dechunk(body)
    codings = [name.strip().lower() for name in head.headers.get("content-encoding", "").split(",")]
    for name in reversed(codings):
        decode = DECODERS.get(name)
        if decode is None or not body:
            continue
        try:
            body = decode(body, limit)
        except Undecodable:
            if not _readable(body):
                raise
    if len(body) > limit:
        raise TooLarge
    return body


def _readable(body: bytes) -> bool:
    return BINARY.search(body[:SNIFF_BYTES]) is None and not body.startswith(b"\x1f\x8b")


def _dechunk(body: bytes) -> bytes:
    chunks: list[bytes] = []
    position = 0
    while position < len(body):
        size_line = CHUNK.match(body, position)
        if size_line is None:
            if not chunks:
                return body  # the archive took the chunks apart and kept the header
            raise Undecodable
        size = int(size_line[1], 16)
        if size == 0:
            break
        chunk = body[size_line.end() : size_line.end() + size]
        if len(chunk) < size:
            raise Undecodable
        chunks.append(chunk)
        position = size_line.end() + size
        position += 2 if body.startswith(b"\r\n", position) else body.startswith(b"\n", position)
    return b"".join(chunks)


def _bounded(codec: str) -> Callable[[bytes, int], bytes]:
    def decode(body: bytes, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            for piece in pieces(in_memory(body), codec):
                parts.append(piece.data)
                size += len(piece.data)
                if size > limit:
                    raise TooLarge
        except Damage as damage:
            if damage.member == 0 or damage.reason == "read.truncated":
                raise Undecodable from None
            # Bytes after a whole stream: browsers ignore them too.
        return b"".join(parts)

    return decode


def _deflate(body: bytes, limit: int) -> bytes:
    for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS):  # with the zlib header of the standard, and without it
        decoder = zlib.decompressobj(window)
        try:
            decoded = decoder.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(decoded) > limit:
            raise TooLarge
        if decoder.eof:
            return decoded
    raise Undecodable


def _brotli(body: bytes, limit: int) -> bytes:
    from fastwarc.stream_io import BrotliReader

    reader = BrotliReader(io.BytesIO(body))
    parts: list[bytes] = []
    size = 0
    try:
        while part := reader.read(BATCH_BYTES):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise TooLarge
    except OSError:
        raise Undecodable from None
    return b"".join(parts)


DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _bounded("gzip"),
    "x-gzip": _bounded("gzip"),
    "zstd": _bounded("zstd"),
    "deflate": _deflate,
    "br": _brotli,
}
