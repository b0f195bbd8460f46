"""Evaluation sets in a whole run: rejected or masked, the same on every engine, refused when they change."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.reweigh import reweigh
from florilegium.pipelines.stages.decontaminate import PLACEHOLDER
from florilegium.pipelines.validation import validate
from florilegium.schemas.errors import InputError, OutputError, RecipeError, RequestError

from tests.pipelines.test_phases import SENTENCES, checksums, make_corpus, options

QUESTION = "Which of the three sisters keeps the key to the mill while the miller is away at the coast, and why?"
ANSWER = "The youngest one, because she alone knows how the lock was mended after the flood of last spring."
PLANTED = 12


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of `test_phases`, and a file in which every third document holds a question or an answer."""
    folder = make_corpus(tmp_path_factory.mktemp("corpus") / "posts")
    lines = []
    for number in range(3 * PLANTED):
        text = " ".join(SENTENCES[number % 8 :] + SENTENCES[: number % 8][:-1]) + f" Number {number}."
        if number % 3 == 0:
            text = text.replace(". ", f". {QUESTION.upper() if number % 2 else ANSWER} ", 1)
        lines.append({"id": f"p{number}", "text": text, "community": "a"})
    (folder / "posts-9.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    (folder / "mill.jsonl").write_text(json.dumps({"id": "mill-1", "question": QUESTION, "answer": ANSWER}) + "\n")
    pq.write_table(
        pa.table({"uid": ["a"], "prompt": ["No document of the corpus speaks of these eight small words"]}),
        folder / "other.parquet",
    )
    return folder


def decontamination(sets: Path, **more: object) -> str:
    listed = [
        {"name": "mill", "paths": [str(sets / "mill.jsonl")], "fields": {"text": ["question", "answer"]}},
        {"name": "other", "paths": [str(sets / "other.parquet")], "fields": {"text": "prompt", "id": "uid"}},
    ]
    return f"decontamination={json.dumps({'sets': listed, **more})}"


def run(
    corpus: Path, output: Path, *more: str, engine: str = "local", workers: int = 1, since: Path | None = None
) -> Outcome:
    plan = plan_run(load_recipe("forum", options(corpus, *more)), None if since is None else str(since))
    return execute(plan, str(output), load_engine(engine, workers))


def scored_table(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("scored/*.parquet"))])


@pytest.fixture(scope="module")
def rejecting(corpus: Path, sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(corpus, tmp_path_factory.mktemp("run") / "reject", decontamination(sets))


def test_rejects_say_what_matched_and_where(rejecting: Outcome) -> None:
    folder = Path(rejecting.run.folder.url)
    assert rejecting.ledger.reasons["decontaminate.mill"] == {"posts": PLANTED}
    assert "decontaminate.other" not in rejecting.ledger.reasons
    assert rejecting.ledger.imbalances() == {}
    assert [check.faults for check in validate(str(folder))] == [[]] * 7
    rejected = [row for row in pq.read_table(folder / "rejects").to_pylist() if "decontaminate.mill" in row["reasons"]]
    assert sorted(row["source_id"] for row in rejected) == sorted(f"p{3 * number}" for number in range(PLANTED))
    for row in rejected:
        (entry,) = row["contamination"]
        span = entry.pop("spans")[0]
        field, passage = ("question", QUESTION) if int(row["source_id"][1:]) % 2 else ("answer", ANSWER)
        assert entry == {
            "set": "mill",
            "item": "mill-1",
            "field": field,
            "ngrams": len(passage.split()) - 12,
            "share": 1.0,
        }
        assert row["text"].encode()[span["start"] : span["stop"]].decode().lower() == passage[:-1].lower()
    scored = scored_table(folder)
    assert len(scored) - scored["contamination"].null_count == PLANTED
    kept = pq.read_table(folder / "shards")
    assert "contamination" not in kept.column_names
    assert not any(ANSWER in text for text in kept["text"].to_pylist())


def test_no_evaluation_text_is_kept_in_the_index(rejecting: Outcome) -> None:
    folder = Path(rejecting.run.folder.url) / "decontamination"
    ngrams = pq.read_table(folder / "ngrams.parquet")
    assert ngrams["hash"].to_pylist() == sorted(ngrams["hash"].to_pylist())
    assert pq.read_table(folder / "passages.parquet").to_pylist() == [
        {"set": "mill", "item": "mill-1", "field": "question", "ngrams": 9},
        {"set": "mill", "item": "mill-1", "field": "answer", "ngrams": 6},
        {"set": "other", "item": "a", "field": "prompt", "ngrams": 1},
    ]


@pytest.mark.long
def test_workers_splits_and_engines_change_no_byte(
    rejecting: Outcome, corpus: Path, sets: Path, tmp_path: Path
) -> None:
    two = run(corpus, tmp_path / "two", decontamination(sets), "reading.batch_rows=3", workers=2)
    assert checksums(two) == checksums(rejecting)
    masking = decontamination(sets, action="mask")
    masked = run(corpus, tmp_path / "mask", masking)
    beam = run(corpus, tmp_path / "beam", masking, "reading.split_bytes=1048576", engine="beam")
    assert checksums(beam) == checksums(masked)


def test_masking_leaves_nothing_of_it_in_any_file(corpus: Path, sets: Path, tmp_path: Path) -> None:
    masked = run(corpus, tmp_path / "mask", decontamination(sets, action="mask"))
    run(corpus, tmp_path / "plain")
    assert [check.faults for check in validate(str(tmp_path / "mask"))] == [[]] * 7
    assert not any(reason.startswith("decontaminate") for reason in masked.ledger.reasons)
    before, after = (scored_table(tmp_path / name).to_pylist() for name in ("plain", "mask"))
    texts = {row["id"]: row for row in before}
    assert {row["id"] for row in after} == set(texts)  # the id names what was read
    flagged = 0
    for row in after:
        flagged += "decontaminate.masked" in row["flags"]
        assert (PLACEHOLDER in row["text"]) == (row["contamination"] is not None)
        if row["contamination"] is None:
            assert row["text"].lower() == texts[row["id"]]["text"].lower()
        assert "lock was mended" not in row["text"].lower()
        assert "sisters keeps" not in row["text"].lower()
    assert flagged == PLANTED
    assert "contamination" not in before[0]


def test_a_killed_run_goes_on_and_other_sets_are_refused(
    rejecting: Outcome, corpus: Path, sets: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    run(corpus, output, decontamination(sets))
    (output / "tasks/score/000001.json").unlink()
    (output / "tasks/decide/000000.json").unlink()
    (output / "decontamination/passages.parquet").unlink()
    mended = run(corpus, output, decontamination(sets))
    assert mended.tasks - mended.resumed == 2
    assert checksums(mended) == checksums(rejecting)
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in sets.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    assert run(corpus, output, decontamination(moved)).resumed == mended.tasks  # content counts, not place
    (moved / "mill.jsonl").write_text(json.dumps({"id": "mill-1", "question": QUESTION + " Say.", "answer": ANSWER}))
    with pytest.raises(OutputError, match=r"decontamination"):
        run(corpus, output, decontamination(moved))
    with pytest.raises(OutputError, match=r"decontamination\.min_ngrams is 1 there and 2 here"):
        run(corpus, output, decontamination(sets, min_ngrams=2))
    with pytest.raises(OutputError, match=r"decontamination is None here|decontamination"):
        run(corpus, output)


def test_thresholds_of_rejection_need_no_scoring(rejecting: Outcome, corpus: Path, sets: Path, tmp_path: Path) -> None:
    url, engine = rejecting.run.folder.url, load_engine("local", 1)
    stricter = reweigh(
        url, None, str(tmp_path / "a"), ["decontamination.min_share=1", "decontamination.min_ngrams=7"], engine
    )
    assert stricter.ledger.reasons["decontaminate.mill"] == {"posts": PLANTED}  # found whole
    assert checksums(stricter) == checksums(
        run(corpus, tmp_path / "b", decontamination(sets, min_share=1, min_ngrams=7))
    )
    for change, named in (
        ("ngram_words=12", "ngram_words"),
        ("action=mask", "action"),
        ("sets.0.name=windmill", "sets"),
    ):
        with pytest.raises(RequestError, match=rf"decontamination\.{named} decides the scores"):
            reweigh(url, None, str(tmp_path / "c"), [f"decontamination.{change}"], engine)


def test_added_inputs_and_evaluation_sets(rejecting: Outcome, corpus: Path, sets: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "posts"
    fewer.mkdir()
    for path in sorted(corpus.iterdir())[:2]:
        (fewer / path.name).write_bytes(path.read_bytes())
    run(fewer, tmp_path / "a", decontamination(sets))
    later = run(corpus, tmp_path / "b", decontamination(sets), since=tmp_path / "a")
    assert checksums(later) == checksums(rejecting)
    assert later.resumed > 0
    with pytest.raises(RequestError, match=r"--since .*decontamination"):
        run(corpus, tmp_path / "c", since=tmp_path / "a")
    with pytest.raises(RequestError, match=r"decontamination\.ngram_words is 13 there and 10 here"):
        run(corpus, tmp_path / "c", decontamination(sets, ngram_words=10), since=tmp_path / "a")


def test_recipes(sets: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    sections = "{sets: [{name: mill, paths: mill.jsonl}], ignore: [{name: x, paths: [y/*.txt]}]}"
    recipe.write_text(f"extends: forum\ndecontamination: {sections}\n")
    loaded = load_recipe(str(recipe), ["inputs.posts.paths=[x]"]).decontamination
    assert loaded is not None
    assert (loaded.sets[0].paths, loaded.ignore[0].paths) == ([f"{tmp_path}/mill.jsonl"], [f"{tmp_path}/y/*.txt"])
    for wrong, sentence in (
        ("{sets: []}", "at least 1 item"),
        ("{sets: [{name: a, paths: [a]}, {name: a, paths: [b]}]}", "two evaluation sets have one name"),
        ("{sets: [{name: a, paths: [a]}], min_words: 14}", "min_words is 14, but at most ngram_words, 13"),
        ("{sets: [{name: a, paths: [a]}], ngrams: 14}", "unknown key 'decontamination.ngrams'"),
    ):
        with pytest.raises(RecipeError, match=sentence):
            load_recipe("forum", ["inputs.posts.paths=[x]", f"decontamination={wrong}"])
    bad = [{"name": "other", "paths": [str(sets / "other.parquet")], "fields": {"text": ["prompt", "answers"]}}]
    loaded_with_bad = load_recipe("quickstart", [f"decontamination={json.dumps({'sets': bad})}"])
    with pytest.raises(InputError, match=r"text column 'answers' of input 'other' is not there"):
        plan_run(loaded_with_bad)
