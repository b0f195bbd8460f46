"""A linear model in closed form, written as a fastText file.

fastText's own trainer (stochastic gradient descent) was measured first, on the same documents and folds:
macro ROC-AUC over the dimensions .880 and average precision .50, harm .836, against .896, .55 and .88 here
(README.md beside this file). Ridge regression on inverse-document-frequency weights also has one penalty to
set, takes seconds and starts from nothing random. What is kept of fastText is what it is good at: its file,
its hashing and its speed.

With z = idf / √n for the n distinct features of a text, all labels are solved at once in the dual,
w = Zᵀ (Z Zᵀ + λ I)⁻¹ (y − ȳ), λ in units of the mean |z|²: a system of rows × rows, whatever the number of
features. √n stands for the length of z, which a fastText model cannot know. A feature counts once however
often it is repeated, because weights pay authors: saying "compassion" a hundred times must buy nothing.

With vectors of words (word_vectors.py) the penalty is on what a word's weight differs by from that of words of
like meaning: w = idf · (u + √s V v) with a vector v for each label, |u|² and |v|² penalised alike and s the share
of `smoothing`. This is a second kernel in the same system, s (ZV)(ZV)ᵀ beside Z Zᵀ, each scaled to a mean diagonal
of 1, and still a weight for each word in the end.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pyarrow as pa

from ..schemas.arrays import string_buffers
from .fasttext_file import Vocabulary, features, serialize
from .word_vectors import WordVectors

__all__ = ["LinearModel", "fit"]

Matrix = np.ndarray[Any, np.dtype[np.float64]]
END_OF_LINE = "</s>"
TOLERANCE, MOST_STEPS = 1e-4, 200  # of the conjugate gradients: the residual's length as a share of the target's


@dataclass(frozen=True)
class LinearModel:
    """Weights of features, and what names the features."""

    vocabulary: Vocabulary
    counts: tuple[int, ...]  # documents of each word
    labels: tuple[str, ...]
    weights: Matrix  # (features, labels)

    def serialize(self, slopes: Matrix | None = None, intercepts: Matrix | None = None) -> bytes:
        """The model as a fastText file; slopes and intercepts are for fastText's own probabilities."""
        slopes = np.ones(len(self.labels)) if slopes is None else slopes
        intercepts = np.zeros(len(self.labels)) if intercepts is None else intercepts
        return serialize(self.vocabulary, self.counts, self.labels, self.weights, slopes, intercepts)


def fit(
    lines: Sequence[str],
    targets: Matrix,
    labels: Sequence[str],
    *,
    minimum_documents: int,
    buckets: int,
    ridge: float,
    vectors: WordVectors | None = None,
    smoothing: float = 0.0,
    importance: Matrix | None = None,
) -> LinearModel:
    """The model that predicts `targets` of shape (rows, labels) from tokenised lines.

    A target that is NaN is unknown and its row does not count for that label; `importance` of shape (rows,)
    says how much a row counts (1 each if None). Frequencies and sizes are those of the rows that count fully, so
    that short further rows do not change what is common.

    Words and buckets of word pairs that are found in fewer than `minimum_documents` lines are left out.
    """
    documents = Counter(word for line in lines for word in {*line.split(" "), END_OF_LINE})
    known = sorted((-count, word) for word, count in documents.items() if word and count >= minimum_documents)
    words = [word.encode() for _, word in known]
    data, offsets = string_buffers(pa.array(lines, pa.string()))
    found = features(Vocabulary.build(words, buckets), data, offsets)
    rows = np.repeat(np.arange(len(lines)), np.diff(found.offsets))
    cells = np.unique(rows * (len(words) + buckets) + found.indices)
    rows, columns = np.divmod(cells, len(words) + buckets)
    frequency = np.bincount(columns, minlength=len(words) + buckets)
    frequent = np.flatnonzero(frequency >= minimum_documents)
    place = np.full(len(frequency), -1, np.int32)
    place[frequent] = np.arange(len(frequent), dtype=np.int32)
    kept = np.where(place[len(words) :] >= 0, place[len(words) :] - len(words), -1).astype(np.int32)
    present = place[columns] >= 0
    rows, columns = rows[present], place[columns[present]]
    counted = np.ones(len(lines)) if importance is None else importance
    full = counted >= counted.max()
    frequency = np.bincount(columns[full[rows]], minlength=len(frequent))
    frequencies = np.log(full.sum() / np.clip(frequency, minimum_documents, full.sum())) + 1.0
    sizes = np.maximum(np.bincount(rows, minlength=len(lines)), 1.0)
    values = frequencies[columns] / np.sqrt(sizes)[rows]
    starts = np.searchsorted(rows, np.arange(len(lines) + 1))
    gram = _gram(starts, columns, values, len(frequent))
    scale = float(np.mean(np.diagonal(gram)[full], dtype=np.float64))
    gram /= np.float32(scale)
    directions = means = np.zeros((len(words), 0))
    if vectors is not None and smoothing > 0:
        directions = vectors.lookup([word for _, word in known])
        means = _means(starts, columns, values, directions)
        size = np.mean(np.sum(means[full] ** 2, axis=1))
        directions *= smoothing / size
        scaled = (means * np.sqrt(smoothing / size)).astype(np.float32)
        gram += scaled @ scaled.T
    penalty = ridge * float(np.mean(np.diagonal(gram)[full], dtype=np.float64))
    dual = _solve(gram, targets, counted, penalty)
    weights = _weights(rows, columns, values, dual, len(frequent)) / scale
    if directions.size:
        weights[: len(words)] += directions @ (means.T @ dual)
    weights *= frequencies[:, None]
    vocabulary = Vocabulary.build(words, buckets, kept)
    return LinearModel(vocabulary, tuple(-count for count, _ in known), tuple(labels), weights)


def _solve(gram: Any, targets: Matrix, importance: Matrix, penalty: float) -> Matrix:
    """Dual weights of all labels at once, each over the rows that know it, by conjugate gradients.

    With S the root of a row's importance (0 where the target is unknown), S (S K S + λ I)⁻¹ S (y − ȳ).
    """
    known = np.isfinite(targets)
    roots = np.where(known, np.sqrt(importance)[:, None], 0.0)
    shares = np.sum(np.where(known, targets, 0.0) * roots**2, axis=0) / np.maximum(np.sum(roots**2, axis=0), 1e-12)
    residual = np.where(known, targets - shares, 0.0) * roots
    solution, direction, sizes = np.zeros_like(residual), residual.copy(), np.sum(residual**2, axis=0)
    enough = sizes * TOLERANCE**2
    for _ in range(MOST_STEPS):
        if (sizes <= enough).all():
            break
        image = roots * (gram @ (roots * direction).astype(np.float32)) + penalty * direction
        step = sizes / np.maximum(np.sum(direction * image, axis=0), 1e-300)
        solution += step * direction
        residual -= step * image
        previous, sizes = sizes, np.sum(residual**2, axis=0)
        direction = residual + direction * (sizes / np.maximum(previous, 1e-300))
    return roots * solution


@numba.njit(cache=True, nogil=True)
def _gram(starts: Any, columns: Any, values: Matrix, width: int) -> Any:
    """Inner products of all pairs of sparse rows, float32; of each pair the shorter row is walked."""
    rows = len(starts) - 1
    order = np.argsort(starts[1:] - starts[:-1], kind="mergesort")
    products = np.empty((rows, rows), np.float32)
    dense = np.zeros(width)
    for place in range(rows):
        row = order[place]
        for cell in range(starts[row], starts[row + 1]):
            dense[columns[cell]] = values[cell]
        for other in order[: place + 1]:
            total = 0.0
            for cell in range(starts[other], starts[other + 1]):
                total += values[cell] * dense[columns[cell]]
            products[row, other] = products[other, row] = np.float32(total)
        for cell in range(starts[row], starts[row + 1]):
            dense[columns[cell]] = 0.0
    return products


@numba.njit(cache=True, nogil=True)
def _means(starts: Any, columns: Any, values: Matrix, directions: Matrix) -> Matrix:
    """Sparse rows times the vectors of words, (rows, dim); columns from the number of words on are pairs."""
    sums = np.zeros((len(starts) - 1, directions.shape[1]))
    for row in range(len(starts) - 1):
        for cell in range(starts[row], starts[row + 1]):
            if columns[cell] < len(directions):
                for axis in range(directions.shape[1]):
                    sums[row, axis] += values[cell] * directions[columns[cell], axis]
    return sums


@numba.njit(cache=True, nogil=True)
def _weights(rows: Any, columns: Any, values: Matrix, dual: Matrix, width: int) -> Matrix:
    """The transpose of a sparse matrix times `dual`."""
    weights = np.zeros((width, dual.shape[1]))
    for cell in range(len(rows)):
        for label in range(dual.shape[1]):
            weights[columns[cell], label] += values[cell] * dual[rows[cell], label]
    return weights
