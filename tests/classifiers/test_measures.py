import numpy as np
import pytest
from florilegium.classifiers.measures import (
    Ranking,
    average_precision,
    brier_skill,
    calibration_error,
    calibration_slope,
    interval,
    recall_at_precision,
    resample,
    roc_auc,
    sign_test,
    wilcoxon,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=30)
TARGET = np.array([True, False, True, False])
SCORE = np.array([0.9, 0.8, 0.7, 0.1])


def test_recall_at_precision_by_hand() -> None:
    assert recall_at_precision(TARGET, SCORE, 0.7) == 0.5
    assert recall_at_precision(TARGET, SCORE, 0.6) == 1.0
    assert recall_at_precision(~TARGET, SCORE, 0.7) == 0.0
    assert np.isnan(recall_at_precision(np.zeros(4, bool), SCORE))


@given(ROWS)
def test_a_weight_is_a_row_given_so_often(rows: list[tuple[bool, int, int]]) -> None:
    target, score = np.array([row[0] for row in rows]), np.array([row[1] / 4 for row in rows])
    weights = np.array([row[2] for row in rows], np.uint8)
    repeated = np.repeat(np.arange(len(rows)), weights)
    if not len(repeated):
        return
    ranking = Ranking.of(target, score)
    pairs = [
        (ranking.roc_auc(weights), roc_auc(target[repeated], score[repeated])),
        (ranking.average_precision(weights), average_precision(target[repeated], score[repeated])),
        (ranking.recall_at_precision(weights), recall_at_precision(target[repeated], score[repeated])),
        (calibration_error(target, score, weights), calibration_error(target[repeated], score[repeated])),
        (brier_skill(target, score, weights), brier_skill(target[repeated], score[repeated])),
    ]
    for weighted, plain in pairs:
        assert np.isclose(weighted, plain, equal_nan=True)


def test_calibration_by_hand() -> None:
    probability = np.array([0.25, 0.25, 0.25, 0.25])
    target = np.array([True, False, False, False])
    assert calibration_error(target, probability) == 0
    assert brier_skill(target, probability) == 0
    assert brier_skill(target, target.astype(float)) == 1
    assert np.isnan(brier_skill(np.ones(4, bool), probability))
    assert calibration_error(~target, probability) == pytest.approx(0.5)


def test_slope_tells_bold_from_shy() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 1.5, 20000)
    target = random.random(20000) < 1 / (1 + np.exp(-logits))
    for factor in (0.5, 1.0, 2.0):
        assert calibration_slope(target, 1 / (1 + np.exp(-factor * logits))) == pytest.approx(1 / factor, rel=0.06)
    assert np.isnan(calibration_slope(target, np.full(20000, 0.5)))


def test_resamples_follow_the_document_alone() -> None:
    draws = resample(["a", "b", "c", "a"], 400, 7)
    assert (draws[:, 0] == draws[:, 3]).all()
    assert (resample(["c", "a"], 400, 7) == draws[:, [2, 0]]).all()
    assert (resample(["a"], 400, 8)[:, 0] != draws[:, 0]).any()
    assert draws.mean() == pytest.approx(1, abs=0.1)
    assert draws.astype(float).var() == pytest.approx(1, abs=0.2)


def test_interval_covers_what_it_should() -> None:
    """Of fifty samples with a true AUC of .76, about 48 intervals hold it."""
    random = np.random.default_rng(3)
    covered = 0
    for trial in range(50):
        target = random.random(150) < 0.4
        ranking = Ranking.of(target, random.normal(target * 1.0, 1.0))
        low, high = interval(ranking.roc_auc(resample([f"{trial}-{row}" for row in range(150)], 200, trial))) or (1, 0)
        covered += low <= 0.7602 <= high
    assert 43 <= covered <= 50
    assert interval(np.array([1.0, np.nan, np.nan])) is None


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40))
def test_paired_tests_agree_with_scipy(values: list[int]) -> None:
    differences = np.array(values, float)
    signed = [value for value in values if value]
    expected = stats.binomtest(sum(value > 0 for value in signed), len(signed)).pvalue if signed else 1.0
    assert sign_test(differences) == pytest.approx(expected)
    if signed:
        options = {"zero_method": "wilcox", "correction": False, "method": "asymptotic"}
        assert wilcoxon(differences) == pytest.approx(stats.wilcoxon(differences, **options).pvalue)
    else:
        assert wilcoxon(differences) == 1.0
