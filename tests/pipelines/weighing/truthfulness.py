"""Does it pay to lie about domains? `python -m tests.pipelines.weighing.truthfulness [PROFILES]`.

Independent markets over many random profiles at once, in floats and by bisection over the market's time,
so that 10^5 profiles with a random misreport each take seconds; a test holds it to the product's exact
fractions. A voter gains where the outcome after a lie lies nearer to what it wants, in ℓ1.
"""

import sys
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

PROFILES = 100_000
STEPS = 60


def markets(votes: Floats) -> Floats:
    """Outcomes (profiles, domains) for votes (profiles, voters, domains)."""
    levels = -np.sort(-votes, axis=1)
    wanting = np.arange(1, votes.shape[1] + 1)[None, :, None]
    low, high = np.zeros(len(votes)), np.ones(len(votes))
    for _ in range(STEPS):
        middle = (low + high) / 2
        enough = np.minimum(levels, middle[:, None, None] * wanting).max(axis=1).sum(axis=1) >= 1
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.minimum(levels, high[:, None, None] * wanting).max(axis=1)


def mean(votes: Floats) -> Floats:
    return votes.mean(axis=1)


def random_votes(generator: np.random.Generator, profiles: int, voters: int, domains: int) -> Floats:
    """Votes of several tempers: even ones, pointed ones, and ones on whole parts with many ties and zeros."""
    temper = generator.choice([0.2, 1.0, 5.0], (profiles, voters, 1))
    shares = generator.gamma(np.broadcast_to(temper, (profiles, voters, domains))) + 1e-12
    parts = generator.integers(0, 4, (profiles, voters, domains)) + 1e-12
    votes = np.where(generator.random((profiles, voters, 1)) < 0.5, shares, parts)
    return votes / votes.sum(axis=2, keepdims=True)


def gains(rule, generator: np.random.Generator, profiles: int, voters: int, domains: int) -> Floats:
    """How much nearer the first voter comes to its wish by a random misreport, one for each profile."""
    honest = random_votes(generator, profiles, voters, domains)
    wish = honest[:, 0]
    lies = honest.copy()
    other = random_votes(generator, profiles, 1, domains)[:, 0]
    # Half of the lies are arbitrary; the others exaggerate, away from what the rest wants.
    pushed = np.maximum(wish + 2 * (wish - honest[:, 1:].mean(axis=1)), 1e-12)
    lies[:, 0] = np.where(generator.random((profiles, 1)) < 0.5, other, pushed / pushed.sum(axis=1, keepdims=True))
    before, after = (np.abs(rule(votes) - wish).sum(axis=1) for votes in (honest, lies))
    return before - after


def measure(profiles: int, seed: int = 0) -> dict[str, tuple[int, float]]:
    """By rule: how many of the profiles reward the lie by more than 1e-9, and the largest gain."""
    found = {}
    for name, rule in (("markets", markets), ("mean", mean)):
        generator = np.random.default_rng(seed)
        shapes = [(voters, domains) for voters in (2, 3, 5, 9) for domains in (2, 3, 5)]
        part = -(-profiles // len(shapes))
        gained = np.concatenate([gains(rule, generator, part, *shape) for shape in shapes])
        found[name] = int((gained > 1e-9).sum()), float(gained.max())
    return found


if __name__ == "__main__":
    profiles = int(sys.argv[1]) if len(sys.argv) > 1 else PROFILES
    for name, (number, largest) in measure(profiles).items():
        print(f"{name}: {number:,} of {profiles:,} misreports gain, at most {largest:.2g}")
