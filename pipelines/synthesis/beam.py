"""Writing as a transform of Apache Beam: cells in, what became of them out, a bounded number of requests at a time.

    cells | WriteCells(options, backend)        # a PCollection of Cell → one of Written

Elements are gathered into small batches; a batch runs on an event loop of its own in which at most
`backend.concurrency` requests are under way, so a bundle keeps an endpoint busy without more threads than that. Every
cell comes out exactly once: accepted, refused or failed. A bundle that is tried again asks again, since Beam keeps
nothing of a bundle that failed; `florilegium synthesize --engine beam` runs journalled tasks instead.
"""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import apache_beam as beam

from ...classifiers.chat import Unanswered
from ...schemas.charter import Charter
from ...schemas.recipe import Backend, Synthesis
from .drafting import Answer, Failed, Written, write_by_model
from .endpoint import Gatekeeper, chats, completed
from .grid import Cell

__all__ = ["WriteCells"]

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
        yield from asyncio.run(self._write(element))

    async def _write(self, cells: Iterable[Cell]) -> list[Written]:
        stop, connections = threading.Event(), chats(self._backend)
        under_way = asyncio.Semaphore(self._backend.concurrency)
        gatekeeper, loop = Gatekeeper(self._options.gates), asyncio.get_running_loop()
        with ThreadPoolExecutor(self._backend.concurrency) as pool:

            async def write(cell: Cell) -> Written:
                number = iter(range(1 << 20))

                async def ask(messages: list[dict[str, str]], critique: bool) -> Answer:
                    name = f"{cell.id}:{next(number)}"
                    work = partial(connections[critique].ask, messages, name, completed, stop)
                    async with under_way:
                        try:
                            _, reply = await loop.run_in_executor(pool, work)
                        except Unanswered as error:
                            raise Failed(str(error)) from None
                    finished = reply.finish_reason != "length"
                    return Answer(reply.content, finished, reply.prompt_tokens or 0, reply.completion_tokens or 0)

                charter, seed = self._charters.get(cell.charter or ""), self._seeds.get(cell.id, "")
                return await write_by_model(cell, self._options, charter, seed, ask, gatekeeper.check)

            try:
                return await asyncio.gather(*map(write, cells))
            finally:
                stop.set()
                gatekeeper.close()
