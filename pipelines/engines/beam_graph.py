"""What engine `beam` asks a runner to do: graphs over task numbers that need nothing but a run's folder.

    score       Tasks ─▶ Read ─▶ normalize ─▶ language ─▶ … ─▶ Write   `Piece`s of record batches in between
    synthesize  Tasks ─▶ Missing ─▶ Write ─▶ Gather ─▶ Store           batches of cells (`synthesis/beam.py`)
    others      Tasks ─▶ the phase's task over files                   ranges by `phases.run_task`

Tasks are spread by Create and Reshuffle; no document ever passes through a GroupByKey. Every element is
harmless to repeat: files appear whole under names that belong to the task, and its marker comes last.

The writer needs the pieces of a split in one bundle, in order. Runners grant that by fusing the steps
after the Reshuffle, as Beam's optimisers do where steps agree in environment and resource hints, and so
the hints are those of the whole. A runner that breaks the chain is found out by the pieces' numbers: the
task fails with that reason, and nothing of it is stored. Putting pieces together again would take a
shuffle of all text, or sorted runs as small as bundles.

Metrics are counted beside the ledger and never instead of it: they are attempts (traps of Beam), the
ledger adds up markers.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam import coders
from apache_beam.coders.typecoders import registry
from apache_beam.metrics.metric import Metrics

from ...schemas.errors import TaskError
from ...schemas.recipe import Recipe
from ..phases import Payload, run_task, scoring_of, store_marker, store_note
from ..plan import Run, open_run
from ..scoring import Piece, SplitWriter, read_pieces, ready_stages, score_piece, stage_names

__all__ = ["Counted", "PieceCoder", "RunTasks", "ScoreSplits", "Totals", "add_phase", "totals_of"]

WRITE_SECONDS = 0.3  # between two reports of a worker
HEADER_BYTES = 4  # the length of a piece's header comes first
BASE_RAM = 1 << 30  # interpreter, libraries, models
COPIES = 6  # how often a run or a shard lies in memory while it is sorted and written
BROKEN_CHAIN = (
    "its pieces did not reach the writer together and in order: this runner does not fuse the steps of "
    "scoring. Choose another --runner or --engine local"
)


class PieceCoder(coders.Coder):
    """A piece as bytes: a JSON header, then the batch as an Arrow IPC stream. A piece always gives the same bytes."""

    def encode(self, value: Piece) -> bytes:
        header = orjson.dumps([value.task, value.number, value.counts, value.seconds])
        sink = pa.BufferOutputStream()
        sink.write(len(header).to_bytes(HEADER_BYTES, "big"))
        sink.write(header)
        if value.batch is not None:
            with pa.ipc.new_stream(sink, value.batch.schema) as stream:
                stream.write_batch(value.batch)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> Piece:
        start = HEADER_BYTES + int.from_bytes(encoded[:HEADER_BYTES], "big")
        task, number, counts, seconds = orjson.loads(encoded[HEADER_BYTES:start])
        batch = None
        if len(encoded) > start:
            with pa.ipc.open_stream(pa.py_buffer(encoded).slice(start)) as stream:
                batch = stream.read_next_batch()
        return Piece(task, number, batch, counts, seconds)

    def estimate_size(self, value: Piece) -> int:
        """Bytes in memory; Beam asks between fused steps, and encoding for an answer would cost a copy."""
        return HEADER_BYTES + (0 if value.batch is None else value.batch.nbytes)

    def is_deterministic(self) -> bool:
        return True


registry.register_coder(Piece, PieceCoder)


class Totals:
    """What this process has done for a phase, kept in a file where the driver polls it, if it shares a disk."""

    def __init__(self, scratch: str) -> None:
        self.path = Path(scratch, f"worker-{os.getpid()}.json") if scratch else None
        self.task = -1  # at work on it now
        self.tried: list[int] = []
        self.documents = self.size = self.rejects = 0
        self.written = 0.0

    def advance(self, documents: int = 0, size: int = 0, rejects: int = 0) -> None:
        self.documents += documents
        self.size += size
        self.rejects += rejects
        if time.monotonic() - self.written > WRITE_SECONDS:
            self.write()

    def begin(self, task: int) -> None:
        self.task = task
        self.write()

    def end(self, task: int) -> None:
        self.task = -1
        self.tried.append(task)
        self.write()

    def write(self) -> None:
        self.written = time.monotonic()
        if self.path is None:
            return
        values = {name: value for name, value in vars(self).items() if name not in ("path", "written")}
        temporary = self.path.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # the driver has gone, or there is no room for news
            temporary.write_text(json.dumps(values))
            temporary.replace(self.path)


_totals: dict[str, Totals] = {}
_totals_lock = threading.Lock()


def totals_of(scratch: str) -> Totals:
    """The totals of this process for one run of a phase."""
    with _totals_lock:
        if scratch not in _totals:
            _totals.clear()
            _totals[scratch] = Totals(scratch)
        return _totals[scratch]


class Counted:
    """A task's progress, passed on to Beam's counters and to the driver."""

    def __init__(self, name: str, totals: Totals) -> None:
        self.name, self.totals = name, totals

    def advance(self, documents: int = 0, size: int = 0, rejects: int = 0) -> None:
        _count(self.name, rows=documents, bytes=size, left_out=rejects)
        self.totals.advance(documents, size, rejects)


def _count(name: str, **numbers: int) -> None:
    for counter, number in numbers.items():
        if number:
            Metrics.counter(name, counter).inc(number)


def _count_reasons(errors: pa.StringArray) -> None:
    """Count each error of a batch as a reason."""
    if errors.null_count < len(errors):
        for found in pc.value_counts(errors.drop_null()).to_pylist():
            _count("reasons", **{found["values"]: found["counts"]})


class _OfRun(beam.DoFn):
    """A step that finds all it needs in a run's folder, opened once by each instance."""

    def __init__(self, url: str, scratch: str) -> None:
        self.url, self.scratch = url, scratch

    def setup(self) -> None:
        self._run: Run | None = None
        self._payloads: list[Payload] = []

    def opened(self, task: int) -> tuple[Run, Payload]:
        if self._run is None:
            run = open_run(self.url)
            self._payloads = run.payloads("score")
            self._run = run
        return self._run, self._payloads[task]

    def fail(self, task: int, error: Exception) -> None:
        store_note(self.url, "score", task, error)
        _count("score", failed_tasks=1)


class _Read(_OfRun):
    """Task → the pieces of its split; none where it is done."""

    def process(self, element: int, *args: Any, **kwargs: Any) -> Iterator[Piece]:
        totals = totals_of(self.scratch)
        totals.begin(element)
        try:
            run, payload = self.opened(element)
            done = run.folder.exists(run.marker_name("score", element))
            pieces = iter(()) if done else read_pieces(scoring_of(run, element, payload), element)
        except Exception as error:
            pieces = self._given_up(element, error)
        while (piece := self._next(pieces, element)) is not None:
            if piece.batch is not None:
                _count("read", rows=piece.batch.num_rows, bytes=piece.batch["text"].nbytes)
            yield piece
            if piece.is_given_up:
                break
        totals.end(element)

    def _next(self, pieces: Iterator[Piece], task: int) -> Piece | None:
        try:
            return next(pieces, None)
        except Exception as error:
            return next(self._given_up(task, error))

    def _given_up(self, task: int, error: Exception) -> Iterator[Piece]:
        self.fail(task, error)
        yield Piece(task, 0)


class _Stage(_OfRun):
    """One stage over each piece."""

    def __init__(self, url: str, scratch: str, options: str, at: int, name: str) -> None:
        super().__init__(url, scratch)
        self.options, self.at, self.name = options, at, name

    def setup(self) -> None:
        super().setup()
        with contextlib.suppress(Exception):  # raised again where there is a task to blame it on
            ready_stages(self.options)

    def process(self, element: Piece, *args: Any, **kwargs: Any) -> Iterator[Piece]:
        try:
            run, payload = self.opened(element.task)
            piece = score_piece(scoring_of(run, element.task, payload).stages(), self.at, element)
        except Exception as error:
            self.fail(element.task, error)
            piece = element.given_up()
        if piece.batch is not None and element.batch is not None:
            rows, failed = piece.batch.num_rows, piece.batch["error"].null_count
            newly_failed = element.batch["error"].null_count - failed
            _count(self.name, rows=rows, bytes=piece.batch["text"].nbytes, failed=newly_failed)
        yield piece


class _Write(_OfRun):
    """Pieces → sorted runs and the task's marker; yields the tasks that are done."""

    def start_bundle(self) -> None:
        self._writers: dict[int, SplitWriter] = {}
        self._given_up: set[int] = set()

    def process(self, element: Piece, *args: Any, **kwargs: Any) -> Iterator[int]:
        task = element.task
        if element.is_given_up:
            self._given_up.add(task)
        if task in self._given_up:
            self._writers.pop(task, None)
            return
        try:
            marker = self._take(element)
        except Exception as error:
            self.fail(task, error)
            self._given_up.add(task)
            self._writers.pop(task, None)
            return
        if marker is not None:
            del self._writers[task]
            yield task

    def _take(self, piece: Piece) -> dict[str, Any] | None:
        run, payload = self.opened(piece.task)
        if piece.number == 0:
            self._writers[piece.task] = SplitWriter(scoring_of(run, piece.task, payload))
        if piece.task not in self._writers or self._writers[piece.task].due != piece.number:
            raise TaskError(BROKEN_CHAIN)
        stored = self._writers[piece.task].write(piece, Counted("write", totals_of(self.scratch)))
        if piece.batch is not None:
            _count_reasons(piece.batch["error"])
        if stored is not None:
            store_marker(run, "score", piece.task, payload, stored)
            _count("score", tasks=1)
        return stored

    def finish_bundle(self) -> None:
        for task in self._writers:
            self.fail(task, TaskError(BROKEN_CHAIN))
        self._writers = {}


class ScoreSplits(beam.PTransform):
    """Tasks → those whose splits are scored and stored; one transform for each stage."""

    def __init__(self, url: str, recipe: Recipe, scratch: str = "") -> None:
        super().__init__()
        self.url, self.recipe, self.scratch = url, recipe, scratch

    def expand(self, input_or_inputs: Any) -> Any:
        pieces = input_or_inputs | "Read" >> beam.ParDo(_Read(self.url, self.scratch)).with_output_types(Piece)
        options = self.recipe.stages.model_dump_json()
        for at, name in enumerate(stage_names(self.recipe)):
            stage = _Stage(self.url, self.scratch, options, at, name)
            pieces = pieces | name >> beam.ParDo(stage).with_output_types(Piece)
        return pieces | "Write" >> beam.ParDo(_Write(self.url, self.scratch)).with_output_types(int)


class _RunTask(beam.DoFn):
    """Task → itself, if it is done."""

    def __init__(self, url: str, phase: str, scratch: str) -> None:
        self.url, self.phase, self.scratch = url, phase, scratch

    def process(self, element: int, *args: Any, **kwargs: Any) -> Iterator[int]:
        totals = totals_of(self.scratch)
        totals.begin(element)
        done = run_task(self.url, self.phase, element, Counted(self.phase, totals))
        totals.end(element)
        _count(self.phase, tasks=int(done), failed_tasks=int(not done))
        if done:
            yield element


class RunTasks(beam.PTransform):
    """Tasks of a phase over files → those that are done."""

    def __init__(self, url: str, phase: str, scratch: str = "") -> None:
        super().__init__()
        self.url, self.phase, self.scratch = url, phase, scratch

    def expand(self, input_or_inputs: Any) -> Any:
        task = _RunTask(self.url, self.phase, self.scratch)
        return input_or_inputs | self.phase >> beam.ParDo(task).with_output_types(int)


class Phase(beam.PTransform):
    """All tasks of a phase, from their numbers to those that are done."""

    def __init__(self, url: str, phase: str, indices: Iterable[int], recipe: Recipe, scratch: str = "") -> None:
        super().__init__()
        self.url, self.phase, self.indices, self.recipe, self.scratch = url, phase, list(indices), recipe, scratch

    def expand(self, input_or_inputs: Any) -> Any:
        tasks = input_or_inputs | "Tasks" >> beam.Create(self.indices, reshuffle=False) | "Spread" >> beam.Reshuffle()
        if self.phase == "score":
            return tasks | "Score" >> ScoreSplits(self.url, self.recipe, self.scratch)
        if self.phase == "synthesize":
            from ..synthesis.beam import SynthesizeTasks

            return tasks | "Synthesize" >> SynthesizeTasks(self.url, self.scratch)
        return tasks | "Run" >> RunTasks(self.url, self.phase, self.scratch)


def add_phase(
    pipeline: beam.Pipeline, url: str, phase: str, indices: Iterable[int], recipe: Recipe, scratch: str = ""
) -> Any:
    """Add the tasks of a phase to a pipeline; `scratch` is a folder on a disk that the driver shares, if it does.

    One hint for all of it: steps that differ in hints run in environments, and so workers, of their own.
    """
    ram = BASE_RAM + COPIES * (
        recipe.output.run_bytes if phase in ("score", "merge-scored") else recipe.output.shard_bytes
    )
    transform = Phase(url, phase, indices, recipe, scratch).with_resource_hints(min_ram=ram)
    return pipeline | phase.capitalize() >> transform
