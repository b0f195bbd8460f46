"""The process that turns pages into text, apart from its parent so that a page can only harm itself.

Reads frames from standard input and writes one reply a page to standard output, at once, so that the
parent sees progress. Ends with its parent: at the end of standard input, or by signal on Linux.

    request   uint32 pages, then per page: uint8 kind, uint16 charset bytes, uint32 body bytes; then charsets and bodies
    reply     uint8 outcome, uint8 replaced, uint32 title bytes, uint32 text bytes; then title and text (UTF-8)

A request is read whole before the first reply, so neither side ever waits for the other to drain a pipe.
"""

import codecs
import ctypes
import os
import signal
import struct
import sys
from typing import BinaryIO

__all__ = ["HTML", "OUTCOMES", "PAGE", "PLAIN", "READY", "REPLY", "main", "to_text"]

PAGES = struct.Struct("<I")
PAGE = struct.Struct("<BHI")
REPLY = struct.Struct("<BBII")
READY = b"ready\n"
HTML, PLAIN = 0, 1
OUTCOMES = ("", "extract.empty", "extract.failed", "extract.too_large")
OK, EMPTY, FAILED, TOO_LARGE = range(4)

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
SNIFF_BYTES = 16 << 10
MAX_LOSS = 1 / 200  # replaced characters per character above which the declared charset is not believed


def decode(body: bytes, charset: str) -> tuple[str, bool]:
    """A page's characters and whether some were lost: charset by BOM, HTTP header, meta element, bytes."""
    from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

    for bom, name in BOMS:
        if body.startswith(bom):
            text = body[len(bom) :].decode(name, "replace")
            return text, "\ufffd" in text
    declared = map_encoding_to_html5(charset, fallback_utf8=False) if charset else None
    name = declared or detect_encoding(body, SNIFF_BYTES, from_html_meta=True) or "utf-8"
    try:
        return body.decode(name), False
    except (UnicodeDecodeError, LookupError):
        pass
    guesses = [name, "utf-8", detect_encoding(body, SNIFF_BYTES) or "windows-1252"]
    best: tuple[int, str] | None = None
    for guess in guesses:
        try:
            text = body.decode(guess, "replace")
        except LookupError:
            continue
        lost = text.count("\ufffd")
        if best is None or lost < best[0]:
            best = lost, text
        if best[0] <= len(text) * MAX_LOSS:
            break
    assert best is not None
    return best[1], best[0] > 0


def to_text(kind: int, charset: str, body: bytes) -> tuple[str, str, bool]:
    """(title, text, whether characters were lost in decoding) of one page."""
    page, replaced = decode(body, charset)
    if kind == PLAIN:
        return "", page.strip(), replaced
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(page)
    text = extract_plain_text(tree, preserve_formatting=True, main_content=True, alt_texts=False)
    return " ".join((tree.title or "").split()), text.strip(), replaced


def answer(kind: int, charset: str, body: bytes, limit: int) -> bytes:
    """The reply to one page."""
    outcome, title, text, replaced = OK, b"", b"", False
    try:
        page_title, page_text, replaced = to_text(kind, charset, body)
        title, text = page_title.encode(errors="replace"), page_text.encode(errors="replace")
        outcome = TOO_LARGE if len(text) > limit else OK if text else EMPTY
    except MemoryError:
        outcome = TOO_LARGE
    except Exception:  # whatever a parser raises is this page's fault, and it must not end the process
        outcome = FAILED
    if outcome != OK:
        text = b""
    return REPLY.pack(outcome, replaced, len(title), len(text)) + title + text


def serve(requests: BinaryIO, replies: BinaryIO, limit: int) -> None:
    """Answer requests until their stream ends."""
    replies.write(READY)
    replies.flush()
    while len(head := requests.read(PAGES.size)) == PAGES.size:
        (count,) = PAGES.unpack(head)
        pages = [PAGE.unpack(requests.read(PAGE.size)) for _ in range(count)]
        bodies = [(requests.read(charset).decode("latin-1"), requests.read(size)) for _, charset, size in pages]
        for (kind, _, _), (charset, body) in zip(pages, bodies, strict=True):
            replies.write(answer(kind, charset, body, limit))
            replies.flush()


def die_with_parent(parent: int) -> None:
    """Ask Linux for SIGKILL when the parent dies; elsewhere the end of standard input has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def main() -> None:
    """`extraction_child PARENT_PID MEMORY_BYTES MAX_TEXT_BYTES`, started by `extraction.Extractor`."""
    parent, memory, limit = map(int, sys.argv[1:4])
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    to_text(HTML, "utf-8", b"<p>warm</p>")  # load the libraries before the first page's clock runs
    serve(sys.stdin.buffer, sys.stdout.buffer, limit)


if __name__ == "__main__":
    main()
