"""What was answered, kept at once: a killed task asks, and pays, for nothing twice.

    journal/00003-5f0c21ab.jsonl         task 3, one attempt; on a local disk the file grows line by line
    journal/00003-5f0c21ab-00007.jsonl   elsewhere, a part of it: whole, and never written again

The first line of every file is the task's key, so that another plan's answers are not taken for this one's. An object
store cannot append: there lines wait for up to PART_SECONDS or PART_BYTES, which is what a kill can lose.
"""

import json
import os
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..storage import Folder
from .drafting import Written

__all__ = ["Journal", "journal_names", "read_journal"]

PART_SECONDS, PART_BYTES = 10.0, 1 << 20


def journal_names(folder: Folder, index: int) -> list[str]:
    """The files of a task's journal, all attempts together."""
    return folder.names(f"journal/{index:05d}-*.jsonl")


def read_journal(folder: Folder, names: Iterable[str], key: str) -> dict[str, Written]:
    """The cells that a task has finished, by id; where one was asked for again, what did not fail.

    A line that was being written when the task was killed, and all of another task's, is passed over.
    """
    known: dict[str, Written] = {}
    for name in names:
        for number, line in enumerate(folder.read_bytes(name).splitlines(keepends=True)):
            try:
                entry = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                entry = None
            if entry is None or (number == 0 and entry != {"task": key}):
                break
            if number:
                result = Written(**entry)
                if result.status != "failed" or result.id not in known:
                    known[result.id] = result
    return known


class Journal:
    """One attempt at a task, or one of several workers at it. To be closed."""

    def __init__(self, folder: Folder, index: int, key: str) -> None:
        self._folder = folder
        self._stem = f"journal/{index:05d}-{uuid.uuid4().hex[:8]}"
        self._head = _line({"task": key})
        self.names: list[str] = []
        if folder.is_local:
            self.names = [f"{self._stem}.jsonl"]
            path = Path(folder.root, self.names[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")
            self._file.write(self._head)
        else:
            self._waiting: list[bytes] = []
            self._since = time.monotonic()
            self._pool = ThreadPoolExecutor(1)  # whoever writes does not wait for the store
            self._stored: list[Future[None]] = []

    def append(self, result: Written) -> None:
        """Keep a finished cell. Raises OSErrors, those of the store with the next part."""
        line = _line(result.to_json())
        if self._folder.is_local:
            self._file.write(line)
            self._file.flush()
            return
        self._waiting.append(line)
        if time.monotonic() - self._since >= PART_SECONDS or sum(map(len, self._waiting)) >= PART_BYTES:
            self._store()

    def _store(self) -> None:
        for stored in [stored for stored in self._stored if stored.done()]:
            self._stored.remove(stored)
            stored.result()
        self._since = time.monotonic()
        if self._waiting:
            name = f"{self._stem}-{len(self.names):05d}.jsonl"
            self.names.append(name)
            self._stored.append(self._pool.submit(self._folder.write_bytes, name, self._head + b"".join(self._waiting)))
            self._waiting = []

    def close(self) -> None:
        """Keep what waits, and see that all of it is kept."""
        if self._folder.is_local:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            return
        try:
            self._store()
            for stored in self._stored:
                stored.result()
        finally:
            self._pool.shutdown()


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False).encode() + b"\n"
