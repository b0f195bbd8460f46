"""Apache Beam without its log on standard error, and what its fork server is told by the environment."""

import contextlib
import logging
import threading
from collections.abc import Iterator

__all__ = ["DRIVER_VARIABLE", "STAGES_VARIABLE", "quiet"]

DRIVER_VARIABLE = "FLORILEGIUM_DRIVER"  # process id of the driver
STAGES_VARIABLE = "FLORILEGIUM_STAGES"  # options of the stages to have ready


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep back what Beam logs: what goes wrong with a task is in its note, and the rest is raised."""
    root, handler = logging.getLogger(), logging.NullHandler()
    beam = logging.getLogger("apache_beam")
    level = beam.level
    said, threading.excepthook = threading.excepthook, _ignore_hanging_up
    beam.setLevel(logging.CRITICAL + 1)
    root.addHandler(handler)  # without any, a message on the root logger would install one for standard error
    try:
        yield
    finally:
        root.removeHandler(handler)
        beam.setLevel(level)
        threading.excepthook = said


def _ignore_hanging_up(ended: threading.ExceptHookArgs) -> None:
    """A worker that leaves ends the threads which listen to it by an error."""
    import grpc

    if not issubclass(ended.exc_type, grpc.RpcError):
        threading.__excepthook__(ended)
