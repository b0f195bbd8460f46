"""Rank measures in NumPy, with ties handled as the field does (scikit-learn's definitions)."""

from typing import Any

import numpy as np

__all__ = ["average_precision", "roc_auc"]

Vector = np.ndarray[Any, Any]


def _steps(target: Vector, score: Vector) -> tuple[Vector, Vector]:
    """Cumulated positives and rows at each distinct score, from the highest down."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    return np.cumsum(target[order].astype(np.int64))[ends], ends + 1


def roc_auc(target: Vector, score: Vector) -> float:
    """Area under the ROC curve of a boolean target; NaN where one class is absent."""
    positives, rows = _steps(target, score)
    negatives = rows - positives
    if positives[-1] == 0 or negatives[-1] == 0:
        return float("nan")
    true, false = np.append(0, positives) / positives[-1], np.append(0, negatives) / negatives[-1]
    return float(np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2))


def average_precision(target: Vector, score: Vector) -> float:
    """Mean precision over the recall steps of a boolean target; NaN where there is no positive."""
    positives, rows = _steps(target, score)
    if positives[-1] == 0:
        return float("nan")
    recall = np.append(0, positives) / positives[-1]
    return float(np.sum(np.diff(recall) * positives / rows))
