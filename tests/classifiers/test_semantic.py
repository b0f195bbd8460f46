import numpy as np
import pytest
from florilegium.classifiers.semantic import Heads, expected, fit_heads, score_documents, shares
from florilegium.schemas.errors import ModelError

LABELS = ("compassion>=2", "hate>=1")
random = np.random.default_rng(4)
FEATURES = random.normal(size=(60, 5)).astype(np.float32)
TRUTH = np.array([[2.0, -1.0, 0.0, 0.5, 0.0], [0.0, 0.0, 1.0, 0.0, -2.0]])
TARGETS = expected(FEATURES @ TRUTH.T + np.array([0.3, -0.2]), LABELS)


def test_logits_become_grades_and_shares() -> None:
    found = expected(np.array([[0.0, 0.0], [50.0, 50.0]]), LABELS)
    np.testing.assert_allclose(found, [[1.5, 0.5], [3.0, 1.0]])
    np.testing.assert_allclose(shares(found, LABELS), [[0.5, 0.5], [1.0, 1.0]])


def test_a_small_penalty_finds_the_truth() -> None:
    heads = fit_heads(FEATURES, TARGETS, LABELS, np.ones(60), 1e-7)
    np.testing.assert_allclose(heads.weights, TRUTH, atol=1e-4)
    np.testing.assert_allclose(heads.bias, [0.3, -0.2], atol=1e-4)


def test_a_penalty_draws_scores_to_the_share_of_positives() -> None:
    spread = [np.ptp(fit_heads(FEATURES, TARGETS, LABELS, np.ones(60), ridge).apply(FEATURES)) for ridge in (0.1, 1, 9)]
    assert spread[0] > spread[1] > spread[2]
    never = fit_heads(FEATURES, np.zeros((60, 2)), LABELS, np.ones(60), 1.0)
    assert np.isfinite(never.weights).all()
    assert (never.apply(FEATURES) < -5).all()


def test_unknown_targets_and_unimportant_rows_do_not_count() -> None:
    targets = np.vstack([TARGETS, [[np.nan, 99.0], [50.0, np.nan]]])
    features = np.vstack([FEATURES, random.normal(size=(2, 5)).astype(np.float32)])
    importance = np.append(np.ones(60), [1e-12, 1e-12])
    heads = fit_heads(features, targets, LABELS, importance, 0.1)
    expected = fit_heads(FEATURES, TARGETS, LABELS, np.ones(60), 0.1)
    np.testing.assert_allclose(heads.weights, expected.weights, atol=1e-6)


def test_qualities_are_means_and_harms_the_worst_passage() -> None:
    heads = Heads(LABELS, np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    features = np.array([[1, 0], [3, 5], [2, 2]], np.float32)
    assert score_documents(heads, features, np.array([2, 1])).tolist() == [[2, 5], [2, 2]]
    assert score_documents(heads, features[:0], np.array([], np.int64)).shape == (0, 2)


def test_a_row_is_scored_from_itself_alone() -> None:
    heads = fit_heads(FEATURES, TARGETS, LABELS, np.ones(60), 0.1)
    whole = heads.apply(FEATURES)
    for row in range(60):
        assert (heads.apply(FEATURES[row : row + 1])[0] == whole[row]).all()


def test_safetensors_round_trip_and_foreign_files() -> None:
    pytest.importorskip("safetensors", reason="needs the extra `semantic`")
    heads = fit_heads(FEATURES, TARGETS, LABELS, np.ones(60), 0.1)
    payload = heads.serialize()
    found = Heads.parse(payload, LABELS, 5)
    assert (found.weights == heads.weights).all()
    assert (found.bias == heads.bias).all()
    with pytest.raises(ModelError, match=r"needs 'weight' of shape \(2, 6\)"):
        Heads.parse(payload, LABELS, 6)
    for damaged in (b"", payload[:-3], b"\x80\x04\x95 a pickle"):
        with pytest.raises(ModelError, match=r"heads\.safetensors: cannot be read"):
            Heads.parse(damaged, LABELS, 5)
