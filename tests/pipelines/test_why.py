"""Every document of a run can be explained, and the numbers add up to its row."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.phases import Outcome
from florilegium.pipelines.why import Passage, explain, in_words, model_evidence
from florilegium.schemas.errors import InputError

from .weighed import weighed_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return weighed_run(
        tmp_path_factory.mktemp("runs") / "run",
        "weighing.charters={care: 0.3, metta: 0.3, stoa: 0.4}",
        "weighing.bridging=0.3",
        "weighing.quorum=0.5",
        "weighing.rehydration={}",
        "policy.max_toxic={}",
    )


def _decisions(outcome: Outcome) -> pa.Table:
    paths = sorted(Path(outcome.run.folder.url).glob("decisions/decisions-*.parquet"))
    return pa.concat_tables(pq.read_table(path) for path in paths)


def test_every_document_adds_up(finished: Outcome) -> None:
    decisions = _decisions(finished)
    actions = set()
    for document in sorted(set(decisions["id"].to_pylist()))[::4]:
        found = explain(finished.run.folder.url, document)
        actions.add(found.action)
        assert found.adds_up, found.id
        assert (found.weight is None) == (found.action not in ("kept", "unweighted"))
        for view in found.charters.values():
            assert view.contribution == pytest.approx(view.share * view.weight, abs=1e-12)
            if view.terms:
                assert sum(term.part for term in view.terms) == pytest.approx(view.own_utility, abs=1e-6)
            if view.quantiles and view.a is not None and view.q is not None and view.bin_tokens:
                low, high = (max(0.0, (t - view.a) / (1 - view.a)) ** view.q for t in view.quantiles)
                by_hand = min(view.spends * (high - low) / view.bin_tokens * found.rehydration, 4.0)
                assert view.weight == pytest.approx(by_hand, rel=1e-6, abs=1e-9)
        if found.repeats is not None and found.weight is not None:
            assert found.repeats == int(found.weight) + (found.draw < found.weight - int(found.weight))
        lines = in_words(found)
        assert not [line for line in lines if "DIFFER" in line]
    assert {"kept", "rejected"} <= actions


@pytest.mark.parametrize("action", ["rejected", "duplicate", "failed"])
def test_what_was_left_out_is_explained_too(finished: Outcome, action: str) -> None:
    decisions = _decisions(finished)
    row = decisions.filter(pc.equal(decisions["action"], action)).slice(0, 1).to_pylist()[0]
    found = explain(finished.run.folder.url, row["id"])
    if action == "duplicate":  # its keeper has the same id and speaks for it
        assert [other.action for other in found.rows].count("duplicate") >= 1
        exact = "dedup.exact" in row["reasons"]
        assert ("records have this text" if exact else "dedup.near") in "\n".join(in_words(found))
    else:
        assert found.action == action
        assert found.weight is None
        assert found.reasons
        assert "none: it is in no shard" in in_words(found)[-1]


def test_a_veto_names_the_charter_the_harm_and_the_threshold(finished: Outcome) -> None:
    decisions = _decisions(finished)
    vetoed = decisions.filter(pc.equal(decisions["action"], "rejected")).to_pylist()
    row = next(row for row in vetoed if "charters.quorum" in row["reasons"])
    words = "\n".join(in_words(explain(finished.run.folder.url, row["id"])))
    assert "charters.quorum: charters with at least the quorum of shares reject it for harm" in words
    assert "vetoes: toxic " in words
    assert " is above its 0." in words


def test_a_language_without_scores(finished: Outcome) -> None:
    decisions = _decisions(finished)
    rows = decisions.filter(pc.and_(decisions["unscored"], pc.equal(decisions["action"], "survivor"))).to_pylist()
    found = explain(finished.run.folder.url, rows[0]["id"])
    assert found.adds_up
    assert found.domain == "unscored"
    assert {view.verdict for view in found.charters.values()} == {"no scores in this language"}
    assert "weighs at most 1" in "\n".join(in_words(found))


def test_a_document_is_found_by_its_beginning_and_by_the_inputs_id(finished: Outcome) -> None:
    decisions = _decisions(finished)
    survivors = decisions.filter(pc.equal(decisions["action"], "survivor"))
    full = survivors["id"][0].as_py()
    url = finished.run.folder.url
    found = explain(url, full[:12])
    assert found.id == full
    own = next(row.source_id for row in explain(url, full).rows)
    if own:
        assert explain(url, own).id == full
    for wanted in ("0" * 32, "no-such-post"):
        with pytest.raises(InputError, match="no document with the id"):
            explain(url, wanted)
    with pytest.raises(InputError, match="no run here"):
        explain("/no/such/run", full)


def test_evidence_is_asked_for_clear_qualities_only(finished: Outcome) -> None:
    asked: list[str] = []

    def evidence(text: str, output: str) -> list[Passage]:
        asked.append(output)
        return [Passage("", text[:10], text[10:20], 1.0)]

    decisions = _decisions(finished)
    survivors = decisions.filter(pc.equal(decisions["action"], "survivor"))["id"].to_pylist()
    for document in survivors[:12]:
        found = explain(finished.run.folder.url, document, evidence)
        clear = [name for name, p in found.prosocial.items() if p >= 0.5]
        clear += [name for name, kinds in found.harm.items() if kinds["topical"] >= 0.5]
        assert sorted(found.evidence) == sorted(clear)
    assert asked


def test_the_evidence_is_in_the_text(finished: Outcome) -> None:
    decisions, passages = _decisions(finished), 0
    find = model_evidence(finished.run.folder.url)
    for document in decisions.filter(pc.equal(decisions["action"], "survivor"))["id"].to_pylist()[:12]:
        found = explain(finished.run.folder.url, document, find)
        for name, shown in found.evidence.items():
            assert shown, f"nothing speaks for {name}"
            for passage in shown:
                assert passage.before + passage.text + passage.after in found.text
                assert passage.contribution > 0
                passages += 1
        words = "\n".join(in_words(found))
        assert all(f"Evidence  {name} " in words for name in found.evidence)
    assert passages
