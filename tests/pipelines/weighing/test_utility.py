from fractions import Fraction
from math import floor

import numpy as np
import pyarrow as pa
import pytest
from florilegium.pipelines.weighing.charters import load_charter, shipped_charters
from florilegium.pipelines.weighing.utility import ScoreTable, bridge, judge, judge_all, quorum_rejects
from florilegium.schemas.charter import Charter
from florilegium.schemas.document import HARM, PROSOCIAL_SCORES
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL
from hypothesis import given
from hypothesis import strategies as st

THOUSANDTHS = st.integers(0, 1000)


def _table(rows: list[dict]) -> ScoreTable:
    """Rows name what is not 0: dimensions, `harm.kind`, quality (500), language (en), scored (True)."""
    return ScoreTable(
        prosocial=np.array([[row.get(name, 0) for name in PROSOCIAL] for row in rows], np.int32),
        topical=np.array([[row.get(f"{name}.topical", 0) for name in HARMS] for row in rows], np.int32),
        toxic=np.array([[row.get(f"{name}.toxic", 0) for name in HARMS] for row in rows], np.int32),
        quality=np.array([row.get("quality", 500) for row in rows], np.int32),
        language=[row.get("language", "en") for row in rows],
        scored=np.array([row.get("scored", True) for row in rows], np.bool_),
    )


def _charter(**parts) -> Charter:
    return Charter.model_validate({"version": 1, "name": "ours", **parts})


def _utility(values: dict, **scores: int) -> int:
    return int(judge(_charter(values=values), _table([scores])).utility[0])


def test_shapes():
    assert _utility({"growth": 1}, growth=437) == 437
    saturating = {"growth": {"shape": "saturating", "at": 0.3}}
    assert [_utility(saturating, growth=p) for p in (0, 100, 299, 300, 900)] == [0, 333, 997, 1000, 1000]
    threshold = {"growth": {"shape": "threshold", "at": 0.3}}
    assert [_utility(threshold, growth=p) for p in (0, 299, 300, 1000)] == [0, 0, 1000, 1000]
    assert _utility({"growth": {"shape": "saturating"}}, growth=250) == 500


def test_weighted_mean_takes_halves_up():
    assert _utility({"growth": 1, "respect": 1}, growth=500, respect=501) == 501
    assert _utility({"growth": 2, "respect": 1}, growth=600, respect=601) == 600
    assert _utility({"growth": 0.001, "respect": 1000}, growth=1000, respect=0) == 0


@pytest.mark.parametrize("name", shipped_charters())
def test_disclosing_ones_own_pain_lowers_no_weight(name: str) -> None:
    """Whatever else a document is, self-harm that it speaks of changes nothing; self-harm that it urges does."""
    charter = load_charter(name)
    random = np.random.default_rng(1)
    rows = [{dimension: int(random.integers(0, 1001)) for dimension in (*PROSOCIAL, "quality")} for _ in range(200)]
    silent = judge(charter, _table(rows))
    assert (silent.utility > 0).any()
    for disclosed in (300, 700, 1000):
        speaks = judge(charter, _table([{**row, "self_harm.topical": disclosed} for row in rows]))
        assert (speaks.utility == silent.utility).all()
        assert not speaks.vetoes.any()
    urged = judge(charter, _table([{**row, "self_harm.topical": 1000, "self_harm.toxic": 1000} for row in rows]))
    assert urged.vetoes.all() == (name != "uniform")


def test_no_values_means_full_utility():
    assert _utility({}) == 1000


def _exact(values, scores) -> Fraction:
    """Utility by the definition in exact fractions, before any rounding, in thousandths."""
    total = Fraction(0)
    for name, (weight, shape, at) in values.items():
        p = scores[name]
        worth = {"linear": Fraction(p, 1000), "saturating": min(Fraction(p, at), 1), "threshold": int(p >= at)}[shape]
        total += weight * worth
    return 1000 * total / sum(weight for weight, _, _ in values.values())


@given(
    st.dictionaries(
        st.sampled_from(PROSOCIAL),
        st.tuples(st.integers(1, 9), st.sampled_from(["linear", "saturating", "threshold"]), st.integers(1, 1000)),
        min_size=1,
    ),
    st.fixed_dictionaries(dict.fromkeys(PROSOCIAL, THOUSANDTHS)),
)
def test_utility_is_the_rounded_weighted_mean(values, scores):
    charter = {
        name: {"weight": weight, "shape": shape} | ({} if shape == "linear" else {"at": at / 1000})
        for name, (weight, shape, at) in values.items()
    }
    exact = _exact(values, scores)
    got = _utility(charter, **scores)
    # Saturating values are rounded to millionths first, which can move a half by a hair.
    assert abs(got - exact) <= Fraction(1, 2) + Fraction(1, 1000)
    if all(shape != "saturating" for _, shape, _ in values.values()):
        assert got == floor(exact + Fraction(1, 2))


def test_floors_are_inclusive():
    charter = _charter(values={"growth": 1}, utility_floor=0.3, quality_floor=0.4)
    rows = [
        {"growth": 300, "quality": 400},
        {"growth": 299, "quality": 400},
        {"growth": 300, "quality": 399},
    ]
    assert judge(charter, _table(rows)).utility.tolist() == [300, -1, -1]


def test_tolerance_is_inclusive_and_tells_topical_from_toxic():
    charter = _charter(tolerance={"harm": {"hate": {"topical": 0.8, "toxic": 0.2}, "violence": {"toxic": 0.5}}})
    rows = [
        {"hate.topical": 800, "hate.toxic": 200},
        {"hate.topical": 801},
        {"hate.toxic": 201},
        {"violence.topical": 1000},
        {"sexual.toxic": 1000},
    ]
    judgement = judge(charter, _table(rows))
    assert judgement.vetoes.tolist() == [False, True, True, False, False]
    assert judgement.utility.tolist() == [1000, -1, -1, 1000, 1000]


def test_a_charter_is_silent_on_languages_that_it_does_not_speak_for():
    charter = _charter(languages=["de", "fr"], tolerance={"harm": {"hate": {"toxic": 0.2}}})
    rows = [
        {"language": "de"},
        {"language": "en", "hate.toxic": 900},
        {"language": None, "scored": False},
        {"language": "fr", "hate.toxic": 900},
        {"language": "de", "scored": False},
    ]
    judgement = judge(charter, _table(rows))
    assert judgement.utility.tolist() == [1000, -1, -1, -1, -1]
    assert judgement.vetoes.tolist() == [False, False, False, True, False]
    assert judgement.speaks.tolist() == [True, False, False, True, False]


def test_rows_without_scores_are_accepted_and_vetoed_by_nobody():
    row = dict.fromkeys(PROSOCIAL, -1) | {"hate.toxic": -1, "quality": -1, "scored": False}
    judgement = judge(_charter(values={"growth": 1}, tolerance={"harm": {"hate": {"toxic": 0.0}}}), _table([row]))
    assert (judgement.utility.tolist(), judgement.vetoes.tolist()) == ([-1], [False])


def test_judge_all_orders_charters_by_name():
    charters = {"b": _charter(values={"growth": 1}), "a": _charter()}
    utilities, vetoes = judge_all(charters, _table([{"growth": 5}]))
    assert utilities.tolist() == [[1000, 5]]
    assert vetoes.shape == (1, 2)


def test_from_batch_reads_the_stored_columns():
    prosocial = [dict.fromkeys(PROSOCIAL, 0.25), None]
    harm = [{name: {"topical": 0.5, "toxic": 0.125} for name in HARMS}, None]
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([0.75, None], pa.float32()),
            pa.array(harm, HARM),
            pa.array(prosocial, PROSOCIAL_SCORES),
            pa.array(["en", "xx"]),
        ],
        names=["quality", "harm", "prosocial", "language"],
    )
    for table in (ScoreTable.from_batch(batch), ScoreTable.from_batch(pa.Table.from_batches([batch[:1], batch[1:]]))):
        assert table.prosocial.tolist() == [[250] * 12, [-1] * 12]
        assert table.topical.tolist() == [[500] * 7, [-1] * 7]
        assert table.toxic.tolist() == [[125] * 7, [-1] * 7]
        assert table.quality.tolist() == [750, -1]
        assert table.scored.tolist() == [True, False]
        assert judge(_charter(languages=["en"]), table).utility.tolist() == [1000, -1]
    assert len(ScoreTable.from_batch(batch[:0])) == 0


def test_bridging_lets_the_silent_stay_silent():
    utilities = np.array([[400, 900, -1], [400, 900, -1]], np.int16)
    speaks = np.array([[True, True, False], [True, True, True]])
    assert bridge(utilities, speaks, 1.0).tolist() == [[600, 600, -1], [0, 0, -1]]


@given(st.lists(st.lists(st.integers(-1, 1000), min_size=3, max_size=3), min_size=1, max_size=20), st.floats(0.01, 1))
def test_bridging_invariants(rows, beta):
    utilities = np.array(rows, np.int16)
    speaks = np.ones(utilities.shape, np.bool_)
    bridged = bridge(utilities, speaks, beta)
    assert ((bridged < 0) == (utilities < 0)).all()
    assert bridged.max() <= 1000
    assert (bridge(utilities[:, ::-1], speaks, beta)[:, ::-1] == bridged).all()
    agreed = np.repeat(np.maximum(utilities[:, :1], 0), 3, axis=1)
    assert (bridge(agreed, speaks, beta) == agreed).all()


@pytest.mark.parametrize(
    ("vetoes", "shares", "quorum", "rejected"),
    [
        ([True, False, False], [0.5, 0.3, 0.2], 0.5, True),
        ([False, True, False], [0.5, 0.3, 0.2], 0.5, False),
        ([False, True, True], [0.5, 0.3, 0.2], 0.5, True),
        ([True, True, False], [0.333333, 0.333333, 0.333334], 0.666667, True),
        ([True, False, False], [0.333333, 0.333333, 0.333334], 0.5, False),
        ([False, False, False], [0.5, 0.3, 0.2], 0.0, False),
        ([False, False, True], [0.5, 0.3, 0.2], 0.0, True),
        ([True, True, False], [0.5, 0.3, 0.2], 1.0, False),
        ([True, True, True], [0.1, 0.2, 0.7], 1.0, True),
    ],
)
def test_quorum(vetoes, shares, quorum, rejected):
    got, keepers = quorum_rejects(np.array([vetoes]), shares, quorum)
    assert got.tolist() == [rejected]
    assert keepers.tolist() == [[rejected and not veto for veto in vetoes]]
