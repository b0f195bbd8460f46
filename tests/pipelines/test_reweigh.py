"""Weighing candidates in memory is weighing a run anew, to the bit."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines import comparing
from florilegium.pipelines.candidates import CANDIDATE, read_candidates, write_candidates
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import Outcome
from florilegium.pipelines.reweigh import parse_charters, reweigh, weigh_candidates, wish, write_side_table
from florilegium.pipelines.storage import Folder
from florilegium.pipelines.validation import validate
from florilegium.pipelines.weighing.pool import repeats
from florilegium.schemas.errors import RecipeError, RequestError, RunError

from .weighed import weighed_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return weighed_run(tmp_path_factory.mktemp("runs") / "run")


def _weigh(outcome: Outcome, charters: str | None = None, *overrides: str):
    run = outcome.run
    asked = wish(run, charters, overrides)
    documents = read_candidates(run.folder)
    return documents, weigh_candidates(documents, asked.charters, asked.weighing, run.recipe.seed), asked


def _weights(folder: str) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(Path(folder).glob("weights/*.parquet")))


@pytest.mark.parametrize(
    ("charters", "overrides"),
    [
        (None, []),
        ("metta=0.6,stoa=0.4", []),
        ("metta=0.5,care=0.3,uniform=0.2", ["weighing.bridging=0.5", "weighing.quorum=0.3"]),
        ("earth=1", ["weighing.unscored=exclude", "weighing.unspent=leave", "weighing.epoch_cap=2"]),
        ("earth=0.3,agora=0.7", ["weighing.rehydration={}", "weighing.unspent=move", "weighing.budget_tokens=50000"]),
    ],
)
def test_the_side_table_is_that_of_a_run_anew(finished: Outcome, tmp_path: Path, charters, overrides) -> None:
    documents, weighed, _ = _weigh(finished, charters, *overrides)
    write_side_table(finished.run, documents, weighed, str(tmp_path / "side"))
    url = finished.run.folder.url
    anew = reweigh(url, charters, str(tmp_path / "anew"), overrides, load_engine("local", 1))
    assert (tmp_path / "side/weights/plan.json").read_bytes() == (tmp_path / "anew/weights/plan.json").read_bytes()
    assert _weights(str(tmp_path / "side")).equals(_weights(str(tmp_path / "anew")))
    assert anew.plan == weighed.plan
    assert not [fault for check in validate(str(tmp_path / "anew")) for fault in check.faults]


def test_its_own_charters_give_its_own_weights(finished: Outcome) -> None:
    documents, weighed, _ = _weigh(finished)
    table = _weights(finished.run.folder.url)
    kept = np.flatnonzero(~weighed.rejected)
    assert [documents.id(row) for row in kept] == table["id"].to_pylist()
    assert weighed.weight[kept].tolist() == table["weight"].to_pylist()
    assert (
        repeats(weighed.weight, *documents.words, finished.run.recipe.seed)[kept].tolist()
        == table["repeats"].to_pylist()
    )


def test_slices_and_threads_decide_nothing(finished: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    _, weighed, _ = _weigh(finished, "metta=0.5,care=0.5")
    monkeypatch.setattr("florilegium.pipelines.reweigh.SLICE_ROWS", 7)
    _, sliced, _ = _weigh(finished, "metta=0.5,care=0.5")
    assert sliced.plan == weighed.plan
    assert (sliced.contributions == weighed.contributions).all()


def test_the_order_and_the_parts_of_documents_decide_nothing(finished: Outcome, tmp_path: Path) -> None:
    _, weighed, asked = _weigh(finished)
    names = finished.run.folder.names("decisions/candidates-*.parquet")
    table = pa.concat_tables(pq.read_table(f"{finished.run.folder.url}/{name}") for name in names)
    order = list(range(table.num_rows))
    random.Random(3).shuffle(order)
    folder = Folder(str(tmp_path))
    for part in range(3):
        rows = order[part::3]
        write_candidates(folder, part, table.take(pa.array(rows)).cast(CANDIDATE))
    documents = read_candidates(folder)
    shuffled = weigh_candidates(documents, asked.charters, asked.weighing, finished.run.recipe.seed)
    assert shuffled.plan.to_json() == weighed.plan.to_json()
    moved = [row for part in range(3) for row in order[part::3]]
    assert (shuffled.contributions == weighed.contributions[moved]).all()


def test_tokens_add_up_whoever_counts(finished: Outcome) -> None:
    documents, weighed, _ = _weigh(finished)
    seen = comparing.weighted_tokens(documents, weighed)
    for kind in ("charter", "domain", "language"):
        assert sum(seen[kind].values()) == pytest.approx(weighed.plan.spent)
    for name, total in weighed.plan.charters.items():
        assert seen["charter"][name] == pytest.approx(total.spent)
    for name, domain in weighed.plan.domains.items():
        assert seen["domain"].get(name, 0.0) == pytest.approx(domain.spent, abs=1e-6)
    assert comparing.effective(documents, weighed) >= weighed.plan.effective_at_least * (1 - 1e-12)
    pool = comparing.pool_tokens(documents, weighed)
    assert sum(pool["domain"].values()) == sum(documents.tokens[~weighed.rejected])


def test_what_if(finished: Outcome) -> None:
    documents, before, asked = _weigh(finished)
    run = finished.run
    other = comparing.imagine(run, asked, ["share.care=0.8", "bridging=0.25"])
    assert other.weighing.charters == pytest.approx({"care": 0.8, "inquiry": 0.4 / 3, "uniform": 0.2 / 3})
    assert other.weighing.bridging == 0.25
    after = weigh_candidates(documents, other.charters, other.weighing, run.recipe.seed)
    moved = comparing.movers(documents, before, after, 5)
    changes = [abs(mover.after - mover.before) for mover in moved]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] == pytest.approx(np.abs(after.weight - before.weight).max())
    for mover in moved:
        assert sum(mover.by_charter.values()) == pytest.approx(mover.after - mover.before)
    gone = comparing.imagine(run, asked, ["share.care=0", "share.metta=0.5"])
    assert gone.weighing.charters == pytest.approx({"inquiry": 1 / 3, "uniform": 1 / 6, "metta": 0.5})
    assert set(gone.charters) == set(gone.weighing.charters)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["share.care"], "write KEY=VALUE"),
        (["share.care=2"], "a number from 0 to 1"),
        (["share.care=often"], "a number from 0 to 1"),
        (["share.kare=0.5"], "did you mean 'care'"),
        (["share.unifrm=0.5"], "no charter of this run; did you mean 'uniform'"),
        (["share.care=0.5,share.inquiry=0.2"], "one change for each --what-if"),
        (["share.care=0.5", "share.care=0.4"], "care has been given a share already"),
        (["care=0.5"], r"did you mean share\.care"),
        (["share.care=0.7", "share.inquiry=0.7"], "sum to 1.4"),
        (["policy.min_words=3"], "these can be asked"),
        (["bridging=7"], "less than or equal to 1"),
    ],
)
def test_what_cannot_be_asked(finished: Outcome, changes, sentence) -> None:
    with pytest.raises(RecipeError, match=sentence):
        comparing.imagine(finished.run, wish(finished.run), changes)


def test_what_needs_a_decision_anew(finished: Outcome) -> None:
    with pytest.raises(RequestError, match=r"policy\.min_words: decides more than weights; add --shards"):
        wish(finished.run, None, ["policy.min_words=3"])
    with pytest.raises(RequestError, match="add --shards"):
        wish(finished.run, None, ["weighing.domain_column=language"])


def test_a_folder_that_holds_something_else(finished: Outcome, tmp_path: Path) -> None:
    documents, weighed, _ = _weigh(finished)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="no weights of ours"):
        write_side_table(finished.run, documents, weighed, str(tmp_path))
    with pytest.raises(RequestError, match="holds a run"):
        write_side_table(finished.run, documents, weighed, finished.run.folder.url)
    with pytest.raises(RunError, match="no candidates"):
        read_candidates(Folder(str(tmp_path)))


def test_charters_on_the_command_line(tmp_path: Path) -> None:
    assert parse_charters("care=0.5, uniform=0.5") == {"care": 0.5, "uniform": 0.5}
    with pytest.raises(RecipeError, match="named twice"):
        parse_charters("care=0.5,care=0.5")
    with pytest.raises(RecipeError, match=r"no \.yaml files"):
        parse_charters(str(tmp_path))
    for text in ("", "care=0.5,,uniform=0.5"):
        with pytest.raises(RecipeError, match="write a folder of charters"):
            parse_charters(text)
    with pytest.raises(RecipeError, match="write NAME=SHARE with a number"):
        parse_charters("care=")
    for name in ("a.yaml", "b.yml", "notes.txt"):
        (tmp_path / name).touch()
    assert parse_charters(str(tmp_path)) == {str(tmp_path / "a.yaml"): 0.5, str(tmp_path / "b.yml"): 0.5}


def test_shares_that_do_not_sum_to_one(finished: Outcome) -> None:
    with pytest.raises(RecipeError, match=r"sum to 0\.6, not 1"):
        wish(finished.run, "care=0.5,uniform=0.1")
