import numpy as np
import pytest
from florilegium.classifiers.agreement import quadratic_kappa


def test_by_hand() -> None:
    """Four documents, one of which differs by one grade: 1 - (1 / 16) / (.4375 x 4 / 16 ... ) worked out below."""
    one, other = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    # table: (0,0) 1, (0,1) 1, (1,1) 2; expected disagreement (2 x 3 + 2 x 1) / 4 = 2, observed 1
    assert quadratic_kappa(one, other, 1) == pytest.approx(0.5)


def test_ends_of_the_scale() -> None:
    grades = np.array([0, 1, 2, 3])
    assert quadratic_kappa(grades, grades, 3) == 1
    assert quadratic_kappa(grades, grades[::-1], 3) == -1
    assert quadratic_kappa(np.array([0, 0, 3, 3]), np.array([0, 3, 0, 3]), 3) == 0
    assert np.isnan(quadratic_kappa(np.zeros(4), np.zeros(4), 3))


def test_far_misses_cost_more_than_near_ones() -> None:
    one = np.array([0, 1, 2, 3, 0, 3])
    near, far = np.array([1, 1, 2, 3, 0, 3]), np.array([3, 1, 2, 3, 0, 3])
    assert quadratic_kappa(one, near, 3) > quadratic_kappa(one, far, 3)
