"""Exact duplicates: documents of one id are one document; the best row of them stays.

The keeper among twins is by quality (thousandths, higher first), then hash of the raw text, then
source, file and offset, so it is the same whatever order they were read in.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.document import to_thousandths
from ..schemas.hashing import id_words

__all__ = ["DEDUP_VERSION", "KEEPER_COLUMNS", "exact_duplicates"]

DEDUP_VERSION = "exact.v1"
KEEPER_COLUMNS = ("id", "quality", "raw_hash", "source", "provenance")


def exact_duplicates(
    table: pa.Table, eligible: np.ndarray[Any, np.dtype[np.bool_]]
) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], np.ndarray[Any, np.dtype[np.int32]]]:
    """`(is_duplicate, cluster_size)`, both of shape (rows,), over the columns KEEPER_COLUMNS.

    Only `eligible` rows stand as twins; the others are no duplicates and have cluster size 1. A
    keeper's cluster size counts itself; its duplicates carry the same number.
    """
    rows = table.num_rows
    is_duplicate, cluster_size = np.zeros(rows, bool), np.ones(rows, np.int32)
    high, low = id_words(table["id"])
    index = np.flatnonzero(eligible)
    index = index[np.lexsort((low[index], high[index]))]
    starts = np.ones(len(index), bool)
    starts[1:] = (high[index[1:]] != high[index[:-1]]) | (low[index[1:]] != low[index[:-1]])
    group = np.cumsum(starts) - 1
    sizes = np.bincount(group)
    twins = sizes[group] > 1 if len(group) else np.zeros(0, bool)
    if not twins.any():
        return is_duplicate, cluster_size
    index, group = index[twins], group[twins]
    part = table.select(list(KEEPER_COLUMNS)).take(pa.array(index))
    order = np.lexsort(
        (
            pc.struct_field(part["provenance"], "offset").to_numpy(),
            _ranks(pc.struct_field(part["provenance"], "file")),
            _ranks(part["source"]),
            part["raw_hash"].to_numpy(),
            -to_thousandths(part["quality"].to_numpy(zero_copy_only=False)),
            group,
        )
    )
    index, group = index[order], group[order]
    is_duplicate[index[1:]] = group[1:] == group[:-1]
    cluster_size[index] = sizes[group]
    return is_duplicate, cluster_size


def _ranks(strings: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Each string's place in the sorted list of distinct ones."""
    _distinct, inverse = np.unique(np.array(strings.to_pylist(), dtype=object).astype(str), return_inverse=True)
    return inverse.reshape(-1)
