"""How far two readings of the same documents agree."""

from typing import Any

import numpy as np

__all__ = ["quadratic_kappa"]


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
