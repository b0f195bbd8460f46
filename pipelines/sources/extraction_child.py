"""The process that turns pages into text, apart from its parent so that a page can only harm itself.

Reads frames from standard input and writes one reply a page to standard output, at once, so that the
parent sees progress. Ends with its parent: at the end of standard input, or by signal on Linux.

    request   uint32 pages, then per page: uint8 kind, int64 latest date, uint16 charset bytes, uint16 address bytes,
              uint32 body bytes; then per page: charset, address, body
    reply     uint8 outcome, uint8 replaced, int64 date, uint32 title bytes, uint8 language bytes, uint32 text bytes;
              then title, language and text (UTF-8)

A request is read whole before the first reply, so neither side ever waits for the other to drain a pipe.
Dates are milliseconds since 1970; UNKNOWN where there is none.
"""

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from .extraction_charset import decode
from .extraction_html import EXTRACTORS, flatten
from .extraction_metadata import Metadata, page_metadata, url_date

__all__ = ["HTML", "OUTCOMES", "PAGE", "PAGES", "PLAIN", "READY", "REPLY", "UNKNOWN", "Request", "main", "to_text"]

PAGES = struct.Struct("<I")
PAGE = struct.Struct("<BqHHI")
REPLY = struct.Struct("<BBqIBI")
READY = b"ready\n"
HTML, PLAIN = 0, 1
OUTCOMES = ("", "extract.empty", "extract.failed", "extract.too_large")
OK, EMPTY, FAILED, TOO_LARGE = range(4)
UNKNOWN = -(1 << 63)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9998, 1, 1, tzinfo=UTC)  # where nothing says when the page was fetched
MILLISECOND = timedelta(milliseconds=1)
NOTHING = Metadata()


@dataclass(frozen=True, slots=True)
class Request:
    """One page."""

    kind: int
    body: bytes
    charset: str = ""  # the HTTP header's
    url: str = ""
    latest: datetime = LATEST  # when it was fetched: it was published before


@dataclass(frozen=True, slots=True)
class Answer:
    """What it says."""

    text: str
    replaced: bool = False  # characters were lost in decoding
    metadata: Metadata = NOTHING


def to_text(request: Request, extract: Callable[[str], str]) -> Answer:
    """One page's text and metadata; `extract` is one of `EXTRACTORS`."""
    page, replaced = decode(request.body, request.charset)
    if request.kind == PLAIN:
        return Answer(page.strip(), replaced, Metadata(published=url_date(request.url, request.latest)))
    found = page_metadata(page, request.latest)
    if found.published is None:
        found = replace(found, published=url_date(request.url, request.latest))
    return Answer(extract(flatten(page)), replaced, found)


def answer(request: Request, extract: Callable[[str], str], limit: int) -> bytes:
    """The reply to one page."""
    outcome, found = OK, Answer("")
    text = b""
    try:
        found = to_text(request, extract)
        text = found.text.encode(errors="replace")
        outcome = TOO_LARGE if len(text) > limit else OK if text else EMPTY
    except MemoryError:
        outcome = TOO_LARGE
    except Exception:  # whatever a parser raises is this page's fault, and it must not end the process
        outcome = FAILED
    if outcome != OK:
        text = b""
    title, language = found.metadata.title.encode(errors="replace"), found.metadata.language.encode()
    date = found.metadata.published
    moment = UNKNOWN if date is None else (date - EPOCH) // MILLISECOND
    head = REPLY.pack(outcome, found.replaced, moment, len(title), len(language), len(text))
    return head + title + language + text


def serve(requests: BinaryIO, replies: BinaryIO, extract: Callable[[str], str], limit: int) -> None:
    """Answer requests until their stream ends."""
    replies.write(READY)
    replies.flush()
    while len(head := requests.read(PAGES.size)) == PAGES.size:
        (count,) = PAGES.unpack(head)
        heads = [PAGE.unpack(requests.read(PAGE.size)) for _ in range(count)]
        pages: list[Request] = []
        for kind, moment, charset, url, size in heads:
            latest = LATEST if moment == UNKNOWN else EPOCH + moment * MILLISECOND
            names = [requests.read(length).decode(errors="replace") for length in (charset, url)]
            pages.append(Request(kind, requests.read(size), *names, latest=min(latest, LATEST)))
        for page in pages:
            replies.write(answer(page, extract, limit))
            replies.flush()


def die_with_parent(parent: int) -> None:
    """Ask Linux for SIGKILL when the parent dies; elsewhere the end of standard input has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def main() -> None:
    """`extraction_child PARENT MEMORY_BYTES MAX_TEXT_BYTES EXTRACTOR COMMENTS`, started by `extraction.Extractor`."""
    parent, memory, limit = map(int, sys.argv[1:4])
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    extract = EXTRACTORS[sys.argv[4]](sys.argv[5] == "comments")
    # Load the libraries before the first page's clock runs.
    to_text(Request(HTML, "<meta charset=latin1><p>The warm-up: é.</p>".encode("latin-1")), extract)
    serve(sys.stdin.buffer, sys.stdout.buffer, extract, limit)


if __name__ == "__main__":
    main()
