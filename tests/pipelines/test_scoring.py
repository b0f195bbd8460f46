"""Dead letters: a row on which a stage raises is lost alone, on every engine."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.scoring import ready_stages, score_batch
from florilegium.pipelines.stages import Stage
from florilegium.pipelines.stages.statistics import Statistics
from florilegium.schemas.document import RECORD
from florilegium.schemas.errors import ModelError

TEXTS = [f"Post {number}: we asked them first, and they said that it helped." for number in range(11)]
BAD = (0, 4, 5, 10)
MARK = "\N{SNOWMAN}"


class Picky:
    """A stage that raises on marked rows; with `fault`, another exception."""

    name = "picky"
    version = "picky.v1"

    def __init__(self, fault: type[BaseException] = ValueError) -> None:
        self.fault = fault

    def setup(self) -> None:
        pass

    def identity(self) -> dict[str, str]:
        return {"version": self.version}

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if any(MARK in text for text in batch["text"].to_pylist()):
            raise self.fault("a snowman")
        return batch


def records(texts: Sequence[str], first: int = 0) -> pa.RecordBatch:
    rows = [
        {
            "source": "posts",
            "source_id": f"id{first + at}",
            "provenance": {"file": "a.jsonl", "offset": first + at},
            "text": text,
            "title": f"mail me: someone{at}@example.org",
            "url": "https://example.org/a",
            "flags": [],
        }
        for at, text in enumerate(texts)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=RECORD)


@pytest.fixture(scope="module")
def real() -> list[Stage]:
    return list(ready_stages(load_recipe("quickstart").stages.model_dump_json()))


@pytest.mark.parametrize("place", [0, 3, 7])
@pytest.mark.parametrize("language", [None, "en"])
def test_rows_that_fail_fail_alone(real: list[Stage], place: int, language: str | None) -> None:
    stages = [*real[:place], Picky(), *real[place:]]
    marked = [text + MARK if at in BAD else text for at, text in enumerate(TEXTS)]
    scored = score_batch(records(marked), stages, language)
    sound = score_batch(records(TEXTS), real, language)
    good = [at for at in range(len(TEXTS)) if at not in BAD]
    assert scored.take(good) == sound.take(good)
    for at in BAD:
        row = scored.slice(at, 1).to_pylist()[0]
        assert row["error"] == "picky.failed"
        assert row["provenance"] == {"file": "a.jsonl", "offset": at}
        assert row["source_id"] == f"id{at}"
        assert (row["text"], row["title"], row["url"], row["bytes"]) == ("", None, None, 0)
        assert row["quality"] is None
    ids = scored["id"].to_pylist()
    assert len(set(ids)) == len(ids)
    for size in (1, 2, 7):  # whatever the batches
        parts = [score_batch(records(marked[at : at + size], at), stages, language) for at in range(0, 11, size)]
        again = pa.Table.from_batches(parts)
        names = [name for name in again.schema.names if name != "title"]
        assert again.select(names).equals(pa.Table.from_batches([scored]).select(names))


@pytest.mark.parametrize("fault", [MemoryError, KeyboardInterrupt, OSError, ModelError, ImportError])
def test_what_is_no_rows_fault_is_raised(real: list[Stage], fault: type[BaseException]) -> None:
    with pytest.raises(fault):
        score_batch(records(["sound", MARK]), [*real, Picky(fault)])


def test_a_stage_that_fails_on_everything_is_raised(real: list[Stage]) -> None:
    """A fault of the program must not pass for a corpus of bad rows."""

    class Broken(Picky):
        def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
            raise AttributeError("no such thing")

    with pytest.raises(AttributeError):
        score_batch(records(TEXTS), [*real, Broken()])


def test_failed_rows_are_in_the_ledger_of_both_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"id": str(at), "text": text + MARK if at in BAD else text} for at, text in enumerate(TEXTS)]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    apply = Statistics.apply

    def picky(self: Statistics, batch: pa.RecordBatch) -> pa.RecordBatch:
        Picky().apply(batch)
        return apply(self, batch)

    monkeypatch.setattr(Statistics, "apply", picky)
    settings = [f"inputs.posts.paths=[{tmp_path}/posts.jsonl]", "inputs.posts.fields.text=text"]
    settings += ["inputs.posts.fields.created=null", "weighing.domain_column=source", "policy.min_words=5"]
    found = []
    for engine in ("local", "beam"):
        plan = plan_run(load_recipe("forum", settings))
        outcome = execute(plan, str(tmp_path / engine), load_engine(engine, 1))
        assert outcome.ledger.reasons["statistics.failed"] == {"posts": len(BAD)}
        assert outcome.ledger.total("failed") == len(BAD)
        assert outcome.ledger.imbalances() == {}
        found.append([table.sha256 for table in [*outcome.run.manifest.shards, *outcome.run.manifest.rejects]])
    assert found[0] == found[1]
