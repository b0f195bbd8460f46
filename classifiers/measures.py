"""How good scores are, in NumPy, with intervals by resampling documents.

Ranks (ROC-AUC, average precision, recall at a precision) handle ties as scikit-learn does. Calibration
(expected calibration error, Brier skill, slope) is about probabilities and belongs on rows drawn at random.

Intervals are percentiles of a Poisson bootstrap (Hanley & MacGibbon 2006): in each resample a document counts
0, 1, 2 … times, a number that follows from hash(seed, resample, document) alone. So all rows of a document move
together, intervals do not depend on the order of rows, and two models on the same documents share resamples:
the interval of their difference is a paired one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, erfc, sqrt
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.hashing import document_id, hash64, id_words, uniform

__all__ = [
    "Ranking",
    "average_precision",
    "brier_skill",
    "calibration_error",
    "calibration_slope",
    "interval",
    "recall_at_precision",
    "resample",
    "roc_auc",
    "sign_test",
    "wilcoxon",
]

Vector = np.ndarray[Any, Any]
Floats = np.ndarray[Any, np.dtype[np.float64]]

PRECISION = 0.70
BINS = 10
EDGE = 0.0005  # half of the grid of the scores: how close to 0 and 1 a logit is taken


@dataclass(frozen=True)
class Ranking:
    """Rows sorted by score, ready for any weights; a step is a distinct score, from the highest down."""

    target: Vector  # (rows,) boolean, sorted
    order: Vector  # (rows,)
    ends: Vector  # (steps,) the last row of each step

    @classmethod
    def of(cls, target: Vector, score: Vector) -> "Ranking":
        """The ranking of a boolean target by a score, both (rows,)."""
        order = np.argsort(-score, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
        return cls(target[order].astype(bool), order, ends)

    def steps(self, weights: Vector | None = None) -> tuple[Floats, Floats]:
        """Cumulated positives and rows, (..., steps), for weights of shape (..., rows); each row once without."""
        sorted_weights = np.ones(len(self.order)) if weights is None else weights[..., self.order].astype(np.float64)
        rows = np.cumsum(sorted_weights, axis=-1)[..., self.ends]
        return np.cumsum(sorted_weights * self.target, axis=-1)[..., self.ends], rows

    def roc_auc(self, weights: Vector | None = None) -> Floats:
        """Area under the ROC curve; NaN where one class is absent."""
        positives, rows = self.steps(weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            true = _from_zero(positives) / positives[..., -1:]
            false = _from_zero(rows - positives) / (rows - positives)[..., -1:]
        return np.sum(np.diff(false) * (true[..., 1:] + true[..., :-1]) / 2, axis=-1)

    def average_precision(self, weights: Vector | None = None) -> Floats:
        """Mean precision over the recall steps; NaN where there is no positive."""
        positives, rows = self.steps(weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = _from_zero(positives) / positives[..., -1:]
            precision = np.where(rows > 0, positives / rows, 0.0)
        return np.sum(np.diff(recall) * precision, axis=-1)

    def recall_at_precision(self, weights: Vector | None = None, precision: float = PRECISION) -> Floats:
        """The highest recall of a threshold with at least this precision, 0 where none has; NaN without positives."""
        positives, rows = self.steps(weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            reached = np.where(positives >= precision * rows, positives, 0.0)
            return reached.max(axis=-1) / positives[..., -1]


def _from_zero(values: Floats) -> Floats:
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), values], axis=-1)


def roc_auc(target: Vector, score: Vector) -> float:
    """Area under the ROC curve of a boolean target; NaN where one class is absent."""
    return float(Ranking.of(target, score).roc_auc())


def average_precision(target: Vector, score: Vector) -> float:
    """Mean precision over the recall steps of a boolean target; NaN where there is no positive."""
    return float(Ranking.of(target, score).average_precision())


def recall_at_precision(target: Vector, score: Vector, precision: float = PRECISION) -> float:
    """The highest recall of a threshold with at least this precision; NaN where there is no positive."""
    return float(Ranking.of(target, score).recall_at_precision(None, precision))


def calibration_error(target: Vector, probability: Vector, weights: Vector | None = None) -> Floats:
    """Expected calibration error over ten bins of equal width (Guo et al. 2017), for weights (..., rows)."""
    weights = np.ones(len(target)) if weights is None else weights.astype(np.float64)
    index = np.minimum((probability * BINS).astype(int), BINS - 1)
    gaps = np.zeros((len(target), BINS))
    gaps[np.arange(len(target)), index] = target - probability.astype(np.float64)
    return np.abs(weights @ gaps).sum(axis=-1) / weights.sum(axis=-1)


def brier_skill(target: Vector, probability: Vector, weights: Vector | None = None) -> Floats:
    """1 - Brier score / Brier score of the base rate: above 0 where the model knows more than the share.

    NaN where one class is absent.
    """
    weights = np.ones(len(target)) if weights is None else weights.astype(np.float64)
    total = weights.sum(axis=-1)
    share = weights @ target.astype(np.float64) / total
    score = weights @ (target - probability.astype(np.float64)) ** 2 / total
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(share * (1 - share) > 0, 1 - score / (share * (1 - share)), np.nan)


def calibration_slope(target: Vector, probability: Vector, weights: Vector | None = None) -> Floats:
    """Slope of the logistic regression of the target on the logit of its probability, for weights (..., rows).

    1 where probabilities spread as they should, below where they are too bold. NaN where one class is absent or
    all probabilities are the same.
    """
    weights = np.ones(len(target)) if weights is None else weights.astype(np.float64)
    clipped = np.clip(probability.astype(np.float64), EDGE, 1 - EDGE)
    logit = np.log(clipped / (1 - clipped))
    rows = weights.reshape(-1, len(target))
    return np.array([_slope(target, logit, row) for row in rows]).reshape(weights.shape[:-1])


def _slope(target: Vector, logit: Vector, counts: Vector) -> float:
    present = counts > 0
    target, logit, counts = target[present], logit[present], counts[present]
    if not len(target) or target.all() or not target.any() or np.ptp(logit) == 0:
        return float("nan")
    design = np.column_stack([logit, np.ones(len(logit))])
    weights = np.array([1.0, 0.0])
    for _ in range(50):
        fitted = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        hessian = design.T @ (design * (counts * fitted * (1 - fitted))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, design.T @ (counts * (fitted - target)))
        weights -= np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0])


def resample(documents: Sequence[str], count: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """How often each row counts in each resample, (count, rows); rows of one document count alike."""
    high, low = id_words(pa.array([document_id(name.encode()) for name in documents], pa.string()))
    cumulated = np.cumsum([np.exp(-1) / np.prod(np.arange(1, k + 1)) for k in range(12)])  # of Poisson(1)
    draws = np.empty((count, len(documents)), np.uint8)
    for index in range(count):
        draws[index] = np.searchsorted(cumulated, uniform(hash64(seed, f"bootstrap:{index}", high, low)))
    return draws


def interval(values: Vector) -> tuple[float, float] | None:
    """The middle 95 % of resampled values, without those that have no figure; None where fewer than half have."""
    present = values[np.isfinite(values)]
    if len(present) * 2 <= len(values):
        return None
    low, high = np.percentile(present, [2.5, 97.5])
    return float(low), float(high)


def sign_test(differences: Vector) -> float:
    """Two-sided exact p of as many signs one way, zeros left out; 1 where nothing differs."""
    above, below = int((differences > 0).sum()), int((differences < 0).sum())
    number, fewer = above + below, min(above, below)
    tail = sum(comb(number, k) for k in range(fewer + 1)) / 2**number if number else 1.0
    return min(1.0, 2 * tail)


def wilcoxon(differences: Vector) -> float:
    """Two-sided p of the signed-rank test (Wilcoxon 1945), by the normal approximation with ties; zeros left out."""
    values = differences[differences != 0]
    if not len(values):
        return 1.0
    _, inverse, counts = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    number = len(values)
    mean = number * (number + 1) / 4
    variance = number * (number + 1) * (2 * number + 1) / 24 - (counts**3 - counts).sum() / 48
    return erfc(abs(float(ranks[values > 0].sum()) - mean) / sqrt(2 * variance))
