"""Imported once by Beam's fork server, after what every engine's has."""

from importlib import import_module

from .beam_log import quiet

__all__: list[str] = []

with quiet():  # Beam warns of optional packages when it is imported
    for name in ("beam_graph", "beam_processes"):
        import_module(f".{name}", __package__)
