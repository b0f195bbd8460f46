import numpy as np
import pytest
from florilegium.pipelines.weighing.charters import load_charter, shipped_charters
from florilegium.pipelines.weighing.histogram import Histogram
from florilegium.pipelines.weighing.plan import build_plan
from florilegium.pipelines.weighing.words import charter_in_words, differences, doubts, plan_in_words, remarks
from florilegium.schemas.charter import Charter
from florilegium.schemas.recipe import Weighing


def _plan(rows, members, **weighing):
    """Rows are (domain, tokens, utilities by charter)."""
    names, domains = sorted(members), sorted({row[0] for row in rows})
    histogram = Histogram.empty(names, domains)
    histogram.add(
        np.array([row[2] for row in rows], np.int16).reshape(len(rows), len(names)),
        np.array([domains.index(row[0]) for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
    )
    shares = weighing.pop("charters", {name: 1 / len(names) for name in names})
    return build_plan(histogram, members, Weighing(charters=shares, **weighing), 0)


def _charter(name, **keys) -> Charter:
    return Charter.model_validate({"version": 1, "name": name, **keys})


def test_the_plan_says_who_gets_what():
    charters = {"x": _charter("x"), "y": _charter("y")}
    plan = _plan([("a", 100, [5, 5]), ("b", 300, [5, 5])], charters, charters={"x": 0.25, "y": 0.75})
    text = "\n".join(plan_in_words(plan, charters))
    assert "2 charters share a budget of 400 tokens over a pool of 400; no document is seen more than 4 times." in text
    assert "400 tokens of it are spent (100.0%)" in text
    assert remarks(plan, charters) == []
    row = next(line for line in text.splitlines() if line.startswith("y"))
    assert row.split() == ["y", "75.0%", "300", "300", "75.0%", "100.0%"]


def test_a_charter_that_accepts_nothing_is_named_with_its_language():
    charters = {"x": _charter("x"), "y": _charter("y", languages=["sw"]), "z": _charter("z", utility_floor=1.0)}
    told = " ".join(remarks(_plan([("a", 100, [5, -1, -1])], charters), charters))
    assert "y accepts no document: it speaks for sw only" in told
    assert "z accepts no document: every one lies below its floors or above its tolerance" in told


def test_what_cannot_be_spent_is_named():
    charters = {"x": _charter("x"), "y": _charter("y")}
    rows = [("a", 100, [5, -1]), ("b", 1000, [-1, -1])]
    plan = _plan(rows, charters, charters={"x": 0.1, "y": 0.9})
    told = remarks(plan, charters)
    assert any(line.startswith("Domain a leaves 60 tokens unspent: x accepts too little there") for line in told)
    assert any(line.startswith("Domain b leaves 1,000 tokens unspent: no charter accepts anything") for line in told)
    moved = _plan([("a", 100, [5, -1]), ("b", 1000, [9, 9])], charters, charters={"x": 0.1, "y": 0.9}, unspent="move")
    assert moved.spent == pytest.approx(1100)
    assert moved.domains["a"].budget == pytest.approx(40)
    assert not any(line.startswith("Domain") for line in remarks(moved, charters))
    left = _plan(rows, charters, charters={"x": 0.1, "y": 0.9}, unspent="leave")
    assert any("`unspent: leave`" in line for line in remarks(left, charters))


def test_targets_without_documents_and_an_empty_pool():
    charters = {"x": _charter("x", shares={"a": 0.5, "b": 0.5})}
    plan = _plan([("a", 10, [5]), ("b", 0, [-1])], charters, budget_tokens=100)
    told = remarks(plan, charters)
    assert any("60 tokens of the budget find no domain" in line for line in told)
    empty = _plan([("a", 0, [-1])], {"x": _charter("x")})
    assert "No document with tokens is left" in remarks(empty, {"x": _charter("x")})[0]
    assert plan_in_words(empty, {"x": _charter("x")})


@pytest.mark.parametrize("name", shipped_charters())
def test_shipped_charters_read_well_and_leave_no_doubt(name):
    charter = load_charter(name)
    lines = charter_in_words(charter)
    assert lines[0] == f"{name} (an example)"
    assert [line for line in lines if line.strip().startswith("leaves out")]
    assert doubts(charter) == [] or name == "uniform"


def test_shipped_charters_differ_and_come_from_different_traditions():
    charters = [load_charter(name) for name in shipped_charters()]
    assert len(charters) >= 7
    assert len({charter.digest() for charter in charters}) == len(charters)
    assert len({charter.tradition for charter in charters}) == len(charters)


def test_doubts_ask_back():
    charter = _charter(
        "ours", values={"growth": 1}, utility_floor=0.7, tolerance={"harm": {"hate": {"topical": 0.03, "toxic": 0.4}}}
    )
    told = "\n".join(doubts(charter))
    for sentence in (
        "`author` is empty: say who wrote it",
        "its utility floor of 0.7 is high",
        "it refuses texts about hate, testimony of those who suffered it among them",
        "it refuses texts about hate sooner than texts that enact it",
        "its limit for topical hate, 0.03, is below",
    ):
        assert sentence in told


def test_differences_are_of_meaning():
    first = _charter("a", values={"growth": 2, "respect": 2}, tolerance={"harm": {"hate": {"toxic": 0.3}}})
    second = _charter("b", description="prose", values={"growth": 1, "respect": 1}, languages=["en"])
    assert differences(first, second) == {"languages": ("all", "en"), "tolerance.hate.toxic": ("0.3", "-")}
    assert differences(first, first.model_copy(update={"name": "c"})) == {}


def test_documents_without_scores_are_not_said_to_miss_a_floor():
    charters = {"x": _charter("x")}
    histogram = Histogram.empty(["x"], ["unscored"])
    one = np.ones(1, np.int64)
    histogram.add(np.full((1, 1), -1, np.int16), 0 * one, 100 * one, one == 1)
    told = remarks(build_plan(histogram, charters, Weighing(charters={"x": 1.0}, unscored="neutral"), 0), charters)
    assert told == ["No document is in a language with scores, so no charter judges any."]
