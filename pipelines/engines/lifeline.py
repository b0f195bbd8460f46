"""Forked processes that end when the process that forked them ends, however it ends (Linux).

A SIGKILL of the driver would otherwise leave datatrove's manager and idle pool workers waiting for
ever. The driver arms this around its own forks; datatrove's fork server imports the module because it
is preloaded there, finds the variable in its environment, and shares that fate with its workers.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["armed"]

VARIABLE = "FLORILEGIUM_FORKS_END_WITH_DRIVER"
PR_SET_PDEATHSIG = 1


@contextmanager
def armed() -> Iterator[None]:
    """Tie every process forked meanwhile to this one."""
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)


def _tie_to_parent() -> None:
    if VARIABLE in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


# In the fork server, which is started with the variable set, this ties the server itself to the driver.
_tie_to_parent()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tie_to_parent)
