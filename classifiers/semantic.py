"""Linear heads on the features of an encoder, in a safetensors file: nothing in it can run.

A head for each label that a student learns too ("compassion>=2"): logistic regression on standardised features, from
the same rows, further sets for harm included. A label's target is a share: a prosocial grade divided by the highest,
else a probability. It needs no seed, takes seconds once the features are there, and held out it beats ridge regression
on the same features (README.md).

A document's quality and prosocial scores are those of the mean of its passages, its harms those of the worst one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ..schemas.errors import ModelError
from ..schemas.taxonomy import HARMS, PROSOCIAL, load_taxonomy
from .encoder import Encoder, passages

__all__ = ["Heads", "expected", "fit_heads", "moments", "read_documents", "score_documents", "shares"]

Matrix = np.ndarray[Any, np.dtype[np.float64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
MOST_STEPS = 200


@dataclass(frozen=True)
class Heads:
    """A linear function of features for each label, its logit."""

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


def shares(targets: Matrix, labels: Sequence[str]) -> Matrix:
    """Targets in the labels' units, grades or probabilities, as shares of the highest."""
    return targets / _highest(labels)


def expected(logits: Matrix, labels: Sequence[str]) -> Matrix:
    """What logits of heads say in the labels' units, (rows, labels): expected grades, for harms and quality shares."""
    return _highest(labels) / (1.0 + np.exp(-logits))


def _highest(labels: Sequence[str]) -> Matrix:
    highest = max(load_taxonomy().prosocial_grades)
    return np.array([highest if label.split(">=")[0] in PROSOCIAL else 1 for label in labels], np.float64)


@threadpool_limits.wrap(limits=1, user_api="blas")
def fit_heads(features: Floats, targets: Matrix, labels: Sequence[str], importance: Matrix, ridge: float) -> Heads:
    """Heads that predict `targets` of shape (rows, labels), NaN where unknown, from features of documents.

    `importance`, (rows,), says how much a row counts; `ridge` is the penalty in units of a feature's variance times the
    label's own, m (1 - m), so that one penalty suits rare labels and common ones. One thread does the linear algebra,
    as in `fit`.
    """
    from scipy.optimize import minimize  # comes with the extra `semantic`

    mean, scale = moments(features, importance)
    design = ((features - mean) / scale).astype(np.float32)
    known = np.isfinite(targets)
    wanted = np.where(known, shares(targets, labels), 0.0)
    counted = known * importance[:, None]
    counted /= np.maximum(counted.sum(axis=0), 1e-12)
    means = np.clip((wanted * counted).sum(axis=0), 1e-3, 1 - 1e-3)
    penalty = ridge * means * (1 - means)
    shape = (len(labels), features.shape[1] + 1)

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        weights, bias = np.split(flat.reshape(shape), [-1], axis=1)
        logits = (design @ weights.T.astype(np.float32)).astype(np.float64) + bias.T
        losses = np.logaddexp(0.0, logits) - wanted * logits
        slopes = (1.0 / (1.0 + np.exp(-logits)) - wanted) * counted
        gradient = np.empty(shape)
        gradient[:, :-1] = (slopes.T.astype(np.float32) @ design) + penalty[:, None] * weights
        gradient[:, -1] = slopes.sum(axis=0)
        return float(np.sum(losses * counted) + 0.5 * np.sum(penalty[:, None] * weights**2)), gradient.ravel()

    start = np.zeros(shape)
    start[:, -1] = np.log(means / (1 - means))
    options = {"maxiter": MOST_STEPS, "ftol": 1e-10, "gtol": 1e-6}
    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(shape)
    weights = found[:, :-1] / scale
    bias = found[:, -1] - weights @ mean
    return Heads(tuple(labels), weights.astype(np.float32), bias.astype(np.float32))


def moments(features: Floats, importance: Matrix) -> tuple[Matrix, Matrix]:
    """Mean and deviation of each feature, (dim,) each, over the rows that count fully."""
    full = features[importance >= importance.max()]
    return full.mean(axis=0, dtype=np.float64), full.std(axis=0, dtype=np.float64) + 1e-6
