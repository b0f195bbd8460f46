"""Engine `local`: datatrove's LocalPipelineExecutor schedules the tasks on this machine's cores.

datatrove's own completion marks are not used: they are keyed by rank alone, so a rerun with other
tasks or filters would be skipped in silence (traps.md 1). Each run of the executor gets the indices
that are still to do and a scratch folder of its own.
"""

import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import multiprocess
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from loguru import logger

from ..progress import Listener
from .lifeline import armed

__all__ = ["LocalEngine"]

POLL_SECONDS = 0.3
IDLE_SECONDS = 5.0  # between two tasks a worker idles for milliseconds; all of them this long means a lost task
# The fork server imports these once, so that every worker of every phase starts with them in place.
PRELOADED = [
    "florilegium.pipelines.engines.lifeline",
    "florilegium.pipelines.engines.local",
    "florilegium.pipelines.phases",
]


class _WorkerLost(Exception):
    """A worker process died while it held a task."""


class _Executor(LocalPipelineExecutor):
    """The executor, quiet on standard error but for errors."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> Any:
        return super()._run_for_rank(rank, local_rank + 1, node_rank)


class _FileProgress:
    """Totals of one worker process, written where the driver polls; at most every POLL_SECONDS."""

    def __init__(self, scratch: str) -> None:
        self.path = Path(scratch) / f"worker-{os.getpid()}.json"
        self.totals = {"finished": 0, "documents": 0, "size": 0, "rejects": 0, "task": -1}
        self.written = 0.0

    def advance(self, documents: int = 0, size: int = 0, rejects: int = 0) -> None:
        self.totals["documents"] += documents
        self.totals["size"] += size
        self.totals["rejects"] += rejects
        if time.monotonic() - self.written > POLL_SECONDS:
            self.write()

    def begin(self, index: int) -> None:
        self.totals["task"] = index
        self.write()

    def finish(self) -> None:
        self.totals["task"] = -1
        self.totals["finished"] += 1
        self.write()

    def write(self) -> None:
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.totals))
        temporary.replace(self.path)
        self.written = time.monotonic()


_progress: dict[str, _FileProgress] = {}


class TaskStep(PipelineStep):
    """One task of ours inside a datatrove pipeline; rank → index."""

    name = "task"
    type = "florilegium"

    def __init__(self, url: str, phase: str, indices: list[int], scratch: str) -> None:
        super().__init__()
        self.url, self.phase, self.indices, self.scratch = url, phase, indices, scratch

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
        from ..phases import run_task

        logger.disable("datatrove")
        if self.scratch not in _progress:
            _progress[self.scratch] = _FileProgress(self.scratch)
        progress = _progress[self.scratch]
        progress.begin(self.indices[rank])
        run_task(self.url, self.phase, self.indices[rank], progress)
        progress.finish()
        return data


class LocalEngine:
    """Runs tasks in `workers` processes, or in this one when a single worker suffices."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.shares_memory = workers == 1

    def run(self, url: str, phase: str, indices: list[int], listener: Listener) -> None:
        logger.disable("datatrove")
        multiprocess.set_forkserver_preload(PRELOADED)
        with tempfile.TemporaryDirectory(prefix="florilegium-", ignore_cleanup_errors=True) as scratch, armed():
            executor = _Executor(
                pipeline=[TaskStep(url, phase, indices, scratch)],
                tasks=len(indices),
                workers=min(self.workers, len(indices)),
                logging_dir=scratch,
                skip_completed=False,
            )
            with _Watch(scratch, listener, watches_workers=executor.workers > 1):
                try:
                    executor.run()
                except _WorkerLost:
                    listener.say(f"{phase}: a worker process was killed; its task will be tried again")
            _progress.pop(scratch, None)


class _Watch:
    """Polls the workers' totals for the listener, and interrupts the executor when a worker has died.

    Python's process pool waits for ever for the result of a killed worker, so the driver must look.
    """

    def __init__(self, scratch: str, listener: Listener, watches_workers: bool) -> None:
        self.scratch, self.listener, self.watches_workers = Path(scratch), listener, watches_workers
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> None:
        self.interruptible = self.watches_workers and threading.current_thread() is threading.main_thread()
        if self.interruptible:
            self.previous = signal.signal(signal.SIGUSR1, self._interrupt)
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        if self.interruptible:
            signal.signal(signal.SIGUSR1, self.previous)
        self._report(self._totals())

    @staticmethod
    def _interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise _WorkerLost

    def _poll(self) -> None:
        busy = time.monotonic()
        while not self.done.wait(POLL_SECONDS):
            totals = self._totals()
            self._report(totals)
            if not totals or any(values["task"] >= 0 for values in totals.values()):
                busy = time.monotonic()
            died = any(values["task"] >= 0 and not _alive(pid) for pid, values in totals.items())
            idle = time.monotonic() - busy > IDLE_SECONDS
            if self.interruptible and (died or idle) and not self.done.is_set():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                return

    def _totals(self) -> dict[int, dict[str, int]]:
        totals = {}
        for path in self.scratch.glob("worker-*.json"):
            totals[int(path.stem.removeprefix("worker-"))] = json.loads(path.read_text())
        return totals

    def _report(self, totals: dict[int, dict[str, int]]) -> None:
        names = ("finished", "documents", "size", "rejects")
        self.listener.update(*(sum(values[name] for values in totals.values()) for name in names))


def _alive(pid: int) -> bool:
    """True while a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True
