"""Scores as an Arrow table, for those who want columns and not arrays."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ..schemas.document import HARM, PROSOCIAL_SCORES
from ..schemas.taxonomy import HARMS
from .student import Scores

__all__ = ["SCORES", "scores_table"]

SCORES = pa.schema([pa.field("quality", pa.float32()), pa.field("harm", HARM), pa.field("prosocial", PROSOCIAL_SCORES)])


def scores_table(scores: Scores) -> pa.Table:
    """One row a text: `quality`, `harm` and `prosocial` as in a shard, null where the text holds no token."""
    absent = pa.array(~scores.valid)

    def column(values: np.ndarray) -> pa.Array:
        return pa.array(np.ascontiguousarray(values), mask=~scores.valid)

    def struct(parts: Sequence[pa.Array], type_: pa.StructType) -> pa.StructArray:
        return pa.StructArray.from_arrays(parts, fields=list(type_), mask=absent)

    harms = [
        struct([column(scores.topical[:, place]), column(scores.toxic[:, place])], HARM.field(name).type)
        for place, name in enumerate(HARMS)
    ]
    dimensions = [column(values) for values in scores.prosocial.T]
    return pa.table([column(scores.quality), struct(harms, HARM), struct(dimensions, PROSOCIAL_SCORES)], schema=SCORES)
