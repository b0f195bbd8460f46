"""Signals that would end a driver at once, before it has ended what it runs elsewhere."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["ending_in_order"]


@contextlib.contextmanager
def ending_in_order() -> Iterator[None]:
    """While it lasts, SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does; what is ignored stays so (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
