"""NumPy views of Arrow strings, and Arrow strings from NumPy buffers, without a copy.

Numerical kernels (numba) read a column as one byte buffer and one offsets array; these are the only
functions that know Arrow's layout.
"""

from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["append_flag", "replace_column", "string_array", "string_buffers", "with_flag"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Offsets = np.ndarray[Any, np.dtype[np.int32]]


def string_buffers(array: pa.StringArray | pa.BinaryArray) -> tuple[Bytes, Offsets]:
    """`(data, offsets)` of a string or binary array: UTF-8 bytes and int32 offsets of shape (rows + 1,).

    Row i is `data[offsets[i]:offsets[i + 1]]`, also for sliced arrays, whose offsets need not start at
    0. A null row is any span, usually an empty one: ask the array for its nulls. Both views are
    read-only whatever the buffers are, so that a compiled kernel sees one type.
    """
    _, offsets, data = array.buffers()
    views = np.zeros(1, np.int32)
    if len(array):
        views = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    payload = np.frombuffer(data, dtype=np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    payload.flags.writeable = views.flags.writeable = False
    return payload, views


def string_array(data: Bytes, offsets: Offsets) -> pa.StringArray:
    """A string array over `data` (valid UTF-8) cut at `offsets`, shape (rows + 1,)."""
    return pa.StringArray.from_buffers(
        len(offsets) - 1,
        pa.py_buffer(np.ascontiguousarray(offsets, np.int32)),
        pa.py_buffer(np.ascontiguousarray(data)),
    )


def replace_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    """The batch with column `name` set to `values`, added at the end where it was missing."""
    index = batch.schema.get_field_index(name)
    if index < 0:
        return batch.append_column(name, values)
    return batch.set_column(index, batch.schema.field(index).with_type(values.type), values)


def append_flag(batch: pa.RecordBatch, mask: np.ndarray[Any, np.dtype[np.bool_]], flag: str) -> pa.RecordBatch:
    """The batch with `flag` appended to the `flags` list of every row in `mask`, shape (rows,)."""
    return replace_column(batch, "flags", with_flag(batch["flags"], mask, flag)) if mask.any() else batch


def with_flag(flags: pa.ListArray, mask: np.ndarray[Any, np.dtype[np.bool_]], flag: str) -> pa.ListArray:
    """Lists with `flag` appended, after the old values, to those in `mask`, shape (rows,)."""
    if not mask.any():
        return flags
    offsets = flags.offsets.to_numpy()
    ends = offsets[1:][mask] - offsets[0]
    sources = np.insert(np.arange(offsets[0], offsets[-1]), ends, len(flags.values))
    values = pa.concat_arrays([flags.values, pa.array([flag], pa.string())]).take(pa.array(sources))
    moved = offsets - offsets[0] + np.concatenate([[0], np.cumsum(mask)])
    return pa.ListArray.from_arrays(pa.array(moved, pa.int32()), values).cast(flags.type)
