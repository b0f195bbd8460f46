from fractions import Fraction

import numpy as np
from florilegium.pipelines.weighing.mix import independent_markets

from .truthfulness import markets, measure, random_votes

PROFILES = 6000


def test_nobody_gains_by_a_misreport_and_the_mean_fails_the_same_test():
    found = measure(PROFILES, seed=1)
    assert found["markets"][0] == 0
    gained, largest = found["mean"]
    assert gained > PROFILES / 4
    assert largest > 0.05


def test_the_fast_markets_are_the_exact_ones():
    generator = np.random.default_rng(2)
    for _ in range(150):
        voters, domains = int(generator.integers(1, 7)), int(generator.integers(1, 6))
        votes = generator.integers(0, 5, (voters, domains))
        votes[votes.sum(axis=1) == 0, 0] = 1
        exact = {
            f"v{i}": {f"d{g}": Fraction(int(part), int(vote.sum())) for g, part in enumerate(vote)}
            for i, vote in enumerate(votes)
        }
        mix = independent_markets(exact, dict.fromkeys(exact, Fraction(1, voters)))
        fast = markets((votes / votes.sum(axis=1, keepdims=True))[None])[0]
        np.testing.assert_allclose(fast, [float(mix[f"d{g}"]) for g in range(domains)], atol=1e-12)


def test_single_minded_voters_get_their_part_and_nobody_has_a_name():
    generator = np.random.default_rng(3)
    minds = generator.integers(0, 4, (500, 9))
    outcome = markets(np.eye(4)[minds])
    np.testing.assert_allclose(outcome, np.stack([(minds == g).mean(axis=1) for g in range(4)], axis=1), atol=1e-12)
    votes = random_votes(generator, 500, 7, 4)
    shuffled = generator.permuted(np.broadcast_to(np.arange(7)[None, :], (500, 7)), axis=1)
    moved = np.take_along_axis(votes, shuffled[:, :, None], axis=1)
    np.testing.assert_array_equal(markets(moved), markets(votes))
