import numpy as np
import pytest
from florilegium.pipelines.weighing.histogram import Histogram
from florilegium.pipelines.weighing.plan import build_plan
from florilegium.pipelines.weighing.pool import total
from florilegium.pipelines.weighing.rehydration import factors, masses
from florilegium.schemas.charter import Charter
from florilegium.schemas.recipe import Rehydration, Weighing

SIZES = np.array([1, 2, 3, 4, 8, 16, 1000, 1001, 10**6])


def test_factors_are_damped_capped_and_off_for_spam():
    tokens = np.full(len(SIZES), 1000, np.int32)
    mass = masses(tokens, SIZES, np.zeros(len(SIZES), np.bool_), Rehydration())
    assert factors(mass, tokens).tolist() == [1, 1.25, 1.25, 1.5, 1.75, 2, 2, 1, 1]
    assert masses(tokens, SIZES, np.ones(len(SIZES), np.bool_), Rehydration()).tolist() == tokens.tolist()
    assert masses(tokens, SIZES, np.zeros(len(SIZES), np.bool_), None) is tokens
    assert factors(np.array([0]), np.array([0])).tolist() == [1]


@pytest.mark.parametrize("budget", [None, 3000, 50_000])
def test_budgets_and_the_cap_hold_all_the_same(budget):
    generator = np.random.default_rng(0)
    rows = 500
    tokens = generator.integers(0, 60, rows).astype(np.int32)
    sizes = generator.choice(SIZES, rows)
    utilities = generator.integers(0, 30, (rows, 1)).astype(np.int16) * 30
    unscored, codes = np.zeros(rows, np.bool_), generator.integers(0, 2, rows)
    weighing = Weighing(charters={"x": 1.0}, budget_tokens=budget, rehydration=Rehydration())
    mass = masses(tokens, sizes, unscored, weighing.rehydration)
    histogram = Histogram.empty(["x"], ["a", "b"])
    histogram.add(utilities, codes, mass, unscored)
    plan = build_plan(histogram, {"x": Charter(version=1, name="x")}, weighing, 0)
    weight = total(plan.weights(utilities, codes) * factors(mass, tokens)[:, None])
    for code, name in enumerate(plan.domain_names):
        assert float(tokens[codes == code] @ weight[codes == code]) == pytest.approx(
            plan.domains[name].spent, rel=1e-12
        )
    assert plan.spent == pytest.approx(min(budget or mass.sum(), 2 * mass.sum()), rel=1e-9)
    assert weight.max() <= 4 * (1 + 1e-12)
    same = (utilities[:, 0] == 870) & (codes == 0) & (tokens > 20)  # of one bin: copies lift, within rounding
    single, copied = weight[same & np.isin(sizes, (1, 1001, 10**6))], weight[same & np.isin(sizes, (16, 1000))]
    assert copied.min() == pytest.approx(2 * single.max(), rel=0.05)


def test_it_is_off_unless_asked_for():
    assert Weighing().rehydration is None
    assert Weighing.model_validate({"rehydration": {}}).rehydration == Rehydration()
