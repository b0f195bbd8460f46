"""From a model's logits to probabilities that mean what they say.

Each output is a logistic function (Platt 1999) of the logits of its dimension, all grades of it, and for
quality and the prosocial dimensions of the length, since a short text seldom shows much of anything: in distinct
tokens, known to the model or not, because counting what it knows made a short text of every text in a dialect, and
counting repetition would pay for it. It is fitted on out-of-fold logits of documents of the *natural* pool: rows
chosen for being positive would teach a prior that no corpus has. Where the natural rows hold too few positives, the
slope is learned from all rows and the intercept is set so that the mean over natural rows meets their (smoothed)
share. Where even all rows hold too few, toxic is a fixed share of topical: a rank, not a probability, and `basis`
says so.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ..schemas.taxonomy import HARMS, PROSOCIAL

__all__ = ["OUTPUTS", "Calibration", "expected_calibration_error", "fit_calibration", "fit_labels"]

Matrix = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

QUALITY_GRADES = 5
OUTPUTS: tuple[str, ...] = (
    *(f"quality>={grade}" for grade in range(1, QUALITY_GRADES + 1)),
    *(f"{name}>=2" for name in PROSOCIAL),
    *(f"{name}>=1" for name in HARMS),
    *(f"{name}>=2" for name in HARMS),
)
FEW = 50
RIDGE = 1.0
LIMIT = 30.0
LENGTH = "log(types)"


@dataclass(frozen=True)
class Calibration:
    """Probabilities of `OUTPUTS` from the logits of `labels` and the logarithm of a text's length."""

    labels: tuple[str, ...]
    weights: Matrix  # (outputs, labels + 1), the last column for the length
    bias: Matrix  # (outputs,)
    basis: tuple[str, ...]  # per output: "natural", "all" or "share"
    positives: tuple[tuple[int, int], ...]  # per output: among natural rows, among all rows
    shares: tuple[float, ...]  # per harm: toxic as a share of topical where the basis is "share", else 1

    def projection(self, dim: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The output matrix (outputs, dim) that scores all outputs at once; the dimensions begin with `labels`."""
        matrix = np.zeros((len(OUTPUTS), dim), np.float32)
        matrix[:, : len(self.labels)] = self.weights[:, :-1]
        return matrix

    def apply(self, inputs: np.ndarray[Any, Any]) -> Matrix:
        """Probabilities of shape (rows, outputs), from inputs of shape (rows, labels + 1)."""
        return self._finish(inputs @ self.weights.T)

    def apply_projected(self, scores: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any]) -> Matrix:
        """The same from scores under the projected matrix and lengths, at least 1.

        No matrix product here: its last bits would depend on how many rows come together.
        """
        return self._finish(scores.astype(np.float64) + np.log(lengths)[:, None] * self.weights[:, -1])

    def apply_rows(self, inputs: np.ndarray[Any, Any]) -> Matrix:
        """The same as `apply`, each row to the last bit from itself alone."""
        return self._finish(np.column_stack([np.sum(inputs * weights, axis=1) for weights in self.weights]))

    def _finish(self, scores: Matrix) -> Matrix:
        probabilities = _sigmoid(scores + self.bias)
        harms = len(HARMS)
        topical, toxic = probabilities[:, -2 * harms : -harms], probabilities[:, -harms:]
        derived = np.array([basis == "share" for basis in self.basis[-harms:]])
        toxic[:] = np.where(derived, topical * np.array(self.shares), np.minimum(toxic, topical))
        np.minimum.accumulate(probabilities[:, :QUALITY_GRADES], axis=1, out=probabilities[:, :QUALITY_GRADES])
        return probabilities

    def to_json(self) -> list[dict[str, Any]]:
        """One entry an output, with the labels of weight 0 left out."""
        return [
            {
                "output": output,
                "basis": self.basis[row],
                "positives": list(self.positives[row]),
                "share": self.shares[row - len(OUTPUTS) + len(HARMS)] if self.basis[row] == "share" else None,
                "bias": float(self.bias[row]),
                "weights": {
                    label: float(weight)
                    for label, weight in zip((*self.labels, LENGTH), self.weights[row], strict=True)
                    if weight != 0
                },
            }
            for row, output in enumerate(OUTPUTS)
        ]

    @classmethod
    def from_json(cls, entries: list[dict[str, Any]], labels: tuple[str, ...]) -> Self:
        """The inverse of `to_json`. Raises `ValueError` or `KeyError` where outputs or labels differ."""
        if tuple(entry["output"] for entry in entries) != OUTPUTS:
            raise ValueError("its outputs are not those of this version")
        column = {label: index for index, label in enumerate((*labels, LENGTH))}
        weights = np.zeros((len(OUTPUTS), len(column)))
        for row, entry in enumerate(entries):
            for label, weight in entry["weights"].items():
                weights[row, column[label]] = weight
        return cls(
            labels=labels,
            weights=weights,
            bias=np.array([entry["bias"] for entry in entries], np.float64),
            basis=tuple(entry["basis"] for entry in entries),
            positives=tuple((entry["positives"][0], entry["positives"][1]) for entry in entries),
            shares=tuple(1.0 if entry["share"] is None else entry["share"] for entry in entries[-len(HARMS) :]),
        )


def _sigmoid(values: Matrix) -> Matrix:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -LIMIT, LIMIT)))


def _logistic(features: Matrix, target: Matrix) -> Matrix:
    """Ridge logistic regression by Newton's method; weights of (features..., bias), the bias free."""
    mean, scale = features.mean(0), features.std(0) + 1e-9
    design = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    penalty = np.diag([*([RIDGE] * features.shape[1]), 1e-6])
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        probability = _sigmoid(design @ weights)
        gradient = design.T @ (probability - target) + penalty @ weights
        hessian = design.T @ (design * (probability * (1 - probability))[:, None]) + penalty
        step = np.linalg.solve(hessian, gradient)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    slopes = weights[:-1] / scale
    return np.append(slopes, weights[-1] - slopes @ mean)


def _intercept(scores: Matrix, share: float) -> float:
    """The shift at which the mean probability of `scores` is `share`, by bisection."""
    low, high = -60.0, 60.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(scores + middle).mean() < share else (low, middle)
    return (low + high) / 2


def _fit_output(features: Matrix, target: Matrix, natural: Mask) -> tuple[Matrix, bool]:
    """Weights of (features..., bias), and whether the natural rows alone were enough to fit them."""
    positives = target[natural].sum()
    if positives >= FEW:
        return _logistic(features[natural], target[natural]), True
    weights = _logistic(features, target)
    if natural.any():
        weights[-1] = _intercept(features[natural] @ weights[:-1], (positives + 0.5) / (natural.sum() + 1.0))
    return weights, False


def fit_labels(means: Matrix, targets: Matrix, natural: Mask) -> tuple[Matrix, Matrix]:
    """Slope and intercept of each label alone, from out-of-fold mean weights and targets, both (rows, labels)."""
    fitted = []
    for k in range(targets.shape[1]):
        known = np.isfinite(targets[:, k])
        fitted.append(_fit_output(means[known][:, [k]], targets[known, k], natural[known])[0])
    fitted = np.array(fitted)
    return fitted[:, 0], fitted[:, 1]


def fit_calibration(inputs: Matrix, labels: tuple[str, ...], grades: dict[str, Matrix], natural: Mask) -> Calibration:
    """Calibration from out-of-fold inputs of shape (rows, labels + 1).

    `grades` holds each dimension's grade (mean over annotations) per row, NaN where it was not judged; `natural`
    marks the rows drawn at random from the natural pool.
    """
    weights, bias = np.zeros((len(OUTPUTS), inputs.shape[1])), np.zeros(len(OUTPUTS))
    basis, positives, shares = [], [], [1.0] * len(HARMS)
    for row, output in enumerate(OUTPUTS):
        name, grade = output.split(">=")
        known = np.isfinite(grades[name])
        target = (grades[name][known] >= int(grade) - 0.5).astype(np.float64)
        drawn = natural[known]
        counts = int(target[drawn].sum()), int(target.sum())
        columns = [index for index, label in enumerate(labels) if label.split(">=")[0] == name]
        if name not in HARMS:
            columns.append(len(labels))
        toxic = row >= len(OUTPUTS) - len(HARMS)
        positives.append(counts)
        if toxic and counts[1] < FEW:
            rows = drawn if drawn.any() else np.ones(len(target), np.bool_)
            topical = float((grades[name][known][rows] >= 0.5).sum())
            shares[row - len(OUTPUTS) + len(HARMS)] = (float(target[rows].sum()) + 0.5) / (topical + 1.0)
            basis.append("share")
            continue
        fitted, enough = _fit_output(inputs[known][:, columns], target, drawn)
        weights[row, columns], bias[row] = fitted[:-1], fitted[-1]
        basis.append("natural" if enough else "all")
    return Calibration(labels, weights, bias, tuple(basis), tuple(positives), tuple(shares))


def expected_calibration_error(target: Matrix, probability: Matrix, bins: int = 10) -> float:
    """Mean gap between share and mean probability over equal-width bins, weighted by rows (Guo et al. 2017)."""
    index = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = np.bincount(index, target - probability, bins)
    return float(np.abs(gaps).sum() / len(target))
