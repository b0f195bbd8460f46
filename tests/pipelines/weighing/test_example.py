"""EXAMPLE.md is right: its tables are read from the page and the code must give them."""

from fractions import Fraction
from pathlib import Path

import florilegium.pipelines.weighing as package
import numpy as np
import pyarrow as pa
import pytest
from florilegium.pipelines.weighing.histogram import Histogram
from florilegium.pipelines.weighing.plan import build_plan
from florilegium.pipelines.weighing.pool import weigh
from florilegium.pipelines.weighing.utility import ScoreTable, bridge, judge_all, quorum_rejects
from florilegium.schemas.charter import Charter
from florilegium.schemas.hashing import document_id, hash64, id_words, uniform
from florilegium.schemas.recipe import Weighing
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL

DOMAINS = ["essays", "forum"]
NAMES = ["care", "inquiry", "plain"]
WEIGHING = Weighing(charters={"plain": 0.3, "care": 0.5, "inquiry": 0.2}, budget_tokens=10_000, epoch_cap=2)
CHARTERS = {
    "plain": Charter(version=1, name="plain"),
    "care": Charter.model_validate(
        {
            "version": 1,
            "name": "care",
            "values": {"compassion": 1},
            "utility_floor": 0.1,
            "tolerance": {"harm": {"harassment": {"toxic": 0.3}}},
            "shares": {"forum": 0.8, "essays": 0.2},
        }
    ),
    "inquiry": Charter.model_validate(
        {
            "version": 1,
            "name": "inquiry",
            "values": {"reasoning": 2, "curiosity": 1},
            "utility_floor": 0.3,
            "shares": {"forum": 0.2, "essays": 0.8},
        }
    ),
}


def _table(first: str, second: str) -> list[dict[str, str]]:
    """The rows of the page's table whose header starts with these two columns."""
    lines = Path(str(package.__file__)).with_name("EXAMPLE.md").read_text("utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} | {second} |"))
    header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:] if line] + [[]]
    rows = []
    for cells in body:
        if len(cells) != len(header):
            break
        rows.append(dict(zip(header, cells, strict=True)))
    return rows


DOCUMENTS = _table("document", "domain")


@pytest.fixture(scope="module")
def scores() -> ScoreTable:
    prosocial = np.zeros((12, len(PROSOCIAL)), np.int32)
    toxic = np.zeros((12, len(HARMS)), np.int32)
    for row, document in enumerate(DOCUMENTS):
        for name in ("compassion", "reasoning", "curiosity"):
            prosocial[row, PROSOCIAL.index(name)] = int(document[name])
        toxic[row, HARMS.index("harassment")] = int(document["harassment, toxic"])
    topical, quality = np.zeros_like(toxic), np.full(12, 500, np.int32)
    return ScoreTable(prosocial, topical, toxic, quality, ["en"] * 12, np.ones(12, np.bool_))


@pytest.fixture(scope="module")
def survivors(scores):
    utilities, vetoes = judge_all(CHARTERS, scores)
    rejected, _ = quorum_rejects(vetoes, [WEIGHING.charters[name] for name in NAMES], WEIGHING.quorum)
    rows = [document for document, gone in zip(DOCUMENTS, rejected, strict=True) if not gone]
    return rows, utilities[~rejected], np.array([DOMAINS.index(row["domain"]) for row in rows])


@pytest.fixture(scope="module")
def plan(survivors):
    rows, utilities, domain = survivors
    histogram = Histogram.empty(CHARTERS, DOMAINS)
    histogram.add(utilities, domain, np.array([int(row["tokens"]) for row in rows], np.int32))
    return build_plan(histogram, CHARTERS, WEIGHING, seed=7)


def test_the_page_has_twelve_documents():
    assert [row["document"] for row in DOCUMENTS] == [*(f"f{i}" for i in range(1, 7)), *(f"e{i}" for i in range(1, 7))]


def test_utilities(scores):
    utilities, _ = judge_all(CHARTERS, scores)
    expected = [[-1 if row[name] == "–" else int(row[name]) for name in NAMES] for row in DOCUMENTS]
    assert utilities.tolist() == expected


def test_the_quorum_rejects_f6_and_says_who_would_have_kept_it(scores):
    _, vetoes = judge_all(CHARTERS, scores)
    rejected, keepers = quorum_rejects(vetoes, [0.5, 0.2, 0.3], 0.5)
    assert [row["document"] for row, gone in zip(DOCUMENTS, rejected, strict=True) if gone] == ["f6"]
    assert [name for name, keeps in zip(NAMES, keepers[5], strict=True) if keeps] == ["inquiry", "plain"]


def test_mix(plan):
    assert {g: (d.tokens, d.target, d.budget) for g, d in plan.domains.items()} == {
        "essays": (6000, 0.5, 5000),
        "forum": (4000, 0.5, 5000),
    }


def test_curves(plan):
    cells = {(g, c): cell for g, domain in plan.domains.items() for c, cell in domain.charters.items()}
    assert {where: (cell.tokens, cell.budget) for where, cell in cells.items()} == {
        ("essays", "care"): (3000, 5000),
        ("essays", "inquiry"): (6000, 5000),
        ("essays", "plain"): (6000, 5000),
        ("forum", "care"): (4000, 5250),
        ("forum", "inquiry"): (2000, 4000),
        ("forum", "plain"): (4000, 5250),
    }
    assert cells["forum", "care"].a == 11 / 32
    assert cells["forum", "care"].q == 1
    assert cells["essays", "care"].a == pytest.approx(1 / 6, abs=1e-15)
    assert cells["essays", "inquiry"].a == 0.4
    assert cells["essays", "inquiry"].q == pytest.approx(2, abs=2**-31)
    assert cells["forum", "inquiry"].short == 200
    assert (cells["forum", "plain"].received, cells["forum", "care"].received) == (75, 125)
    assert cells["forum", "care"].bins.weight == pytest.approx([0, 65 / 36, 2, 2], abs=1e-12)
    assert cells["essays", "inquiry"].bins.weight == pytest.approx([0, 0, 0, 11 / 18, 2], abs=1e-9)


def test_pooling(plan, survivors):
    rows, utilities, domain = survivors
    page = _table("document", "plain")
    assert [row["document"] for row in page] == [row["document"] for row in rows]
    assert all(sum(Fraction(row[name]) for name in NAMES) == Fraction(row["weight"]) for row in page)
    expected = [[float(Fraction(row[name])) for name in NAMES] for row in page]
    np.testing.assert_allclose(plan.weights(utilities, domain), expected, rtol=0, atol=1e-9)
    assert plan.spent == pytest.approx(10_000, rel=1e-12)


def test_repeats(plan, survivors):
    rows, utilities, domain = survivors
    words = id_words(pa.array([document_id(row["document"].encode()) for row in rows]))
    page = _table("document", "weight")
    weighed = weigh(plan, utilities, domain, words)
    assert weighed.repeats.tolist() == [int(row["repeats"]) for row in page]
    assert [f"{u:.4f}" for u in uniform(hash64(7, "repeats", *words))] == [row["u"] for row in page]
    assert [f"{w:.3f}" for w in weighed.weight] == [row["weight"] for row in page]
    assert weighed.contributions[0].as_py() == [
        {"charter": "care", "weight": pytest.approx(1)},
        {"charter": "plain", "weight": pytest.approx(63 / 160)},
    ]


def test_bridging():
    rows = np.array([[500, 700, 1000], [900, -1, 1000]], np.int16)
    assert bridge(rows, np.ones((2, 3), np.bool_), 0.5).tolist() == [[594, 702, 839], [0, -1, 0]]
