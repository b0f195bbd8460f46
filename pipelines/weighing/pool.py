"""Pass two: the plan applied to documents. Pooling, and the integers that a trainer reads.

A document's row depends on its own utilities, domain and id alone, so pass two runs over shards, in
any order, on any engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.document import CONTRIBUTIONS
from ...schemas.hashing import hash64, uniform
from .plan import WeightPlan

__all__ = ["Weighed", "contribution_lists", "repeats", "total", "weigh"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Words = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True)
class Weighed:
    """What n documents weigh."""

    weight: Floats  # (n,)
    repeats: np.ndarray[Any, np.dtype[np.int32]]  # (n,)
    contributions: pa.ListArray  # n lists of {charter, weight}


def weigh(
    plan: WeightPlan,
    utilities: np.ndarray[Any, Any],
    domain: np.ndarray[Any, Any],
    words: tuple[Words, Words],
    unscored: np.ndarray[Any, Any] | None = None,
) -> Weighed:
    """Weight, repeats and contributions of n documents; `words` are their `id_words`, the rest as in `weights`."""
    contributions = plan.weights(utilities, domain, unscored)
    weight = total(contributions)
    return Weighed(weight, repeats(weight, *words, plan.seed), contribution_lists(contributions, plan.charter_names))


def total(contributions: Floats) -> Floats:
    """The sum over charters, added from the first to the last, so that it has the same bits everywhere."""
    weight = np.zeros(len(contributions))
    for column in range(contributions.shape[1]):
        weight += contributions[:, column]
    return weight


def repeats(weight: Floats, high: Words, low: Words, seed: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Integers with mean `weight`: floor(w), and one more where the id's hash in [0, 1) is below the rest."""
    whole = np.floor(weight)
    extra = uniform(hash64(seed, "repeats", high, low)) < weight - whole
    return (whole + extra).astype(np.int32)


def contribution_lists(contributions: Floats, charters: Sequence[str]) -> pa.ListArray:
    """The column `contributions`: for each row the charters that give it weight, in the order of `charters`."""
    given = contributions > 0
    offsets = np.concatenate([[0], np.cumsum(given.sum(axis=1))]).astype(np.int32)
    _, column = np.nonzero(given)
    names = pa.DictionaryArray.from_arrays(pa.array(column, pa.int32()), pa.array(charters, pa.string()))
    values = pa.StructArray.from_arrays(
        [names.dictionary_decode(), pa.array(contributions[given])], fields=list(CONTRIBUTIONS.value_type)
    )
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=CONTRIBUTIONS)
