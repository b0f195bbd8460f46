"""The score path of a split: read → stages → write. Score first; nothing is dropped here.

Reading, each stage and writing are separate steps over `Piece`s, so that an engine may run them as one
loop (`score_split`) or as a graph (`engines.beam`): the code is the same, and so are the bytes.

A row on which a stage raises never takes its batch with it. It becomes a failed row with the error
`STAGE.failed`, as if its record had failed in reading; its neighbours stay untouched. What speaks of the
machine and not of a row (no memory, no file, no package, a damaged model) ends the task instead.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.document import BUCKETS, RECORD, SCORED, scored_schema
from ..schemas.errors import FlorilegiumError, TaskError
from ..schemas.recipe import Input, Recipe, Stages
from .boilerplate import remove_lines
from .contamination import load_stage
from .progress import SILENT, Progress
from .runs import RunWriter
from .sources import RecordReader, Split
from .stages import ORDER, Stage, build_stages
from .stages.decontaminate import Decontaminate
from .storage import Folder

__all__ = [
    "Piece",
    "Scoring",
    "SplitWriter",
    "apply_stage",
    "read_pieces",
    "ready_stages",
    "score_batch",
    "score_piece",
    "score_split",
    "scored_batches",
    "stage_names",
]

UNKEYED = pa.schema([field for field in SCORED if field.name != "key"])
NOT_A_ROWS_FAULT = (FlorilegiumError, ImportError, MemoryError, OSError)
KEPT_OF_FAILED = ("source", "source_id", "provenance")  # where a failed row came from, never what it said

_setting_up = threading.Lock()


@dataclass(frozen=True)
class Piece:
    """A part of a split on its way from reader to writer.

    It holds a batch, or at the end of the split what its reader counted, or neither where the split was
    given up.
    """

    task: int
    number: int  # 0, 1, … in the order of the split
    batch: pa.RecordBatch | None = None
    counts: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # wall seconds of each step so far

    @property
    def is_given_up(self) -> bool:
        return self.batch is None and self.counts is None

    def given_up(self) -> "Piece":
        """This piece, saying that nothing of its split is to be stored."""
        return Piece(self.task, self.number)

    def timed(self, step: str, started: float, **changes: Any) -> "Piece":
        """This piece changed, with the time since `started` added to a step's."""
        seconds = self.seconds | {step: self.seconds.get(step, 0.0) + time.perf_counter() - started}
        return replace(self, seconds=seconds, **changes)


def ready_stages(options: str) -> Sequence[Stage]:
    """The stages for `Stages` options given as JSON, set up once a process and shared by its tasks and threads.

    Also has Arrow allocate by the C library: its own pool gives every batch's memory back to the system and
    takes it again, page by page (a tenth of all CPU seconds).
    """
    with _setting_up:
        return _ready_stages(options)


@cache
def _ready_stages(options: str) -> Sequence[Stage]:
    pa.set_memory_pool(pa.system_memory_pool())
    stages = build_stages(Stages.model_validate_json(options))
    for stage in stages:
        stage.setup()
    return stages


def apply_stage(stages: Sequence[Stage], at: int, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch after stage `at`; rows on which it raises come out failed, with the error `STAGE.failed`.

    A failed row keeps its place and passes the stages again as a record that failed in reading would.
    Raises what is not a row's fault, and what a stage raises even on such a row.
    """
    try:
        return stages[at].apply(batch)
    except NOT_A_ROWS_FAULT:
        raise
    except Exception:
        if not batch.num_rows:
            raise
        parts = list(_parts(stages, at, batch))
    names = parts[0].schema.names  # a failed row has the same columns, perhaps in another order
    return pa.concat_batches([part.select(names) for part in parts])


def _parts(stages: Sequence[Stage], at: int, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The halves of a batch that a stage takes as they are, of their halves …, and the failed rows between."""
    half = batch.num_rows // 2
    if not half:
        yield _failed(stages, at, batch)
        return
    for rows in (range(half), range(half, batch.num_rows)):
        part = batch.take(pa.array(rows, pa.int64()))
        try:
            yield stages[at].apply(part)
        except NOT_A_ROWS_FAULT:
            raise
        except Exception:
            yield from _parts(stages, at, part)


def _failed(stages: Sequence[Stage], at: int, row: pa.RecordBatch) -> pa.RecordBatch:
    """The failed row in the place of one on which stage `at` raises."""
    columns = {field.name: pa.nulls(1, field.type) for field in RECORD}
    columns |= {name: row[name] for name in KEPT_OF_FAILED}
    columns["text"] = pa.array([""], pa.string())
    columns["flags"] = pa.array([[]], RECORD.field("flags").type)
    columns["error"] = pa.array([f"{stages[at].name}.failed"], pa.string())
    failed = pa.RecordBatch.from_arrays([columns[field.name] for field in RECORD], schema=RECORD)
    for stage in stages[: at + 1]:
        failed = stage.apply(failed)
    for name in set(row.schema.names) - set(failed.schema.names):  # the language that the input declares
        failed = failed.append_column(name, pa.nulls(1, row.schema.field(name).type))
    return failed


def score_batch(
    batch: pa.RecordBatch, stages: Sequence[Stage], language: str | None = None, seconds: dict[str, float] | None = None
) -> pa.RecordBatch:
    """A RECORD batch with every column of its `scored_schema` but `key`, and BUCKETS where the stages give it.

    Adds each stage's time to `seconds`.
    """
    batch = _with_language(batch, language)
    for at, stage in enumerate(stages):
        started = time.perf_counter()
        batch = apply_stage(stages, at, batch)
        if seconds is not None:
            seconds[stage.name] = seconds.get(stage.name, 0.0) + time.perf_counter() - started
    return _unkeyed(batch)


def _with_language(batch: pa.RecordBatch, language: str | None) -> pa.RecordBatch:
    """The batch with the language that its input declares, if it does."""
    if language is None:
        return batch
    return batch.append_column("language", pa.array([language] * batch.num_rows, pa.string()))


def _unkeyed(batch: pa.RecordBatch, synthetic: bool = False) -> pa.RecordBatch:
    """A batch that all stages have seen, with its `scored_schema` but `key`, and BUCKETS where there are some."""
    batch = batch.append_column("bytes", pc.binary_length(batch["text"]))
    batch = batch.append_column("synthetic", pa.array(np.full(batch.num_rows, synthetic)))
    schema = scored_schema(batch.schema.names)
    schema = schema.remove(schema.get_field_index("key"))
    scored = pa.RecordBatch.from_arrays([batch[name] for name in schema.names], schema=schema)
    return scored.append_column(BUCKETS, batch[BUCKETS]) if BUCKETS in batch.schema.names else scored


def scored_batches(
    reader: Iterable[pa.RecordBatch], stages: Sequence[Stage], source: Input, seconds: dict[str, float]
) -> Iterator[pa.RecordBatch]:
    """Scored batches of one reader in their order; `seconds` holds the time per stage, reading included."""
    batches = iter(reader)
    while True:
        started = time.perf_counter()
        batch = next(batches, None)
        seconds["read"] = seconds.get("read", 0.0) + time.perf_counter() - started
        if batch is None:
            return
        yield score_batch(batch, stages, source.language, seconds)


@dataclass(frozen=True)
class Scoring:
    """Where one split is read from and written to."""

    folder: Folder
    prefix: str  # of the names of its sorted runs
    split: Split
    recipe: Recipe
    repeated: str | None = None  # a file in the folder: lines of `boilerplate.repeated_lines` to remove first
    evaluation: str = ""  # identity of the evaluation sets in the folder, where documents are compared with some

    def stages(self) -> Sequence[Stage]:
        """The stages of the split, set up; named by `stage_names`."""
        stages, options = ready_stages(self.recipe.stages.model_dump_json()), self.recipe.decontamination
        if options is None:
            return stages
        return [stages[0], load_stage(self.folder, options, self.evaluation), *stages[1:]]


def stage_names(recipe: Recipe) -> list[str]:
    """The names of a recipe's stages in their order; evaluation sets are looked for in normalised text."""
    first, *others = (name for name in ORDER if getattr(recipe.stages, name) is not None)
    return [first, *([] if recipe.decontamination is None else [Decontaminate.name]), *others]


def read_pieces(scoring: Scoring, task: int = 0) -> Iterator[Piece]:
    """The pieces of a split, the last one with what was counted in reading."""
    split, recipe, repeated = scoring.split, scoring.recipe, None
    if scoring.repeated:
        with scoring.folder.open_parquet(scoring.repeated) as file:
            repeated = file.read()["line"].to_numpy()
    source = next(item for item in recipe.inputs if item.name == split.source)
    reader = RecordReader(split, source, recipe.reading, recipe.extraction)
    batches = iter(reader)
    number = removed = 0
    while True:
        piece, started = Piece(task, number), time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            counts = {
                "skipped": {kind: {split.source: count} for kind, count in sorted(reader.skipped.items())},
                "boilerplate_lines": {split.source: removed} if removed else {},
                "bytes_read": reader.bytes_read,
            }
            yield piece.timed("read", started, counts=counts)
            return
        if repeated is not None:
            batch, lines = remove_lines(batch, repeated)
            removed += lines
        yield piece.timed("read", started, batch=_with_language(batch, source.language))
        number += 1


def score_piece(stages: Sequence[Stage], at: int, piece: Piece) -> Piece:
    """The piece after stage `at`; one without a batch passes as it is."""
    if piece.batch is None:
        return piece
    started = time.perf_counter()
    return piece.timed(stages[at].name, started, batch=apply_stage(stages, at, piece.batch))


class SplitWriter:
    """Writes the pieces of one split, in their order, as sorted runs `PREFIX-000.parquet` …"""

    def __init__(self, scoring: Scoring) -> None:
        self._source = scoring.split.source
        source = next(item for item in scoring.recipe.inputs if item.name == self._source)
        self._synthetic = source.synthetic is not None
        self._runs = RunWriter(scoring.folder, scoring.prefix, scoring.recipe.seed, scoring.recipe.output.run_bytes)
        self._rows = self._text_bytes = 0
        self.due = 0  # the number of the piece that comes next
        self._seconds: dict[str, float] = {}

    def write(self, piece: Piece, progress: Progress = SILENT) -> dict[str, Any] | None:
        """Take the next piece; after the last one, what was stored and counted of the split.

        Raises TaskError for a piece out of turn: nothing of such a split may be stored.
        """
        if piece.number != self.due:
            raise TaskError(f"piece {piece.number} of a split came where {self.due} was due")
        self.due += 1
        started = time.perf_counter()
        if piece.batch is not None:
            batch = _unkeyed(piece.batch, self._synthetic)
            size = pc.sum(batch["bytes"]).as_py() or 0
            self._rows += batch.num_rows
            self._text_bytes += size
            self._runs.write(batch)
            progress.advance(batch.num_rows, size, batch.num_rows - batch["error"].null_count)
        else:
            self._runs.flush()
        for step, seconds in piece.timed("write", started).seconds.items():
            self._seconds[step] = self._seconds.get(step, 0.0) + seconds
        if piece.counts is None:
            return None
        return {
            "outputs": self._runs.outputs,
            "bands": self._runs.bands,
            "read": {} if self._synthetic else {self._source: self._rows},
            "generated": {self._source: self._rows} if self._synthetic else {},
            "text_bytes": self._text_bytes,
            "seconds": self._seconds,
            **piece.counts,
        }


def score_split(scoring: Scoring, progress: Progress = SILENT) -> dict[str, Any]:
    """Score one split in a loop; returns the names of its sorted runs and their bands, and what was counted."""
    stages = scoring.stages()
    writer = SplitWriter(scoring)
    stored = None
    for piece in read_pieces(scoring):
        for at in range(len(stages)):
            piece = score_piece(stages, at, piece)
        stored = writer.write(piece, progress)
    assert stored is not None  # the last piece ends the split
    return stored
