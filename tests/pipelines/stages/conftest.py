"""Batches of records, and what must hold for every stage."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from florilegium.pipelines.stages import Stage
from florilegium.schemas.document import RECORD


@pytest.fixture(scope="session")
def records() -> Callable[..., pa.RecordBatch]:
    """Makes a batch of RECORD's schema out of texts and, by name, other columns."""

    def make(texts: Sequence[str], **columns: Sequence[Any]) -> pa.RecordBatch:
        rows = len(texts)
        values: dict[str, Sequence[Any]] = {
            "source": ["test"] * rows,
            "provenance": [{"file": "part-0.jsonl", "offset": row} for row in range(rows)],
            "text": texts,
            "flags": [[]] * rows,
            **columns,
        }
        arrays = [pa.array(values.get(field.name, [None] * rows), field.type) for field in RECORD]
        return pa.RecordBatch.from_arrays(arrays, schema=RECORD)

    return make


@pytest.fixture(scope="session")
def check_rows_are_independent() -> Callable[[Stage, pa.RecordBatch], None]:
    """Asserts that a stage gives a row the same result in any slice and company, and changes no other column."""

    def check(stage: Stage, batch: pa.RecordBatch) -> None:
        whole = stage.apply(batch)
        assert whole.num_rows == batch.num_rows
        assert whole.schema.names[: batch.num_columns] == batch.schema.names
        for size in (1, 3):
            parts = [stage.apply(batch.slice(start, size)) for start in range(0, batch.num_rows, size)]
            assert pa.Table.from_batches(parts).to_pylist() == whole.to_pylist()
        order = list(range(batch.num_rows))[::-1]
        assert stage.apply(batch.take(pa.array(order))).to_pylist() == whole.to_pylist()[::-1]
        assert stage.apply(batch.slice(0, 0)).schema == whole.schema

    return check
