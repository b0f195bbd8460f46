"""Imported once by the fork server, so that every worker process starts with its libraries in place."""

from importlib import import_module

from ..stages import ORDER
from .beam_log import quiet

__all__: list[str] = []

with quiet():  # Beam warns of optional packages when it is imported
    for name in ("beam_graph", "beam_processes"):
        import_module(f".{name}", __package__)
for name in ORDER:
    import_module(f"..stages.{name}", __package__)
