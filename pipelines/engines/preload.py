"""Imported once by a fork server: every worker process starts with libraries, kernels and models in place.

Forked memory is shared until it is written to, so that a model is there once, however many workers there are.
"""

import contextlib
import ctypes
import os
import signal
import sys
from importlib import import_module

from .fork_server import DRIVER_VARIABLE, STAGES_VARIABLE

__all__: list[str] = []

PR_SET_PDEATHSIG = 1

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business
# A fork server looks for its driver only when all this is done, seconds later.
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.environ.get(DRIVER_VARIABLE, str(os.getppid())) != str(os.getppid()):
    os._exit(1)  # it had gone before

import_module("..phases", __package__)
if STAGES_VARIABLE in os.environ:
    with contextlib.suppress(Exception):  # raised again where there is a task to blame it on
        import_module("..scoring", __package__).ready_stages(os.environ[STAGES_VARIABLE])
