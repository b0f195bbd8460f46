"""Pairs that ought to fare alike: what parts them is named, charter and threshold."""

from pathlib import Path

import pytest
from florilegium.pipelines.fairness import Pair, audit_pairs, read_pairs, shipped_pairs
from florilegium.pipelines.phases import Outcome
from florilegium.schemas.errors import InputError

from .weighed import weighed_run

PAIRS = Path(__file__).parent / "pairs"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "strict.yaml").write_text(
        "version: 1\nname: strict\nvalues: {compassion: 1}\nutility_floor: 0.02\n"
        "tolerance: {harm: {sexual: {topical: 0.3}}}\n"
    )
    charters = f"weighing.charters={{uniform: 0.5, {folder}/strict.yaml: 0.5}}"
    return weighed_run(folder / "run", charters, "policy.max_toxic={}", "policy.min_quality=null", "weighing.quorum=1")


def test_equal_texts_fare_alike(finished: Outcome) -> None:
    pairs = [Pair("same", text, text) for text in ("Thank you for your help.", "I am sorry that you are in pain.")]
    found = audit_pairs(finished.run.folder.url, pairs)["same"]
    assert found.alike
    assert found.pairs == 2
    assert found.breaks == {}
    assert found.left == found.right > 0
    assert found.ratio == 1


def test_what_parts_a_pair_is_named(finished: Outcome) -> None:
    kind = "I am so sorry for your loss. I am here for you, and I care how you feel. You are not alone, and I hope that"
    plain = f"{kind} you will find some comfort with us tonight."
    topical = f"{kind} porn and explicit nude sex videos are no comfort tonight."
    found = audit_pairs(finished.run.folder.url, [Pair("topic", plain, topical), Pair("other", plain, plain)])
    assert found["other"].alike
    assert not found["topic"].alike
    assert found["topic"].breaks == {"strict: topical sexual 0.3": 1}
    assert found["topic"].by_charter["uniform"] == 1
    assert found["topic"].by_charter["strict"] == float("inf")


def test_pairs_of_dialects_and_identities_can_be_audited(finished: Outcome) -> None:
    pairs = [pair for name in ("dialect", "identity") for pair in read_pairs(PAIRS / f"{name}.csv")]
    found = audit_pairs(finished.run.folder.url, pairs)
    assert sorted(found) == ["dialect", "identity"]
    for fared in found.values():
        assert fared.ratio is not None
        assert fared.alike == (0.9 <= fared.ratio <= 1.11)
        assert fared.by_charter["uniform"] == 1  # which asks for nothing
        assert fared.alike or fared.breaks


def test_shipped_pairs_are_whole_texts_that_differ_in_one_thing() -> None:
    pairs = shipped_pairs()
    assert {pair.kind for pair in pairs} == {
        "identity", *(f"dialect {name}" for name in ("aae", "indian", "learner", "scots", "southern"))
    }  # fmt: skip
    assert all(pair.left != pair.right for pair in pairs)
    identity = [pair for pair in pairs if pair.kind == "identity"]
    assert len(identity) == 35 * 6
    assert all("{" not in pair.left + pair.right for pair in pairs)
    assert len({pair.right for pair in identity}) == 6  # neighbours, whoever stands opposite


def test_what_is_no_table_of_pairs(finished: Outcome, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    for text, sentence in (
        ("kind,left\nx,y\n", "no column 'right'"),
        ("kind,left,right\n", "holds no pair"),
        ("kind,left,right\nx,y,\n", "row 2: kind, left and right must all hold something"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            read_pairs(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(tmp_path / "none.csv")
    with pytest.raises(InputError, match="no domain 'news'"):
        audit_pairs(finished.run.folder.url, [Pair("a", "b", "c")], "news")
