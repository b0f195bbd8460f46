"""The columns of tables of which a run has no file, as SQL.

Apart from `views`, since most runs have a file of every kind, and Arrow's schemas take long to import.
"""

import pyarrow as pa

from ...schemas.document import REJECT, SCORED, SHARD, TIMESTAMP, WEIGHT

__all__ = ["typed_columns"]

_SCHEMAS = {"documents": SHARD, "rejects": REJECT, "scores": SCORED, "weights": WEIGHT}
_TYPES = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
}


def typed_columns(kind: str) -> dict[str, str]:
    """Column → DuckDB's name of its type."""
    return {field.name: _type(field.type) for field in _SCHEMAS[kind]}


def _type(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        return "STRUCT(" + ", ".join(f'"{field.name}" {_type(field.type)}' for field in kind) + ")"
    if pa.types.is_list(kind):
        return f"{_type(kind.value_type)}[]"
    return _TYPES[kind]
