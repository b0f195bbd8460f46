"""The command line as a user meets it: exit codes, sentences, results on standard output."""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.storage import Folder

from tests.commandline import florilegium, florilegium_here
from tests.pipelines.test_phases import make_corpus, options


def sets(corpus: Path, *more: str) -> list[str]:
    return [part for option in options(corpus, *more) for part in ("--set", option)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "posts")


def test_run_then_validate_then_weigh(corpus: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "run")
    done = florilegium_here("run", "forum", *sets(corpus), "--output", output, "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["documents"]["read"] == 107
    assert "Score" in done.stderr
    assert florilegium_here("validate", output).stdout.endswith("The run is valid.\n")
    weighed = florilegium_here(
        "weigh", output, "--charters", "uniform=1", "-o", str(tmp_path / "uniform"), "--workers", "1"
    )
    assert weighed.returncode == 0, weighed.stderr
    assert "Upweighted" in weighed.stdout


def test_dry_run_prints_the_plan_and_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    done = florilegium_here("run", "forum", *sets(corpus), "--output", str(tmp_path / "run"), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "posts-2.jsonl" in done.stdout
    assert "charters: care 0.4, inquiry 0.4, uniform 0.2" in done.stdout
    assert not (tmp_path / "run").exists()


def test_score_returns_every_row_in_order(tmp_path: Path) -> None:
    texts = ["Thank you, that was kind of you.", "", "spam spam spam", None, "Ich weiß es leider nicht."]
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": ["a", "b", "c", "d", "e"], "body": texts}), source)
    output = tmp_path / "out.parquet"
    done = florilegium_here("score", str(source), "--text-field", "body", "--output", str(output))
    assert done.returncode == 0, done.stderr
    table = pq.read_table(output)
    assert table["source_id"].to_pylist() == ["a", "b", "c", "d", "e"]
    assert table["error"].is_valid().to_pylist() == [False, True, False, True, False]
    assert 0 <= table["prosocial"].to_pylist()[0]["compassion"] <= 1


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "forun"], 2, "did you mean 'forum'"),
        (["run", "forum", "--set", "inputs.posts.paths=[/no/such/*.parquet]"], 2, "/no/such/*.parquet"),
        (["run", "quickstart", "--set", "policy.min_wrods=3"], 2, "did you mean 'min_words'"),
        (["run", "quickstart", "--engine", "bean"], 2, "no such engine"),
        (["run", "quickstart", "--workers", "0"], 2, "workers"),
        (["validate", "/no/such/run"], 2, "no run here"),
        (["weigh", "/no/such/run", "--charters", "care=1"], 2, "no run here"),
        (["run", "quickstart", "--set", "weighing.charters={kare: 1}"], 2, "care"),
    ],
)
def test_wrong_requests_get_a_sentence(arguments: list[str], code: int, sentence: str, tmp_path: Path) -> None:
    if arguments[0] == "run":
        arguments = [*arguments, "--output", str(tmp_path / "run")]
    done = florilegium_here(*arguments)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = florilegium_here("run", "quickstart", "--output", str(tmp_path / "file" / "run"), "--workers", "1")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "file" in done.stderr


def test_a_full_disk_is_explained(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full refuses every byte, so a run whose folder leads there meets a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    create = Folder.create

    def full(self: Folder, name: str) -> AbstractContextManager[Any]:
        if name.startswith("scored/") and name.endswith(".parquet"):
            Path("/dev/full").write_bytes(b"x")
        return create(self, name)

    monkeypatch.setattr(Folder, "create", full)
    done = florilegium_here("run", "forum", *sets(corpus), "-o", f"{corpus.parent}/full", "-w", "1")
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [[], ["run"], ["score"], ["weigh"], ["validate"]])
def test_every_command_explains_itself(command: list[str]) -> None:
    done = florilegium_here(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_in_a_process_of_its_own() -> None:
    done = florilegium("validate", "/no/such/run")
    assert done.returncode == 2
    assert "no run here" in done.stderr
    assert done.stdout == ""
