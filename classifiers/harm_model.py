"""Harms in a language that no annotated documents cover, learned from public sets: ranks, and nothing else.

A model of `kind` harm is a folder as any other: `model.ftz`, `model.json`, `README.md`. It gives "toxic" for the harms
that its sets know, in its languages; topical, quality and the prosocial dimensions stay unknown. What it gives is
**a rank, not a probability**: a logistic function of the logit that is steep as on the set's own rows, and set so low
that ordinary documents seldom reach the floors of recipes (train_harm.py says how seldom).

Texts are read as the model's `units` (units.py), window by window, and the worst window counts, as for every harm.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..schemas.arrays import string_buffers
from ..schemas.document import to_grid
from ..schemas.errors import ModelError
from ..schemas.taxonomy import HARMS, PROSOCIAL
from .fasttext_file import FastTextModel, parse, window_logits
from .student import Classifier, Model, Scores, Texts, as_strings, load, read_header
from .units import Units, read_lines

if TYPE_CHECKING:
    from .cascade import Cascade

__all__ = [
    "HarmModel",
    "check_harm_models",
    "harm_of",
    "load_harm",
    "load_harm_model",
    "load_scorer",
    "ranks",
    "worst_windows",
]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

MOST_BYTES = 16 << 20  # of text at a time: lines of parts are several times as long
LIMIT = 30.0


@dataclass(frozen=True)
class HarmModel(Model):
    """A loaded harm model."""

    window: int
    units: Units
    model: FastTextModel
    slopes: Floats  # (labels,)
    intercepts: Floats

    @property
    def known(self) -> tuple[str, ...]:
        """Its outputs, such as "hate>=2"."""
        return self.model.labels

    def score(self, texts: Texts) -> Scores:
        """`toxic` of the harms in `known`; every other score is unknown and holds 0."""
        texts = as_strings(texts)
        toxic, valid = np.zeros((len(texts), len(HARMS))), np.zeros(len(texts), np.bool_)
        columns = [HARMS.index(harm_of(output)) for output in self.known]
        for first, last in _pieces(texts):
            lines = read_lines(texts.slice(first, last - first), self.units)
            logits, valid[first:last] = worst_windows(self.model, lines, self.window)
            toxic[first:last, columns] = ranks(logits, self.slopes, self.intercepts)
        toxic[~valid] = 0.0
        rows = len(texts)
        return Scores(
            quality=np.zeros(rows, np.float32),
            prosocial=np.zeros((rows, len(PROSOCIAL)), np.float32),
            topical=np.zeros((rows, len(HARMS)), np.float32),
            toxic=to_grid(toxic),
            valid=valid,
            known=self.known,
        )

    def prepare(self) -> None:
        self.score(["A first text."])


def harm_of(output: str) -> str:
    """The harm of an output such as "hate>=2"."""
    return output.split(">=")[0]


def worst_windows(model: FastTextModel, lines: pa.StringArray, window: int) -> tuple[Floats, Mask]:
    """The highest logit of each label over the windows of each line, (rows, labels), and which rows have a window."""
    data, offsets = string_buffers(lines)
    labels = len(model.labels)
    outputs = np.eye(labels, model.inputs.shape[1], dtype=np.float32)
    windows = window_logits(model, data, offsets, window, outputs, distinct=True)
    valid = windows.counts > 0
    found = np.zeros((len(lines), labels))
    if valid.any():
        starts = (np.cumsum(windows.counts, dtype=np.int64) - windows.counts)[valid]
        found[valid] = np.maximum.reduceat(windows.logits, starts, axis=0)
    return found, valid


def ranks(logits: Floats, slopes: Floats, intercepts: Floats) -> Floats:
    """Ranks in 0..1 of logits (rows, labels)."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits * slopes + intercepts, -LIMIT, LIMIT)))


def _pieces(texts: pa.StringArray) -> Iterator[tuple[int, int]]:
    """Rows from first to last of about MOST_BYTES of text, at least one row each."""
    _, offsets = string_buffers(texts)
    first = 0
    while first < len(texts):
        last = int(np.searchsorted(offsets, int(offsets[first]) + MOST_BYTES, side="right")) - 1
        last = min(max(last, first + 1), len(texts))
        yield first, last
        first = last


def load_harm(header: dict[str, Any], stated: str, payload: bytes) -> HarmModel:
    """The model of a folder whose files are what they say. Raises `ValueError` or `LookupError` for a foreign one."""
    model = parse(payload)
    entries = {entry["output"]: entry for entry in header["calibration"]}
    if tuple(header["outputs"]) != model.labels or set(entries) != set(model.labels):
        raise ValueError("outputs, calibration and labels differ")
    foreign = [output for output in model.labels if output not in {f"{name}>=2" for name in HARMS}]
    if foreign:
        raise ValueError(f"{foreign[0]!r} is no harm of the taxonomy")
    numbers = np.array([[entries[label]["slope"], entries[label]["intercept"]] for label in model.labels], np.float64)
    if not np.isfinite(numbers).all() or (numbers[:, 0] <= 0).any():
        raise ValueError("slopes have to be numbers above 0, intercepts numbers")
    if header["units"] not in ("words", "parts", "characters"):
        raise ValueError(f"unknown units {header['units']!r}")
    return HarmModel(
        name=header["name"],
        version=header["version"],
        digest=stated,
        languages=tuple(header["languages"]),
        header=header,
        window=header["window"],
        units=header["units"],
        model=model,
        slopes=numbers[:, 0],
        intercepts=numbers[:, 1],
    )


def load_harm_model(name: str) -> HarmModel:
    """As `load`, and a harm model. Raises `ModelError` where it is another."""
    model = load(name)
    if not isinstance(model, HarmModel):
        raise ModelError(f"{name}: is no harm model; `stages.classify.harm` takes those alone")
    return model


def load_scorer(name: str) -> "Classifier | Cascade":
    """As `load`, and a model with all outputs. Raises `ModelError` where it is a harm model."""
    model = load(name)
    if isinstance(model, HarmModel):
        raise ModelError(f"{name}: knows harms alone; name it under `stages.classify.harm`, and a student as `model`")
    return model


def check_harm_models(model: str, names: Sequence[str]) -> list[str]:
    """The digests of the harm models that go with a model, in their order; nothing is loaded.

    Raises `ModelError` where one is no harm model, or where two read one language.
    """
    header, _ = read_header(model)
    if header.get("kind") == "harm":
        raise ModelError(f"{model}: knows harms alone; name it under `stages.classify.harm`, and a student as `model`")
    digests: list[str] = []
    taken: dict[str, str] = {}
    for name in names:
        header, stated = read_header(name)
        if header.get("kind") != "harm":
            raise ModelError(f"{name}: is no harm model; `stages.classify.harm` takes those alone")
        digests.append(stated)
        for language in header["languages"]:
            if language in taken:
                message = f"stages.classify.harm: {taken[language]} and {name} both read {language!r}"
                raise ModelError(f"{message}; leave {name} out of the list")
            taken[language] = name
    return digests
