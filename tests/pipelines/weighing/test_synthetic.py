"""Budgets of synthetic domains: exact shares, and limits by backend and source of seeds."""

from fractions import Fraction

import pytest
from florilegium.pipelines.weighing.mix import synthetic_budgets
from florilegium.schemas.recipe import Generated, SyntheticBudget, Weighing
from hypothesis import given
from hypothesis import strategies as st

ONE = Generated(backend="one")
TWO = Generated(backend="two")
SEEDED = Generated(backend="two", seeds="bad")
DOMAINS = {source.domain: source for source in (ONE, TWO, SEEDED)}


def budgets(spendable: dict[str, int], natural: int, **limits: float) -> dict[str, Fraction]:
    domains = {name: DOMAINS[name] for name in spendable}
    whole = {name: Fraction(amount) for name, amount in spendable.items()}
    return synthetic_budgets(domains, whole, Fraction(natural), SyntheticBudget(**limits))


def test_names() -> None:
    assert list(DOMAINS) == ["synthetic.one", "synthetic.two", "synthetic.two.bad"]


def test_a_share_is_of_natural_and_synthetic_tokens_together() -> None:
    found = budgets({"synthetic.one": 10**6}, 99_000)
    assert found == {"synthetic.one": 1000}
    assert found["synthetic.one"] / (found["synthetic.one"] + 99_000) == Fraction(1, 100)


def test_what_cannot_be_spent_is_not_promised() -> None:
    assert budgets({"synthetic.one": 300}, 99_000) == {"synthetic.one": 300}
    assert budgets({"synthetic.one": 0}, 99_000) == {"synthetic.one": 0}
    assert budgets({"synthetic.one": 10**6}, 99_000, share=0.0) == {"synthetic.one": 0}


def test_domains_share_in_proportion_and_pass_on_what_a_limit_keeps() -> None:
    assert budgets({"synthetic.one": 3000, "synthetic.two": 1000}, 99_000) == {
        "synthetic.one": 750, "synthetic.two": 250,
    }  # fmt: skip
    found = budgets({"synthetic.one": 10**6, "synthetic.two.bad": 10**6}, 99_900, share=0.1)
    assert found["synthetic.two.bad"] == 100  # 0.1 % from one source of seeds
    assert found["synthetic.one"] == 11_100 - 100
    found = budgets({"synthetic.one": 10**6, "synthetic.two": 10**6}, 95_000, share=0.3, per_backend=0.05)
    assert found == {"synthetic.one": 5000, "synthetic.two": 5000}


@given(
    st.lists(st.integers(0, 10**7), min_size=3, max_size=3),
    st.integers(0, 10**8),
    st.floats(0, 0.3), st.floats(0.0001, 0.3), st.floats(0.0001, 0.3),
)  # fmt: skip
def test_no_limit_is_ever_exceeded(
    spendable: list[int], natural: int, share: float, per_backend: float, per_seed_source: float
) -> None:
    amounts = dict(zip(DOMAINS, spendable, strict=True))
    found = budgets(amounts, natural, share=share, per_backend=per_backend, per_seed_source=per_seed_source)
    total = natural + sum(found.values())
    assert all(0 <= found[name] <= amounts[name] for name in DOMAINS)
    assert sum(found.values()) <= Fraction(repr(share)) * total
    assert found["synthetic.two"] + found["synthetic.two.bad"] <= Fraction(repr(per_backend)) * total
    assert found["synthetic.two.bad"] <= Fraction(repr(per_seed_source)) * total


def test_recipes_without_synthetic_inputs_mean_what_they_meant() -> None:
    assert "synthetic" not in Weighing().meaning()
    assert "synthetic" in Weighing(synthetic=SyntheticBudget(sources={"x": ONE})).meaning()
    with pytest.raises(ValueError, match=r"less than or equal to 0\.3"):
        SyntheticBudget(share=0.31)
