"""Writing by any OpenAI-compatible endpoint, inside datatrove's InferenceRunner.

The runner gives documents to rollouts and bounds how many requests are under way. Three of its parts are replaced. Its
server is `classifiers.chat` in threads: it tells what may pass from what will not, keeps the key out of everything,
and ends silence and endless answers (datatrove's ends the whole task at a 500, never tries a 429 again, and sends no
key to a local server). Its checkpoints, keyed by rank, skip in silence what another plan has done (traps.md 1); here
finished cells go to a journal whose first line names the task. And it writes no output: the journal becomes one file.
So none of the packages of `datatrove[inference]` is needed.

The first request goes alone: a wrong key or an unknown model is one clear error and no storm.
"""

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import repeat
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.inference.servers import InferenceServer
from datatrove.pipeline.inference.types import InferenceError
from loguru import logger

from ...classifiers.chat import Chat, Reply, Unanswered
from ...schemas.charter import Charter
from ...schemas.errors import RequestError
from ...schemas.recipe import Backend, Synthesis, SyntheticGates
from .drafting import Answer, Failed, Written, write_by_model
from .gates import Checked, Draft, check
from .grid import Cell

__all__ = ["Gatekeeper", "answerer", "chat_of", "chats", "completed", "probe", "write_by_endpoint"]

GATHER_SECONDS = 0.1  # so long drafts wait for others to be checked with: a batch of one costs as much as eight
CRITIQUE_TOKENS = 500
SWITCH_SECONDS = 0.0005  # an answer waits so long for the interpreter while gates work, at each of its three threads


def chat_of(backend: Backend, **parameters: Any) -> Chat:
    """The connection to a backend. Raises InputError for an address that would expose the key."""
    return Chat(
        backend.endpoint or "",
        backend.model or "",
        backend.key_variable,
        timeout=backend.timeout_seconds,
        attempts=backend.attempts,
        parameters=parameters,
    )


def chats(backend: Backend) -> dict[bool, Chat]:
    """A backend's connections: for writing (False) and, cooler, for critiques (True)."""
    writing = backend.model_dump(include={"temperature", "top_p", "max_tokens"})
    return {
        False: chat_of(backend, **writing),
        True: chat_of(backend, temperature=0, max_tokens=min(CRITIQUE_TOKENS, backend.max_tokens)),
    }


def probe(backend: Backend) -> None:
    """Ask for one word. Raises RequestError where the endpoint refuses or does not answer."""
    try:
        chat_of(backend, max_tokens=16).ask([{"role": "user", "content": "Say yes."}], "probe", str, threading.Event())
    except Unanswered as error:
        raise RequestError(
            f"backend {backend.name!r}: {backend.endpoint} does not answer ({error}); is the server up?"
        ) from None


class Gatekeeper:
    """Checks drafts as they come, those of the same tenth of a second together, in a thread of its own.

    What comes while a batch is being checked is the next one, so batches grow with the rate and the thread never
    falls behind by more than one.
    """

    def __init__(self, limits: SyntheticGates) -> None:
        self._limits, self._pool = limits, ThreadPoolExecutor(1)
        self._waiting: list[tuple[Draft, asyncio.Future[Checked]]] = []
        self._gathering = False

    async def check(self, draft: Draft) -> Checked:
        """What the gates say of one draft."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Checked] = loop.create_future()
        self._waiting.append((draft, future))
        if not self._gathering:
            self._gathering = True
            loop.call_later(GATHER_SECONDS, self._flush, loop)
        return await future

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting, []
        drafts = [draft for draft, _ in batch]

        def settle(done: Any) -> None:
            if done.cancelled():
                return
            error = done.exception()
            for at, (_, future) in enumerate(batch):
                if not future.cancelled():
                    future.set_exception(error) if error else future.set_result(done.result()[at])
            self._gathering = bool(self._waiting)
            if self._waiting:
                self._flush(loop)

        running = loop.run_in_executor(self._pool, check, drafts, self._limits)
        running.add_done_callback(settle)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def completed(content: str) -> str:
    """The text of an answer. Raises ValueError where there is none."""
    if not content.strip():
        raise ValueError("an empty choice")
    return content


class _Server(InferenceServer):
    """An endpoint that somebody else runs; requests go through `Chat`."""

    def __init__(self, config: InferenceConfig, rank: int, backend: Backend) -> None:
        super().__init__(config, rank)
        self._chats = chats(backend)
        self._pool = ThreadPoolExecutor(backend.concurrency, thread_name_prefix="endpoint")
        self._stop = threading.Event()
        self._first = asyncio.Lock()
        self._proved = False
        self._refusal: RequestError | None = None

    async def start_server(self) -> None:
        return None

    async def monitor_health(self) -> None:
        await asyncio.Event().wait()

    async def is_ready(self) -> bool:
        return True

    def get_base_url(self) -> str:
        return self._chats[False].endpoint

    async def __aexit__(self, *error: Any) -> None:
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        await super().__aexit__(*error)

    async def _make_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        if self._proved:
            return await self._ask(payload)
        async with self._first:
            answer = await self._ask(payload)
            self._proved = True
            return answer

    async def _ask(self, payload: dict[str, Any]) -> dict[str, Any]:
        if self._refusal is not None:  # nothing that comes after it is an answer of the model
            raise self._refusal
        if self._stop.is_set():
            raise InferenceError(None, "stopped")
        chat = self._chats[payload["critique"]]
        work = partial(chat.ask, payload["messages"], payload["name"], completed, self._stop)
        try:
            _, reply = await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except Unanswered as error:
            if self._refusal is not None:
                raise self._refusal from None
            self._proved = True  # this cell fails; a server that answers nobody fails them all
            raise InferenceError(None, str(error)) from None
        except RequestError as error:
            self._refusal = error
            self._stop.set()
            raise
        return _completion(reply)


def _completion(reply: Reply) -> dict[str, Any]:
    return {
        "choices": [{"message": {"content": reply.content}, "finish_reason": reply.finish_reason or "stop"}],
        "usage": {"prompt_tokens": reply.prompt_tokens or 0, "completion_tokens": reply.completion_tokens or 0},
    }


class _NoCheckpoints:
    """Stands where the runner keeps checkpoints; the journal does."""

    async def parse_existing_checkpoints(self, rank: int, context: Any) -> tuple[int, set[str]]:
        return 0, set()

    def chunk_index_gen(self) -> Iterable[int]:
        return repeat(0)

    async def write_document(self, document: Document, rank: int, chunk_index: int, context: Any) -> None:
        return None

    async def cleanup_last_chunk(self, rank: int, chunk_index: int) -> None:
        return None


class _Runner(InferenceRunner):
    """The runner without files of its own."""

    def __init__(self, rollout: Any, config: InferenceConfig, backend: Backend) -> None:
        super().__init__(rollout, config, nullcontext())  # type: ignore[arg-type]
        self.backend = backend
        self.checkpoint_manager = _NoCheckpoints()  # type: ignore[assignment]

    def _init_server(self, rank: int) -> InferenceServer:
        return _Server(self.config, rank, self.backend)


def answerer(
    cell: Cell, generate: Callable[[dict[str, Any]], Awaitable[Any]]
) -> Callable[[list[dict[str, str]], bool], Awaitable[Answer]]:
    """What `write_by_model` asks, over a runner's `generate`."""
    asked = iter(range(1 << 20))

    async def ask(messages: list[dict[str, str]], critique: bool) -> Answer:
        payload = {"messages": messages, "critique": critique, "name": f"{cell.id}:{next(asked)}"}
        try:
            result = await generate(payload)
        except InferenceError as error:
            if isinstance(error.__cause__, RequestError):
                raise error.__cause__ from None
            raise Failed(str(error.error)) from None
        usage = result.usage
        finished = result.finish_reason != "length"
        return Answer(result.text, finished, usage["prompt_tokens"], usage["completion_tokens"])

    return ask


def write_by_endpoint(
    cells: Sequence[Cell],
    options: Synthesis,
    backend: Backend,
    charters: dict[str, Charter],
    seed_text: Callable[[Cell], str],
    done: Callable[[Written], None],
) -> None:
    """Write every cell, `backend.concurrency` at a time; `done` takes each as it is finished.

    Raises RequestError where the endpoint refuses (a wrong key, an unknown model). Nothing more is asked then, but
    cells with all their answers still pass the gates: they were paid for.
    """
    logger.disable("datatrove")
    by_id = {cell.id: cell for cell in cells}
    refusals: list[RequestError] = []
    gatekeeper = Gatekeeper(options.gates)

    async def rollout(document: Document, generate: Any) -> bool:
        cell = by_id[document.id]
        charter = charters.get(cell.charter or "")
        ask = answerer(cell, generate)
        try:
            done(await write_by_model(cell, options, charter, seed_text(cell), ask, gatekeeper.check))
        except RequestError as error:  # raised here, it would end the others where they are
            refusals.append(error)
        return True

    config = InferenceConfig(
        server_type="custom",
        model_name_or_path=backend.model or "",
        max_concurrent_generations=backend.concurrency,
        # a cell waits for its gates before a revision or its end, so more cells than requests are under way
        max_concurrent_documents=3 * backend.concurrency + 2,
        metric_interval=3600,
    )
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        _Runner(rollout, config, backend).run(Document(text="", id=cell.id) for cell in cells)
    except InferenceError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, RequestError):
            cause = cause.__cause__
        raise (cause or error.__cause__ or RuntimeError(str(error.error))) from None
    finally:
        sys.setswitchinterval(usual)
        gatekeeper.close()
    if refusals:
        raise refusals[0]
