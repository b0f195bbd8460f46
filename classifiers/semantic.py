"""Linear heads on the features of an encoder, in a safetensors file: nothing in it can run.

A head for each label that a student learns too ("compassion>=2"): ridge regression in closed form on standardised
features, from the same rows, further sets for harm included. Ridge needs no seed, takes seconds once the features are
there, and on a few thousand rows beats what gradient descent on top of a frozen encoder finds.

A document's quality and prosocial scores are those of the mean of its passages, its harms those of the worst one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ..schemas.errors import ModelError
from ..schemas.taxonomy import HARMS
from .encoder import Encoder, passages

__all__ = ["Heads", "fit_heads", "read_documents", "score_documents"]

Matrix = np.ndarray[Any, np.dtype[np.float64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Heads:
    """A linear function of features for each label."""

    labels: tuple[str, ...]
    weights: Floats  # (labels, dim)
    bias: Floats  # (labels,)

    def apply(self, features: Floats) -> Matrix:
        """Scores of rows, (rows, labels), each from its features alone.

        No matrix product here: its last bits would depend on how many rows come together.
        """
        scores = [np.sum(features * weights, axis=1, dtype=np.float64) for weights in self.weights]
        return np.column_stack(scores) + self.bias

    def serialize(self) -> bytes:
        """The content of a safetensors file."""
        from safetensors.numpy import save  # type: ignore[import-not-found]

        return save({"weight": self.weights, "bias": self.bias})

    @classmethod
    def parse(cls, payload: bytes, labels: tuple[str, ...], dim: int) -> "Heads":
        """The inverse of `serialize`. Raises `ModelError` for tensors of other names, types or shapes."""
        from safetensors import SafetensorError  # type: ignore[import-not-found]
        from safetensors.numpy import load  # type: ignore[import-not-found]

        try:
            tensors = load(payload)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"heads.safetensors: cannot be read ({error}); install the model again") from error
        expected = {"weight": (len(labels), dim), "bias": (len(labels),)}
        for name, shape in expected.items():
            tensor = tensors.get(name)
            if tensor is None or tensor.shape != shape or tensor.dtype != np.float32:
                raise ModelError(f"heads.safetensors: needs {name!r} of shape {shape}, float32; train the model again")
        return cls(labels, tensors["weight"], tensors["bias"])


def read_documents(
    encoder: Encoder, texts: Sequence[str], window: int, most: int
) -> tuple[Floats, np.ndarray[Any, np.dtype[np.int64]]]:
    """Features of all passages of some texts, (passages, dim), and how many passages each text has."""
    cut = [passages(text, window, most) for text in texts]
    counts = np.array([len(parts) for parts in cut], np.int64)
    return encoder.features([part for parts in cut for part in parts]), counts


def score_documents(heads: Heads, features: Floats, counts: np.ndarray[Any, Any]) -> Matrix:
    """Scores of documents, (rows, labels), from their passages: the mean, for harms the worst."""
    if not len(counts):
        return np.zeros((0, len(heads.labels)))
    scores = heads.apply(features)
    starts = np.cumsum(counts) - counts
    means = np.add.reduceat(scores, starts, axis=0) / counts[:, None]
    worst = np.maximum.reduceat(scores, starts, axis=0)
    return np.where([label.split(">=")[0] in HARMS for label in heads.labels], worst, means)


@threadpool_limits.wrap(limits=1, user_api="blas")
def fit_heads(features: Floats, targets: Matrix, labels: Sequence[str], importance: Matrix, ridge: float) -> Heads:
    """Heads that predict `targets` of shape (rows, labels), NaN where unknown, from features of documents.

    `importance`, (rows,), says how much a row counts; `ridge` is the penalty in units of a feature's variance.
    One thread does the linear algebra, as in `fit`.
    """
    full = importance >= importance.max()
    mean = features[full].mean(axis=0, dtype=np.float64)
    scale = features[full].std(axis=0, dtype=np.float64) + 1e-9
    design = (features - mean) / scale
    known = np.isfinite(targets)
    weights, bias = np.zeros((len(labels), features.shape[1])), np.zeros(len(labels))
    patterns, pattern = np.unique(known.T, axis=0, return_inverse=True)
    for place, rows in enumerate(patterns):
        columns = np.flatnonzero(pattern.ravel() == place)
        counted = importance[rows]
        centre = np.average(design[rows], axis=0, weights=counted)
        weighted = (design[rows] - centre) * np.sqrt(counted)[:, None]
        target = targets[np.ix_(rows, columns)]
        shares = np.average(target, axis=0, weights=counted)
        gram = weighted.T @ weighted + ridge * counted.sum() * np.eye(features.shape[1])
        solved = np.linalg.solve(gram, weighted.T @ ((target - shares) * np.sqrt(counted)[:, None]))
        weights[columns] = (solved / scale[:, None]).T
        bias[columns] = shares - centre @ solved - (mean / scale) @ solved
    return Heads(tuple(labels), weights.astype(np.float32), bias.astype(np.float32))
