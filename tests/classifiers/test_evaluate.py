import numpy as np
import pyarrow as pa
import pytest
from florilegium.classifiers.evaluate import average_precision, evaluate_labelled, render_evaluation, roc_auc
from florilegium.classifiers.labelled import Labelled
from florilegium.classifiers.student import Scores
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL
from hypothesis import given
from hypothesis import strategies as st

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=40)


def test_by_hand() -> None:
    target = np.array([True, False, True, False])
    assert roc_auc(target, np.array([0.9, 0.8, 0.7, 0.1])) == 0.75
    assert average_precision(target, np.array([0.9, 0.8, 0.7, 0.1])) == (1 + 2 / 3) / 2
    assert roc_auc(target, np.zeros(4)) == 0.5
    assert average_precision(target, np.zeros(4)) == 0.5


def test_absent_classes_have_no_figure() -> None:
    assert np.isnan(roc_auc(np.array([True]), np.ones(1)))
    assert np.isnan(roc_auc(np.array([False]), np.ones(1)))
    assert np.isnan(average_precision(np.array([False]), np.ones(1)))


@given(ROWS)
def test_roc_auc_is_the_share_of_pairs_in_order(rows: list[tuple[bool, int]]) -> None:
    above = [score for positive, score in rows if positive]
    below = [score for positive, score in rows if not positive]
    pairs = [(a > b) + 0.5 * (a == b) for a in above for b in below]
    found = roc_auc(np.array([p for p, _ in rows]), np.array([s for _, s in rows]))
    assert np.isnan(found) if not pairs else abs(found - sum(pairs) / len(pairs)) < 1e-12


class Known:
    """Scores compassion by a number that stands in the text."""

    def score(self, texts: pa.StringArray) -> Scores:
        values = np.array([float(text.split()[0]) for text in texts.to_pylist()], np.float32)
        zeros = np.zeros((len(values), len(HARMS)), np.float32)
        prosocial = np.zeros((len(values), len(PROSOCIAL)), np.float32)
        prosocial[:, PROSOCIAL.index("compassion")] = values
        return Scores(np.zeros(len(values), np.float32), prosocial, zeros, zeros, np.ones(len(values), np.bool_))


def labelled(target: np.ndarray, score: np.ndarray, natural: np.ndarray) -> Labelled:
    ids = [f"d{row}" for row in range(len(target))]
    return Labelled(
        name="known",
        kind="annotated",
        language="en",
        ids=ids,
        documents=ids,
        texts=pa.array([f"{value} is the score" for value in score]),
        sources=["a" if row % 2 else "b" for row in range(len(target))],
        natural=natural,
        targets={"compassion>=2": target.astype(float)},
    )


def test_figures_of_a_known_scorer() -> None:
    """Calibrated on the rows drawn at random, and on those alone: the others are all positive."""
    random = np.random.default_rng(2)
    score = np.round(random.random(600), 3)
    natural = np.arange(600) < 400
    target = np.where(natural, random.random(600) < score, True)
    result = evaluate_labelled(Known(), labelled(target, score, natural), resamples=60)
    figure = result["outputs"]["compassion>=2"]["roc_auc"]
    assert figure["value"] == pytest.approx(roc_auc(target, score), abs=1e-4)
    assert figure["interval"][0] < figure["value"] < figure["interval"][1]
    assert result["groups"]["prosocial"]["outputs"] == 1
    there = result["natural"]["outputs"]["compassion>=2"]
    assert (there["rows"], there["positives"]) == (400, int(target[:400].sum()))
    calibration = result["calibration"]["compassion>=2"]
    assert calibration["error"]["value"] < 0.1
    assert calibration["brier_skill"]["value"] > 0.2
    assert calibration["slope"]["value"] == pytest.approx(1, abs=0.3)
    low, high = calibration["slope"]["interval"]
    assert low < calibration["slope"]["value"] < high
    assert set(result["sources"]) == {"a", "b"}


def test_the_difference_from_itself_is_nothing() -> None:
    random = np.random.default_rng(3)
    score, target = np.round(random.random(200), 3), random.random(200) < 0.3
    rows = labelled(target, score, np.ones(200, bool))
    figure = evaluate_labelled(Known(), rows, Known(), resamples=40)["outputs"]["compassion>=2"]["average_precision"]
    assert figure["value"] == figure["baseline"]
    assert figure["difference"] == 0
    assert figure["difference_interval"] == [0, 0]


def test_too_few_positives_have_no_figure_and_break_nothing() -> None:
    target = np.zeros(50, bool)
    target[:3] = True
    rows = labelled(target, np.linspace(0, 1, 50), np.ones(50, bool))
    result = evaluate_labelled(Known(), rows, resamples=20)
    assert result["outputs"]["compassion>=2"] == {"rows": 50, "positives": 3}
    assert result["groups"] == {}
    model = {"name": "known", "version": "1", "digest": "0"}
    text = render_evaluation({"model": model, "baseline": None, "resamples": 20, "seed": 7, "sets": [result]})
    assert "| compassion ≥ 2 | 3 / 50 | – | – | – |" in text
    assert "nan" not in text
