"""Quality, harms and prosocial dimensions of each document, by one model or a cascade of two.

Adds `quality`, `harm`, `prosocial` and `scored_by`, which names the part of the model that had the last word. Rows
that failed, hold no token or are in a language that the model does not cover get null for all four: absent, never
zero.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...classifiers.student import Classifier, Scores, load, stated_digest
from ...schemas.arrays import replace_column
from ...schemas.document import HARM, PROSOCIAL_SCORES
from ...schemas.recipe import ClassifyOptions
from ...schemas.taxonomy import HARMS

if TYPE_CHECKING:
    from ...classifiers.cascade import Cascade

__all__ = ["Classify"]

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Classify:
    """The stage `classify`; `setup` loads the model."""

    name = "classify"
    version = "classify.v3"

    def __init__(self, options: ClassifyOptions) -> None:
        self.options = options
        self._classifier: Classifier | Cascade | None = None

    @property
    def classifier(self) -> "Classifier | Cascade":
        """The model, loaded on first use."""
        if self._classifier is None:
            self._classifier = load(self.options.model)
        return self._classifier

    def setup(self) -> None:
        """Load the model, an encoder if it has one, and compile its kernels."""
        self.classifier.prepare()

    def identity(self) -> dict[str, str]:
        """Version, options and the model's digest."""
        digest = stated_digest(self.options.model) if self._classifier is None else self._classifier.digest
        return {"version": self.version, "options": self.options.model_dump_json(), "model": digest}

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the four score columns."""
        classifier = self.classifier
        covered = pc.is_in(batch["language"], value_set=pa.array(classifier.languages, pa.string()))
        wanted = pc.and_(covered, pc.is_null(batch["error"]))
        chosen = np.flatnonzero(wanted.to_numpy(zero_copy_only=False))
        texts = batch["text"]
        scores = classifier.score(texts if len(chosen) == len(texts) else texts.take(pa.array(chosen)))
        absent = np.ones(batch.num_rows, np.bool_)
        absent[chosen] = ~scores.valid
        for column, values in {
            **_columns(scores, chosen, absent),
            "scored_by": _scored_by(classifier, scores, chosen, absent),
        }.items():
            batch = replace_column(batch, column, values)
        return batch


def _scored_by(
    classifier: "Classifier | Cascade", scores: Scores, chosen: np.ndarray[Any, Any], absent: Mask
) -> pa.Array:
    """Name and digest of what scored each row: of a cascade its student, where the encoder did not read the row."""
    names = [f"{classifier.name}@{classifier.digest[:8]}"]
    index = np.zeros(len(absent), np.int32)
    if not isinstance(classifier, Classifier):
        names.append(f"{classifier.student.name}@{classifier.student.digest[:8]}")
        index[chosen] = 1 if scores.seen is None else ~scores.seen
    return pa.array(names, pa.string()).take(pa.array(index, mask=absent))


def _columns(scores: Scores, chosen: np.ndarray[Any, Any], absent: Mask) -> dict[str, pa.Array]:
    null = pa.array(absent)

    def column(values: np.ndarray[Any, Any]) -> pa.Array:
        spread = np.zeros(len(absent), np.float32)
        spread[chosen] = values
        return pa.array(spread, mask=absent)

    harms = [
        pa.StructArray.from_arrays(
            [column(scores.topical[:, index]), column(scores.toxic[:, index])],
            fields=list(HARM.field(name).type),
            mask=null,
        )
        for index, name in enumerate(HARMS)
    ]
    dimensions = [column(scores.prosocial[:, index]) for index in range(scores.prosocial.shape[1])]
    return {
        "quality": column(scores.quality),
        "harm": pa.StructArray.from_arrays(harms, fields=list(HARM), mask=null),
        "prosocial": pa.StructArray.from_arrays(dimensions, fields=list(PROSOCIAL_SCORES), mask=null),
    }
