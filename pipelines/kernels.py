"""Compile what the score stages run, once for an installation: `python -m florilegium.pipelines.kernels`.

The first call of a kernel compiles it and keeps it beside its module. That takes most of a minute on one core, so an
installation does it here, a process for each stage.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from ..schemas.recipe import Stages
from .stages import ORDER, build_stages

__all__ = ["compile_stages"]


def compile_stages(processes: int | None = None) -> None:
    """Set up every stage with its default options, by `processes` at a time (default: as many as there are cores)."""
    longest_first = sorted(ORDER, key=lambda name: name != "statistics")
    with ProcessPoolExecutor(processes or os.cpu_count(), get_context("spawn")) as pool:
        for done in [pool.submit(_set_up, name) for name in longest_first]:
            done.result()


def _set_up(name: str) -> None:
    for stage in build_stages(Stages()):
        if stage.name == name:
            stage.setup()


if __name__ == "__main__":
    compile_stages()
