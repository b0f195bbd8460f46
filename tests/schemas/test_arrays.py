from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from florilegium.schemas.arrays import append_flag, replace_column, string_array, string_buffers, with_flag
from hypothesis import given
from hypothesis import strategies as st


def rows_of(array: pa.StringArray) -> list[str]:
    data, offsets = string_buffers(array)
    return [data[start:end].tobytes().decode() for start, end in pairwise(offsets)]


@given(st.lists(st.text(max_size=8), max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_buffers_show_the_rows_of_any_slice(values: list[str], start: int, length: int) -> None:
    array = pa.array(values, pa.string()).slice(min(start, len(values)), length)
    assert rows_of(array) == array.to_pylist()


@pytest.mark.parametrize("array", [pa.array([], pa.string()), pa.array(["a", "b"])[2:], pa.nulls(0, pa.string())])
def test_an_empty_array_has_one_offset(array: pa.StringArray) -> None:
    _, offsets = string_buffers(array)
    assert len(offsets) == 1


def test_views_are_read_only_whatever_the_buffers_are() -> None:
    data, offsets = string_buffers(string_array(np.frombuffer(b"ab", np.uint8).copy(), np.array([0, 1, 2], np.int32)))
    assert not data.flags.writeable
    assert not offsets.flags.writeable


def test_null_rows_keep_their_place() -> None:
    assert rows_of(pa.array(["a", None, "b"])) == ["a", "", "b"]


@given(st.lists(st.text(max_size=8), max_size=8))
def test_arrays_come_back_from_their_buffers(values: list[str]) -> None:
    array = string_array(*string_buffers(pa.array(values, pa.string())))
    array.validate(full=True)
    assert array.to_pylist() == values


def test_replace_column_sets_in_place_or_appends() -> None:
    batch = pa.RecordBatch.from_pydict({"a": [1], "b": [2]})
    assert replace_column(batch, "a", pa.array(["x"])).to_pydict() == {"a": ["x"], "b": [2]}
    assert replace_column(batch, "c", pa.array([3])).to_pydict() == {"a": [1], "b": [2], "c": [3]}


@given(
    st.lists(st.tuples(st.lists(st.sampled_from(["p", "q"]), max_size=3), st.booleans()), max_size=8), st.integers(0, 8)
)
def test_flags_are_appended_to_the_masked_rows_only(rows: list[tuple[list[str], bool]], start: int) -> None:
    flags = pa.array([old for old, _ in rows], pa.list_(pa.string())).slice(min(start, len(rows)))
    mask = np.array([add for _, add in rows[start:]], np.bool_)
    expected = [[*old, "new"] if add else old for old, add in rows[start:]]
    result = with_flag(flags, mask, "new")
    result.validate(full=True)
    assert result.to_pylist() == expected
    assert append_flag(pa.RecordBatch.from_arrays([flags], ["flags"]), mask, "new")["flags"].to_pylist() == expected
