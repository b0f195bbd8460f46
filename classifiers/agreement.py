"""How far readings of the same documents agree, and whose do not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Disagreement", "disagreements", "quadratic_kappa"]

ENOUGH = 30  # documents that an annotator shares with others before anything is said
ENOUGH_GRADES = 5  # of them with a grade above 0, by either side

Readings = Sequence[Sequence[Sequence[float | None]]]


def quadratic_kappa(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], highest: int) -> float:
    """Cohen's kappa with quadratic weights (Cohen 1968) of two readings on grades 0 … `highest`, both (rows,).

    1 where they always agree, 0 where they agree as often as chance would, and NaN where both give one and the
    same grade to all, so that there is nothing to agree about.
    """
    table = np.zeros((highest + 1, highest + 1))
    np.add.at(table, (one.astype(int), other.astype(int)), 1)
    grades = np.arange(highest + 1)
    distance = (grades[:, None] - grades[None, :]) ** 2
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / max(table.sum(), 1)
    chance = (distance * expected).sum()
    return float(1 - (distance * table).sum() / chance) if chance > 0 else float("nan")


@dataclass(frozen=True)
class Disagreement:
    """An annotator whose grades of one dimension are not those of the others."""

    annotator: str
    dimension: str
    kappa: float  # with the median of the others
    documents: int  # that were read by others too
    grades: int  # that the annotator gave


def disagreements(
    readings: Readings, annotators: Sequence[Sequence[str]], highest: Mapping[str, int], minimum: float
) -> list[Disagreement]:
    """Annotators whose quadratic kappa with the median of the others is below `minimum`, by dimension.

    `readings` holds for each document the grades of each reading, `annotators` who read; `highest` the scale of each
    dimension, in the order of the grades. The worst is set aside first, and the rest are compared anew without it, so
    that a bad annotator does not spoil the figures of the good. Never half of the annotators or more: where most
    disagree, none of them is shown to be wrong. Two alone say nothing about each other.
    """
    names = sorted({name for row in annotators for name in row})
    place = {name: column for column, name in enumerate(names)}
    grades = np.full((len(readings), len(names), len(highest)), np.nan)
    for row, (given, by) in enumerate(zip(readings, annotators, strict=True)):
        for values, name in zip(given, by, strict=True):
            grades[row, place[name]] = [np.nan if value is None else value for value in values]
    found = []
    for column, (dimension, top) in enumerate(highest.items()):
        table, kept = grades[:, :, column], list(range(len(names)))
        while len(names) - len(kept) < (len(names) - 1) // 2:
            kappas = {name: _with_others(table[:, kept], kept.index(name), top) for name in kept}
            judged = {name: kappa for name, (kappa, documents) in kappas.items() if documents and kappa < minimum}
            if not judged:
                break
            worst = min(judged, key=lambda name: (judged[name], name))
            count = int(np.isfinite(table[:, worst]).sum())
            found.append(Disagreement(names[worst], dimension, judged[worst], kappas[worst][1], count))
            kept.remove(worst)
    return found


def _with_others(table: np.ndarray[Any, Any], annotator: int, highest: int) -> tuple[float, int]:
    """Kappa of one annotator with the median of the others, and on how many documents; 0 where they are too few."""
    own, others = table[:, annotator], np.delete(table, annotator, axis=1)
    shared = np.isfinite(own) & np.isfinite(others).any(axis=1)
    one, median = np.rint(own[shared]), np.rint(np.nanmedian(others[shared], axis=1)) if shared.any() else own[shared]
    if len(one) < ENOUGH or int(((one > 0) | (median > 0)).sum()) < ENOUGH_GRADES:
        return float("nan"), 0
    return quadratic_kappa(one, median, highest), len(one)
