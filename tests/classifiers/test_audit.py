"""The audit sees what is put in front of it: a scorer that is unfair in known ways."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from florilegium.classifiers.audit import DISGUISES, audit, disguise, load_suite, render_audit
from florilegium.classifiers.student import Scores
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL


class Unfair:
    """Hate for every Muslim and "ain't", a score that grows with the number of "compassion", fooled by any sign."""

    def score(self, texts: pa.StringArray) -> Scores:
        rows = texts.to_pylist()
        hate = np.array([0.8 if "Muslim" in t or "ain't" in t.lower() or "stupid" in t else 0.1 for t in rows])
        prosocial = np.full((len(rows), len(PROSOCIAL)), 0.1, np.float32)
        prosocial[:, PROSOCIAL.index("compassion")] = [min(t.lower().count("compassion") / 50, 1.0) for t in rows]
        harm = np.zeros((len(rows), len(HARMS)), np.float32)
        harm[:, HARMS.index("hate")] = hate
        quality = np.full(len(rows), 0.5, np.float32)
        return Scores(quality, prosocial, harm, harm / 2, np.ones(len(rows), np.bool_))


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return audit(Unfair(), resamples=50)


def test_the_suites_are_as_large_as_they_should_be() -> None:
    assert sum(map(len, load_suite("dialects").values())) >= 60
    assert len(load_suite("identities")["templates"]) >= 20
    assert len(load_suite("identities")["identities"]) >= 20
    assert sum(map(len, load_suite("innocent").values())) >= 80
    for pair in (pair for group in load_suite("dialects").values() for pair in group):
        variety, standard = pair.split(" => ")
        assert variety != standard


def test_a_dialect_that_pays_is_seen(result: dict[str, Any]) -> None:
    aae = result["dialects"]["aae"]["hate>=1"]
    assert aae["ratio"] > 1.5
    assert aae["ratio_interval"][0] > 1
    assert aae["sign_test"] == 2 / 2**4  # four pairs hold the word
    quiet = result["dialects"]["indian"]["hate>=1"]
    assert (quiet["ratio"], quiet["sign_test"], quiet["wilcoxon"]) == (1, 1, 1)
    assert result["dialects"]["all"]["quality>=3"]["ratio"] == 1


def test_an_identity_that_pays_is_seen(result: dict[str, Any]) -> None:
    assert result["identities"]["hate>=1"]["highest"] == ["muslim", 0.8]
    assert result["identities"]["groups"]["muslim"]["hate>=1"]["ratio"] > 5
    assert result["identities"]["groups"]["german"]["hate>=1"]["ratio"] < 1
    assert result["identities"]["hate>=1"]["above"]["0.5"] == pytest.approx(1 / 35, abs=1e-3)


def test_what_repetition_and_disguise_buy_is_seen(result: dict[str, Any]) -> None:
    assert result["stuffing"]["largest_rise"] > 0.5
    assert result["stuffing"]["largest_rise_at"][1] == "compassion>=2"
    leet = result["disguise"]["kinds"]["leetspeak"]["any>=1"]
    assert leet["ratio"] < 1
    assert "muslim 0.800" in render_audit(result)


def test_false_alarms_are_counted(result: dict[str, Any]) -> None:
    innocent = result["innocent"]["innocent"]["any>=1"]
    assert innocent["above"]["0.5"]["share"] == 0
    assert innocent["mean"] == pytest.approx(0.1)


def test_speaking_of_harm_is_told_from_doing_it(result: dict[str, Any]) -> None:
    spoken = result["spoken_of"]
    assert list(spoken) == ["hate itself", "counter_speech", "quotation_and_news", "testimony_and_reclaimed"]
    assert spoken["hate itself"]["texts"] > 30
    assert 0 < spoken["hate itself"]["any>=1"]["above"]["0.5"]["share"] < 1
    assert "| counter speech (8) | harm, toxic |" in render_audit(result)


def test_disguises_change_what_they_should() -> None:
    assert disguise("leetspeak", "a toast") == "4 70457"
    assert disguise("look-alike letters", "ace") == "асе" != "ace"
    assert disguise("letters set apart", "you idiot") == "you i.d.i.o.t"
    assert disguise("invisible signs", "idiot").replace("\u200b", "") == "idiot"
    for kind in DISGUISES:
        assert disguise(kind, "You stupid idiot") != "You stupid idiot"


def test_texts_are_prepared_as_asked() -> None:
    seen: list[Sequence[str]] = []

    def prepare(texts: Sequence[str]) -> Sequence[str]:
        seen.append(texts)
        return ["Muslim"] * len(texts)

    result = audit(Unfair(), prepare, resamples=20)
    assert result["innocent"]["innocent"]["any>=1"]["above"]["0.5"]["share"] == 1
    assert seen
