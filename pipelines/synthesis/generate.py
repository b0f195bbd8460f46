"""`florilegium synthesize`: a plan, its tasks, and what became of every cell.

    RUN/synthetic/
      plan.parquet      every cell; seeds.parquet: the seed documents, personal data masked
      accepted/         synthetic.BACKEND[.SEEDS]-00000.parquet: what a run reads
      refused/ failed/  the same columns, with reasons, evidence and errors
      ledger.json       planned = accepted + refused + failed, by source and reason
      report.json, report.md

It is a run's folder with one phase, so engines, markers, retries and resume are those of a run. Inside a task every
finished cell goes to a journal, so that a killed task asks for nothing twice. A marker whose file is gone is worth
nothing: its task is done again.
"""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.charter import Charter
from ...schemas.document import GENERATED_KEY, RECORD, SCHEMA_VERSION
from ...schemas.errors import BalanceError, InputError, RecipeError, RunError
from ...schemas.hashing import digest, raw_hash
from ...schemas.recipe import COMPOSER, Backend, Fields, Input, Recipe, Stages, Synthesis
from ...schemas.run import Counts
from ..engines import Engine
from ..layout import MANIFEST
from ..phases import execute_phase, note_of, only_one
from ..plan import Run, RunPlan, open_run, start_run
from ..progress import SILENT, Listener, Progress
from ..runs import write_parquet
from ..scoring import ready_stages, score_batch
from ..sources import RecordReader, plan_splits
from ..storage import Folder
from ..weighing.charters import load_charter
from .diversity import diversity_report, render_report
from .drafting import Written, write_by_composer
from .gates import gates_digest
from .grid import Cell, cells_from, cells_table, lacking, load_grid, plan_cells
from .journal import Journal, journal_names, read_journal
from .judges import judge
from .novelty import Corpus, set_reasons
from .prompts import prompts_digest
from .records import SYNTHETIC, generated_by, rows_table

__all__ = [
    "Account",
    "SynthesisPlan",
    "SynthesisTask",
    "plan_synthesis",
    "synthesize",
    "synthesize_part",
    "with_synthetic_inputs",
]

FOLDER = "synthetic"
PLAN, SEEDS, LEDGER = "plan.parquet", "seeds.parquet", "ledger.json"
STATUSES = ("accepted", "refused", "failed")
FILE_ROWS = 50_000
ROW_GROUP_BYTES = 8 << 20
# What says how or where, and not what: it may change between two attempts at the same plan.
NOT_MEANING = {
    "backends": {"__all__": {"endpoint", "key_variable", "concurrency", "timeout_seconds", "attempts", "prices"}},
    "seeds": True, "human": True, "judges": True, "allow_composer": True, "charters": True,
}  # fmt: skip

_SEED = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("source_id", pa.string()),
        pa.field("file", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class SynthesisPlan:
    """What is to be written: nothing was asked of a model yet."""

    recipe: Recipe
    cells: list[Cell]
    charters: dict[str, Charter]
    seeds: pa.Table
    corpus: Corpus | None
    identity: dict[str, Any]


@dataclass(frozen=True)
class Account:
    """What became of a plan."""

    folder: Folder
    planned: dict[str, int]  # by source, as all that follow
    counts: dict[str, dict[str, int]]  # accepted, refused, failed
    reasons: Counts
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    report: dict[str, Any]

    def total(self, status: str) -> int:
        return sum(self.counts[status].values())


def plan_synthesis(recipe: Recipe, for_run: str | None = None) -> SynthesisPlan:
    """Plan a recipe's synthetic documents; reads charters and seeds, asks no model and writes nothing.

    With `for_run` the plan favours the virtues that the weighed corpus of that run has least of, and documents near
    to its own are refused. Raises RequestErrors.
    """
    options = recipe.synthesis
    if options is None:
        raise RecipeError(f"recipe {recipe.name}: no `synthesis`; say what to generate, or use the recipe `dialogues`")
    charters = {charter.name: charter for charter in map(load_charter, options.charters)}
    options = options.model_copy(update={"charters": sorted(charters)})
    recipe = recipe.model_copy(update={"synthesis": options})
    weights, corpus = None, None
    if for_run is not None:
        weights, corpus = _wanted(for_run)
    seeds = _read_seeds(options, recipe.seed)
    counts = {entry["values"]: entry["counts"] for entry in seeds["source"].value_counts().to_pylist()}
    wanted = None if weights is None else {name: weights[name] for name in options.dimensions or weights}
    cells = plan_cells(options, recipe.seed, counts, wanted)
    identity = {
        "schema": SCHEMA_VERSION,
        "seed": recipe.seed,
        "synthesis": digest(options.model_dump(mode="json", exclude=NOT_MEANING)),
        "cells": digest([cell.id for cell in cells]),
        "seeds": digest([raw_hash(text.encode()) for text in seeds["text"].to_pylist()]),
        "grid": load_grid().digest,
        "prompts": prompts_digest(),
        "gates": gates_digest(),
        "corpus": None if corpus is None else digest(corpus.buckets.tolist()),
        "charters": {name: charter.digest() for name, charter in sorted(charters.items())},
    }
    return SynthesisPlan(recipe, cells, charters, seeds, corpus, identity)


def _wanted(url: str) -> tuple[dict[str, float], Corpus | None]:
    """What a run's weighed corpus lacks, and its buckets."""
    run = open_run(url)
    if run.manifest.status != "complete" or not run.manifest.shards:
        raise InputError(f"--for {url}: the run is not complete or has no shards; finish it first")

    def shards() -> Iterator[pa.Table]:
        for stored in run.manifest.shards:
            with run.folder.open_parquet(stored.name) as file:
                yield file.read(columns=["prosocial", "tokens", "weight"])

    minhash = run.recipe.stages.minhash
    names = [stored.name for stored in run.manifest.bands]
    corpus = None if minhash is None else Corpus.of_run(run.folder, names, minhash)
    return lacking(shards()), corpus


def _read_seeds(options: Synthesis, seed: int) -> pa.Table:
    """The seed documents, each source's in an order by hash, as many as may be used; personal data masked."""
    if "recontextualised" not in options.kinds:
        return _SEED.empty_table()
    recipe = Recipe(name="seeds", inputs=options.seeds)
    stages = ready_stages(Stages(minhash=None).model_dump_json())
    most = min(options.max_documents_per_seed_source, options.documents)
    rows: list[dict[str, Any]] = []

    def by_hash(row: dict[str, Any]) -> int:
        place = row["provenance"]
        return raw_hash(f"{seed}:{place['file']}:{place['offset']}".encode())

    for source in options.seeds:
        chosen = heapq.nsmallest(most, _documents(source, recipe), key=by_hash)
        if not chosen:
            raise InputError(f"synthesis.seeds {source.name!r}: no document in {', '.join(source.paths)}")
        masked = score_batch(pa.RecordBatch.from_pylist(chosen, schema=RECORD), stages)["text"].to_pylist()
        rows += [
            {"source": source.name, "number": at, "source_id": row["source_id"], **row["provenance"], "text": text}
            for at, (row, text) in enumerate(zip(chosen, masked, strict=True))
        ]
    return pa.Table.from_pylist(rows, schema=_SEED)


def _documents(source: Input, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """The records of an input that are documents, one after the other."""
    for split in plan_splits(source, recipe.reading):
        for batch in RecordReader(split, source, recipe.reading, recipe.extraction):
            yield from batch.filter(pc.is_null(batch["error"])).to_pylist()


def synthesize(plan: SynthesisPlan, place: str, engine: Engine, listener: Listener = SILENT) -> Account:
    """Write a plan's documents into `place`/synthetic, or go on there, and account for every cell.

    Raises OutputError where another plan lies there, RequestError where an endpoint refuses, TaskError where tasks
    fail again and again, BalanceError where cells are unaccounted for.
    """
    options = plan.recipe.synthesis
    assert options is not None
    url = f"{place.rstrip('/')}/{FOLDER}"
    folder = Folder(url)
    with only_one(folder):
        run = start_run(RunPlan(plan.recipe, [], plan.charters, plan.identity, {}), url)
        if run.manifest.recipe != plan.recipe:  # other endpoints or limits for the same plan
            run.manifest.recipe = plan.recipe
            folder.write_json(MANIFEST, run.manifest.model_dump(mode="json"))
        if not (folder.exists(PLAN) and folder.exists(SEEDS)):
            write_parquet(folder, SEEDS, plan.seeds, ROW_GROUP_BYTES)
            write_parquet(folder, PLAN, cells_table(plan.cells), ROW_GROUP_BYTES)
        payloads = _payloads(plan.cells, options)
        _forget_lost(run, len(payloads))
        if len(_done(run)) < len(payloads):
            _probe(options)
        markers = execute_phase(run, engine, _Teller(listener, options, plan.cells), "synthesize", payloads)
        return _finish(run, plan, markers)


def _payloads(cells: Sequence[Cell], options: Synthesis) -> list[dict[str, Any]]:
    """Tasks: ranges of each backend's cells."""
    counts = Counter(cell.backend for cell in cells)
    size = options.task_documents
    return [
        {"backend": name, "start": start, "stop": min(start + size, counts[name])}
        for name in sorted(counts)
        for start in range(0, counts[name], size)
    ]


def _done(run: Run) -> list[str]:
    return run.folder.names("tasks/synthesize/[0-9]*.json")


def _forget_lost(run: Run, count: int) -> None:
    """Remove the markers of tasks whose file is gone or was cut short, so that they are done again."""
    for name in _done(run):
        stored = run.folder.read_json(name)["output"]
        if not run.folder.exists(stored["name"]) or run.folder.size(stored["name"]) != stored["bytes"]:
            run.folder.remove(name)


def _probe(options: Synthesis) -> None:
    """Ask every endpoint for a word before tasks do."""
    asking = [backend for backend in options.backends if backend.name != COMPOSER]
    if asking:
        from .endpoint import probe

        for backend in asking:
            probe(backend)


class _Teller:
    """Passes progress on: with tokens (in `size`) it can tell pass rate, cost and the time left."""

    def __init__(self, listener: Listener, options: Synthesis, cells: Sequence[Cell]) -> None:
        self.listener, self.cells = listener, len(cells)
        self.prices = {backend.name: backend.prices for backend in options.backends if backend.prices}
        self.price = max((prices[1] for prices in self.prices.values()), default=None)
        self.started = self.spoken = 0.0

    def phase(self, name: str, tasks: int, finished: int) -> None:
        self.started = self.spoken = time.monotonic()
        self.listener.phase(name, tasks, finished)

    def update(self, finished: int, documents: int, size: int, rejects: int) -> None:
        self.listener.update(finished, documents, 0, rejects)
        now = time.monotonic()
        if documents and now - self.spoken > 10:
            self.spoken = now
            rate = documents / max(now - self.started, 1e-3)
            parts = [
                f"{documents:,} of {self.cells:,} documents",
                f"{size / max(now - self.started, 1e-3):,.0f} tokens/s",
                f"{1 - rejects / documents:.0%} pass",
                *([] if self.price is None else [f"cost at most {size * self.price / 1e6:,.2f} for what was written"]),
                f"{max(self.cells - documents, 0) / rate / 60:,.1f} minutes left",
            ]
            self.listener.say(" · ".join(parts))

    def say(self, sentence: str) -> None:
        self.listener.say(sentence)


@dataclass(frozen=True)
class SynthesisTask:
    """A task: the cells of a range of a backend's, and what it takes to write them."""

    run: Run
    index: int
    key: str
    options: Synthesis
    backend: Backend
    cells: list[Cell]
    seeds: Mapping[tuple[str, int], Mapping[str, Any]]

    @classmethod
    def open(cls, run: Run, index: int, payload: dict[str, Any]) -> "SynthesisTask":
        options = run.recipe.synthesis
        assert options is not None
        with run.folder.open_parquet(PLAN) as file:
            cells = [cell for cell in cells_from(file.read()) if cell.backend == payload["backend"]]
        with run.folder.open_parquet(SEEDS) as file:
            seeds = {(row["source"], row["number"]): row for row in file.read().to_pylist()}
        backend = next(item for item in options.backends if item.name == payload["backend"])
        key = run.task_key("synthesize", payload)
        return cls(run, index, key, options, backend, cells[payload["start"] : payload["stop"]], seeds)

    def seed_text(self, cell: Cell) -> str:
        """The text of the document that a cell begins from, empty where there is none."""
        return "" if cell.seed_source is None or cell.seed is None else self.seeds[cell.seed_source, cell.seed]["text"]

    def finished(self, names: Sequence[str]) -> dict[str, Written]:
        """What stands in the journal's files. What failed in an attempt that was killed is asked for again."""
        known = read_journal(self.run.folder, names, self.key)
        return {name: result for name, result in known.items() if result.status != "failed"}

    def note(self) -> dict[str, Any]:
        """Why the task failed in this attempt; empty where nothing says so."""
        return note_of(self.run, "synthesize", self.index)

    def store(self, written: Mapping[str, Written], journal: Sequence[str]) -> dict[str, Any]:
        """One file, in the order of the plan; the marker. `written` is by the cells' ids."""
        ordered = [written[cell.id] for cell in self.cells]
        table = rows_table(self.cells, ordered, self.run.recipe, self.run.charters, self.seeds)
        stored = write_parquet(self.run.folder, f"drafts/{self.index:05d}.parquet", table, ROW_GROUP_BYTES)
        return {"output": stored, "journal": list(journal)}


def synthesize_part(run: Run, index: int, payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Do a task, or go on with it; its marker."""
    task = SynthesisTask.open(run, index, payload)
    names = journal_names(run.folder, index)
    written = task.finished(names)
    journal = Journal(run.folder, index, task.key)

    def done(result: Written) -> None:
        journal.append(result)
        written[result.id] = result
        progress.advance(1, result.completion_tokens, result.status != "accepted")

    try:
        _write(task, [cell for cell in task.cells if cell.id not in written], done)
    finally:
        journal.close()
    return task.store(written, [*names, *journal.names])


def _write(task: SynthesisTask, cells: list[Cell], done: Callable[[Written], None]) -> None:
    if not cells:
        return
    if task.backend.name == COMPOSER:
        for result in write_by_composer(cells, task.options):
            done(result)
        return
    from .endpoint import write_by_endpoint

    write_by_endpoint(cells, task.options, task.backend, task.run.charters, task.seed_text, done)


def _finish(run: Run, plan: SynthesisPlan, markers: Sequence[dict[str, Any]]) -> Account:
    """The gates of the whole set, the files, the ledger and the report."""
    options = plan.recipe.synthesis
    assert options is not None
    parts = [SYNTHETIC.empty_table()]
    for marker in markers:
        name = marker["output"]["name"]
        try:
            with run.folder.open_parquet(name) as file:
                parts.append(file.read())
        except (OSError, pa.ArrowInvalid) as error:
            raise RunError(f"{run.folder.address(name)} is damaged ({error}); delete it and run again") from error
    table = pa.concat_tables(parts).sort_by("index")
    if table["index"].to_pylist() != [cell.index for cell in plan.cells]:
        raise BalanceError(
            f"{run.folder.url}: {len(plan.cells)} documents were planned and {table.num_rows} came; remove the folder "
            "to start anew"
        )
    table = _with_set_gates(table, plan, options)
    sources = pa.array([generated_by(cell).domain for cell in plan.cells], pa.string())
    names = _store(run.folder, table, sources, plan.cells)
    report = diversity_report(table, plan.cells, options, _human(options))
    if options.judges:
        accepted = table.filter(pc.equal(table["status"], "accepted"))
        report |= judge(accepted.select(["id", "text", "versions"]).to_pylist(), options.judges)
    account = _account(run.folder, table, sources, options, report)
    if sum(account.planned.values()) != sum(account.total(status) for status in STATUSES):
        raise BalanceError(f"{run.folder.address(LEDGER)}: planned and accounted documents differ; please report this")
    run.folder.write_json(LEDGER, _ledger(account) | {"files": names})
    run.folder.write_json("report.json", account.report)
    run.folder.write_bytes("report.md", render_report(account.report, _ledger(account)).encode())
    run.manifest.status = "complete"
    run.folder.write_json(MANIFEST, run.manifest.model_dump(mode="json"))
    for name in {*(name for marker in markers for name in marker["journal"]), *run.folder.names("journal/*.jsonl")}:
        run.folder.remove(name)
    return account


def _with_set_gates(table: pa.Table, plan: SynthesisPlan, options: Synthesis) -> pa.Table:
    accepted = [at for at, status in enumerate(table["status"].to_pylist()) if status == "accepted"]
    texts = table["text"].to_pylist()
    groups = [plan.cells[at].situation for at in accepted]
    found = set_reasons([texts[at] for at in accepted], groups, options.gates, plan.corpus)
    statuses, reasons = table["status"].to_pylist(), table["reasons"].to_pylist()
    for at, more in zip(accepted, found, strict=True):
        if more:
            statuses[at], reasons[at] = "refused", [*reasons[at], *more]
    for name, values in (("status", statuses), ("reasons", reasons)):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    return table


def _store(folder: Folder, table: pa.Table, sources: pa.Array, cells: Sequence[Cell]) -> list[str]:
    """One set of files for each status and source; their names. What an earlier attempt left is removed."""
    generated = {generated_by(cell).domain: generated_by(cell) for cell in cells}
    kept = []
    for status in STATUSES:
        for source, origin in sorted(generated.items()):
            chosen = table.filter(pc.and_(pc.equal(table["status"], status), pc.equal(sources, source)))
            metadata = {GENERATED_KEY.decode(): origin.model_dump_json()}
            for number, start in enumerate(range(0, chosen.num_rows, FILE_ROWS)):
                name = f"{status}/{source}-{number:05d}.parquet"
                part = chosen.slice(start, FILE_ROWS)
                write_parquet(folder, name, part, ROW_GROUP_BYTES, compression_level=3, metadata=metadata)
                kept.append(name)
    for status in STATUSES:
        for name in folder.names(f"{status}/*.parquet"):
            if name not in kept:
                folder.remove(name)
    return kept


def _account(folder: Folder, table: pa.Table, sources: pa.Array, options: Synthesis, report: dict[str, Any]) -> Account:
    rows = list(zip(sources.to_pylist(), table["status"].to_pylist(), table["reasons"].to_pylist(), strict=True))
    reasons: Counts = {}
    for source, _, found in rows:
        for reason in found:
            reasons.setdefault(reason, {}).setdefault(source, 0)
            reasons[reason][source] += 1
    prices = {backend.name: backend.prices for backend in options.backends}
    cost = None
    if any(prices.values()):
        counted = zip(
            table["backend"].to_pylist(), table["prompt_tokens"].to_pylist(), table["completion_tokens"].to_pylist(),
            strict=True,
        )  # fmt: skip
        cost = 0.0
        for name, read, wrote in counted:
            price = prices[name] or (0.0, 0.0)
            cost += (read * price[0] + wrote * price[1]) / 1e6
    return Account(
        folder=folder,
        planned=dict(sorted(Counter(source for source, _, _ in rows).items())),
        counts={
            status: dict(sorted(Counter(source for source, found, _ in rows if found == status).items()))
            for status in STATUSES
        },
        reasons=dict(sorted(reasons.items())),
        requests=pc.sum(table["requests"]).as_py() or 0,
        prompt_tokens=pc.sum(table["prompt_tokens"]).as_py() or 0,
        completion_tokens=pc.sum(table["completion_tokens"]).as_py() or 0,
        cost=None if cost is None else round(cost, 6),
        report=report,
    )


def _ledger(account: Account) -> dict[str, Any]:
    return {
        "planned": account.planned,
        **account.counts,
        "reasons": account.reasons,
        "requests": account.requests,
        "prompt_tokens": account.prompt_tokens,
        "completion_tokens": account.completion_tokens,
        "cost": account.cost,
    }


def _human(options: Synthesis) -> list[str]:
    """Texts of the human set that diversity is compared with."""
    recipe = Recipe(name="human", inputs=options.human) if options.human else None
    return [row["text"] for source in options.human for row in _documents(source, recipe)] if recipe else []


def with_synthetic_inputs(recipe: Recipe, place: str, engine: Engine, listener: Listener = SILENT) -> Recipe:
    """Generate what a run's recipe asks for, and the recipe with the accepted documents among its inputs."""
    plan = plan_synthesis(recipe)
    account = synthesize(plan, place, engine, listener)
    origins = {generated_by(cell).domain: generated_by(cell) for cell in plan.cells}
    inputs = []
    for name in account.counts["accepted"]:
        inputs.append(
            Input(
                name=name,
                paths=[account.folder.address(f"accepted/{name}-*.parquet")],
                format="parquet",
                fields=Fields(text="text", id="id", title=None, url=None, license="license"),
                synthetic=origins[name],
            )
        )
    return recipe.model_copy(update={"inputs": [*recipe.inputs, *inputs]})
