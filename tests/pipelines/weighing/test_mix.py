from fractions import Fraction
from statistics import median

import numpy as np
import pytest
from florilegium.pipelines.weighing.mix import combine, exact, feasible, fill, independent_markets, ratio_rule, voters
from hypothesis import given, settings
from hypothesis import strategies as st

F = Fraction


def _simplex(size: int) -> st.SearchStrategy[list[Fraction]]:
    parts = st.lists(st.integers(0, 12), min_size=size, max_size=size).filter(any)
    return parts.map(lambda numbers: [F(number, sum(numbers)) for number in numbers])


@st.composite
def _elections(draw):
    size = draw(st.integers(1, 5))
    ballots = draw(st.lists(_simplex(size), min_size=1, max_size=5))
    weights = draw(st.lists(st.integers(1, 20), min_size=len(ballots), max_size=len(ballots)))
    votes = {f"c{i}": {f"d{g}": part for g, part in enumerate(ballot)} for i, ballot in enumerate(ballots)}
    return votes, {f"c{i}": F(weight, sum(weights)) for i, weight in enumerate(weights)}


def test_exact_reads_what_was_written():
    assert (exact(0.1), exact(1e-5), exact(3)) == (F(1, 10), F(1, 100_000), F(3))


def test_voters_are_thousandths_and_nobody_is_lost():
    assert voters({"a": F(1, 3), "b": F(2, 3)}) == {"a": 333, "b": 667}
    assert voters({"a": F(1, 5000), "b": F(4999, 5000)}) == {"a": 1, "b": 1000}


@settings(max_examples=25, deadline=None)
@given(_elections())
def test_markets_are_the_medians_of_votes_and_phantoms(election):
    votes, shares = election
    mix = independent_markets(votes, shares)
    assert sum(mix.values()) == 1
    counts = voters(shares)
    n = sum(counts.values())

    def medians(t: Fraction) -> dict[str, Fraction]:
        phantoms = [min(t * (n - k), F(1)) for k in range(n + 1)]
        return {g: median([votes[c][g] for c in votes for _ in range(counts[c])] + phantoms) for g in mix}

    low, high = F(0), F(1)
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(medians(middle).values()) < 1 else (low, middle)
    below, above = medians(low), medians(high)
    assert all(below[g] <= mix[g] <= above[g] for g in mix)


def test_markets_are_proportional_for_single_minded_voters():
    votes = {c: {g: F(c == g) for g in "xyz"} for c in "xyz"}
    shares = {"x": F(1, 2), "y": F(3, 10), "z": F(1, 5)}
    assert independent_markets(votes, shares) == shares


def test_markets_do_not_reward_exaggeration():
    """A charter whose vote already lies below the outcome cannot pull it further down."""
    votes = {"p": {"a": F(1, 2), "b": F(1, 2)}, "q": {"a": F(9, 10), "b": F(1, 10)}, "r": {"a": F(2, 5), "b": F(3, 5)}}
    shares = dict.fromkeys("pqr", F(1, 3))
    honest = independent_markets(votes, shares)
    lying = independent_markets(votes | {"r": {"a": F(0), "b": F(1)}}, shares)
    assert honest == lying == votes["p"]
    assert combine("mean", votes | {"r": {"a": F(0), "b": F(1)}}, shares)["a"] < combine("mean", votes, shares)["a"]


@given(_elections())
def test_unanimity_and_order(election):
    votes, shares = election
    first = next(iter(votes.values()))
    for method in ("markets", "mean"):
        assert combine(method, dict.fromkeys(votes, first), shares) == first
        backwards = {c: dict(reversed(votes[c].items())) for c in reversed(votes)}
        assert combine(method, backwards, shares) == combine(method, votes, shares)


def test_mean():
    votes = {"p": {"a": F(1), "b": F(0)}, "q": {"a": F(1, 2), "b": F(1, 2)}}
    assert combine("mean", votes, {"p": F(1, 4), "q": F(3, 4)}) == {"a": F(5, 8), "b": F(3, 8)}


@settings(max_examples=25, deadline=None)
@given(_elections())
def test_the_ratio_rule_is_at_its_maximum(election):
    """No mix in a cloud around it, nor any vote, scores better than it by more than a hair."""
    votes, shares = election
    mix = ratio_rule(votes, shares)
    assert sum(mix.values()) == 1

    def score(x: dict[str, float]) -> float:
        ratios = [min(x[g] / float(part) for g, part in vote.items() if part) for vote in votes.values()]
        return sum(float(s) * np.log(max(ratio, 1e-300)) for s, ratio in zip(shares.values(), ratios, strict=True))

    best = score({g: float(part) for g, part in mix.items()})
    generator = np.random.default_rng(0)
    for spread in (1e-3, 1e-2, 0.1, 1):
        for _ in range(50):
            noise = generator.dirichlet(np.ones(len(mix)))
            x = {g: (1 - spread) * float(part) + spread * n for (g, part), n in zip(mix.items(), noise, strict=True)}
            assert score(x) <= best + 1e-4


def test_the_ratio_rule_by_hand():
    """Two charters of disjoint domains: money is spent where it is worth something."""
    votes = {"p": {"a": F(1), "b": F(0)}, "q": {"a": F(0), "b": F(1)}}
    assert ratio_rule(votes, {"p": F(1, 4), "q": F(3, 4)}) == {"a": F(1, 4), "b": F(3, 4)}


def test_feasible_moves_the_excess_until_nothing_moves():
    targets = {"a": F(1, 2), "b": F(3, 10), "c": F(1, 5), "d": F(0)}
    tokens = {"a": 100, "b": 200, "c": 10_000, "d": 10_000}
    caps = dict.fromkeys(targets, F(4))
    assert feasible(targets, 1000, tokens, caps) == {"a": 400, "b": 360, "c": 240, "d": 0}
    assert feasible(targets, 2000, tokens, caps) == {"a": 400, "b": 800, "c": 800, "d": 0}
    assert feasible(targets, 50_000, tokens, caps) == {"a": 400, "b": 800, "c": 40_000, "d": 0}


def test_equal_targets_are_unimax():
    targets = dict.fromkeys("abc", F(1, 3))
    assert feasible(targets, 900, {"a": 10, "b": 100, "c": 1000}, dict.fromkeys("abc", F(4))) == {
        "a": 40,
        "b": 400,
        "c": 460,
    }


@given(
    st.integers(0, 5000),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1000)), min_size=1, max_size=6),
)
def test_filling(amount, rows):
    parts = {str(i): F(part) for i, (part, _) in enumerate(rows)}
    limits = {str(i): F(limit) for i, (_, limit) in enumerate(rows)}
    filled = fill(F(amount), parts, limits)
    assert all(0 <= filled[name] <= limits[name] for name in parts)
    assert sum(filled.values()) == min(amount, sum(limits[name] for name in parts if parts[name]))
    levels = {filled[name] / parts[name] for name in parts if parts[name] and filled[name] < limits[name]}
    assert len(levels) <= 1
    assert all(filled[n] <= level * parts[n] for level in levels for n in parts if filled[n] == limits[n])


@pytest.mark.parametrize("method", ["markets", "mean", "ratio"])
def test_one_charter_gets_its_wish(method):
    votes = {"p": {"a": F(3, 4), "b": F(1, 4), "c": F(0)}}
    assert combine(method, votes, {"p": F(1)}) == votes["p"]
