"""Pairs that ought to fare alike: what parts them is named, charter and threshold."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.classifiers.audit import load_suite
from florilegium.pipelines.fairness import Pair, audit_pairs, read_pairs, rewritten_pairs, shipped_pairs
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
    assert found.interval == (1, 1)
    assert found.verdict == "alike"
    assert found.without == {}


def test_what_parts_a_pair_is_named(finished: Outcome) -> None:
    kind = "I am so sorry for your loss. I am here for you, and I care how you feel. You are not alone, and I hope that"
    plain = f"{kind} you will find some comfort with us tonight."
    topical = f"{kind} porn and explicit nude sex videos are no comfort tonight."
    found = audit_pairs(finished.run.folder.url, [Pair("topic", plain, topical), Pair("other", plain, plain)])
    assert found["other"].alike
    assert not found["topic"].alike
    assert found["topic"].breaks == {"strict: topical sexual 0.3": 1}
    assert "strict: topical sexual 0.3" in found["topic"].without
    assert found["topic"].by_charter["uniform"] == 1
    assert found["topic"].by_charter["strict"] == float("inf")


def test_pairs_of_dialects_and_identities_can_be_audited(finished: Outcome) -> None:
    pairs = [pair for name in ("dialect", "identity") for pair in read_pairs(PAIRS / f"{name}.csv")]
    found = audit_pairs(finished.run.folder.url, pairs)
    assert sorted(found) == ["dialect", "identity"]
    for fared in found.values():
        assert fared.ratio is not None
        assert fared.alike == (0.9 <= fared.ratio <= 1.11)
        assert fared.interval is not None
        assert fared.interval[0] <= fared.ratio <= fared.interval[1]
        assert fared.by_charter["uniform"] == pytest.approx(1)  # which asks for nothing
        assert fared.alike or fared.breaks or fared.without


def test_a_score_that_parts_pairs_is_named(finished: Outcome) -> None:
    warm = "I am so sorry for your loss, and I am here for you whenever you need somebody who listens and cares."
    cold = "The bus leaves at nine from the second stop, and the next one at ten from the first stop as on all days."
    found = audit_pairs(finished.run.folder.url, [Pair("warmth", warm, cold)])["warmth"]
    assert found.verdict == "apart"
    assert found.ratio is not None
    assert found.ratio > 1.11
    assert found.without["differing scores of compassion"] == pytest.approx(1)
    assert "differing scores of quality" not in found.without


def test_more_pairs_make_a_verdict_surer(finished: Outcome) -> None:
    """Pairs that share a right side are one draw: one sentence about a hundred groups is no hundred sentences."""
    warm = "I am so sorry for your loss, and I am here for you whenever you need somebody who listens and cares."
    cold = "The bus leaves at nine from the second stop, and the next one at ten from the first stop."
    mixed = [Pair("mixed", *(warm, f"{number} {cold}")[:: 1 if number % 2 else -1]) for number in range(12)]
    found = audit_pairs(finished.run.folder.url, mixed)["mixed"]
    assert found.verdict == "alike, not surely"
    assert found.interval is not None
    assert found.interval[0] < 0.9 < 1.11 < found.interval[1]
    one = [Pair("one", f"{number} {warm}", cold, f"group {number % 3}") for number in range(12)]
    fared = audit_pairs(finished.run.folder.url, one)["one"]
    assert sorted(fared.by_group) == ["group 0", "group 1", "group 2"]
    assert fared.interval == pytest.approx((fared.ratio, fared.ratio))


def test_weight_is_that_of_a_document_of_these_scores(finished: Outcome) -> None:
    """In the domain of a document, its text weighs what the document does."""
    folder = finished.run.folder
    rows = pa.concat_tables(pq.read_table(folder.address(name)) for name in folder.names("shards/*.parquet"))
    row = next(row for row in rows.to_pylist() if row["language"] == "en" and row["weight"] > 1)
    found = audit_pairs(folder.url, [Pair("itself", row["text"], row["text"])], row["domain"])["itself"]
    assert found.left == pytest.approx(row["weight"])
    total = {name: item.tokens for name, item in finished.plan.domains.items() if name != "unscored"}
    parts = {name: audit_pairs(folder.url, [Pair("x", row["text"], row["text"])], name)["x"].left for name in total}
    mean = sum(parts[name] * total[name] for name in total) / sum(total.values())
    assert audit_pairs(folder.url, [Pair("x", row["text"], row["text"])])["x"].left == pytest.approx(mean)


def test_shipped_pairs_are_whole_texts_that_differ_in_one_thing() -> None:
    pairs = shipped_pairs()
    assert {pair.kind for pair in pairs} == {
        "identity", *(f"dialect {name}" for name in ("aae", "indian", "learner", "scots", "southern"))
    }  # fmt: skip
    assert all(pair.left != pair.right for pair in pairs)
    kinds = Counter(pair.kind for pair in pairs)
    identity = [pair for pair in pairs if pair.kind == "identity"]
    assert len(identity) == 35 * (24 + 6)
    assert all("{" not in pair.left + pair.right for pair in pairs)
    assert len({pair.right for pair in identity}) == 24 + 6  # neighbours, whoever stands opposite
    assert len({pair.group for pair in identity}) == 35
    assert min(kinds.values()) >= 24 + 2
    passages = load_suite("passages")
    assert len(passages) == 24
    assert all(len(text.split()) >= 40 for passage in passages for text in passage.values())
    assert all(passage["somebody"].count("{") == 1 for passage in passages)


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


def test_a_runs_own_documents_are_rewritten(finished: Outcome) -> None:
    """Both sides are of the run, the left one in a variety; as many as are asked for, the same each time."""
    url = finished.run.folder.url
    pairs = rewritten_pairs(url, 5)
    kinds = Counter(pair.kind for pair in pairs)
    assert set(kinds) <= {f"rewritten {name}" for name in ("aae", "southern", "scots", "indian", "learner")}
    assert kinds["rewritten aae"] == kinds["rewritten scots"] == 5
    assert max(kinds.values()) == 5
    assert pairs == rewritten_pairs(url, 5)
    assert all(pair.left != pair.right for pair in pairs)
    assert any(" ah " in f" {pair.left} " or " tae " in f" {pair.left} " for pair in pairs if "scots" in pair.kind)
    found = audit_pairs(url, pairs)
    assert all(0.5 < fared.ratio < 2 for fared in found.values() if fared.ratio is not None)
    with pytest.raises(InputError, match="no document in 'fr'"):
        rewritten_pairs(url, 5, "fr")


def test_undoing_what_leaves_one_side_nothing_is_no_remedy(tmp_path: Path) -> None:
    """A side that two thresholds stop weighs nothing without either, which is not alike."""
    (tmp_path / "twice.yaml").write_text(
        "version: 1\nname: twice\nvalues: {compassion: 1}\n"
        "tolerance: {harm: {sexual: {topical: 0.3}, violence: {topical: 0.3}}}\n"
    )
    charters = f"weighing.charters={{{tmp_path}/twice.yaml: 1}}"
    alone = weighed_run(tmp_path / "run", charters, "policy.max_toxic={}", "policy.min_quality=null")
    kind = "I am so sorry for your loss. I am here for you, and I care how you feel. You are not alone, and I hope that"
    plain = f"{kind} you will find some comfort with us tonight."
    stopped = (
        f"{kind} porn and nude sex videos are no comfort. He was murdered: the killer shot and stabbed him to death."
    )
    found = audit_pairs(alone.run.folder.url, [Pair("stopped", stopped, plain)])["stopped"]
    assert found.ratio == 0
    assert set(found.breaks) == {"twice: topical sexual 0.3", "twice: topical violence 0.3"}
    assert found.without.keys().isdisjoint(found.breaks)
