import numpy as np
import pyarrow as pa
import pytest
from florilegium.pipelines.weighing.histogram import Histogram
from florilegium.pipelines.weighing.plan import build_plan
from florilegium.pipelines.weighing.pool import contribution_lists, repeats, total, weigh
from florilegium.schemas.charter import Charter
from florilegium.schemas.document import CONTRIBUTIONS
from florilegium.schemas.hashing import document_id, id_words
from florilegium.schemas.recipe import Weighing

ROWS = 40_000


@pytest.fixture(scope="module")
def words():
    return id_words(pa.array([document_id(str(i).encode()) for i in range(ROWS)]))


def test_repeats_are_the_weight_on_average(words):
    """Within 4 standard errors, Σ repeats · tokens meets Σ weight · tokens."""
    generator = np.random.default_rng(1)
    weight, tokens = generator.uniform(0, 4, ROWS), generator.integers(1, 3000, ROWS)
    counts = repeats(weight, *words, seed=9)
    fraction = weight % 1
    error = np.sqrt((fraction * (1 - fraction) * tokens.astype(float) ** 2).sum())
    assert abs(((counts - weight) * tokens).sum()) < 4 * error
    assert ((counts == np.floor(weight)) | (counts == np.ceil(weight))).all()


def test_repeats_of_whole_weights_are_exact(words):
    weight = np.arange(ROWS) % 5
    assert (repeats(weight.astype(np.float64), *words, seed=9) == weight).all()


def test_repeats_depend_on_the_id_and_the_seed_alone(words):
    weight = np.full(ROWS, 0.5)
    counts = repeats(weight, *words, seed=9)
    order = np.random.default_rng(2).permutation(ROWS)
    assert (repeats(weight, words[0][order], words[1][order], seed=9) == counts[order]).all()
    assert (repeats(weight[:1], words[0][:1], words[1][:1], seed=9) == counts[:1]).all()
    assert (repeats(weight, *words, seed=10) != counts).mean() == pytest.approx(0.5, abs=0.02)


def test_contribution_lists_name_who_gives_weight():
    lists = contribution_lists(np.array([[0.5, 0.25], [0.0, 1.0], [0.0, 0.0]]), ["care", "inquiry"])
    assert lists.type == CONTRIBUTIONS
    assert lists.to_pylist() == [
        [{"charter": "care", "weight": 0.5}, {"charter": "inquiry", "weight": 0.25}],
        [{"charter": "inquiry", "weight": 1.0}],
        [],
    ]
    assert contribution_lists(np.zeros((0, 2)), ["care", "inquiry"]).to_pylist() == []


def test_total_adds_from_the_first_charter_to_the_last():
    row = np.array([[0.1, 0.2, 0.3, 1e16, -1e16]])
    assert total(row)[0] == ((((0.1 + 0.2) + 0.3) + 1e16) + -1e16)


def test_a_row_weighs_the_same_alone_and_in_a_batch(words):
    generator = np.random.default_rng(3)
    utilities = generator.integers(-1, 1001, (ROWS, 2), dtype=np.int16)
    domain, tokens = generator.integers(0, 3, ROWS), generator.integers(1, 500, ROWS)
    unscored = generator.random(ROWS) < 0.1
    histogram = Histogram.empty(["x", "y"], ["a", "b", "c"])
    histogram.add(utilities, domain, tokens, unscored)
    charters = {name: Charter(version=1, name=name) for name in ("x", "y")}
    plan = build_plan(histogram, charters, Weighing(charters={"x": 0.4, "y": 0.6}, unscored="neutral"), seed=5)
    whole = weigh(plan, utilities, domain, words, unscored)
    for row in range(0, ROWS, ROWS // 20):
        one = slice(row, row + 1)
        alone = weigh(plan, utilities[one], domain[one], (words[0][one], words[1][one]), unscored[one])
        assert alone.weight[0] == whole.weight[row]
        assert alone.repeats[0] == whole.repeats[row]
        assert alone.contributions[0] == whole.contributions[row]
    assert (whole.weight * tokens).sum() == pytest.approx(plan.budget_tokens, rel=1e-9)
    assert (whole.weight[unscored] <= 1).all()
    listed = [sum(part["weight"] for part in parts) for parts in whole.contributions[:100].to_pylist()]
    assert listed == pytest.approx(whole.weight[:100].tolist())
