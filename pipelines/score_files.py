"""`florilegium score`: scores for documents, one row out for every row in, in their order."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..schemas.recipe import ClassifyOptions, ExtractionOptions, Fields, Input, Reading, Stages
from .progress import SILENT, Listener
from .scoring import UNKEYED, ready_stages, scored_batches
from .sources import RecordReader, plan_splits
from .storage import Folder

__all__ = ["score_files"]

DEFAULT_HARM = tuple(ClassifyOptions().harm)


def score_files(
    paths: list[str],
    output: Path,
    text_field: str = "text",
    id_field: str = "id",
    model: str = "prosocial",
    harm: Sequence[str] = DEFAULT_HARM,
    language: str | None = None,
    listener: Listener = SILENT,
) -> int:
    """Score every record of `paths` into one Parquet file; returns the number of rows.

    The columns are those of a scored run without `key`; the input's own id stands in `source_id`.
    """
    source = Input(name="input", paths=paths, fields=Fields(text=text_field, id=id_field), language=language)
    reading, extraction = Reading(), ExtractionOptions()
    splits = plan_splits(source, reading)
    options = ClassifyOptions(model=model, harm=list(harm))
    stages = ready_stages(Stages(classify=options, minhash=None).model_dump_json())
    listener.phase("score", len(splits), 0)

    def batches() -> Iterator[pa.RecordBatch]:
        documents = size = 0
        for index, split in enumerate(splits):
            reader = RecordReader(split, source, reading, extraction)
            for batch in scored_batches(reader, stages, source, {}):
                documents, size = documents + batch.num_rows, size + (pc.sum(batch["bytes"]).as_py() or 0)
                yield batch
                listener.update(index, documents, size, 0)
        listener.update(len(splits), documents, size, 0)

    rows = 0
    target = output.absolute()
    with (
        Folder(str(target.parent)).create(target.name) as stored,
        pq.ParquetWriter(stored.path, UNKEYED, compression="zstd") as writer,
    ):
        for batch in batches():
            rows += batch.num_rows
            writer.write_batch(batch)
    return rows
