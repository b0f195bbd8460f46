"""Labels by a large language model with the rubric, into a file that `train` reads.

Every answer goes to a journal beside the output as it comes (`OUTPUT.journal.jsonl`), so a second run of the same
command asks only for what is missing; the journal holds ids, grades and token counts, no text and no key. A share of
the documents, chosen by hash of id, is read twice, and the agreement of both readings is reported. The Parquet file
is written from the journal, in the order of the documents, whatever order the answers came in.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.errors import InputError, OutputError
from ..schemas.hashing import digest, document_id, hash64, id_words, uniform
from ..schemas.taxonomy import TAXONOMY_VERSION
from .agreement import quadratic_kappa
from .chat import Chat, Unanswered
from .rubric import dimensions, messages, parse_answer, prompt_digest

__all__ = ["Annotation", "annotate", "estimate", "read_twice"]

CHARACTERS_PER_TOKEN = 4.0  # of English, for estimates
ANSWER_TOKENS = 140
Answers = dict[tuple[str, int], list[int]]  # (id, reading) → grades


@dataclass(frozen=True)
class Annotation:
    """What became of a run of `annotate`."""

    documents: int
    asked: int
    resumed: int  # answers that an earlier run had
    failed: dict[str, str]  # id → why there is no answer
    prompt_tokens: int  # as the endpoint counted them, in this run
    completion_tokens: int
    agreement: dict[str, Any]  # kappa of documents read twice, by dimension


def read_twice(ids: Sequence[str], share: float, seed: int) -> list[bool]:
    """Which documents are read twice: about `share` of them, by hash of id."""
    high, low = id_words(pa.array([document_id(value.encode()) for value in ids], pa.string()))
    return (uniform(hash64(seed, "double", high, low)) < share).tolist()


def estimate(table: pa.Table, share: float, seed: int, prices: tuple[float, float] | None = None) -> dict[str, Any]:
    """What annotating a table with `id` and `text` would take; `prices` in money a million tokens, in and out.

    Tokens are a quarter of the characters: English, within about a fifth.
    """
    ids, texts = _columns(table)
    twice = read_twice(ids, share, seed)
    sizes = [sum(len(part["content"]) for part in messages(text)) for text in texts]
    prompt = sum(size * (1 + again) for size, again in zip(sizes, twice, strict=True)) / CHARACTERS_PER_TOKEN
    requests = len(ids) + sum(twice)
    found: dict[str, Any] = {
        "documents": len(ids),
        "requests": requests,
        "prompt_tokens": round(prompt),
        "completion_tokens": requests * ANSWER_TOKENS,
    }
    if prices is not None:
        found["cost"] = round((prompt * prices[0] + requests * ANSWER_TOKENS * prices[1]) / 1e6, 4)
    return found


def annotate(
    table: pa.Table,
    chat: Chat,
    output: str | Path,
    *,
    double: float = 0.1,
    seed: int = 7,
    parallel: int = 4,
    ship: bool = False,
    advance: Callable[[int, int, int], None] = lambda done, wanted, failed: None,
) -> Annotation:
    """Label the documents of a table with `id` and `text` (and `source`, `sampling` where it has them) into Parquet.

    `ship` says whether texts may train weights that are released, where the table has no such column. Documents
    without an answer after all attempts are left out and named; the same command asks for them again.
    Raises `RequestError` where the endpoint refuses every request, with what was answered kept in the journal.
    """
    ids, texts = _columns(table)
    twice = read_twice(ids, double, seed)
    wanted = [(name, reading) for name, again in zip(ids, twice, strict=True) for reading in range(1 + again)]
    by_id = dict(zip(ids, texts, strict=True))
    failed: dict[str, str] = {}
    tokens = [0, 0]
    with _journal(Path(output), _identity(chat)) as (answers, write):
        missing = [request for request in wanted if request not in answers]
        resumed = done = len(wanted) - len(missing)

        def one(request: tuple[str, int], stop: threading.Event) -> tuple[list[int], int, int]:
            name, reading = request
            grades, reply = chat.ask(messages(by_id[name]), f"{name}:{reading}", parse_answer, stop)
            return grades, reply.prompt_tokens or 0, reply.completion_tokens or 0

        for request, result in _concurrently(one, missing, parallel):
            if isinstance(result, Unanswered):
                failed[request[0]] = str(result)
            else:
                answers[request] = result[0]
                tokens[0], tokens[1] = tokens[0] + result[1], tokens[1] + result[2]
                write({"id": request[0], "reading": request[1], "grades": result[0]})
            done += 1
            advance(done, len(wanted), len(failed))
    _write(table, ids, answers, Path(output), ship)
    return Annotation(
        documents=sum((name, 0) in answers for name in ids),
        asked=len(missing),
        resumed=resumed,
        failed=failed,
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        agreement=_agreement(ids, answers),
    )


def _columns(table: pa.Table) -> tuple[list[str], list[str]]:
    ids = [str(value) for value in table["id"].to_pylist()]
    if len(set(ids)) < len(ids):
        twin = next(name for name in ids if ids.count(name) > 1)
        raise InputError(f"the id {twin!r} stands for two documents; ids must differ")
    if not ids:
        raise InputError("no documents to label")
    return ids, table["text"].to_pylist()


def _identity(chat: Chat) -> dict[str, Any]:
    return {"model": chat.model, "prompt": prompt_digest(), "taxonomy_version": TAXONOMY_VERSION}


def _concurrently(
    work: Callable[[tuple[str, int], threading.Event], Any], requests: Sequence[tuple[str, int]], parallel: int
) -> Iterator[tuple[tuple[str, int], Any]]:
    """(request, result or Unanswered) as they come; any other error ends it, with nothing new begun."""
    stop = threading.Event()
    waiting = iter(requests)
    with ThreadPoolExecutor(parallel) as pool:
        running = {pool.submit(work, request, stop): request for request in itertools.islice(waiting, parallel)}
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda item: running[item]):
                    request, error = running.pop(future), future.exception()
                    if error is not None and not isinstance(error, Unanswered):
                        raise error
                    yield request, error if error is not None else future.result()
                    for following in itertools.islice(waiting, 1):
                        running[pool.submit(work, following, stop)] = following
        finally:
            stop.set()


@contextmanager
def _journal(
    output: Path, identity: Mapping[str, Any]
) -> Iterator[tuple[Answers, Callable[[Mapping[str, Any]], None]]]:
    """Answers so far, and what adds one. A line that a kill cut short is dropped and asked for again."""
    path = output.with_name(f"{output.name}.journal.jsonl")
    answers: Answers = {}
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
            if number:
                answers[entry["id"], entry["reading"]] = _checked(entry["grades"])
        except (ValueError, LookupError, TypeError) as error:
            raise OutputError(f"{path}: line {number + 1} is damaged; remove it and run again") from error
        if number == 0 and entry != identity:
            differs = next((key for key in identity if entry.get(key) != identity[key]), "content")
            raise OutputError(f"{path} holds answers to another {differs}; choose another --output or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = threading.Lock()
    with path.open("wb") as stream:
        stream.writelines(lines or [f"{json.dumps(identity)}\n".encode()])
    with path.open("a", encoding="utf-8") as stream:
        yield answers, lambda entry: _append(stream, lock, entry)


def _append(stream: TextIO, lock: threading.Lock, entry: Mapping[str, Any]) -> None:
    with lock:
        stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
        stream.flush()


def _checked(grades: Any) -> list[int]:
    return parse_answer(json.dumps(dict(zip(dimensions(), grades, strict=True))))


def _write(table: pa.Table, ids: Sequence[str], answers: Answers, output: Path, ship: bool) -> None:
    """The Parquet file of what has an answer, whole or not at all."""
    kept = [row for row, name in enumerate(ids) if (name, 0) in answers]
    chosen = table.take(pa.array(kept, pa.int64()))
    annotations = [[answers[ids[row], k] for k in (0, 1) if (ids[row], k) in answers] for row in kept]
    means = np.array([np.mean(grades, axis=0) for grades in annotations]).reshape(len(kept), len(dimensions()))
    count = len(kept)

    def column(name: str, default: Any) -> Any:
        return chosen[name] if name in table.column_names else pa.array([default] * count)

    columns = {
        "id": pa.array([ids[row] for row in kept], pa.string()),
        "source": column("source", "unknown"),
        "text": chosen["text"],
        "sampling": column("sampling", "unknown"),
        "ship": column("ship", ship),
        "annotations": pa.array(annotations, pa.list_(pa.list_(pa.int64()))),
        **{name: pa.array(means[:, place]) for place, name in enumerate(dimensions())},
    }
    temporary = output.with_name(f"{output.name}.{digest(str(output))}.tmp")
    try:
        pq.write_table(pa.table(columns), temporary, compression="zstd")
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)


def _agreement(ids: Sequence[str], answers: Answers) -> dict[str, Any]:
    both = [name for name in ids if (name, 0) in answers and (name, 1) in answers]
    if not both:
        return {"documents": 0}
    first, second = (np.array([answers[name, reading] for name in both]) for reading in (0, 1))
    kappas = {
        name: quadratic_kappa(first[:, place], second[:, place], highest)
        for place, (name, highest) in enumerate(dimensions().items())
    }
    known = [value for value in kappas.values() if np.isfinite(value)]
    return {
        "documents": len(both),
        "mean_kappa": round(float(np.mean(known)), 3) if known else None,
        "kappa": {name: round(value, 3) if np.isfinite(value) else None for name, value in kappas.items()},
    }
