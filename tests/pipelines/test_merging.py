"""Merge levels: nothing that a run promises depends on them, and files opened grow with the run."""

import json
from collections import Counter
from pathlib import Path

import pytest
from florilegium.pipelines import merging, phases
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.merging import Layout, plan_levels
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.reweigh import reweigh
from florilegium.pipelines.runs import KeyRange
from florilegium.pipelines.storage import Folder
from florilegium.pipelines.validation import validate
from florilegium.pipelines.why import explain
from florilegium.schemas.errors import TaskError
from hypothesis import given
from hypothesis import strategies as st

WORDS = "She asked what the word meant to them, and then she listened. We measured the water and wrote down what we saw"


def make_corpus(folder: Path, files: int) -> Path:
    """Small files: texts of their own, exact twins across files, and near-duplicates."""
    folder.mkdir()
    for number in range(files):
        texts = [f"Letter {number} and {line * 7919}. {WORDS}, said number {number * line}." for line in range(3)]
        texts += [f"The same everywhere. {WORDS}.", " ".join(f"w{number // 3}x{word}" for word in range(120))]
        texts.append(f"{texts[-1]} and {number}")
        lines = [json.dumps({"id": f"{number}-{line}", "text": text}) for line, text in enumerate(texts)]
        (folder / f"posts-{number:03d}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def run(corpus: Path, output: Path, engine: str = "local", workers: int = 1) -> Outcome:
    changes = [
        f"inputs.posts.paths=[{corpus}/*.jsonl]",
        "inputs.posts.fields={text: text}",
        "weighing.domain_column=source",
        "policy.gopher_repetition=null",
        "output.shard_bytes=4096",
    ]
    return execute(plan_run(load_recipe("forum", changes)), str(output), load_engine(engine, workers))


def contents(outcome: Outcome) -> dict[str, str]:
    """Name → sha256 of all that a run wrote but how it merged."""
    folder = outcome.run.folder
    parts = ("scored", "bands", "dedup", "decisions", "weights", "shards", "rejects")
    return {name: folder.sha256(name) for part in parts for name in folder.names(f"{part}/*.parquet")}


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few files and ranges are many."""
    monkeypatch.setattr(merging, "FAN_IN", 3)
    monkeypatch.setattr(merging, "PAIRS", 8)
    monkeypatch.setattr(phases, "PAIR_ROWS", 256)
    monkeypatch.setattr(phases, "KEEP_ROWS", 8)
    monkeypatch.setattr(phases, "MERGED_ROWS", 64)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often files were opened, by the folder they lie in."""
    counts: Counter[str] = Counter()
    original = Folder.open_parquet

    def counted(self: Folder, name: str):
        counts[name.partition("/")[0]] += 1
        return original(self, name)

    monkeypatch.setattr(Folder, "open_parquet", counted)
    return counts


def test_levels_change_nothing_but_what_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: None) -> None:
    corpus = make_corpus(tmp_path / "corpus", 14)
    with monkeypatch.context() as patch:
        patch.setattr(merging, "PAIRS", 1 << 16)
        plain = run(corpus, tmp_path / "plain")
    assert not (tmp_path / "plain/merged").exists()
    assert not (tmp_path / "plain/tasks/merge-scored").exists()
    merged = run(corpus, tmp_path / "merged")
    folder = merged.run.folder
    assert {payload["level"] for payload in merged.run.payloads("merge-scored")} == {1, 2}
    for table in ("scored", "bands", "ranked", "members"):
        assert folder.names(f"merged/{table}-1/*.parquet")
    assert contents(merged) == contents(plain)
    assert merged.ledger == plain.ledger
    assert merged.ledger.reasons["dedup.near"]["posts"] >= 14
    assert all(not check.faults for check in validate(folder.url))
    again = run(corpus, tmp_path / "merged")
    assert again.resumed == again.tasks

    with folder.open_parquet(merged.run.manifest.shards[0].name) as file:
        row = file.read(columns=["id", "text"]).slice(0, 1).to_pylist()[0]
    assert explain(folder.url, row["id"]).text == row["text"]
    weighed = reweigh(folder.url, None, str(tmp_path / "weighed"), [], load_engine("local", 1))
    assert [table.sha256 for table in weighed.run.manifest.shards] == [
        table.sha256 for table in plain.run.manifest.shards
    ]


@pytest.mark.long
def test_opened_files_grow_with_the_run(
    tmp_path: Path, many: None, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Per file of the corpus 14, 16 and 16 are opened; without merging 31 for the smallest, and ever more."""
    each = []
    for files in (12, 24, 48):
        opened.clear()
        run(make_corpus(tmp_path / f"corpus-{files}", files), tmp_path / f"run-{files}")
        each.append(sum(opened.values()) / files)
    assert max(each) - min(each) < 5, each
    monkeypatch.setattr(merging, "PAIRS", 1 << 16)
    opened.clear()
    run(tmp_path / "corpus-48", tmp_path / "plain")
    assert sum(opened.values()) / 48 > 3 * each[-1]


def test_a_level_that_failed_stops_before_the_next(tmp_path: Path, many: None, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(tmp_path / "corpus", 12)
    original = phases.merge_part

    def broken(folder: Folder, task: dict[str, int], run_bytes: int) -> dict[str, object]:
        if task["table"] == "scored" and task["level"] == 1 and task["part"] == 0:
            raise RuntimeError("the machine stopped")
        return original(folder, task, run_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(phases, "merge_part", broken)
        patch.setitem(phases.PHASES, "merge-scored", phases.PHASES["merge-scored"])
        with pytest.raises(TaskError, match=r"merge-scored failed:\n.*the machine stopped"):
            run(corpus, tmp_path / "run")
    assert not list((tmp_path / "run/merged").glob("scored-2/*"))
    assert contents(run(corpus, tmp_path / "run")) == contents(run(corpus, tmp_path / "whole"))


@pytest.mark.parametrize("files", [64, 1000, 10**5, 10**6])
def test_every_range_opens_few_files(files: int) -> None:
    levels = plan_levels("scored", files, files, files * 2.0**27, 2.0**27)
    last = levels[-1] if levels else Layout("scored", 0, 1, files)
    assert last.files * files <= max(merging.PAIRS, merging.FAN_IN * files)
    assert len(last.names(KeyRange.part(files // 2, files))) <= 2 * merging.FAN_IN
    for level in levels:  # a file is opened once a part that it is cut into
        assert level.files * level.parts <= 2 * files
    assert plan_levels("scored", files, 1, files * 2.0**27, 2.0**27) == [] or files > 10**4


@given(st.integers(1, 700), st.integers(0, 2**64 - 2), st.integers(1, 2**64))
def test_a_range_finds_every_file_that_it_touches(parts: int, low: int, width: int) -> None:
    keys, layout = KeyRange(low, min(low + width, 2**64)), Layout("scored", 1, parts, 2)
    ranges = {number: KeyRange.part(number, parts) for number in range(parts)}
    touched = [number for number, part in ranges.items() if part.low < keys.high and keys.low < part.high]
    assert layout.names(keys) == [layout.name(number, file) for number in touched for file in range(2)]
