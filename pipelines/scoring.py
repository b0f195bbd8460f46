"""The score path of one split: read → stages → sorted runs. Score first; nothing is dropped here."""

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.document import SCORED, scored_schema
from ..schemas.recipe import Input, Recipe, Stages
from .boilerplate import remove_lines
from .progress import SILENT, Progress
from .runs import RunWriter
from .sources import RecordReader, Split
from .stages import Stage, build_stages
from .stages.minhash import BUCKETS
from .storage import Folder

__all__ = ["ready_stages", "score_batch", "score_split", "scored_batches"]

UNKEYED = pa.schema([field for field in SCORED if field.name != "key"])


@cache
def ready_stages(options: str) -> Sequence[Stage]:
    """The stages for `Stages` options given as JSON, set up once a process and shared by its tasks.

    Also has Arrow allocate by the C library: its own pool gives every batch's memory back to the system and
    takes it again, page by page (a tenth of all CPU seconds).
    """
    pa.set_memory_pool(pa.system_memory_pool())
    stages = build_stages(Stages.model_validate_json(options))
    for stage in stages:
        stage.setup()
    return stages


def score_batch(
    batch: pa.RecordBatch, stages: Sequence[Stage], language: str | None = None, seconds: dict[str, float] | None = None
) -> pa.RecordBatch:
    """A RECORD batch with every column of its `scored_schema` but `key`, and BUCKETS where the stages give it.

    Adds each stage's time to `seconds`.
    """
    if language is not None:
        batch = batch.append_column("language", pa.array([language] * batch.num_rows, pa.string()))
    for stage in stages:
        started = time.perf_counter()
        batch = stage.apply(batch)
        if seconds is not None:
            seconds[stage.name] = seconds.get(stage.name, 0.0) + time.perf_counter() - started
    batch = batch.append_column("bytes", pc.binary_length(batch["text"]))
    batch = batch.append_column("synthetic", pa.array(np.zeros(batch.num_rows, bool)))
    schema = scored_schema(batch.schema.names)
    schema = schema.remove(schema.get_field_index("key"))
    scored = pa.RecordBatch.from_arrays([batch[name] for name in schema.names], schema=schema)
    return scored.append_column(BUCKETS, batch[BUCKETS]) if BUCKETS in batch.schema.names else scored


def scored_batches(
    reader: Iterable[pa.RecordBatch],
    stages: Sequence[Stage],
    source: Input,
    seconds: dict[str, float],
    progress: Progress = SILENT,
) -> Iterator[pa.RecordBatch]:
    """Scored batches of one reader in their order; `seconds` holds the time per stage, reading included."""
    batches = iter(reader)
    while True:
        started = time.perf_counter()
        batch = next(batches, None)
        seconds["read"] = seconds.get("read", 0.0) + time.perf_counter() - started
        if batch is None:
            return
        scored = score_batch(batch, stages, source.language, seconds)
        failed = batch.num_rows - batch["error"].null_count
        progress.advance(batch.num_rows, pc.sum(scored["bytes"]).as_py() or 0, failed)
        yield scored


def score_split(
    folder: Folder,
    prefix: str,
    split: Split,
    recipe: Recipe,
    progress: Progress = SILENT,
    repeated: np.ndarray[Any, np.dtype[np.uint64]] | None = None,
    decontaminate: Stage | None = None,
) -> dict[str, Any]:
    """Score one split into sorted runs `PREFIX-000.parquet` … and their bands; returns names and counts.

    `repeated` are the lines of `boilerplate.repeated_lines` to remove first; `decontaminate` looks at clean text.
    """
    source = next(item for item in recipe.inputs if item.name == split.source)
    reader = RecordReader(split, source, recipe.reading, recipe.extraction)
    stages = ready_stages(recipe.stages.model_dump_json())
    if decontaminate is not None:
        stages = [stages[0], decontaminate, *stages[1:]]
    writer = RunWriter(folder, prefix, recipe.seed, recipe.output.run_bytes)
    seconds: dict[str, float] = {}
    rows = text_bytes = 0
    removed = [0]

    def pages() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            batch, lines = (batch, 0) if repeated is None else remove_lines(batch, repeated)
            removed[0] += lines
            yield batch

    for batch in scored_batches(pages(), stages, source, seconds, progress):
        rows += batch.num_rows
        text_bytes += pc.sum(batch["bytes"]).as_py() or 0
        started = time.perf_counter()
        writer.write(batch)
        seconds["write"] = seconds.get("write", 0.0) + time.perf_counter() - started
    started = time.perf_counter()
    writer.flush()
    seconds["write"] = seconds.get("write", 0.0) + time.perf_counter() - started
    return {
        "outputs": writer.outputs,
        "bands": writer.bands,
        "read": {split.source: rows},
        "skipped": {kind: {split.source: number} for kind, number in sorted(reader.skipped.items())},
        "boilerplate_lines": {split.source: removed[0]} if removed[0] else {},
        "text_bytes": text_bytes,
        "bytes_read": reader.bytes_read,
        "seconds": seconds,
    }
