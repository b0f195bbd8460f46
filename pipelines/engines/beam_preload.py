"""Imported once by the fork server: every worker process starts with libraries, kernels and models in place.

Forked memory is shared until it is written to, so that a model is there once, however many workers there are.
"""

import contextlib
import os
from importlib import import_module

from ..scoring import ready_stages
from .beam_log import STAGES_VARIABLE, quiet

__all__: list[str] = []

with quiet():  # Beam warns of optional packages when it is imported
    for name in ("beam_graph", "beam_processes"):
        import_module(f".{name}", __package__)
if STAGES_VARIABLE in os.environ:
    with contextlib.suppress(Exception):  # raised again where there is a task to blame it on
        ready_stages(os.environ[STAGES_VARIABLE])
