"""Writing as transforms of Apache Beam, a bounded number of requests at a time.

    cells | WriteCells(options, backend)        # a PCollection of Cell → one of Written
    tasks | SynthesizeTasks(url)                # what `--engine beam` runs: task numbers → those that are done

Cells are gathered into small batches; a batch runs on an event loop of its own in which at most
`backend.concurrency` requests are under way, so a bundle keeps an endpoint busy without more threads than that. Every
cell comes out exactly once: accepted, refused or failed. Beam keeps nothing of a bundle that failed, so `WriteCells`
asks again when one is tried again. `SynthesizeTasks` keeps every answer in the run's journal and asks for what is
missing there: its batches are spread over workers, only names of files are shuffled, and a task's file is written
where its batches come together again.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import apache_beam as beam

from ...classifiers.chat import Unanswered
from ...schemas.charter import Charter
from ...schemas.errors import FlorilegiumError, TaskError
from ...schemas.recipe import COMPOSER, Backend, Synthesis
from ..engines.beam_graph import Counted, totals_of
from ..phases import remove_note, store_marker, store_note
from ..plan import open_run
from .drafting import Answer, Failed, Written, write_by_composer, write_by_model
from .endpoint import Gatekeeper, chats, completed
from .generate import SynthesisTask
from .grid import Cell
from .journal import Journal, journal_names, read_journal

__all__ = ["SynthesizeTasks", "WriteCells"]

PHASE = "synthesize"
BATCHES_IN_ONE = 4  # a batch holds so many times the cells that are under way


class WriteCells(beam.PTransform):
    """Cells → Written, by one endpoint. `charters` and `seeds` (cell id → text) are what cells name."""

    def __init__(
        self,
        options: Synthesis,
        backend: Backend,
        charters: dict[str, Charter] | None = None,
        seeds: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._arguments = options, backend, charters or {}, seeds or {}

    def expand(self, input_or_inputs: Any) -> Any:
        most = self._arguments[1].concurrency * BATCHES_IN_ONE
        return (
            input_or_inputs
            | "Spread" >> beam.Reshuffle()
            | "Gather" >> beam.BatchElements(min_batch_size=most, max_batch_size=most)
            | "Write" >> beam.ParDo(_Write(*self._arguments))
        )


class _Write(beam.DoFn):
    def __init__(
        self, options: Synthesis, backend: Backend, charters: dict[str, Charter], seeds: dict[str, str]
    ) -> None:
        self._options, self._backend, self._charters, self._seeds = options, backend, charters, seeds

    def process(self, element: list[Cell]) -> Iterator[Written]:
        written: list[Written] = []

        def seed_text(cell: Cell) -> str:
            return self._seeds.get(cell.id, "")

        asyncio.run(_write_batch(element, self._options, self._backend, self._charters, seed_text, written.append))
        yield from written


async def _write_batch(
    cells: Iterable[Cell],
    options: Synthesis,
    backend: Backend,
    charters: Mapping[str, Charter],
    seed_text: Callable[[Cell], str],
    done: Callable[[Written], None],
) -> None:
    """Write cells; `done` takes each as it is finished. Raises RequestError where the endpoint refuses.

    After a refusal nothing more is asked, but cells with all their answers still pass the gates: they were paid for.
    """
    stop, connections = threading.Event(), chats(backend)
    under_way = asyncio.Semaphore(backend.concurrency)
    gatekeeper, loop = Gatekeeper(options.gates), asyncio.get_running_loop()
    with ThreadPoolExecutor(backend.concurrency) as pool:

        async def write(cell: Cell) -> None:
            number, cut_off = iter(range(1 << 20)), False

            async def ask(messages: list[dict[str, str]], critique: bool) -> Answer:
                nonlocal cut_off
                name = f"{cell.id}:{next(number)}"
                work = partial(connections[critique].ask, messages, name, completed, stop)
                async with under_way:
                    if stop.is_set():
                        cut_off = True
                        raise Failed("stopped")
                    try:
                        _, reply = await loop.run_in_executor(pool, work)
                    except Unanswered as error:
                        cut_off = stop.is_set()
                        raise Failed(str(error)) from None
                    except FlorilegiumError:
                        stop.set()
                        raise
                finished = reply.finish_reason != "length"
                return Answer(reply.content, finished, reply.prompt_tokens or 0, reply.completion_tokens or 0)

            charter = charters.get(cell.charter or "")
            result = await write_by_model(cell, options, charter, seed_text(cell), ask, gatekeeper.check)
            if not cut_off:
                done(result)

        try:
            outcomes = await asyncio.gather(*map(write, cells), return_exceptions=True)
        finally:
            stop.set()
            gatekeeper.close()
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


class SynthesizeTasks(beam.PTransform):
    """Tasks of the phase `synthesize` → those that are done; `scratch` as for `add_phase`."""

    def __init__(self, url: str, scratch: str = "") -> None:
        super().__init__()
        self.url, self.scratch = url, scratch

    def expand(self, input_or_inputs: Any) -> Any:
        batches = input_or_inputs | "Missing" >> beam.ParDo(_Missing(self.url, self.scratch))
        written = batches | "Spread" >> beam.Reshuffle() | "Write" >> beam.ParDo(_WriteOfTask(self.url, self.scratch))
        together = written | "Gather" >> beam.GroupByKey()
        return together | "Store" >> beam.ParDo(_Store(self.url, self.scratch)).with_output_types(int)


class _OfRun(beam.DoFn):
    def __init__(self, url: str, scratch: str) -> None:
        self.url, self.scratch = url, scratch

    def opened(self, index: int) -> SynthesisTask:
        run = open_run(self.url)
        return SynthesisTask.open(run, index, run.payloads(PHASE)[index])


Batch = tuple[int, tuple[int, ...]]  # a task, and the places of cells among its own


class _Missing(_OfRun):
    """Task → batches of what its journal lacks, at least one; none where it is done."""

    def process(self, element: int, *args: Any, **kwargs: Any) -> Iterator[Batch]:
        try:
            run = open_run(self.url)
            if run.folder.exists(run.marker_name(PHASE, element)):
                return
            remove_note(run, PHASE, element)
            task = self.opened(element)
            known = task.finished(journal_names(run.folder, element))
        except Exception as error:
            store_note(self.url, PHASE, element, error)
            return
        missing = [at for at, cell in enumerate(task.cells) if cell.id not in known]
        most = task.backend.concurrency * BATCHES_IN_ONE
        for start in range(0, max(len(missing), 1), most):
            yield element, tuple(missing[start : start + most])


class _WriteOfTask(_OfRun):
    """Batch → its task with the journal's files that it was written to."""

    def process(self, element: Batch, *args: Any, **kwargs: Any) -> Iterator[tuple[int, list[str]]]:
        index, places = element
        totals = totals_of(self.scratch)
        totals.begin(index)
        progress = Counted(PHASE, totals)
        names: list[str] = []
        try:
            task = self.opened(index)
            if places and not task.note().get("final"):
                names = self._write(task, [task.cells[at] for at in places], progress)
        except Exception as error:
            store_note(self.url, PHASE, index, error)
        totals.begin(-1)
        yield index, names

    def _write(self, task: SynthesisTask, cells: Sequence[Cell], progress: Counted) -> list[str]:
        # A bundle that is tried again finds what the first attempt was told.
        known = task.finished(journal_names(task.run.folder, task.index))
        cells = [cell for cell in cells if cell.id not in known]
        journal = Journal(task.run.folder, task.index, task.key)

        def done(result: Written) -> None:
            journal.append(result)
            progress.advance(1, result.completion_tokens, result.status != "accepted")

        try:
            if task.backend.name == COMPOSER:
                for result in write_by_composer(list(cells), task.options):
                    done(result)
            else:
                charters, backend = task.run.charters, task.backend
                asyncio.run(_write_batch(cells, task.options, backend, charters, task.seed_text, done))
        finally:
            journal.close()
        return journal.names


class _Store(_OfRun):
    """A task with its journal's files → itself, once its file and its marker are stored."""

    def process(self, element: tuple[int, Iterable[list[str]]], *args: Any, **kwargs: Any) -> Iterator[int]:
        index, parts = element
        totals = totals_of(self.scratch)
        totals.begin(index)
        try:
            task = self.opened(index)
            folder = task.run.folder
            names = sorted({*journal_names(folder, index), *(name for part in parts for name in part)})
            written = read_journal(folder, names, task.key)
            lacking = sum(cell.id not in written for cell in task.cells)
            if not lacking:
                payload = task.run.payloads(PHASE)[index]
                store_marker(task.run, PHASE, index, payload, task.store(written, names))
            elif not task.note():
                raise TaskError(f"{lacking} of {len(task.cells)} documents were not written; they are asked for again")
        except Exception as error:
            store_note(self.url, PHASE, index, error)
            lacking = 1
        totals.end(index)
        if not lacking:
            yield index
