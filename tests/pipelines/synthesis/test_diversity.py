"""Diversity figures against cases whose answer is known."""

import pytest
from florilegium.pipelines.synthesis.diversity import distinct, self_bleu, vendi


def test_vendi_counts_documents_that_share_nothing() -> None:
    different = ["alpha beta gamma", "delta epsilon zeta", "eta theta iota"]
    assert vendi(different) == pytest.approx(3, abs=0.05)
    assert vendi([different[0]] * 5) == pytest.approx(1, abs=1e-6)
    assert vendi([]) == 0
    assert 1 < vendi(["one two three four", "one two three five"]) < 2


def test_distinct_and_self_bleu() -> None:
    assert distinct(["a b c", "d e f"], 1) == 1
    assert distinct(["a b", "a b"], 2) == 0.5
    same = ["one two three four five six"] * 3
    assert self_bleu(same) == pytest.approx(1, abs=1e-9)
    assert self_bleu(["one two three four five", "six seven eight nine ten"]) < 0.01
