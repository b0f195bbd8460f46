import numpy as np
from florilegium.classifiers.evaluate import average_precision, roc_auc
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
