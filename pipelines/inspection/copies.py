"""A corpus for trainers that cannot weigh: every document stands in it as often as it repeats.

Copies are spread, never side by side. Copy k of r lies at

    (k + v_k / 2) / r + u   modulo 1,   u = hash(seed, "export", id), v_k = hash(seed, "export.k", id) in [0, 1)

of the corpus: every copy alone is uniform, so the corpus is shuffled; two copies of one document are at least
1 / 2r of the corpus apart; and two documents that meet once need not meet again. As with scored documents,
sorted runs and range reads keep memory bounded by a shard, and nothing depends on how the shards were cut.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.document import SHARD
from ...schemas.hashing import hash64, id_words, uniform
from ..runs import KeyRange, RunSet, sort_by_key, write_parquet
from ..storage import Folder
from .glance import TableFile

__all__ = ["COPY", "spread_copies", "with_copies"]

_WEIGHTS = ("key", "weight", "repeats", "contributions")  # nobody shall weigh a second time
_COLUMNS = [name for name in SHARD.names if name not in _WEIGHTS]
COPY = pa.schema(
    [*(SHARD.field(name) for name in _COLUMNS), pa.field("copy", pa.int32(), nullable=False)]  # from 0
)
_RUN = pa.schema([SHARD.field("key"), *COPY])  # key: the place in the corpus
ROWS_AT_ONCE = 1024
RUN_BYTES = 64 << 20


def with_copies(table: pa.Table, seed: int) -> pa.Table:
    """Rows of shards → one row for each copy, with its place as `key`; columns of COPY and `key`."""
    repeats = table["repeats"].to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(table.num_rows), repeats)
    copy = np.arange(len(rows)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    taken = table.select(_COLUMNS).take(pa.array(rows))
    high, low = id_words(taken["id"])
    place = _places(high, low, copy, repeats[rows], seed)
    columns = {"key": pa.array(place), **{name: taken[name] for name in _COLUMNS}, "copy": pa.array(copy, pa.int32())}
    return pa.table(columns).cast(_RUN)


def _places(high: Any, low: Any, copy: Any, repeats: Any, seed: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    own = uniform(hash64(seed, "export", high, low))
    jitter = np.zeros(len(copy))
    for number in np.unique(copy):
        chosen = copy == number
        jitter[chosen] = uniform(hash64(seed, f"export.{number}", high[chosen], low[chosen]))
    place = (copy + jitter / 2) / np.maximum(repeats, 1) + own
    return ((place % 1.0) * 2.0**53).astype(np.uint64) << np.uint64(11)


def spread_copies(
    files: list[TableFile], seed: int, shard_bytes: int, scratch: Folder
) -> Iterator[tuple[int, int, pa.Table]]:
    """Yields (index, count, table with the columns of COPY) for each shard of the spread corpus, in order.

    `scratch` takes sorted runs, as large as the whole corpus with its copies.
    """
    names, size = _write_runs(files, seed, scratch)
    runs = RunSet(scratch, names, _RUN)
    count = max(1, math.ceil(size / shard_bytes))
    last = ""
    for index in range(count):
        table = sort_by_key(runs.scan(KeyRange.part(index, count), _RUN.names))
        table = _separated(table, last).select(COPY.names).cast(COPY)
        last = table["id"][-1].as_py() if table.num_rows else last
        yield index, count, table


def _write_runs(files: list[TableFile], seed: int, scratch: Folder) -> tuple[list[str], int]:
    names: list[str] = []
    total = waiting_bytes = 0
    waiting: list[pa.Table] = []

    def flush() -> None:
        if waiting:
            name = f"copies-{len(names):05d}.parquet"
            table = sort_by_key(pa.concat_tables(waiting))
            sizes = pc.binary_length(table["text"]).to_numpy().astype(np.int64) + 256
            write_parquet(scratch, name, table, row_group_bytes=RUN_BYTES // 32, sizes=sizes)
            names.append(name)
            waiting.clear()

    for file in files:
        with file.folder.open_parquet(file.name) as parquet:
            for batch in parquet.iter_batches(ROWS_AT_ONCE, columns=[*_COLUMNS, "repeats"]):
                table = with_copies(pa.Table.from_batches([batch]), seed)
                size = pc.sum(pc.binary_length(table["text"])).as_py() or 0
                total += size
                waiting_bytes += size
                waiting.append(table)
                if waiting_bytes >= RUN_BYTES:
                    flush()
                    waiting_bytes = 0
    flush()
    return names, total


def _separated(table: pa.Table, last: str) -> pa.Table:
    """The rows with none beside another of its document (nor first after `last`), as far as others remain.

    Places keep copies apart already; only a corpus of a few documents needs this.
    """
    ids = [last, *table["id"].to_pylist()]
    if not any(one == other for one, other in itertools.pairwise(ids)):
        return table
    order = list(range(table.num_rows))
    for place in range(len(order)):
        before = ids[order[place - 1] + 1] if place else last
        if ids[order[place] + 1] == before:
            other = next((later for later in range(place + 1, len(order)) if ids[order[later] + 1] != before), None)
            if other is not None:
                order.insert(place, order.pop(other))
    return table.take(pa.array(order))
