"""Engine `local`: datatrove's LocalPipelineExecutor runs the tasks, on worker processes of our own.

datatrove's completion marks are not used: they are keyed by rank alone, so a rerun with other tasks or
filters would be skipped in silence (traps.md 1). Nor is its `run`: it forks a server of queues from this
process, even for a single worker, and a fork of a process that has run Beam's gRPC crashes. Nor its
process pool: the workers of Python's pools share locks, and one that is killed while it waits holds them
for ever. Here a worker shares nothing but a pipe with the driver: the pipe's end tells either side that
the other has died, however it died.
Workers serve every phase of a run, so kernels and models are loaded once.
"""

import contextlib
import os
import queue
import signal
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import multiprocess
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from multiprocess import connection, forkserver

from ..plan import open_run
from ..progress import Listener
from . import Engine
from .fork_server import keep_paths_short, told_stages
from .totals import Throttled, Totals

__all__ = ["LocalEngine"]

PRELOADED = ["florilegium.pipelines.engines.preload", "florilegium.pipelines.engines.local"]


class LocalEngine(Engine):
    """Runs tasks in `workers` processes, or in this one when a single worker suffices."""

    def __init__(self, workers: int) -> None:
        self.shares_memory = workers == 1
        self._team = _Team(workers)
        weakref.finalize(self, self._team.dismiss)

    def run(self, url: str, phase: str, indices: list[int], listener: Listener) -> None:
        totals = Totals(listener)
        executor = _Executor(
            [_TaskStep(url, phase, indices)],
            tasks=len(indices),
            workers=1,
            logging_dir="memory://",  # it wants one; nothing is written there
            skip_completed=False,
        )
        if self.shares_memory:
            _progress.set(Throttled(totals.add))
            for rank in range(executor.tasks):
                executor._run_for_rank(rank)
        else:
            self._team.start(url, phase)
            lost = self._team.run(executor, totals)
            if lost:
                listener.say(f"{phase}: {lost} worker processes were killed; their tasks will be tried again")


class _Executor(LocalPipelineExecutor):
    """The executor without a log, statistics and a mark for each rank: 27 ms, and nobody reads them."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> Any:
        data = None
        for step in self.pipeline:
            data = step(data, rank, self.world_size)
        _progress.get().flush(finished=1)
        return data


class _TaskStep(PipelineStep):
    """One task of ours inside a datatrove pipeline; rank → index."""

    name = "task"
    type = "florilegium"

    def __init__(self, url: str, phase: str, indices: list[int]) -> None:
        super().__init__()
        self.url, self.phase, self.indices = url, phase, indices

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
        from ..phases import run_task

        run_task(self.url, self.phase, self.indices[rank], _progress.get())
        return data


_progress: ContextVar[Throttled] = ContextVar("progress")  # of the tasks that this process runs


def _work(pipe: connection.Connection) -> None:
    """A worker's life: an executor for each phase and ranks for it, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, inbox.put), daemon=True).start()
    _progress.set(Throttled(lambda *done: pipe.send(done)))
    executor: Any = None
    while True:
        message = inbox.get()
        if isinstance(message, int):
            executor._run_for_rank(message)
        else:
            executor = message


def _receive(pipe: connection.Connection, put: Callable[[Any], None]) -> None:
    """Pass on what the driver says; end the process, whatever it is at, when the driver is gone."""
    try:
        while True:
            put(pipe.recv())
    except (EOFError, OSError):
        os._exit(0)


class _Worker:
    """A worker process as the driver sees it."""

    def __init__(self) -> None:
        context = multiprocess.get_context("forkserver")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.executor: _Executor | None = None

    def give(self, executor: _Executor, rank: int) -> None:
        """Send a task; a worker that is no longer there is noticed at the other end of `connection.wait`."""
        with contextlib.suppress(OSError):
            if self.executor is not executor:
                self.pipe.send(executor)
                self.executor = executor
            self.pipe.send(rank)


class _Team:
    """Worker processes that outlive a phase."""

    def __init__(self, size: int) -> None:
        self.size, self.workers = size, list[_Worker]()

    def start(self, url: str, phase: str) -> None:
        """Start the fork server, if there is none, with what the workers of this run need."""
        keep_paths_short(multiprocess)
        multiprocess.set_forkserver_preload(PRELOADED)
        with told_stages(open_run(url).recipe.stages.model_dump_json() if phase == "score" else None):
            forkserver.ensure_running()

    def run(self, executor: _Executor, totals: Totals) -> int:
        """Try each task once on whichever worker is free; returns how many workers died at one."""
        waiting = deque(range(executor.tasks))
        busy: dict[Any, _Worker] = {}  # by pipe
        lost = 0
        while waiting or busy:
            while waiting and len(busy) < self.size:
                worker = self._free_worker(busy)
                worker.give(executor, waiting.popleft())
                busy[worker.pipe] = worker
            for pipe in connection.wait(list(busy)):
                try:
                    finished, *done = pipe.recv()
                except (EOFError, OSError):
                    self.workers.remove(busy.pop(pipe))
                    lost += 1
                    continue
                totals.add(finished, *done)
                if finished:
                    del busy[pipe]
        return lost

    def _free_worker(self, busy: dict[Any, _Worker]) -> _Worker:
        """One that waits for work; those that died while they waited are replaced."""
        self.workers = [worker for worker in self.workers if worker.pipe in busy or worker.process.is_alive()]
        for worker in self.workers:
            if worker.pipe not in busy:
                return worker
        self.workers.append(_Worker())
        return self.workers[-1]

    def dismiss(self) -> None:
        """Close the pipes; the workers end at that."""
        for worker in self.workers:
            worker.pipe.close()
        self.workers = []
