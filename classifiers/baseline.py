"""The floor that every model must clear: TF-IDF over words and word pairs with ridge regression.

Anybody can train it in a minute with any library, so `evaluate --baseline` trains it on the rows that a model was
trained on and scores the same documents. As scikit-learn has it: words of two or more letters in lower case,
1 + log counts, rows of length 1, penalty 1. Solved in the dual, which gives the prediction of every row by a
model without it for nothing (the leverages); probabilities are rising logistic functions of those, fitted on the
rows drawn at random where these hold enough positives, else on all.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..schemas.errors import InputError, MissingExtraError
from ..schemas.taxonomy import HARMS, PROSOCIAL
from .labelled import DIMENSIONS, TARGETS, read_grades
from .student import Scores

__all__ = ["Baseline", "train_baseline"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

WORD = re.compile(r"\b\w\w+\b")
MINIMUM_DOCUMENTS = 2
PENALTY = 1.0
FEW = 10  # rows that a baseline needs
FEW_POSITIVES = 50  # among the rows drawn at random, for a probability fitted on them


@dataclass(frozen=True)
class Baseline:
    """A trained baseline; scores texts as a model does."""

    columns: dict[str, int]  # word or pair → column
    idf: Floats  # (columns,)
    weights: Floats  # (columns, outputs)
    bias: Floats  # (outputs,)
    slopes: Floats  # (outputs,) of the logistic function; the last output, quality, is a share of 5 as it is
    intercepts: Floats
    rows: int

    def score(self, texts: pa.StringArray | Sequence[str]) -> Scores:
        """Scores of every text, not rounded."""
        lists = texts.to_pylist() if isinstance(texts, pa.Array) else list(texts)
        raw = _matrix([_terms(text) for text in lists], self.columns, self.idf) @ self.weights + self.bias
        probability = 1 / (1 + np.exp(-np.clip(raw * self.slopes + self.intercepts, -30, 30)))
        first, second = len(PROSOCIAL), len(PROSOCIAL) + len(HARMS)
        return Scores(
            quality=np.clip(raw[:, -1] / 5, 0, 1).astype(np.float32),
            prosocial=probability[:, :first].astype(np.float32),
            topical=probability[:, first:second].astype(np.float32),
            toxic=probability[:, second : second + len(HARMS)].astype(np.float32),
            valid=np.ones(len(lists), np.bool_),
        )


def train_baseline(path: str | Path) -> Baseline:
    """The baseline on the annotated rows of a Parquet file that may train released weights (`ship`)."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({error})") from error
    if not {"id", "text", "annotations"} <= set(table.column_names):
        raise InputError(f"{path}: a baseline is trained on annotated documents; needs id, text and annotations")
    if "ship" in table.column_names:
        table = table.filter(pc.fill_null(table["ship"], False))
    if table.num_rows < FEW:
        raise InputError(f"{path}: {table.num_rows} rows to train a baseline on, at least {FEW} are needed")
    natural = np.ones(table.num_rows, bool)
    if "sampling" in table.column_names:
        natural = pc.equal(table["sampling"], "random").to_numpy()
    grades = read_grades(path, table)
    reached = []
    for output in TARGETS[:-1]:
        name, grade = output.split(">=")
        values = grades[:, DIMENSIONS.index(name)]
        reached.append(np.where(np.isnan(values), np.nan, values >= int(grade) - 0.5))
    targets = np.column_stack([*reached, grades[:, DIMENSIONS.index("quality")]]).astype(np.float64)
    return _fit(table["text"].to_pylist(), targets, natural)


def _fit(texts: Sequence[str], targets: Floats, natural: np.ndarray[Any, Any]) -> Baseline:
    terms = [_terms(text) for text in texts]
    documents = Counter(term for row in terms for term in row)
    known = sorted(term for term, count in documents.items() if count >= MINIMUM_DOCUMENTS)
    columns = {term: column for column, term in enumerate(known)}
    counts = np.array([documents[term] for term in known], np.float64)
    idf = np.log((1 + len(texts)) / (1 + counts)) + 1
    matrix = _matrix(terms, columns, idf)
    gram = (matrix @ matrix.T).toarray()
    judged = np.isfinite(targets)
    bias, dual, without = np.zeros(targets.shape[1]), np.zeros_like(targets), np.zeros_like(targets)
    patterns, pattern = np.unique(judged.T, axis=0, return_inverse=True)
    for place, rows in enumerate(patterns):  # those that are judged of the same rows
        if not rows.any():
            continue
        inverse = np.linalg.inv(gram[np.ix_(rows, rows)] + PENALTY * np.eye(int(rows.sum())))
        outputs = np.flatnonzero(pattern.ravel() == place)
        target = targets[np.ix_(rows, outputs)]
        bias[outputs] = target.mean(axis=0)
        solved = inverse @ (target - bias[outputs])
        dual[np.ix_(rows, outputs)] = solved
        without[np.ix_(rows, outputs)] = target - solved / np.diag(inverse)[:, None]
    slopes, intercepts = np.zeros(targets.shape[1]), np.zeros(targets.shape[1])
    for output in range(targets.shape[1] - 1):
        drawn = natural & judged[:, output]
        if not judged[:, output].any():
            continue
        enough = FEW_POSITIVES <= targets[drawn, output].sum() <= drawn.sum() - FEW_POSITIVES
        rows = drawn if enough else judged[:, output]
        slopes[output], intercepts[output] = _logistic(without[rows, output], targets[rows, output])
    return Baseline(columns, idf, matrix.T @ dual, bias, slopes, intercepts, len(texts))


def _terms(text: str) -> Counter[str]:
    words = WORD.findall(text.lower())
    return Counter([*words, *(f"{first} {second}" for first, second in pairwise(words))])


def _matrix(terms: Sequence[Counter[str]], columns: dict[str, int], idf: Floats) -> Any:
    """A sparse matrix of rows of length 1."""
    try:
        from scipy.sparse import csr_matrix
    except ImportError as error:
        raise MissingExtraError(
            "--baseline needs the package scipy; install it with `pip install 'florilegium[baseline]'`"
        ) from error

    def cells() -> Iterator[tuple[int, int, float]]:
        for row, counted in enumerate(terms):
            for term, count in counted.items():
                if term in columns:
                    yield row, columns[term], 1 + np.log(count)

    filled = np.array(list(cells()), np.float64).reshape(-1, 3)
    rows, places = filled[:, 0].astype(np.int64), filled[:, 1].astype(np.int64)
    values = filled[:, 2] * idf[places]
    lengths = np.sqrt(np.bincount(rows, values**2, minlength=len(terms)))
    return csr_matrix((values / np.maximum(lengths, 1e-12)[rows], (rows, places)), (len(terms), len(columns)))


def _logistic(score: Floats, target: Floats) -> tuple[float, float]:
    """Slope and intercept by Newton's method, lightly bound so that a perfect ranking stays finite."""
    scale = score.std() + 1e-9
    design = np.column_stack([score / scale, np.ones(len(score))])
    penalty = np.diag([0.1, 1e-6])
    weights = np.zeros(2)
    for _ in range(50):
        fitted = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        hessian = design.T @ (design * (fitted * (1 - fitted))[:, None]) + penalty
        step = np.linalg.solve(hessian, design.T @ (fitted - target) + penalty @ weights)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    return max(float(weights[0] / scale), 1e-6), float(weights[1])
