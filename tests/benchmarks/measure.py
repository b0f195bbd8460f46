"""Runs of the main job in processes of their own, so that CPU seconds and peak memory are the kernel's count.

CPU seconds (user and system, all processes that a run started included) hardly depend on what else a machine
does; wall seconds do, and stand beside them only where several workers are compared.
"""

import contextlib
import ctypes
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from florilegium.pipelines.engines import Engine, load_engine
from florilegium.pipelines.phases import execute, run_task
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.progress import Listener, Silent
from florilegium.pipelines.recipes import load_recipe

__all__ = ["ROOT", "Measured", "run_measured"]

ROOT = Path(__file__).resolve().parents[2]
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Measured:
    """What one run took."""

    cpu_seconds: float  # user and system of all processes, start-up included
    peak_mib: float  # resident memory of the driver, which does the work where there is one worker
    documents: int
    text_bytes: int
    phases: dict[str, float]  # wall seconds
    stages: dict[str, float]  # wall seconds inside the phase `score`


class _Clock(Silent):
    """Notes when each phase began."""

    def __init__(self) -> None:
        self.starts: dict[str, float] = {}

    def phase(self, name: str, tasks: int, finished: int) -> None:
        self.starts[name] = time.perf_counter()

    def seconds(self) -> dict[str, float]:
        times = [*self.starts.values(), time.perf_counter()]
        return {name: times[index + 1] - times[index] for index, name in enumerate(self.starts)}


class _Plain(Engine):
    """No engine: a loop over the tasks, or one in each of several processes over a part of them."""

    shares_memory = True

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, url: str, phase: str, indices: list[int], listener: Listener) -> None:
        parts = [indices[part :: self.workers] for part in range(min(self.workers, len(indices)))]
        if len(parts) == 1:
            _loop(url, phase, parts[0])
            return
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=_loop, args=(url, phase, part)) for part in parts]
        for process in processes:
            process.start()
        for process in processes:
            process.join()


def _loop(url: str, phase: str, indices: list[int]) -> None:
    for index in indices:
        run_task(url, phase, index)


def run_measured(
    recipe: str, overrides: Sequence[str], output: Path, workers: int = 1, engine: str = "local"
) -> Measured:
    """Run a recipe in a process of its own, with an engine or `plain`. Raises CalledProcessError where it fails.

    Between it and this process stands one that waits for all its processes. Workers that outlive their
    parent for a moment are adopted and counted on Linux; elsewhere they are missed.
    """
    arguments = [recipe, str(output), str(workers), engine, *overrides]
    command = [sys.executable, "-m", __name__, "wait", *arguments]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Measured(**json.loads(ended.stdout))


def _wait(arguments: Sequence[str]) -> dict[str, Any]:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    process = subprocess.Popen([sys.executable, "-m", __spec__.name, "run", *arguments], stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = process.stdout.read()
    seconds = 0.0
    with contextlib.suppress(ChildProcessError):
        while True:
            ended, status, usage = os.wait4(-1, 0)
            seconds += usage.ru_utime + usage.ru_stime
            if ended == process.pid:
                process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    return json.loads(told) | {"cpu_seconds": seconds}


def _peak_mib() -> float:
    """Of this process since it began its program; `ru_maxrss` would count its parent's memory on Linux."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / (1 << 10)


def _run(recipe: str, output: str, workers: int, name: str, overrides: Sequence[str]) -> dict[str, Any]:
    clock = _Clock()
    plan = plan_run(load_recipe(recipe, overrides))
    engine: Engine = _Plain(workers) if name == "plain" else load_engine(name, workers)
    outcome = execute(plan, output, engine, clock)
    phases = clock.seconds()
    markers = list(outcome.run.finished("score", len(outcome.run.payloads("score"))).values())
    stages: dict[str, float] = {}
    for marker in markers:
        for name, value in marker["seconds"].items():
            stages[name] = stages.get(name, 0.0) + value
    text_bytes = sum(marker["text_bytes"] for marker in markers)
    return asdict(Measured(0.0, _peak_mib(), outcome.ledger.total("read"), text_bytes, phases, stages))


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    print(json.dumps(_wait(rest) if mode == "wait" else _run(rest[0], rest[1], int(rest[2]), rest[3], rest[4:])))
