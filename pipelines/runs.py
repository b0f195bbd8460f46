"""Sorted runs: the shuffle without small files.

A score task writes its documents as one or a few Parquet files sorted by (key, id). A task that owns
a range of keys opens every run and reads only the row groups that the range touches. Row groups are
small (about 1/32 of a run) so that a range costs little more than its own bytes. Where runs are many,
they are merged first (`merging.py`).
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.document import BUCKETS, SCORED, scored_schema
from ..schemas.hashing import hash64, id_words
from .storage import Folder

__all__ = [
    "BANDS",
    "BAND_ROW_GROUP_BYTES",
    "KEY_SPACE",
    "LOCATOR",
    "KeyRange",
    "RunSet",
    "RunWriter",
    "read_range",
    "sort_by_key",
    "touched_groups",
    "write_parquet",
    "write_run",
]

KEY_SPACE = 1 << 64
ROW_GROUPS_PER_RUN = 32
BAND_ROW_GROUP_BYTES = 4 << 20  # 65,536 rows
BANDS = pa.schema([pa.field("bucket", pa.uint64(), nullable=False), SCORED.field("key")])  # sorted by both
LOCATOR = pa.schema([pa.field("run", pa.int32(), nullable=False), pa.field("row", pa.int64(), nullable=False)])


@dataclass(frozen=True)
class KeyRange:
    """Keys in [low, high), as Python integers up to 2^64."""

    low: int
    high: int

    @classmethod
    def part(cls, index: int, count: int) -> "KeyRange":
        """Part `index` of `count` contiguous ranges of equal width that cover all keys."""
        return cls(KEY_SPACE * index // count, KEY_SPACE * (index + 1) // count)

    def slice(self, sorted_keys: np.ndarray[Any, np.dtype[np.uint64]]) -> slice:
        """Where the range lies in an ascending array of keys."""
        start = int(np.searchsorted(sorted_keys, np.uint64(self.low), side="left"))
        if self.high >= KEY_SPACE:
            return slice(start, len(sorted_keys))
        return slice(start, int(np.searchsorted(sorted_keys, np.uint64(self.high), side="left")))


def sort_by_key(table: pa.Table) -> pa.Table:
    """The table sorted by (key, id), equal rows in the order given."""
    order = np.argsort(table["key"].to_numpy(), kind="stable")
    keys = table["key"].to_numpy()[order]
    if len(keys) > 1 and (keys[1:] == keys[:-1]).any():
        ids = table["id"].to_numpy(zero_copy_only=False)[order].astype(str)
        order = order[np.lexsort((np.arange(len(order)), ids, keys))]
    return table.take(pa.array(order))


def write_parquet(
    folder: Folder,
    name: str,
    table: pa.Table,
    row_group_bytes: int,
    compression_level: int = 1,
    metadata: dict[str, str] | None = None,
    sizes: np.ndarray[Any, np.dtype[np.int64]] | None = None,
    dictionary: Sequence[str] = (),
) -> dict[str, Any]:
    """Store a sorted table with row groups of about `row_group_bytes` of text; returns name, rows, bytes, sha256.

    One `write_table` call a row group over combined chunks, since chunking changes Parquet's bytes.
    `sizes` are the bytes a row counts for, shape (rows,); without them every row counts the same.
    """
    bounds = _row_group_bounds(table.num_rows, sizes, row_group_bytes)
    schema = table.schema.with_metadata(metadata) if metadata else table.schema
    statistics = [
        field.name for field in schema if not pa.types.is_nested(field.type) and field.name not in ("text", "title")
    ]
    with (
        folder.create(name) as stored,
        pq.ParquetWriter(
            stored.path,
            schema,
            compression="zstd",
            compression_level=compression_level,
            use_dictionary=list(dictionary),  # type: ignore[arg-type]
            write_statistics=statistics,  # type: ignore[arg-type]
            store_schema=True,
        ) as writer,
    ):
        for start, stop in itertools.pairwise(bounds):
            group = table.slice(start, stop - start).combine_chunks().cast(schema)
            writer.write_table(group, row_group_size=max(stop - start, 1))
    return {"name": name, "rows": table.num_rows, "bytes": stored.bytes, "sha256": stored.sha256}


def _row_group_bounds(rows: int, sizes: np.ndarray[Any, Any] | None, row_group_bytes: int) -> list[int]:
    if sizes is None or rows == 0:
        step = max(1, row_group_bytes // 64)
        return [*range(0, rows, step), rows]
    starts = np.cumsum(sizes, dtype=np.int64) - sizes
    groups = starts // row_group_bytes
    return [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), rows]


class RunWriter:
    """Collects scored batches of one split and writes them as sorted runs of bounded size.

    Where batches have the column BUCKETS, each run has a side file of schema BANDS in the folder bands/.
    """

    def __init__(self, folder: Folder, prefix: str, seed: int, run_bytes: int) -> None:
        self.outputs: list[dict[str, Any]] = []
        self.bands: list[dict[str, Any]] = []
        self._folder, self._prefix, self._seed, self._run_bytes = folder, prefix, seed, run_bytes
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add a batch that has every column of its `scored_schema` but `key`, and perhaps BUCKETS."""
        self._batches.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= self._run_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is collected as one sorted run; call once more at the end."""
        if not self._batches:
            return
        table = pa.Table.from_batches(self._batches)
        self._batches, self._bytes = [], 0
        high, low = id_words(table["id"])
        table = sort_by_key(table.append_column("key", pa.array(hash64(self._seed, "key", high, low))))
        name = f"{self._prefix}-{len(self.outputs):03d}.parquet"
        if BUCKETS in table.column_names:
            side = f"bands/{name.rsplit('/', 1)[-1]}"
            self.bands.append(write_parquet(self._folder, side, _bands(table), BAND_ROW_GROUP_BYTES))
        schema = scored_schema(table.column_names)
        self.outputs.append(write_run(self._folder, name, table.select(schema.names).cast(schema), self._run_bytes))


def write_run(folder: Folder, name: str, table: pa.Table, run_bytes: int) -> dict[str, Any]:
    """Store sorted documents with the row groups of a run of `run_bytes`; returns what `write_parquet` does."""
    return write_parquet(
        folder,
        name,
        table,
        row_group_bytes=max(run_bytes // ROW_GROUPS_PER_RUN, 64 << 10),
        sizes=table["bytes"].to_numpy().astype(np.int64) + 256,
        dictionary=("source", "provenance.file", "group", "language", "license", "scored_by"),
    )


def _bands(table: pa.Table) -> pa.Table:
    """BANDS of rows that carry BUCKETS and are sorted by key, without repeats."""
    buckets = table[BUCKETS].combine_chunks()
    bucket = buckets.flatten().to_numpy()
    key = table["key"].to_numpy()[buckets.value_parent_indices().to_numpy()]
    order = np.argsort(bucket, kind="stable")
    bucket, key = bucket[order], key[order]
    new = np.ones(len(bucket), bool)
    new[1:] = (bucket[1:] != bucket[:-1]) | (key[1:] != key[:-1])
    return pa.table([bucket[new], key[new]], schema=BANDS)


class RunSet:
    """All sorted runs of a corpus, numbered in the order of their splits; scored documents, or rows of `schema`.

    `first` is the number of the first one, where they are some of all. Files whose rows tell their run keep that.
    """

    def __init__(self, folder: Folder, names: Sequence[str], schema: pa.Schema | None = None, first: int = 0) -> None:
        self._folder, self.names, self._schema, self._first = folder, list(names), schema, first

    def _fields(self, columns: Sequence[str]) -> list[pa.Field]:
        schema = self._schema or scored_schema(columns)
        return [schema.field(name) for name in columns]

    def scan(self, keys: KeyRange, columns: Sequence[str]) -> pa.Table:
        """Columns of all rows in the range, with their locators `run` and `row`, run after run."""
        tables = [table for index in range(len(self.names)) for table in self._scan_run(index, keys, columns)]
        if not tables:
            return pa.schema([*self._fields(columns), *LOCATOR]).empty_table()
        return pa.concat_tables(tables)

    def _scan_run(self, index: int, keys: KeyRange, columns: Sequence[str]) -> Iterator[pa.Table]:
        with self._folder.open_parquet(self.names[index]) as file:
            told = set(LOCATOR.names) <= set(file.schema_arrow.names)
            wanted = [*columns, *LOCATOR.names] if told else list(columns)
            for first_row, group in touched_groups(file, keys):
                group_keys = file.read_row_group(group, columns=["key"])["key"].to_numpy()
                part = keys.slice(group_keys)
                if part.start == part.stop:
                    continue
                table = file.read_row_group(group, columns=wanted).select(wanted)
                table = table.slice(part.start, part.stop - part.start)
                if not told:
                    rows = np.arange(first_row + part.start, first_row + part.stop, dtype=np.int64)
                    run = np.full(len(rows), self._first + index, np.int32)
                    table = table.append_column(LOCATOR.field("run"), pa.array(run))
                    table = table.append_column(LOCATOR.field("row"), pa.array(rows))
                yield table

    def gather(self, locators: pa.Table, columns: Sequence[str]) -> pa.Table:
        """Columns of the rows that `locators` (columns run, row) point at, in the order of `locators`."""
        runs, rows = locators["run"].to_numpy(), locators["row"].to_numpy()
        order = np.lexsort((rows, runs))
        tables: list[pa.Table] = []
        for index in np.unique(runs):
            wanted = rows[order][runs[order] == index]
            tables.extend(self._gather_run(int(index), wanted, columns))
        if not tables:
            return pa.schema(self._fields(columns)).empty_table()
        inverse = np.empty(len(order), np.int64)
        inverse[order] = np.arange(len(order))
        return pa.concat_tables(tables).take(pa.array(inverse))

    def _gather_run(self, index: int, rows: np.ndarray[Any, Any], columns: Sequence[str]) -> Iterator[pa.Table]:
        with self._folder.open_parquet(self.names[index]) as file:
            bounds = np.cumsum([0] + [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
            for group in range(file.num_row_groups):
                start, stop = np.searchsorted(rows, bounds[group : group + 2])
                if start < stop:
                    table = file.read_row_group(group, columns=list(columns)).select(list(columns))
                    yield table.take(pa.array(rows[start:stop] - bounds[group]))


def read_range(folder: Folder, name: str, keys: KeyRange, by: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns (all, if None) of a file's rows in the range of `by`, 64-bit keys that the file is sorted by."""
    tables = []
    with folder.open_parquet(name) as file:
        columns = columns or file.schema_arrow.names
        for _, group in touched_groups(file, keys, by):
            table = file.read_row_group(group, columns=list({by, *columns}))
            part = keys.slice(table[by].to_numpy())
            tables.append(table.select(list(columns)).slice(part.start, part.stop - part.start))
        schema = file.schema_arrow
    return pa.concat_tables(tables) if tables else schema.empty_table().select(list(columns))


def touched_groups(file: pq.ParquetFile, keys: KeyRange, by: str = "key") -> Iterator[tuple[int, int]]:
    """(first row, row group) of every row group whose keys overlap the range, from Parquet's statistics."""
    column = file.schema_arrow.get_field_index(by)
    first_row = 0
    for group in range(file.num_row_groups):
        metadata = file.metadata.row_group(group)
        statistics = metadata.column(column).statistics
        if statistics is None or (statistics.max >= keys.low and statistics.min < keys.high):
            yield first_row, group
        first_row += metadata.num_rows
