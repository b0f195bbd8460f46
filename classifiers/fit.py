"""A linear model in closed form, written as a fastText file.

fastText's own trainer (stochastic gradient descent) was measured first, on the same documents and folds:
macro ROC-AUC over the dimensions .880 and average precision .50, harm .836, against .896, .55 and .88 here
(README.md beside this file). Ridge regression on inverse-document-frequency weights also has one penalty to
set, takes seconds and starts from nothing random. What is kept of fastText is what it is good at: its file,
its hashing and its speed.

With z = idf / √n for the n distinct features of a text, all labels are solved at once in the dual,
w = Zᵀ (Z Zᵀ + λ I)⁻¹ (y − ȳ), λ in units of the mean |z|², by conjugate gradients that only ever multiply by
the sparse Z: time and memory grow with the text, not with the square of the rows. √n stands for the length of z,
which a fastText model cannot know. A feature counts once however often it is repeated, because weights pay
authors: saying "compassion" a hundred times must buy nothing.

With vectors of words (word_vectors.py) the penalty is on what a word's weight differs by from that of words of
like meaning: w = idf · (u + √s V v) with a vector v for each label, |u|² and |v|² penalised alike and s the share
of `smoothing`. This is a second kernel in the same system, s (ZV)(ZV)ᵀ beside Z Zᵀ, each scaled to a mean diagonal
of 1, and still a weight for each word in the end.

Pairs of texts that ought to be scored alike, one thing said in two dialects, are further rows: the z of one less the
z of the other, with 0 as the target of every label. So are documents as other varieties would have them (voices.py),
each less the document that it was. Spellings of one word are read as that word, and have its weights in the end
(spellings.py).
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from ..schemas.arrays import string_buffers
from .fasttext_file import Vocabulary, features, serialize
from .spellings import Spellings
from .word_vectors import WordVectors

__all__ = ["LinearModel", "fit"]

Matrix = np.ndarray[Any, np.dtype[np.float64]]
Kernel = Callable[[Matrix], Matrix]
END_OF_LINE = "</s>"
LANES = 16  # float32 in a vector register
COMMON = 20  # documents that hold a pair of words, for it to have a copy in other spellings
PARTS = 4  # of a sparse product for each thread
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


@threadpool_limits.wrap(limits=1, user_api="blas")
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
    alike: Sequence[tuple[str, str]] = (),
    alike_importance: float = 1.0,
    rewritten: Sequence[tuple[int, str]] = (),
    rewritten_importance: float = 1.0,
    spellings: Spellings | None = None,
) -> LinearModel:
    """The model that predicts `targets` of shape (rows, labels) from tokenised lines.

    A target that is NaN is unknown and its row does not count for that label; `importance` of shape (rows,)
    says how much a row counts (1 each if None). Frequencies and sizes are those of the rows that count fully, so
    that short further rows do not change what is common.

    `alike` are pairs of lines whose scores ought not to differ; each counts `alike_importance`. `rewritten` are rows of
    `lines` and what they are in another variety, likewise; what is in them is found in the document of that row.
    `spellings` of one word get the same weights.

    Words and buckets of word pairs that are found in fewer than `minimum_documents` lines are left out. One thread does
    the linear algebra: several add up in another order, and the bytes of a model would depend on the number of cores.
    """
    count = len(lines)
    alike = [*alike, *((line, lines[row]) for row, line in rewritten)]
    pair_importance = np.full(len(alike), alike_importance)
    pair_importance[len(alike) - len(rewritten) :] = rewritten_importance
    lines = [*lines, *(left for left, _ in alike), *(right for _, right in alike)]
    lines = lines if spellings is None else spellings.respell(lines)
    document = np.arange(len(lines))  # that a line is, or was before it was rewritten
    for side in (count, count + len(alike)):
        document[side + len(alike) - len(rewritten) : side + len(alike)] = [row for row, _ in rewritten]
    documents = _document_counts(lines, document)
    known = sorted((-count, word) for word, count in documents.items() if word and count >= minimum_documents)
    words = [word.encode() for _, word in known]
    data, offsets = string_buffers(pa.array(lines, pa.string()))
    found = features(Vocabulary.build(words, buckets), data, offsets)
    rows = np.repeat(np.arange(len(lines)), np.diff(found.offsets))
    cells = np.sort(rows * (len(words) + buckets) + found.indices)
    cells = cells[np.diff(cells, prepend=-1) != 0]
    rows, columns = np.divmod(cells, len(words) + buckets)
    once = columns
    if rewritten:  # the lines of a document are found in one
        once = np.unique(document[rows] * (len(words) + buckets) + columns) % (len(words) + buckets)
    frequency = np.bincount(once, minlength=len(words) + buckets)
    frequent = np.flatnonzero(frequency >= minimum_documents)
    place = np.full(len(frequency), -1, np.int32)
    place[frequent] = np.arange(len(frequent), dtype=np.int32)
    kept = np.where(place[len(words) :] >= 0, place[len(words) :] - len(words), -1).astype(np.int32)
    present = place[columns] >= 0
    rows, columns = rows[present], place[columns[present]]
    counted = np.ones(count) if importance is None else importance
    full = np.flatnonzero(counted >= counted.max())
    frequency = np.bincount(columns[np.isin(rows, full)], minlength=len(frequent))
    frequencies = np.log(len(full) / np.clip(frequency, minimum_documents, len(full))) + 1.0
    sizes = np.maximum(np.bincount(rows, minlength=len(lines)), 1.0)
    values = frequencies[columns] / np.sqrt(sizes)[rows]
    values[rows >= count + len(alike)] *= -1.0
    rows = np.where(rows >= count + len(alike), rows - len(alike), rows)
    order = np.argsort(rows, kind="stable")
    rows, columns, values = rows[order], columns[order], values[order]
    starts = np.searchsorted(rows, np.arange(count + len(alike) + 1))
    sparse = _Sparse(starts, columns, values.astype(np.float32), len(frequent))
    lengths = np.bincount(rows, values**2, count + len(alike))[full]
    scale = float(np.mean(lengths))
    directions = means = np.zeros((len(words), 0))
    penalty, size = ridge, 1.0
    if vectors is not None and smoothing > 0:
        directions = vectors.lookup([word for _, word in known])
        pairs = np.zeros((len(frequent) - len(words), directions.shape[1]))
        means = sparse.times(np.vstack([directions, pairs])).astype(np.float64)
        size = float(np.mean(np.sum(means[full] ** 2, axis=1)))
        directions *= smoothing / size
        penalty *= 1.0 + smoothing

    def kernel(dual: Matrix) -> Matrix:
        image = sparse.times(sparse.transposed_times(dual)).astype(np.float64) / scale
        return image + means @ (means.T @ dual) * (smoothing / size) if directions.size else image

    diagonal = np.bincount(rows, values**2, count + len(alike)) / scale
    if directions.size:
        diagonal += np.sum(means**2, axis=1) * (smoothing / size)
    dual = _solve(
        kernel,
        diagonal,
        np.vstack([targets, np.zeros((len(alike), len(labels)))]),
        np.append(counted, pair_importance),
        penalty,
        count,
    )
    weights = sparse.transposed_times(dual).astype(np.float64) / scale
    if directions.size:
        weights[: len(words)] += directions @ (means.T @ dual)
    weights *= frequencies[:, None]
    vocabulary = Vocabulary.build(words, buckets, kept)
    model = LinearModel(vocabulary, tuple(-count for count, _ in known), tuple(labels), weights)
    return model if spellings is None else _with_spellings(model, spellings, lines)


def _document_counts(lines: Sequence[str], document: np.ndarray[Any, Any]) -> Counter[str]:
    """How many documents hold each word; those of several lines are told by their first."""
    counts: Counter[str] = Counter()
    more: dict[int, set[str]] = {}
    for place, line in enumerate(lines):
        words = {*line.split(" "), END_OF_LINE}
        if document[place] == place:
            counts.update(words)
        else:
            more.setdefault(int(document[place]), set()).update(words)
    for place, words in more.items():
        counts.update(words.difference(lines[place].split(" "), [END_OF_LINE]))
    return counts


def _with_spellings(model: LinearModel, spellings: Spellings, lines: Sequence[str]) -> LinearModel:
    """The model with the weights of words, and of their pairs that are common in `lines`, for other spellings too."""
    known, vocabulary = [word.decode() for word in model.vocabulary.words], model.vocabulary
    added = spellings.words(known)
    common = _common_pairs(lines, spellings)
    copies = [(pair, copy) for pair in common for copy in sorted(set(spellings.pairs(*pair)))]
    sources = _buckets_of([pair for pair, _ in copies], vocabulary)
    targets = _buckets_of([copy for _, copy in copies], vocabulary)
    free = (vocabulary.kept[sources] >= 0) & (vocabulary.kept[targets] < 0)
    sources, targets = sources[free], targets[free]
    targets, firsts = np.unique(targets, return_index=True)  # the first, the commonest, where two meet in a bucket
    kept = vocabulary.kept.copy()
    kept[targets] = len(model.weights) - len(known) + np.arange(len(targets))
    words, pairs = np.split(model.weights, [len(known)])
    rows = [place for _, place in added]
    return LinearModel(
        Vocabulary.build([*vocabulary.words, *(word.encode() for word, _ in added)], vocabulary.buckets, kept),
        (*model.counts, *(model.counts[place] for place in rows)),
        model.labels,
        np.vstack([words, words[rows], pairs, pairs[vocabulary.kept[sources[firsts]]]]),
    )


def _common_pairs(lines: Sequence[str], spellings: Spellings) -> list[tuple[str, str]]:
    """Neighbouring words of which one has other spellings, in at least `COMMON` lines, the commonest first."""
    places: dict[str, int] = {}
    ended = [f"{line} {END_OF_LINE}" for line in lines]
    tokens = np.array([places.setdefault(token, len(places)) for line in ended for token in line.split(" ")], np.int64)
    names = list(places)
    rows = np.repeat(np.arange(len(lines)), [line.count(" ") + 1 for line in ended])
    has = np.array([spellings.has(name) for name in names], np.bool_)
    here = np.flatnonzero((rows[1:] == rows[:-1]) & (has[tokens[1:]] | has[tokens[:-1]]))
    pairs, numbers = np.unique(tokens[here] * len(names) + tokens[here + 1], return_inverse=True)
    once = np.unique(rows[here] * len(pairs) + numbers)
    frequency = np.bincount(once % max(len(pairs), 1), minlength=len(pairs))
    chosen = np.flatnonzero(frequency >= COMMON)
    chosen = chosen[np.argsort(-frequency[chosen], kind="stable")]
    return [(names[pair // len(names)], names[pair % len(names)]) for pair in pairs[chosen]]


def _buckets_of(pairs: Sequence[tuple[str, str]], vocabulary: Vocabulary) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The bucket of each pair of words, (pairs,)."""
    every = Vocabulary.build(vocabulary.words, vocabulary.buckets)
    data, offsets = string_buffers(pa.array([" ".join(pair) for pair in pairs], pa.string()))
    found = features(every, data, offsets)
    return found.indices[found.offsets[1:] - 2].astype(np.int64) - len(vocabulary.words)  # before that of the end


def _solve(kernel: Kernel, diagonal: Matrix, targets: Matrix, importance: Matrix, penalty: float, count: int) -> Matrix:
    """Dual weights of all labels at once, each over the rows that know it, by preconditioned conjugate gradients.

    With S the root of a row's importance (0 where the target is unknown), S (S K S + λ I)⁻¹ S (y − ȳ). ȳ is that of
    the first `count` rows, and taken from them alone: in a difference of two rows it cancels.
    """
    known = np.isfinite(targets)
    roots = np.where(known, np.sqrt(importance)[:, None], 0.0)
    residual = np.where(known, targets, 0.0)
    shares = np.sum((residual * roots**2)[:count], axis=0) / np.maximum(np.sum(roots[:count] ** 2, axis=0), 1e-12)
    residual[:count] -= shares
    residual *= roots
    inverse = 1.0 / (roots**2 * diagonal[:, None] + penalty)  # of the system's diagonal: rows count very unlike
    solution, direction = np.zeros_like(residual), inverse * residual
    sizes = np.sum(residual * direction, axis=0)
    enough = sizes * TOLERANCE**2
    for _ in range(MOST_STEPS):
        if (sizes <= enough).all():
            break
        image = roots * kernel(roots * direction) + penalty * direction
        step = sizes / np.maximum(np.sum(direction * image, axis=0), 1e-300)
        solution += step * direction
        residual -= step * image
        scaled = inverse * residual
        previous, sizes = sizes, np.sum(residual * scaled, axis=0)
        direction = scaled + direction * (sizes / np.maximum(previous, 1e-300))
    return roots * solution


@dataclass(frozen=True)
class _Sparse:
    """A sparse matrix by rows: `columns` and `values` of row r from starts[r] to starts[r + 1]."""

    starts: Any
    columns: Any
    values: Any  # float32, as are the products
    width: int

    @cached_property
    def transposed(self) -> "_Sparse":
        """The same by columns."""
        rows = np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), np.diff(self.starts))
        order = np.argsort(self.columns, kind="stable")
        starts = np.searchsorted(self.columns[order], np.arange(self.width + 1))
        return _Sparse(starts, rows[order], self.values[order], len(self.starts) - 1)

    def times(self, dense: Any) -> Any:
        """The product with a matrix of shape (width, k). A row is summed by one thread: their number changes no bit."""
        padded = _padded(dense)
        sums = np.zeros((len(self.starts) - 1, padded.shape[1]), np.float32)
        threads = os.cpu_count() or 1
        ends = np.searchsorted(self.starts, np.linspace(0, self.starts[-1], PARTS * threads + 1))
        ends[-1] = len(sums)

        def add(part: tuple[int, int]) -> None:
            _times(self.starts, self.columns, self.values, padded, sums, *part)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(add, pairwise(ends)))
        return sums[:, : dense.shape[1]]

    def transposed_times(self, dense: Any) -> Any:
        """The product of the transpose with a matrix of shape (rows, k)."""
        return self.transposed.times(dense)


def _padded(dense: Any) -> Any:
    """As float32, with columns of 0 up to a multiple of LANES: loops over whole vector registers are twice as fast."""
    padded = np.zeros((len(dense), -(-dense.shape[1] // LANES) * LANES), np.float32)
    padded[:, : dense.shape[1]] = dense
    return padded


@numba.njit(cache=True, nogil=True)
def _times(starts: Any, columns: Any, values: Any, dense: Any, sums: Any, first: int, stop: int) -> None:
    for row in range(first, stop):
        target = sums[row]
        for cell in range(starts[row], starts[row + 1]):
            value, source = values[cell], dense[columns[cell]]
            for place in range(len(target)):
                target[place] += value * source[place]
