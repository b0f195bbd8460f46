import math

import numpy as np
import pytest
from florilegium.pipelines.weighing.curve import effective_tokens, fit_curve, power
from hypothesis import given
from hypothesis import strategies as st

BINS = st.lists(st.integers(1, 10**9), min_size=1, max_size=60).map(lambda tokens: np.array(tokens, np.int64))
CAPS = st.sampled_from([1.0, 1.5, 2.0, 4.0, 7.0, 16.0])


@given(BINS, CAPS, st.floats(1e-6, 1))
def test_spends_its_budget_below_the_cap_and_favours_utility(tokens, cap, fraction):
    budget = fraction * cap * int(tokens.sum())
    curve = fit_curve(tokens, budget, cap)
    assert math.fsum(tokens * curve.weights) == pytest.approx(budget, rel=1e-9)
    assert curve.weights.max() <= cap
    assert curve.weights.min() >= 0
    rounding = 1e-14 * budget / tokens  # a narrow bin divides a rounding error by its width
    assert (np.diff(curve.weights) >= -rounding[1:] - rounding[:-1]).all()
    assert 1 <= curve.q <= 8
    assert 0 <= curve.a <= 0.4
    assert curve.q == 1 or curve.a == 0.4


@given(BINS, CAPS, st.floats(1e-3, 1))
def test_q_is_the_largest_that_the_cap_allows(tokens, cap, fraction):
    budget = fraction * cap * int(tokens.sum())
    curve = fit_curve(tokens, budget, cap)
    if 1 < curve.q < 8:
        start = 1 - tokens[-1] / tokens.sum()
        top = budget * (1 - ((start - 0.4) / 0.6) ** (curve.q + 1e-6)) / tokens[-1]
        assert top > cap * (1 - 1e-9)
        assert curve.weights[-1] == pytest.approx(cap, rel=1e-6)
    if curve.a < 0.4:
        assert curve.weights[-1] == pytest.approx(cap, rel=1e-6)


@pytest.mark.parametrize(
    ("tokens", "budget", "cap", "a", "q", "weights"),
    [
        ([10], 20, 4, 0.4, 8, [2]),  # all equal: utility cannot choose
        ([10], 40, 4, 0.4, 8, [4]),  # the cap itself
        ([1, 1], 2, 4, 0.4, 8, [(1 / 6) ** 8 * 2, (1 - (1 / 6) ** 8) * 2]),
        ([40, 60], 100, 4, 0.4, 8, [0, 100 / 60]),
        ([25, 75], 100, 1, 0.0, 1, [1, 1]),  # everything once
        ([50, 50], 100, 1.25, 0.2, 1, [0.75, 1.25]),
    ],
)
def test_by_hand(tokens, budget, cap, a, q, weights):
    curve = fit_curve(np.array(tokens, np.int64), float(budget), float(cap))
    assert (curve.a, curve.q) == (pytest.approx(a, abs=1e-12), q)
    assert curve.weights == pytest.approx(weights, abs=1e-12)


@given(st.floats(0, 1), st.integers(1 << 32, 8 << 32))
def test_power(base, units):
    expected = base ** (units / 2**32)
    assert power(np.array([base]), units)[0] == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_power_has_the_same_bits_alone_and_in_a_row():
    base = np.linspace(0, 1, 1001)
    together = power(base, 12_345_678_901)
    assert all(power(base[i : i + 1], 12_345_678_901)[0] == together[i] for i in range(0, 1001, 50))


def test_effective_tokens_are_those_of_the_paper():
    one = np.array([1000])
    worth = {
        epochs: effective_tokens(one, np.array([epochs])) / (1000 * epochs) for epochs in (0.5, 1.0, 4.0, 7.0, 16.0)
    }
    assert worth == {
        0.5: 1.0,
        1.0: 1.0,
        4.0: pytest.approx(0.93, abs=0.005),
        7.0: pytest.approx(0.85, abs=0.005),
        16.0: pytest.approx(0.66, abs=0.005),
    }
