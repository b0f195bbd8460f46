"""Pages to text through one child process that is watched, killed and replaced.

An HTML parser can hang, crash or swallow memory on one page in a million, and then takes its process
along. So it runs in a child with a memory limit and a clock for each page; the page that fails gets a
reason, the pages sent after it are sent again. The child lives as long as the worker: starting one
takes about 0.1 s, a page 3 ms (trafilatura: 20), a round trip of a batch nothing that counts.
"""

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import IO

from ...schemas.errors import MissingExtraError, RunError
from ...schemas.recipe import ExtractionOptions
from . import extraction_child as child

__all__ = ["Extracted", "Extractor", "Page", "shared_extractor"]

START_SECONDS = 120.0
CHUNK_BYTES = 1 << 20
MAX_CHARSET, MAX_URL = 64, 4096


@dataclass(frozen=True, slots=True)
class Page:
    """What goes in."""

    body: bytes
    charset: str = ""  # the HTTP header's
    plain: bool = False  # text/plain: decoded, not parsed
    url: str = ""
    fetched: int | None = None  # milliseconds since 1970; no page is believed to be younger


@dataclass(frozen=True, slots=True)
class Extracted:
    """What comes out; `error` is a reason or None."""

    text: str = ""
    title: str | None = None
    language: str | None = None  # that the page declares: a primary subtag such as `en`
    published: int | None = None  # milliseconds since 1970
    replaced: bool = False  # characters were lost in decoding
    error: str | None = None


class _Stopped(Exception):
    """The child gives no more replies: `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Extractor:
    """One child process and its watch. Not for use by two threads at a time.

    `command` is for tests: a program that speaks the protocol of `extraction_child`. Raises MissingExtraError
    where the extractor is not installed.
    """

    def __init__(self, options: ExtractionOptions, max_text_bytes: int, command: Sequence[str] | None = None) -> None:
        if find_spec(options.extractor) is None:
            name = options.extractor
            raise MissingExtraError(f"extraction.extractor {name!r} needs a package: pip install 'florilegium[{name}]'")
        self._timeout = options.timeout_seconds
        module = [sys.executable, "-m", child.__name__]
        limits = map(str, (os.getpid(), options.memory_bytes, max_text_bytes))
        comments = "comments" if options.comments else "no-comments"
        self._command = [*(command or module), *limits, options.extractor, comments]
        self._running: list[subprocess.Popen[bytes]] = []  # none or one; shared with the finalizer
        self._buffer = bytearray()
        weakref.finalize(self, _end, self._running, os.getpid())

    def extract(self, pages: Sequence[Page]) -> list[Extracted]:
        """The texts of pages, in their order; never raises for a page."""
        done: list[Extracted] = []
        while len(done) < len(pages):
            before = len(done)
            try:
                process = self._alive()
                self._send(process, pages[before:])
                for _ in range(len(pages) - before):
                    done.append(self._receive(process))
            except _Stopped as stopped:
                self.close()
                done.append(Extracted(error=stopped.reason))
        return done

    def close(self) -> None:
        """End the child; the next call of `extract` starts another."""
        self._buffer.clear()
        _end(self._running, os.getpid())

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._running and self._running[0].poll() is None:
            return self._running[0]
        self.close()
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self._running.append(process)
        os.set_blocking(_pipe(process.stdin).fileno(), False)
        try:
            if self._read(process, len(child.READY), START_SECONDS) != child.READY:
                raise _Stopped("extract.crashed")
        except _Stopped:
            self.close()
            raise RunError(
                f"the extraction process does not start; run `{' '.join(self._command)}` to see why"
            ) from None
        return process

    def _send(self, process: subprocess.Popen[bytes], pages: Sequence[Page]) -> None:
        parts = [child.PAGES.pack(len(pages))]
        names = [(_bytes(page.charset, MAX_CHARSET), _bytes(page.url, MAX_URL)) for page in pages]
        for page, (charset, url) in zip(pages, names, strict=True):
            kind = child.PLAIN if page.plain else child.HTML
            fetched = child.UNKNOWN if page.fetched is None else page.fetched
            parts.append(child.PAGE.pack(kind, fetched, len(charset), len(url), len(page.body)))
        for page, (charset, url) in zip(pages, names, strict=True):
            parts += [charset, url, page.body]
        data = memoryview(b"".join(parts))
        pipe = _pipe(process.stdin).fileno()
        while data:
            if not _ready(pipe, select.POLLOUT, self._timeout):
                raise _Stopped("extract.timeout")
            try:
                data = data[os.write(pipe, data[:CHUNK_BYTES]) :]
            except BrokenPipeError:
                raise _Stopped("extract.crashed") from None

    def _receive(self, process: subprocess.Popen[bytes]) -> Extracted:
        outcome, replaced, published, *sizes = child.REPLY.unpack(self._read(process, child.REPLY.size, self._timeout))
        title, language, text = (self._read(process, size, self._timeout).decode() for size in sizes)
        return Extracted(
            text,
            title or None,
            language or None,
            None if published == child.UNKNOWN else published,
            bool(replaced),
            child.OUTCOMES[outcome] or None,
        )

    def _read(self, process: subprocess.Popen[bytes], count: int, seconds: float) -> bytes:
        pipe = _pipe(process.stdout).fileno()
        deadline = time.monotonic() + seconds
        while len(self._buffer) < count:
            if not _ready(pipe, select.POLLIN, deadline - time.monotonic()):
                raise _Stopped("extract.timeout")
            data = os.read(pipe, CHUNK_BYTES)
            if not data:
                raise _Stopped("extract.crashed")
            self._buffer += data
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


def _end(running: list[subprocess.Popen[bytes]], owner: int) -> None:
    if os.getpid() != owner:  # inherited through a fork: the process belongs to the parent
        return
    while running:
        process = running.pop()
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                _pipe(pipe).close()
        process.wait()


def _bytes(text: str, limit: int) -> bytes:
    return text.encode(errors="replace")[:limit]


def _ready(pipe: int, event: int, seconds: float) -> bool:
    """Whether a pipe can be read or written within the time; poll, since select ends at descriptor 1023."""
    waiting = select.poll()
    waiting.register(pipe, event)
    return bool(waiting.poll(max(seconds, 0) * 1000))


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


_local = threading.local()


def shared_extractor(options: ExtractionOptions, max_text_bytes: int) -> Extractor:
    """This thread's extractor, reused from split to split.

    One a thread, because Linux's death signal follows the thread that started the child; and never one
    that was inherited through a fork, whose pipes belong to the parent.
    """
    key = (os.getpid(), options, max_text_bytes)
    if getattr(_local, "key", None) != key:
        _local.extractor = Extractor(options, max_text_bytes)
        _local.key = key
    return _local.extractor
