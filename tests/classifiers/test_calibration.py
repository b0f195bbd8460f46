import numpy as np
import pytest
from florilegium.classifiers.calibration import (
    OUTPUTS,
    QUALITY_GRADES,
    Calibration,
    expected_calibration_error,
    fit_calibration,
    fit_labels,
)
from florilegium.classifiers.train import LABELS
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL

ROWS = 4000


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Logits that know the grades but for noise; self_harm is toxic twice, hate often."""
    random = np.random.default_rng(3)
    grades = {name: random.choice(4, ROWS, p=(0.7, 0.1, 0.1, 0.1)).astype(float) for name in PROSOCIAL}
    grades |= {name: random.choice(3, ROWS, p=(0.8, 0.1, 0.1)).astype(float) for name in HARMS}
    grades["self_harm"] = np.where(np.arange(ROWS) < 400, 1.0, 0.0)
    grades["self_harm"][:2] = 2.0
    grades["autonomy"] = np.where(np.arange(ROWS) < 100, 2.0, 0.0)
    grades["quality"] = random.integers(0, 6, ROWS).astype(float)
    columns = [grades[label.split(">=")[0]] - float(label.split(">=")[1]) for label in LABELS]
    inputs = np.column_stack([*columns, np.full(ROWS, 5.0)]) + random.normal(0, 2, (ROWS, len(LABELS) + 1))
    natural = np.arange(ROWS) % 4 == 0
    return inputs, grades, natural


@pytest.fixture(scope="module")
def calibration(drawn: tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]) -> Calibration:
    inputs, grades, natural = drawn
    return fit_calibration(inputs, LABELS, grades, natural)


def test_means_meet_the_natural_shares(drawn: tuple, calibration: Calibration) -> None:
    inputs, grades, natural = drawn
    weights = inputs @ calibration.weights.T + calibration.bias
    for row, output in enumerate(OUTPUTS):
        if calibration.basis[row] != "share":
            name, grade = output.split(">=")
            share = (grades[name][natural] >= int(grade)).mean()
            assert abs((1 / (1 + np.exp(-weights[natural, row]))).mean() - share) < 1e-3


def test_too_few_positives_are_said_and_never_nan(drawn: tuple, calibration: Calibration) -> None:
    inputs, _, _ = drawn
    basis = dict(zip(OUTPUTS, calibration.basis, strict=True))
    assert basis["self_harm>=2"] == "share"
    assert basis["autonomy>=2"] == "all"
    assert basis["compassion>=2"] == "natural"
    assert calibration.positives[OUTPUTS.index("self_harm>=2")] == (1, 2)
    share = calibration.shares[HARMS.index("self_harm")]
    assert share == pytest.approx((1 + 0.5) / (100 + 1))
    probabilities = calibration.apply(inputs)
    topical = probabilities[:, OUTPUTS.index("self_harm>=1")]
    assert probabilities[:, OUTPUTS.index("self_harm>=2")] == pytest.approx(topical * share)


def test_order_and_range(calibration: Calibration) -> None:
    wild = np.random.default_rng(0).normal(0, 1e3, (500, len(LABELS) + 1))
    probabilities = calibration.apply(wild)
    assert np.isfinite(probabilities).all()
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    assert (probabilities[:, -len(HARMS) :] <= probabilities[:, -2 * len(HARMS) : -len(HARMS)]).all()
    assert (np.diff(probabilities[:, :QUALITY_GRADES], axis=1) <= 0).all()


def test_json_round_trip_and_projection(drawn: tuple, calibration: Calibration) -> None:
    inputs, _, _ = drawn
    again = Calibration.from_json(calibration.to_json(), LABELS)
    assert (again.weights == calibration.weights).all()
    assert (again.bias, again.shares) == (pytest.approx(calibration.bias, abs=0), calibration.shares)
    matrix = calibration.projection(len(LABELS) + 1)
    assert not matrix[:, -1].any()
    sizes = np.exp(inputs[:, -1])
    projected = calibration.apply_projected(inputs[:, :-1] @ matrix[:, :-1].T, sizes)
    assert projected == pytest.approx(calibration.apply(inputs), abs=1e-5)


def test_json_of_other_outputs_is_refused(calibration: Calibration) -> None:
    with pytest.raises(ValueError, match="outputs"):
        Calibration.from_json(calibration.to_json()[1:], LABELS)


def test_labels_alone() -> None:
    means = np.linspace(-1, 1, 1000)[:, None]
    targets = (np.random.default_rng(1).random((1000, 1)) < 1 / (1 + np.exp(-(4 * means - 1)))).astype(float)
    slopes, intercepts = fit_labels(means, targets, np.ones(1000, bool))
    assert slopes[0] == pytest.approx(4, abs=0.7)
    assert intercepts[0] == pytest.approx(-1, abs=0.3)


def test_calibration_error_by_hand() -> None:
    target, probability = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.1, 0.9, 1.0])
    assert expected_calibration_error(target, probability) == pytest.approx((0.8 + 0.1) / 4)
