import math
from itertools import pairwise

import numpy as np
import pytest
from florilegium.pipelines.weighing.histogram import Histogram
from florilegium.pipelines.weighing.plan import UNSCORED, WeightPlan, build_plan
from florilegium.pipelines.weighing.pool import total
from florilegium.schemas.charter import Charter
from florilegium.schemas.errors import BalanceError, RecipeError
from florilegium.schemas.recipe import Domain, Weighing
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = ["x", "y", "z"]


def _charters(**shares) -> dict[str, Charter]:
    return {name: Charter(version=1, name=name, shares=vote) for name, vote in shares.items()}


def _plan(rows, known, groups=("a", "b"), **weighing) -> tuple[WeightPlan, np.ndarray, np.ndarray, np.ndarray]:
    """Rows are (domain, tokens, utilities), domain None for languages without scores."""
    shares = weighing.pop("charters", {name: 1 / len(known) for name in known})
    utilities = np.array([row[2] for row in rows], np.int16).reshape(len(rows), len(known))
    unscored = np.array([row[0] is None for row in rows], np.bool_)
    codes = np.array([-1 if row[0] is None else groups.index(row[0]) for row in rows], np.int64)
    tokens = np.array([row[1] for row in rows], np.int64)
    histogram = Histogram.empty(known, groups)
    histogram.add(utilities, codes, tokens, unscored)
    plan = build_plan(histogram, known, Weighing(charters=shares, **weighing), seed=3)
    codes = np.array([-1 if row[0] is None else plan.domain_names.index(row[0]) for row in rows], np.int64)
    return plan, tokens, plan.weights(utilities, codes, unscored), codes


CORPORA = st.fixed_dictionaries(
    {
        "rows": st.lists(
            st.tuples(
                st.sampled_from(["a", "b", "b", None]),
                st.integers(0, 3000),
                st.tuples(*[st.sampled_from([-1, 0, 200, 400, 600, 1000])] * 3),
            ).map(lambda row: row if row[0] else (None, row[1], (-1, -1, -1))),
            max_size=40,
        ),
        "shares": st.sampled_from([[0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3], [0.98, 0.01, 0.01]]),
        "votes": st.lists(
            st.sampled_from(["natural", {"a": 1.0}, {"a": 0.25, "b": 0.75}, {"b": 1.0}]), min_size=3, max_size=3
        ),
        "options": st.fixed_dictionaries(
            {
                "budget_tokens": st.sampled_from([None, 1, 5000, 10**6]),
                "epoch_cap": st.sampled_from([1.0, 2.5, 4.0]),
                "shares": st.sampled_from(["markets", "mean"]),
                "unspent": st.sampled_from(["redistribute", "move", "leave"]),
                "unscored": st.sampled_from(["exclude", "neutral"]),
            }
        ),
    }
)


def _run(corpus, names=NAMES, rows=None):
    votes = dict(zip(names, corpus["votes"], strict=True))
    shares = dict(zip(names, corpus["shares"], strict=True))
    charters = {name: votes[name] for name in names}
    return _plan(corpus["rows"] if rows is None else rows, _charters(**charters), charters=shares, **corpus["options"])


@settings(max_examples=150, deadline=None)
@given(CORPORA)
def test_the_plan_balances(corpus):
    plan, tokens, contributions, _ = _run(corpus)
    weight = total(contributions)
    pool = sum(row[1] for row in corpus["rows"] if row[0] or plan.unscored == "neutral")
    assert plan.pool_tokens == pool
    assert plan.budget_tokens == (corpus["options"]["budget_tokens"] or pool)
    # Contributions sum to the weight, weights to what the plan says, and none is above its cap.
    assert weight == pytest.approx(contributions.sum(axis=1), rel=1e-12)
    assert math.fsum(tokens * weight) == pytest.approx(plan.spent, rel=1e-9, abs=1e-9)
    assert weight.max(initial=0) <= plan.epoch_cap * (1 + 1e-15)
    # Everything of the budget is spent, or the plan says where it could not be.
    unspent = plan.unspendable + sum(domain.unspendable for domain in plan.domains.values())
    assert plan.spent + unspent == pytest.approx(plan.budget_tokens, rel=1e-9)
    share = {name: charter.share for name, charter in plan.charters.items()}
    for domain in plan.domains.values():
        assert domain.spent + domain.unspendable == pytest.approx(domain.budget, rel=1e-9, abs=1e-9)
        assert domain.budget <= domain.cap * domain.tokens * (1 + 1e-15)
        assert domain.effective_at_least <= domain.spent * (1 + 1e-12)
        for name, cell in domain.charters.items():
            assert cell.spent == pytest.approx(cell.entitled - cell.short + cell.received, rel=1e-9, abs=1e-9)
            assert cell.entitled == pytest.approx(share[name] * domain.budget)
            assert 0 <= cell.short <= cell.entitled
            assert not (cell.short and cell.received)
            assert list(cell.bins.utility) == sorted(cell.bins.utility)
            weights = [w for w, mass in zip(cell.bins.weight, cell.bins.tokens, strict=True) if mass]
            assert all(high >= low - 1e-9 for low, high in pairwise(weights))
        if domain.unspendable > 1e-9 and plan.unspent != "leave":
            assert all(
                cell.spent == pytest.approx(share[n] * domain.cap * cell.tokens) for n, cell in domain.charters.items()
            )
    for charter in plan.charters.values():
        assert charter.spent == pytest.approx(charter.entitled - charter.short + charter.received, rel=1e-9, abs=1e-9)
    assert WeightPlan.from_json(plan.to_json()) == plan


@settings(max_examples=60, deadline=None)
@given(CORPORA, st.randoms())
def test_the_order_of_documents_changes_nothing(corpus, random):
    order = list(range(len(corpus["rows"])))
    random.shuffle(order)
    plan, _, contributions, _ = _run(corpus)
    shuffled, _, moved, _ = _run(corpus, rows=[corpus["rows"][i] for i in order])
    assert shuffled == plan
    assert (moved == contributions[order]).all()


@settings(max_examples=60, deadline=None)
@given(CORPORA)
def test_the_names_of_charters_change_nothing(corpus):
    """Calling the charters otherwise, so that they sort the other way round, moves columns and no number."""
    _, _, contributions, _ = _run(corpus)
    backwards = [(g, mass, utilities[::-1]) for g, mass, utilities in corpus["rows"]]
    _, _, renamed, _ = _run(corpus, names=["r", "q", "p"], rows=backwards)
    assert (renamed[:, ::-1] == contributions).all()


@settings(max_examples=40, deadline=None)
@given(CORPORA)
def test_higher_utility_never_weighs_less(corpus):
    rows = [row for row in corpus["rows"] if row[0]]
    _, tokens, contributions, codes = _run(corpus | {"rows": rows})
    for c in range(3):
        for g in (0, 1):
            weights: dict[int, float] = {}
            for row, mass, weight, code in zip(rows, tokens, contributions[:, c], codes, strict=True):
                if code == g and mass:
                    weights[row[2][c]] = weight
            ordered = [weights[utility] for utility in sorted(weights)]
            assert all(high >= low - 1e-9 for low, high in pairwise(ordered))


def test_equal_utilities_get_the_natural_weight():
    plan, _, contributions, _ = _plan([("a", 10, [7]), ("a", 30, [7]), ("b", 60, [1000])], _charters(x="natural"))
    assert contributions.ravel() == pytest.approx([1, 1, 1], abs=1e-15)
    assert plan.unspendable == 0
    assert plan.effective_at_least == 100


def test_nothing_accepted_is_reported():
    plan, _, contributions, _ = _plan([("a", 10, [-1]), ("b", 30, [-1])], _charters(x="natural"))
    assert contributions.tolist() == [[0], [0]]
    assert (plan.spent, plan.unspendable) == (0, 0)
    assert {g: domain.unspendable for g, domain in plan.domains.items()} == {"a": 10, "b": 30}
    cell = plan.domains["b"].charters["x"]
    assert (cell.entitled, cell.short, cell.a, cell.q, cell.bins.utility) == (30, 30, None, None, ())


def test_an_empty_pool_spends_nothing():
    plan, *_ = _plan([], _charters(x="natural", y={"a": 1.0}), budget_tokens=50)
    assert (plan.pool_tokens, plan.spent, plan.unspendable) == (0, 0, 50)
    assert _plan([], _charters(x="natural"))[0].budget_tokens == 0


def test_documents_without_tokens_weigh_nothing_alone():
    plan, _, contributions, _ = _plan([("a", 0, [5]), ("a", 10, [9])], _charters(x="natural"))
    assert contributions.tolist() == [[0], [1]]
    assert plan.domains["a"].charters["x"].documents == 2
    assert _plan([("a", 0, [5])], _charters(x="natural"))[2].tolist() == [[0]]


def test_a_domain_without_documents_gets_nothing_and_its_share_moves_on():
    charters = _charters(x={"a": 0.5, "c": 0.5})
    plan, _, contributions, _ = _plan([("a", 10, [5])], charters, groups=("a", "b", "c"))
    assert {g: (domain.target, domain.budget) for g, domain in plan.domains.items()} == {
        "a": (0.5, 10),
        "b": (0, 0),
        "c": (0.5, 0),
    }
    assert contributions.tolist() == [[1]]


def test_a_domain_of_the_recipe_is_known_before_any_document_comes():
    charters = _charters(x={"a": 0.5, "late": 0.5})
    plan, *_ = _plan([("a", 10, [5])], charters, groups=("a",), domains=[Domain(name="late", sources=["s"])])
    assert plan.domain_names == ("a", "late")


def test_an_unknown_domain_is_named():
    with pytest.raises(RecipeError, match="charter x: shares: this run has no domain 'news'; it has a, b"):
        _plan([("a", 10, [5])], _charters(x={"news": 1.0}))


def test_the_histogram_must_be_of_the_recipes_charters():
    histogram = Histogram.empty(["x"], ["a"])
    with pytest.raises(ValueError, match="not those of the histogram"):
        build_plan(histogram, _charters(y="natural"), Weighing(charters={"y": 1.0}), 0)


@pytest.mark.parametrize(("unspent", "spent"), [("redistribute", 100), ("leave", 70)])
def test_what_one_cannot_spend(unspent, spent):
    rows = [("a", 10, [5, 5]), ("a", 90, [5, -1])]
    plan, _, contributions, _ = _plan(rows, _charters(x="natural", y="natural"), unspent=unspent)
    cells = plan.domains["a"].charters
    assert plan.spent == pytest.approx(spent)
    assert cells["y"].spent == 20
    assert (cells["y"].short, cells["x"].received) == (30, 30 if unspent == "redistribute" else 0)
    assert contributions[:, 1].tolist() == [2, 0]
    assert contributions[:, 0] == pytest.approx([spent / 100 - 0.2] * 2)


def test_languages_without_scores_are_excluded_and_counted():
    plan, _, contributions, _ = _plan([("a", 10, [5]), (None, 40, [-1])], _charters(x="natural"))
    assert contributions.tolist() == [[1], [0]]
    assert (plan.excluded_documents, plan.excluded_tokens, plan.pool_tokens) == (1, 40, 10)
    assert plan.domain_names == ("a", "b")


def test_languages_without_scores_weigh_at_most_one():
    rows = [("a", 10, [5, 5]), (None, 40, [-1, -1])]
    plan, _, contributions, _ = _plan(
        rows, _charters(x="natural", y="natural"), unscored="neutral", budget_tokens=75, charters={"x": 0.25, "y": 0.75}
    )
    assert plan.domains[UNSCORED].budget == 40
    assert contributions.tolist() == [[0.25 * 3.5, 0.75 * 3.5], [0.25, 0.75]]
    half = _plan(rows, _charters(x="natural", y={UNSCORED: 0.5, "a": 0.5}), unscored="neutral", budget_tokens=20)[0]
    assert half.domains[UNSCORED].charters["x"].bins.utility == (-1,)
    assert half.domains[UNSCORED].charters["x"].bins.weight == pytest.approx([half.domains[UNSCORED].budget / 40])


def test_a_domain_of_that_name_would_be_ambiguous():
    with pytest.raises(RecipeError, match="rename yours"):
        _plan([(UNSCORED, 10, [5])], _charters(x="natural"), groups=(UNSCORED,), unscored="neutral")


def test_a_charter_in_the_minority_moves_the_mix_only_by_its_votes():
    rows = [("a", 500, [5, 5]), ("b", 500, [5, 5])]
    charters = _charters(x={"a": 1.0}, y={"b": 1.0})
    plan, *_ = _plan(rows, charters, charters={"x": 0.3, "y": 0.7})
    assert {g: domain.budget for g, domain in plan.domains.items()} == {"a": 300, "b": 700}


def test_a_damaged_plan_is_refused():
    plan, *_ = _plan([("a", 10, [5])], _charters(x="natural"))
    for text in (plan.to_json()[:-10], "{}", plan.to_json().replace('"version": 1', '"version": 2')):
        with pytest.raises(BalanceError, match="damaged or of another version"):
            WeightPlan.from_json(text)


def test_the_json_keeps_a_list_on_one_line():
    text = _plan([("a", 10, [5]), ("a", 30, [7])], _charters(x="natural"))[0].to_json()
    assert '"utility": [ 5, 7 ]' in text or '"utility": [5, 7]' in text


def test_the_plan_stores_what_the_recipe_said():
    plan, *_ = _plan(
        [("a", 10, [5])], _charters(x="natural"), quorum=0.4, bridging=0.25, shares="mean", epoch_cap=3, unspent="leave"
    )
    assert (plan.seed, plan.quorum, plan.bridging, plan.shares, plan.epoch_cap, plan.unspent) == (
        3,
        0.4,
        0.25,
        "mean",
        3,
        "leave",
    )
    assert plan.charters["x"].digest == _charters(x="natural")["x"].digest()
