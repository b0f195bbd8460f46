"""The curve that turns a rank by utility into a weight, for one charter in one domain.

    g(t) = ((t - a) / (1 - a))^q  for t > a, else 0
    w    = z (g(v1) - g(v0)) / tokens of the bin,    [v0, v1] the bin's interval of token quantiles

spends exactly z (OLMo 3, arXiv 2512.13961 §3.4.4, with a = .40). g is convex, so the bin of highest
utility weighs most and alone decides which q the epoch cap allows. Powers are made of products and
square roots only: IEEE 754 rounds these alike on every machine, which nobody promises of `pow`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["REPETITION_DECAY", "Curve", "effective_tokens", "fit_curve", "power"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]

DEFAULT_A = 0.40
MAX_Q = 8
Q_STEPS = 32  # q is a multiple of 2^-32
Q_UNIT = 1 << Q_STEPS
REPETITION_DECAY = 15.0


@dataclass(frozen=True)
class Curve:
    """A fitted curve and the weight that it gives to each bin, in the order of the bins."""

    a: float
    q: float
    weights: Floats


def fit_curve(tokens: Counts, budget: float, cap: float) -> Curve:
    """The steepest curve that spends `budget` over bins of ascending utility with no weight above `cap`.

    `tokens` (bins,) are positive and `budget` is at most cap · Σ tokens. First the largest q in [1, 8]
    at a = .40: q - 1 is built bit by bit, 4, 2, 1, 1/2 … 2^-32, each kept where the top bin stays
    below the cap. If already q = 1 exceeds it, q = 1 and a = 1 - budget / (cap Σ tokens), where the
    top bin weighs exactly the cap.
    """
    total, top = int(tokens.sum()), int(tokens[-1])
    start = (total - top) / total
    least = 1.0 - cap * top / budget if budget > 0 else 0.0  # what g must have reached where the top bin starts
    base = max(0.0, (start - DEFAULT_A) / (1.0 - DEFAULT_A))
    if base >= least:
        a, q = DEFAULT_A, _largest_q(base, least)
    else:
        a, q = max(0.0, 1.0 - budget / (cap * total)), Q_UNIT
    edges = np.concatenate([[0.0], np.cumsum(tokens) / total])
    edges[-1] = 1.0
    heights = power(np.maximum(0.0, (edges - a) / (1.0 - a)), q)
    return Curve(a, q / Q_UNIT, np.minimum(budget * np.diff(heights) / tokens, cap))


def power(base: Floats, units: int) -> Floats:
    """base^(units / 2^32) for bases in [0, 1] and 0 < units < 2^36, from products and square roots."""
    result = np.ones_like(base)
    for bit, factor in _factors(base):
        if units & bit:
            result = result * factor
    return result


def effective_tokens(tokens: Counts, weights: Floats) -> float:
    """What tokens seen `weights` times are worth in tokens seen once, summed.

    w up to 1 epoch; beyond, U + U R* (1 - e^(-R/R*)) with R = w - 1 and R* = 15 (Muennighoff et al.,
    arXiv 2305.16264).
    """
    again = -REPETITION_DECAY * np.expm1(-np.maximum(weights - 1.0, 0.0) / REPETITION_DECAY)
    return float((tokens * (np.minimum(weights, 1.0) + again)).sum())


def _largest_q(base: float, least: float) -> int:
    """The largest q in [1, 8], in units of 2^-32, with base^q ≥ least."""
    start = np.array([base])
    if least <= 0 or power(start, MAX_Q * Q_UNIT)[0] >= least:
        return MAX_Q * Q_UNIT
    units, reached = Q_UNIT, base
    for bit, factor in _factors(start):
        if bit <= 4 * Q_UNIT and reached * factor[0] >= least:
            units, reached = units + bit, reached * factor[0]
    return units


def _factors(base: Floats) -> Iterator[tuple[int, Floats]]:
    """base^8, base^4, base^2, base, base^(1/2) … base^(2^-32), each with its exponent in units of 2^-32."""
    squares = [base]
    for _ in range(3):
        squares.append(squares[-1] * squares[-1])
    for exponent, factor in zip((8, 4, 2, 1), reversed(squares), strict=True):
        yield exponent * Q_UNIT, factor
    for step in range(1, Q_STEPS + 1):
        base = np.sqrt(base)
        yield Q_UNIT >> step, base
