"""Quality, harms and prosocial dimensions of each document, by one model or a cascade of two.

Adds `quality`, `harm`, `prosocial` and `scored_by`, which names the part of the model that had the last word. Rows
that failed, hold no token or are in a language that no model covers get null for all four: absent, never zero.

In languages that the model does not cover, harm models give what they know: some leaves of `harm` (toxic, as a rank),
and null for the others, for `quality` and for `prosocial`. So charters do not judge these documents, and the harm
floor of the recipe does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...classifiers.harm_model import HarmModel, check_harm_models, load_harm_model, load_scorer
from ...classifiers.student import Classifier, Scores, stated_digest
from ...schemas.arrays import replace_column
from ...schemas.document import HARM, PROSOCIAL_SCORES
from ...schemas.recipe import ClassifyOptions
from ...schemas.taxonomy import HARMS

if TYPE_CHECKING:
    from ...classifiers.cascade import Cascade

__all__ = ["Classify"]

Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class _Ranked:
    """Rows that a harm model has scored."""

    model: HarmModel
    rows: np.ndarray[Any, np.dtype[np.int64]]  # those that hold a token
    toxic: np.ndarray[Any, np.dtype[np.float32]]  # (rows, harms)

    def of(self, harm: str) -> np.ndarray[Any, np.dtype[np.float32]] | None:
        """The ranks of a harm, (rows,); None where the model does not know it."""
        return self.toxic[:, HARMS.index(harm)] if f"{harm}>=2" in self.model.known else None


class Classify:
    """The stage `classify`; `setup` loads the models."""

    name = "classify"
    version = "classify.v4"

    def __init__(self, options: ClassifyOptions) -> None:
        self.options = options
        self._classifier: Classifier | Cascade | None = None
        self._harm_models: tuple[HarmModel, ...] | None = None

    @property
    def classifier(self) -> "Classifier | Cascade":
        """The model, loaded on first use."""
        if self._classifier is None:
            check_harm_models(self.options.model, self.options.harm)
            self._classifier = load_scorer(self.options.model)
        return self._classifier

    @property
    def harm_models(self) -> tuple[HarmModel, ...]:
        """The harm models for other languages, loaded on first use."""
        if self._harm_models is None:
            self._harm_models = tuple(load_harm_model(name) for name in self.options.harm)
        return self._harm_models

    def setup(self) -> None:
        """Load the models, an encoder if one has it, and compile their kernels."""
        for model in (self.classifier, *self.harm_models):
            model.prepare()

    def identity(self) -> dict[str, str]:
        """Version, options and the models' digests."""
        harm = check_harm_models(self.options.model, self.options.harm)
        digest = stated_digest(self.options.model) if self._classifier is None else self._classifier.digest
        return {
            "version": self.version,
            "options": self.options.model_dump_json(),
            "model": digest,
            "harm": " ".join(harm),
        }

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the four score columns."""
        classifier = self.classifier
        chosen = _rows(batch, classifier.languages)
        scores = classifier.score(_texts(batch, chosen))
        absent = np.ones(batch.num_rows, np.bool_)
        absent[chosen] = ~scores.valid
        ranked = self._ranked(batch) if len(chosen) < batch.num_rows else []
        for column, values in {
            **_columns(scores, chosen, absent, ranked),
            "scored_by": _scored_by(classifier, scores, chosen, absent, ranked),
        }.items():
            batch = replace_column(batch, column, values)
        return batch

    def _ranked(self, batch: pa.RecordBatch) -> list[_Ranked]:
        found = []
        for model in self.harm_models:
            rows = _rows(batch, [language for language in model.languages if language not in self.classifier.languages])
            if len(rows):
                scores = model.score(_texts(batch, rows))
                found.append(_Ranked(model, rows[scores.valid], scores.toxic[scores.valid]))
        return found


def _rows(batch: pa.RecordBatch, languages: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The documents in these languages."""
    covered = pc.is_in(batch["language"], value_set=pa.array(languages, pa.string()))
    return np.flatnonzero(pc.and_(covered, pc.is_null(batch["error"])).to_numpy(zero_copy_only=False))


def _texts(batch: pa.RecordBatch, rows: np.ndarray[Any, Any]) -> pa.StringArray:
    return batch["text"] if len(rows) == batch.num_rows else batch["text"].take(pa.array(rows))


def _scored_by(
    classifier: "Classifier | Cascade",
    scores: Scores,
    chosen: np.ndarray[Any, Any],
    absent: Mask,
    ranked: Sequence[_Ranked],
) -> pa.Array:
    """Name and digest of what scored each row: of a cascade its student, where the encoder did not read the row."""
    names = [f"{classifier.name}@{classifier.digest[:8]}"]
    index = np.zeros(len(absent), np.int32)
    if not isinstance(classifier, Classifier):
        names.append(f"{classifier.student.name}@{classifier.student.digest[:8]}")
        index[chosen] = 1 if scores.seen is None else ~scores.seen
    nobody = absent.copy()
    for item in ranked:
        index[item.rows], nobody[item.rows] = len(names), False
        names.append(f"{item.model.name}@{item.model.digest[:8]}")
    return pa.array(names, pa.string()).take(pa.array(index, mask=nobody))


def _columns(
    scores: Scores, chosen: np.ndarray[Any, Any], absent: Mask, ranked: Sequence[_Ranked]
) -> dict[str, pa.Array]:
    null, unread = pa.array(absent), absent.copy()
    for item in ranked:
        unread[item.rows] = False

    def column(values: np.ndarray[Any, Any]) -> pa.Array:
        spread = np.zeros(len(absent), np.float32)
        spread[chosen] = values
        return pa.array(spread, mask=absent)

    def toxic(name: str, values: np.ndarray[Any, Any]) -> pa.Array:
        known = [(item.rows, of) for item in ranked if (of := item.of(name)) is not None]
        if not known:
            return column(values)
        spread, missing = np.zeros(len(absent), np.float32), absent.copy()
        spread[chosen] = values
        for rows, of in known:
            spread[rows], missing[rows] = of, False
        return pa.array(spread, mask=missing)

    harms = [
        pa.StructArray.from_arrays(
            [column(scores.topical[:, index]), toxic(name, scores.toxic[:, index])],
            fields=list(HARM.field(name).type),
            mask=pa.array(unread),
        )
        for index, name in enumerate(HARMS)
    ]
    dimensions = [column(scores.prosocial[:, index]) for index in range(scores.prosocial.shape[1])]
    return {
        "quality": column(scores.quality),
        "harm": pa.StructArray.from_arrays(harms, fields=list(HARM), mask=pa.array(unread)),
        "prosocial": pa.StructArray.from_arrays(dimensions, fields=list(PROSOCIAL_SCORES), mask=null),
    }
