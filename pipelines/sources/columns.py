"""Tables to record batches: the fields of a recipe by Arrow kernels, for Parquet and Hugging Face data."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.document import PROVENANCE, RECORD, TIMESTAMP
from ...schemas.errors import InputError
from ...schemas.recipe import Fields, Input, Reading
from .batches import milliseconds

__all__ = ["check_columns", "needed_columns", "to_records"]

FIELD_NAMES = ("id", "title", "url", "created", "license", "group")
REPLACED = "encoding.replaced"


def text_paths(fields: Fields) -> list[str]:
    """The recipe's names of text columns, as a list."""
    return [fields.text] if isinstance(fields.text, str) else fields.text


def needed_columns(schema: pa.Schema, fields: Fields) -> list[str]:
    """The columns to read, nested ones by their dotted path; those that the schema lacks are left out."""
    paths = [*text_paths(fields), *(path for name in FIELD_NAMES if (path := getattr(fields, name)) is not None)]
    return [path for path in dict.fromkeys(paths) if _type_at(schema, path) is not None]


def has_text(schema: pa.Schema, fields: Fields) -> bool:
    """Whether one of the text columns is there and holds strings."""
    return any((kind := _type_at(schema, path)) is not None and _is_text(kind) for path in text_paths(fields))


def check_columns(place: str, schema: pa.Schema, source: Input) -> None:
    """InputError with the columns that there are, where no text column is among them or it holds no strings."""
    if has_text(schema, source.fields):
        return
    wanted = text_paths(source.fields)
    columns = _paths(schema)
    strings = [path for path in columns if (kind := _type_at(schema, path)) is not None and _is_text(kind)]
    near = get_close_matches(wanted[0], strings or columns, 1, 0.5)
    remedy = f"; did you mean {near[0]!r}?" if near else ""
    problem = "holds no strings" if any(path in columns for path in wanted) else "is not there"
    raise InputError(
        f"{place}: text column {' or '.join(map(repr, wanted))} of input {source.name!r} {problem}{remedy} "
        f"Set `fields.text` to one of: {', '.join(strings or columns)}"
    )


def to_records(table: pa.Table, first: int, source: Input, file: str, reading: Reading) -> Iterator[pa.RecordBatch]:
    """A table's rows as batches of RECORD, bounded in rows and bytes; `first` is the global number of row 0."""
    if table.num_rows == 0:
        return
    columns = {name: path for name in FIELD_NAMES if (path := getattr(source.fields, name)) is not None}
    text, flags, error = _texts(table, source.fields, reading.max_document_bytes)
    rows = table.num_rows
    license = _strings(table, columns.get("license"))
    offsets = pa.array(np.arange(first, first + rows, dtype=np.int64))
    values = {
        "source": pa.repeat(pa.scalar(source.name, pa.string()), rows),
        "source_id": _strings(table, columns.get("id")),
        "provenance": pa.StructArray.from_arrays(
            [pa.repeat(pa.scalar(file, pa.string()), rows), offsets], fields=list(PROVENANCE)
        ),
        "text": text,
        "title": _strings(table, columns.get("title")),
        "url": _strings(table, columns.get("url")),
        "group": _strings(table, columns.get("group")),
        "created": _moments(table, columns.get("created")),
        "language_hint": pa.nulls(rows, pa.string()),
        "license": license if source.license is None else pc.fill_null(license, source.license),
        "flags": flags,
        "error": error,
    }
    batch = pa.RecordBatch.from_arrays([values[field.name] for field in RECORD], schema=RECORD)
    yield from _bounded(batch, reading)


def _bounded(batch: pa.RecordBatch, reading: Reading) -> Iterator[pa.RecordBatch]:
    ends = np.cumsum(np.asarray(pc.binary_length(batch["text"])), dtype=np.int64)
    start = 0
    while start < batch.num_rows:
        before = ends[start - 1] if start else 0
        fits = int(np.searchsorted(ends, before + reading.batch_bytes, side="right"))
        stop = min(max(fits, start + 1), start + reading.batch_rows, batch.num_rows)
        yield batch.slice(start, stop - start)
        start = stop


def _texts(table: pa.Table, fields: Fields, limit: int) -> tuple[pa.Array, pa.Array, pa.Array]:
    """(text, flags, error) of a table's rows."""
    present = [path for path in text_paths(fields) if (kind := _type_at(table.schema, path)) and _is_text(kind)]
    parts, lost = zip(*(_decoded(_column(table, path)) for path in present), strict=True)
    missing = parts[0].is_null()
    for part in parts[1:]:
        missing = pc.and_(missing, part.is_null())
    # No null may reach binary_join_element_wise: with null_handling="skip" pyarrow 25 drops such rows.
    text = _unless_blank(parts[0])
    for part in map(_unless_blank, parts[1:]):
        both = pc.and_(pc.not_equal(text, ""), pc.not_equal(part, ""))
        text = pc.binary_join_element_wise(text, pc.if_else(both, "\n\n", ""), part, "")
    empty = pc.equal(pc.binary_length(text), 0)
    large = pc.greater(pc.binary_length(text), limit)
    error = pc.case_when(
        pc.make_struct(missing, empty, large, field_names=["missing", "empty", "large"]),
        "read.no_text",
        "read.empty",
        "read.too_large",
    )
    text = pc.if_else(large, "", text)
    counts = np.logical_or.reduce([np.asarray(part, dtype=bool) for part in lost])
    list_ends = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    flags = pa.ListArray.from_arrays(list_ends, pa.repeat(pa.scalar(REPLACED), int(list_ends[-1])))
    return text, flags, error.cast(pa.string())


def _unless_blank(part: pa.Array) -> pa.Array:
    part = pc.fill_null(part, "")
    return pc.if_else(pc.match_substring_regex(part, r"\S"), part, "")


def _decoded(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """A column as valid strings, and which rows lost characters. Parquet's strings may be any bytes."""
    try:
        text = column.cast(pa.string())
        text.validate(full=True)
        return text, np.zeros(len(text), dtype=bool)
    except pa.ArrowInvalid:
        values = column.cast(pa.binary()).to_pylist()
    decoded = [None if value is None else value.decode(errors="replace") for value in values]
    lost = [text is not None and text.encode() != value for value, text in zip(values, decoded, strict=True)]
    return pa.array(decoded, pa.string()), np.array(lost, dtype=bool)


def _strings(table: pa.Table, path: str | None) -> pa.Array:
    """A column as strings; null where it is missing, empty or holds neither text nor numbers."""
    kind = None if path is None else _type_at(table.schema, path)
    if path is None or kind is None or not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return pa.nulls(table.num_rows, pa.string())
    text = _decoded(_column(table, path))[0]
    return pc.if_else(pc.equal(text, ""), None, text)


def _moments(table: pa.Table, path: str | None) -> pa.Array:
    """A column as timestamps: timestamps and dates as they are, numbers as seconds since 1970, text by ISO 8601."""
    kind = None if path is None else _type_at(table.schema, path)
    if path is None or kind is None:
        return pa.nulls(table.num_rows, TIMESTAMP)
    column = _column(table, path)
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("ms")), pa.timestamp("ms")
    if pa.types.is_timestamp(kind):
        utc = column if kind.tz is not None else pc.assume_timezone(column, "UTC")
        return utc.cast(TIMESTAMP, safe=False)
    if _is_text(kind):
        return pa.array(map(milliseconds, _decoded(column)[0].to_pylist()), TIMESTAMP)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return pa.array(map(milliseconds, column.to_pylist()), TIMESTAMP)
    return pa.nulls(table.num_rows, TIMESTAMP)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
        )
    )


def _type_at(schema: pa.Schema, path: str) -> pa.DataType | None:
    """The type of a column, or of a struct's field by a dotted path; None where there is none."""
    if schema.get_field_index(path) >= 0:
        return schema.field(path).type
    name, *rest = path.split(".")
    if schema.get_field_index(name) < 0:
        return None
    kind = schema.field(name).type
    for part in rest:
        if not pa.types.is_struct(kind) or kind.get_field_index(part) < 0:
            return None
        kind = kind.field(part).type
    return kind


def _column(table: pa.Table, path: str) -> pa.Array:
    if table.schema.get_field_index(path) >= 0:
        column = table[path]
    else:
        name, *rest = path.split(".")
        column = pc.struct_field(table[name], rest)
    combined = column.combine_chunks()
    array = pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _paths(schema: pa.Schema) -> Sequence[str]:
    paths: list[str] = []
    for field in schema:
        if pa.types.is_struct(field.type):
            paths += [f"{field.name}.{inner.name}" for inner in field.type]
        else:
            paths.append(field.name)
    return paths
