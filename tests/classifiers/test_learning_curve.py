"""A curve over documents that we wrote: more of them teach more, and points differ by what was taught alone."""

from pathlib import Path
from typing import Any

import pytest
from florilegium.classifiers.learning_curve import learning_curve, render_learning_curve
from florilegium.classifiers.train import TrainConfig, drawn, held_out, read_gold
from florilegium.schemas.errors import RecipeError


@pytest.fixture(scope="module")
def curve(gold_file: Path, config: TrainConfig) -> dict[str, Any]:
    return learning_curve(config, gold_file, resamples=50)


def test_more_documents_teach_more(curve: dict[str, Any], gold_file: Path) -> None:
    assert curve["rows"][0] < curve["rows"][1] < curve["rows"][2] == 220
    assert curve["natural_rows"] == int(read_gold(gold_file).natural.sum())
    harm = curve["groups"]["harm"]["average_precision"]
    assert harm["values"] == sorted(harm["values"])
    assert harm["last_gain"] == pytest.approx(harm["values"][2] - harm["values"][1], abs=2e-4)
    assert harm["last_gain_interval"][0] < harm["last_gain"] < harm["last_gain_interval"][1]
    text = render_learning_curve(curve)
    assert "| **harm**, mean of 7 |" in text
    assert "without figures" in text


def test_the_last_point_is_the_training_itself(curve: dict[str, Any], gold_file: Path, config: TrainConfig) -> None:
    whole = held_out(config, gold_file)
    assert (held_out(config, gold_file, share=1.0).probabilities == whole.probabilities).all()
    assert (held_out(config, gold_file, share=0.5).probabilities != whole.probabilities).any()


def test_a_smaller_part_lies_within_a_larger_one() -> None:
    ids = [f"document {number}" for number in range(2000)]
    quarter, half = drawn(ids, 0.25, 7), drawn(ids, 0.5, 7)
    assert (half | ~quarter).all()
    assert 0.2 < quarter.mean() < 0.3
    assert drawn(ids, 1.0, 7).all()
    assert (drawn(ids[::-1], 0.5, 7)[::-1] == half).all()


@pytest.mark.parametrize("shares", [[], [0.5, 0.25], [0.5, 0.5], [0.0, 1.0], [0.5, 1.5]])
def test_shares_must_rise(shares: list[float], gold_file: Path, config: TrainConfig) -> None:
    with pytest.raises(RecipeError, match="rise"):
        learning_curve(config, gold_file, shares=shares)
