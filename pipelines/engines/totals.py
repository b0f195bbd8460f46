"""How workers tell a driver how far they are: figures gathered on both sides, so that few messages are sent."""

import time
from collections.abc import Callable

from ..progress import Listener

__all__ = ["Throttled", "Totals"]

REPORT_SECONDS = 0.3


class Totals:
    """What all tasks of a phase have done so far, told to a listener."""

    def __init__(self, listener: Listener) -> None:
        self.listener, self.values = listener, [0, 0, 0, 0]

    def add(self, *more: int) -> None:
        """Tasks finished, documents, bytes and rejects."""
        self.values = [total + number for total, number in zip(self.values, more, strict=True)]
        self.listener.update(*self.values)


class Throttled:
    """A Progress that passes on what came together: each so many seconds, and when a task is finished."""

    def __init__(self, send: Callable[[int, int, int, int], object], seconds: float = REPORT_SECONDS) -> None:
        self.send, self.seconds = send, seconds
        self.pending, self.sent = [0, 0, 0], time.monotonic()

    def advance(self, documents: int = 0, size: int = 0, rejects: int = 0) -> None:
        more = (documents, size, rejects)
        self.pending = [total + number for total, number in zip(self.pending, more, strict=True)]
        if time.monotonic() - self.sent > self.seconds:
            self.flush(0)

    def flush(self, finished: int) -> None:
        """Pass on what is pending, and how many tasks were finished since the last time."""
        self.send(finished, *self.pending)
        self.pending, self.sent = [0, 0, 0], time.monotonic()
