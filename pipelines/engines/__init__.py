"""Engines run the tasks of a phase; nothing inside knows them.

A task is (run folder, phase, index): everything else lies in the folder. An engine calls
`phases.run_task` once for each index, anywhere and in any order, and reports progress. What is done
is decided by the markers in the folder, never by an engine's own bookkeeping.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

from ...schemas.errors import RequestError
from ..progress import Listener
from ..sources import Split

__all__ = ["ENGINES", "Engine", "load_engine"]

ENGINES = {
    "local": "LocalEngine",
    "beam": "BeamEngine",
    "ray": "RayEngine",
    "slurm": "SlurmEngine",
    "dataflow": "DataflowEngine",
}
TAKE_OPTIONS = {"beam", "ray", "slurm", "dataflow"}
CLUSTERS = {"ray", "slurm"}  # whose workers are not this machine's: without a number the cluster decides


class Engine(Protocol):
    """What every engine offers."""

    shares_memory: bool  # True when tasks run in the driver's process, so that memory:// works

    def check(self, url: str, splits: Sequence[Split]) -> None:
        """Raise, before anything is written, where workers could not see the run's folder or its inputs."""

    def run(self, url: str, phase: str, indices: list[int], listener: Listener) -> None:
        """Try each task once; returns when all were tried. Failures are notes in the folder."""
        ...


def load_engine(name: str, workers: int | None, options: Sequence[str] = ()) -> Engine:
    """An engine by name with a number of workers, and with options of its own if it takes any."""
    if name not in ENGINES:
        raise RequestError(f"--engine {name}: no such engine; choose one of: {', '.join(ENGINES)}")
    if options and name not in TAKE_OPTIONS:
        raise RequestError(f"{options[0]}: unexpected; engine {name} takes no options of its own")
    engine = getattr(import_module(f".{name}", __package__), ENGINES[name])
    return engine(workers, options) if options else engine(workers)
