"""Parquet: splits are ranges of row groups, only the recipe's columns are read, mapping is by Arrow kernels."""

import json
from collections.abc import Iterator
from itertools import accumulate, pairwise

import pyarrow as pa
import pyarrow.parquet as pq

from ...schemas.document import GENERATED_KEY
from ...schemas.errors import InputError
from ...schemas.recipe import Input, Reading
from . import Split
from .batches import Row, record_batches
from .columns import check_columns, has_text, needed_columns, to_records
from .files import open_binary

__all__ = ["ParquetReader", "check_schema", "row_group_ranges"]

MAGIC = b"PAR1"
BUFFER_BYTES = 1 << 20
UNREADABLE = (pa.ArrowException, OSError, ValueError)  # what pyarrow raises for damaged files and pages


def check_schema(url: str, source: Input) -> None:
    """InputError where the file lacks the text column or hides its origin; a damaged one is left to its reader."""
    with open_binary(url) as file:
        try:
            schema = pq.read_schema(file)
        except UNREADABLE as error:
            _check_transport(error)
            return
    check_columns(url, schema, source)
    _check_origin(url, schema, source)


def _check_origin(url: str, schema: pa.Schema, source: Input) -> None:
    """InputError where a file says that its documents were generated and the recipe does not say the same."""
    told = (schema.metadata or {}).get(GENERATED_KEY)
    declared = None if source.synthetic is None else source.synthetic.model_dump()
    if told is not None and declared != json.loads(told):
        raise InputError(
            f"{url}: its documents are synthetic ({told.decode()}); say so in input {source.name!r}, as "
            f"`synthetic: {told.decode()}`"
        )


def row_group_ranges(url: str, size: int, split_bytes: int) -> Iterator[tuple[int, int, int]]:
    """(start, stop, bytes) of ranges of row groups of about `split_bytes`; a damaged file is one range."""
    with open_binary(url) as file:
        try:
            metadata = pq.read_metadata(file)
        except UNREADABLE as error:
            _check_transport(error)
            yield 0, -1, size
            return
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    sizes = [sum(group.column(at).total_compressed_size for at in range(metadata.num_columns)) for group in groups]
    ends = list(accumulate(sizes))
    total = ends[-1] if ends else 0
    parts = max(1, -(-total // split_bytes))
    # Parts of about equal size: a row group belongs to the part that its middle falls into.
    part = [(2 * end - length) * parts // (2 * total) if total else 0 for end, length in zip(ends, sizes, strict=True)]
    starts = [group for group in range(len(sizes)) if group == 0 or part[group] != part[group - 1]] or [0]
    for start, stop in pairwise([*starts, len(sizes)]):
        yield start, -1 if len(starts) == 1 else stop, sum(sizes[start:stop])


class ParquetReader:
    """Documents of a range of row groups; `offset` is the row's number in the file."""

    def __init__(self, split: Split, source: Input, reading: Reading) -> None:
        self.skipped: dict[str, int] = {}
        self.bytes_read = 0
        self._split = split
        self._source = source
        self._reading = reading

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with open_binary(self._split.url) as file:
            try:
                parquet = pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False)
            except UNREADABLE as error:
                _check_transport(error)
                file.seek(0)
                begun = file.read(len(MAGIC)) == MAGIC
                file.seek(max(file.seek(0, 2) - len(MAGIC), 0))
                cut = begun and file.read(len(MAGIC)) != MAGIC
                yield from self._error(0, "read.truncated" if cut else "read.damaged")
                return
            yield from self._groups(parquet)

    def _groups(self, parquet: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
        _check_origin(self._split.url, parquet.schema_arrow, self._source)
        metadata = parquet.metadata
        stop = metadata.num_row_groups if self._split.stop < 0 else self._split.stop
        row = sum(metadata.row_group(group).num_rows for group in range(self._split.start))
        if not has_text(parquet.schema_arrow, self._source.fields):
            yield from self._error(row, "read.schema")
            return
        columns = needed_columns(parquet.schema_arrow, self._source.fields)
        for group in range(self._split.start, stop):
            rows = metadata.row_group(group).num_rows
            yield from self._group(parquet, group, columns, row)
            row += rows

    def _group(self, parquet: pq.ParquetFile, group: int, columns: list[str], row: int) -> Iterator[pa.RecordBatch]:
        metadata = parquet.metadata.row_group(group)
        wanted = [metadata.column(at) for at in range(metadata.num_columns)]
        wanted = [column for column in wanted if _is_below(column.path_in_schema, columns)]
        size = sum(column.total_uncompressed_size for column in wanted)
        # Uncompressed bytes a row, from the metadata, bound a batch before it is read.
        rows = max(1, min(self._reading.batch_rows, self._reading.batch_bytes * metadata.num_rows // max(1, size)))
        batches = parquet.iter_batches(rows, [group], columns, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except UNREADABLE as error:
                _check_transport(error)
                yield from self._error(row, "read.damaged")
                break
            if batch is None:
                break
            table = pa.Table.from_batches([batch])
            yield from to_records(table, row, self._source, self._split.file, self._reading)
            row += batch.num_rows
        self.bytes_read += sum(column.total_compressed_size for column in wanted)

    def _error(self, row: int, reason: str) -> Iterator[pa.RecordBatch]:
        return record_batches([Row(row, error=reason)], self._source.name, self._split.file, self._reading)


def _is_below(path: str, columns: list[str]) -> bool:
    return any(path == column or path.startswith(f"{column}.") for column in columns)


def _check_transport(error: BaseException) -> None:
    """Raise what a disk or a network reported: another attempt may read the file."""
    if isinstance(error, TimeoutError | ConnectionError) or (isinstance(error, OSError) and error.errno is not None):
        raise error
