"""Engine `beam`: Apache Beam runs the tasks, on this machine or wherever its runner does.

Without options it is FnApiRunner by name, in this process with one worker and in processes of its own
with several. Other runners are chosen with Beam's own options. Two are refused, since they do harm in
silence: DirectRunner first tries Prism, a binary from the net; DaskRunner misroutes outputs.
"""

import contextlib
import difflib
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from ...schemas.errors import FlorilegiumError, RequestError, RunError
from ...schemas.taxonomy import TAXONOMY_VARIABLE, own_taxonomy
from ..progress import Listener
from ..sources import Split
from ..storage import Folder
from . import Engine
from .beam_log import quiet
from .fork_server import told_stages

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core writes to standard error by itself

__all__ = ["BeamEngine"]

POLL_SECONDS = 0.3
REMOTE_POLL_SECONDS = 5.0
LISTING_SHARE = 0.05
FN_API_RUNNER = "FnApiRunner"
UNLOGGED = "disable_logging_submission_environment"  # Beam would run pip, which complains where it is missing
REFUSED = {
    "directrunner": "it tries Prism first, whose binary comes from the net; leave --runner out for FnApiRunner",
    "switchingdirectrunner": "it is DirectRunner by another name; leave --runner out for FnApiRunner",
    "bundlebaseddirectrunner": "it does not run every transform; leave --runner out for FnApiRunner",
    "prismrunner": "its binary comes from the net; leave --runner out for FnApiRunner",
    "dataflowrunner": "use --engine dataflow, which checks what it needs",
    "daskrunner": "it sends outputs to the wrong steps without an error; use --engine local or FnApiRunner",
}


class BeamEngine(Engine):
    """Runs the tasks of each phase as one pipeline. Raises RequestError for options that cannot work."""

    def __init__(self, workers: int, options: Sequence[str] = ()) -> None:
        self.workers = workers
        self.options = list(options)
        self.counters: dict[str, int] = {}  # Beam's counters of all runs so far: attempts, where tasks were repeated
        with quiet():  # Beam warns of optional packages when it is imported
            self.runner = self._checked_runner()
        self.is_here = self.runner == FN_API_RUNNER or self._parsed.get("environment_type") == "LOOPBACK"
        self.shares_memory = self.is_here and (self.workers == 1 or self.runner != FN_API_RUNNER)

    def check(self, url: str, splits: Sequence[Split]) -> None:
        if not self.is_here and own_taxonomy():
            raise RequestError(
                f"{TAXONOMY_VARIABLE} is set, and workers of {self.runner} would have the shipped taxonomy; use "
                "--engine local, ray or slurm, which give them the file's text"
            )

    @cached_property
    def _parsed(self) -> dict[str, Any]:
        """What the options say, by name; unknown ones are refused."""
        from apache_beam.options.pipeline_options import PipelineOptions

        known = set(PipelineOptions([]).get_all_options())
        for option in self.options:
            if not option.startswith("--"):
                raise RequestError(f"{option}: give each option of Apache Beam as --name=value")
            name = option.partition("=")[0].removeprefix("--").removeprefix("no_")
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise RequestError(
                    f"{option}: Apache Beam knows no such option" + (f"; did you mean --{near[0]}?" if near else "")
                )
        return PipelineOptions(self.options).get_all_options()

    def _checked_runner(self) -> str:
        name = self._parsed.get("runner") or FN_API_RUNNER
        short = name.rpartition(".")[2].lower()
        short = short if short.endswith("runner") else f"{short}runner"
        if short in REFUSED:
            raise RequestError(f"--runner {name}: refused, {REFUSED[short]}")
        return FN_API_RUNNER if short == FN_API_RUNNER.lower() else name

    def run(self, url: str, phase: str, indices: list[int], listener: Listener) -> None:
        with contextlib.ExitStack() as stack:
            scratch_folder = tempfile.TemporaryDirectory(prefix="florilegium-", ignore_cleanup_errors=True)
            scratch = stack.enter_context(scratch_folder)
            stack.enter_context(quiet())
            if self.runner != FN_API_RUNNER:
                stack.enter_context(_temporaries_in(scratch))
            stack.enter_context(_Watch(self, url, phase, scratch, listener))
            pending = list(indices)
            while pending:
                lost = self._attempt(url, phase, pending, scratch if self.is_here else "")
                if not lost:
                    return
                listener.say(f"{phase}: a worker process was killed; its task will be tried again")
                told = _told(scratch)
                tried = {task for values in told.values() for task in values["tried"]}
                fatal = {told[pid]["task"] for pid in lost if pid in told} - {-1}
                if not fatal:
                    return
                pending = [index for index in pending if index not in tried | fatal]

    def _attempt(self, url: str, phase: str, indices: list[int], scratch: str) -> list[int]:
        """Run one pipeline to its end; the process ids of workers that died at it, if any."""
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

        from ..plan import open_run
        from .beam_graph import add_phase
        from .beam_processes import ProcessEnvironment, WorkerLost, lost_workers

        workers = min(self.workers, len(indices))
        options = PipelineOptions([*self.options, f"--experiments={UNLOGGED}"])
        runner: Any = self.runner
        if runner == FN_API_RUNNER:
            options = PipelineOptions([*self.options, f"--direct_num_workers={workers}"])
            options.view_as(beam.options.pipeline_options.StandardOptions).runner = None
            runner = FnApiRunner(default_environment=None if workers == 1 else ProcessEnvironment.default())
        lost_workers().clear()
        try:
            pipeline = beam.Pipeline(runner=runner, options=options)
            recipe = open_run(url).recipe
            add_phase(pipeline, url, phase, indices, recipe, scratch)
            with told_stages(recipe.stages.model_dump_json() if phase == "score" else None):
                result = pipeline.run()
                result.wait_until_finish()
        except WorkerLost:
            return list(lost_workers())
        except Exception as error:
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise RunError(
                f"Apache Beam's {self.runner} failed in phase {phase}: {first[-1]}. Finished tasks are kept; mend "
                "the cause and run the same command again to go on"
            ) from error
        self._add_counters(result)
        return []

    def _add_counters(self, result: Any) -> None:
        for counter in result.metrics().query()["counters"]:
            name = f"{counter.key.metric.namespace}.{counter.key.metric.name}"
            self.counters[name] = self.counters.get(name, 0) + (counter.result or 0)


class _Watch:
    """Polls what the workers tell for the listener; where they share no disk with the driver, the markers."""

    def __init__(self, engine: BeamEngine, url: str, phase: str, scratch: str, listener: Listener) -> None:
        self.pattern = None if engine.is_here else f"tasks/{phase}/[0-9]*.json"
        self.folder, self.scratch, self.listener = Folder(url), scratch, listener
        self.before = len(self.folder.names(self.pattern)) if self.pattern else 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self._report()

    def _poll(self) -> None:
        pause = POLL_SECONDS
        while not self.done.wait(pause):
            started = time.monotonic()
            with contextlib.suppress(OSError, FlorilegiumError):  # a listing may fail; the next one tells
                self._report()
            if self.pattern:  # listings grow with the run: they take a small share of its time, however long they are
                pause = max(REMOTE_POLL_SECONDS, (time.monotonic() - started) / LISTING_SHARE)

    def _report(self) -> None:
        if self.pattern:
            self.listener.update(len(self.folder.names(self.pattern)) - self.before, 0, 0, 0)
            return
        told = _told(self.scratch).values()
        finished = sum(len(values["tried"]) for values in told)
        self.listener.update(
            finished, *(sum(values[name] for values in told) for name in ("documents", "size", "rejects"))
        )


def _told(scratch: str) -> dict[int, dict[str, Any]]:
    """Process id → its totals."""
    files = Path(scratch).glob("worker-*.json")
    return {int(path.stem.removeprefix("worker-")): orjson.loads(path.read_bytes()) for path in files}


@contextlib.contextmanager
def _temporaries_in(folder: str) -> Iterator[None]:
    """Have Beam's job server stage its files where they are removed in the end; it forgets to."""
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield
    finally:
        tempfile.tempdir = before
