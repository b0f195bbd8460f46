"""Imported once by the fork server: every worker process starts with libraries, kernels and models in place.

Forked memory is shared until it is written to, so that a model is there once, however many workers there are.
"""

import contextlib
import ctypes
import os
import signal
import sys
from importlib import import_module

from .beam_log import DRIVER_VARIABLE, STAGES_VARIABLE, quiet

__all__: list[str] = []

PR_SET_PDEATHSIG = 1

# A fork server looks for its driver only when all this is done, seconds later.
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.environ.get(DRIVER_VARIABLE, str(os.getppid())) != str(os.getppid()):
    os._exit(1)  # it had gone before

with quiet():  # Beam warns of optional packages when it is imported
    for name in ("beam_graph", "beam_processes"):
        import_module(f".{name}", __package__)
if STAGES_VARIABLE in os.environ:
    with contextlib.suppress(Exception):  # raised again where there is a task to blame it on
        import_module("..scoring", __package__).ready_stages(os.environ[STAGES_VARIABLE])
