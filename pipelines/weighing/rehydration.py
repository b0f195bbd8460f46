"""Rehydration: documents that the pool held more than once may weigh more, damped, capped, never spam.

A document with a cluster of n copies gets the factor 1 + per_doubling · floor(log2 n), at most
max_factor, and 1 where n is above `spam_size`. It then counts as `mass` = floor(tokens · factor) tokens
in the histogram and weighs mass / tokens times its bin, so that budgets are met to the bit. Integers
only: factors are thousandths, and the logarithm is the position of the highest bit.
"""

from typing import Any

import numpy as np

from ...schemas.document import GRID
from ...schemas.recipe import Rehydration

__all__ = ["factors", "masses"]

Counts = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


def masses(
    tokens: np.ndarray[Any, Any],
    cluster_size: np.ndarray[Any, Any],
    unscored: np.ndarray[Any, Any],
    rehydration: Rehydration | None,
) -> np.ndarray[Any, Any]:
    """What n documents count as, in tokens, all arguments (n,); `tokens` itself where rehydration is off.

    Documents in languages without scores, which weigh at most 1, are never lifted.
    """
    if rehydration is None:
        return tokens
    sizes = np.maximum(cluster_size.astype(np.int64), 1)
    doublings = np.frexp(sizes.astype(np.float64))[1] - 1  # exact below 2^53
    factor = np.minimum(GRID + round(rehydration.per_doubling * GRID) * doublings, round(rehydration.max_factor * GRID))
    factor = np.where((sizes > rehydration.spam_size) | unscored, GRID, factor)
    return tokens.astype(np.int64) * factor // GRID


def factors(mass: np.ndarray[Any, Any], tokens: np.ndarray[Any, Any]) -> Floats:
    """mass / tokens, (n,); 1 for documents without tokens, which weigh nothing alone."""
    return np.where(tokens > 0, mass / np.maximum(tokens, 1), 1.0)
