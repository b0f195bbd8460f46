import numpy as np
import pytest
from florilegium.classifiers.agreement import disagreements, quadratic_kappa


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


HIGHEST = {"compassion": 3, "hate": 2}


def read_by_five(bad: int | None, rows: int = 400) -> tuple[list[list[list[float | None]]], list[list[str]]]:
    """Each document graded alike by two of five, except by a bad annotator, who gives 3 for compassion to all."""
    random = np.random.default_rng(3)
    readings: list[list[list[float | None]]] = []
    annotators = []
    for _ in range(rows):
        truth = [float(random.integers(0, 4)), float(random.integers(0, 3))]
        readers = random.choice(5, 2, replace=False)
        readings.append([[3.0 if reader == bad else truth[0], truth[1]] for reader in readers])
        annotators.append([f"annotator {reader}" for reader in readers])
    return readings, annotators


def test_the_one_who_errs_is_named_with_the_dimension() -> None:
    readings, annotators = read_by_five(bad=4)
    (found,) = disagreements(readings, annotators, HIGHEST, 0.4)
    assert (found.annotator, found.dimension) == ("annotator 4", "compassion")
    assert abs(found.kappa) < 0.1
    assert found.grades == sum("annotator 4" in names for names in annotators) == found.documents
    assert disagreements(*read_by_five(bad=None), HIGHEST, 0.9) == []


def test_a_majority_is_never_set_aside() -> None:
    """Where all disagree, at most two of five are; of two annotators neither, nor one with too little in common."""
    random = np.random.default_rng(4)
    noise = [[[float(random.integers(0, 4)), 0.0] for _ in range(5)] for _ in range(300)]
    names = [[f"annotator {reader}" for reader in range(5)]] * 300
    assert len(disagreements(noise, names, HIGHEST, 0.5)) == 2
    assert disagreements([row[:2] for row in noise], [row[:2] for row in names], HIGHEST, 0.5) == []
    assert disagreements(noise[:20], names[:20], HIGHEST, 0.5) == []


def test_grades_that_were_not_given_do_not_count() -> None:
    readings, annotators = read_by_five(bad=4)
    missing = [[[None, grades[1]] for grades in row] for row in readings]
    assert disagreements(missing, annotators, HIGHEST, 0.4) == []
