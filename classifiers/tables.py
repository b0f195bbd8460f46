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
    """One row a text: `quality`, `harm` and `prosocial` as in a shard, null where the text holds no token.

    Null, too, is what a harm model does not know.
    """
    absent, nothing = pa.array(~scores.valid), np.ones(len(scores.valid), np.bool_)
    everything = scores.known is None

    def column(values: np.ndarray, known: bool = everything) -> pa.Array:
        return pa.array(np.ascontiguousarray(values), mask=~scores.valid if known else nothing)

    def struct(parts: Sequence[pa.Array], type_: pa.StructType) -> pa.StructArray:
        return pa.StructArray.from_arrays(parts, fields=list(type_), mask=absent)

    harms = [
        struct(
            [
                column(scores.topical[:, place]),
                column(scores.toxic[:, place], everything or f"{name}>=2" in (scores.known or ())),
            ],
            HARM.field(name).type,
        )
        for place, name in enumerate(HARMS)
    ]
    dimensions = [column(values) for values in scores.prosocial.T]
    prosocial = struct(dimensions, PROSOCIAL_SCORES) if everything else pa.nulls(len(absent), PROSOCIAL_SCORES)
    return pa.table([column(scores.quality), struct(harms, HARM), prosocial], schema=SCORES)
