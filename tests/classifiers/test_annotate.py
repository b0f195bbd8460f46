"""Labels over a real connection to a server that fails in every way that servers do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.classifiers import chat as chat_module
from florilegium.classifiers.annotate import annotate, estimate, read_twice
from florilegium.classifiers.chat import KEY_VARIABLE, Chat
from florilegium.classifiers.labelled import read_labelled
from florilegium.classifiers.rubric import dimensions, messages
from florilegium.schemas.errors import InputError, OutputError, RequestError

from .endpoint import KEY, Endpoint, grades, serve

DOCUMENTS = pa.table(
    {
        "id": [f"d{number}" for number in range(12)],
        "text": [f"Document {number} thanks its {'kind ' * number}readers." for number in range(12)],
        "sampling": ["random"] * 12,
    }
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv(KEY_VARIABLE, KEY)


def expected(table: pa.Table = DOCUMENTS) -> list[list[int]]:
    return [list(grades(messages(text)[-1]["content"]).values()) for text in table["text"].to_pylist()]


def test_labels_become_a_file_that_can_be_trained_on(tmp_path: Path) -> None:
    output = tmp_path / "labels.parquet"
    with serve(Endpoint()) as endpoint:
        done = annotate(DOCUMENTS, Chat(endpoint.address, "tiny"), output, double=0.5, ship=True)
    table = pq.read_table(output)
    assert table["id"].to_pylist() == DOCUMENTS["id"].to_pylist()
    assert [annotations[0] for annotations in table["annotations"].to_pylist()] == expected()
    twice = read_twice(DOCUMENTS["id"].to_pylist(), 0.5, 7)
    assert [len(annotations) for annotations in table["annotations"].to_pylist()] == [1 + again for again in twice]
    assert done.asked == len(endpoint.asked) == 12 + sum(twice)
    assert done.prompt_tokens == 100 * done.asked
    assert done.agreement["documents"] == sum(twice) > 1
    assert done.agreement["mean_kappa"] == 1
    assert len(read_labelled(output)) == 12
    assert table["ship"].to_pylist() == [True] * 12
    request = endpoint.asked[0]
    assert request["path"] == "/v1/chat/completions"
    assert request["body"]["model"] == "tiny"
    assert request["body"]["temperature"] == 0


@pytest.mark.parametrize("fault", ["429", "500", "half", "prose", "scale"])
def test_what_may_pass_is_tried_again(fault: str, tmp_path: Path) -> None:
    with serve(Endpoint(lambda number: fault if number % 3 != 2 else "")) as endpoint:
        chat = Chat(endpoint.address, "tiny", attempts=12)
        done = annotate(DOCUMENTS, chat, tmp_path / "labels.parquet", double=0, parallel=2)
    assert done.failed == {}
    assert len(endpoint.asked) > 12
    table = pq.read_table(tmp_path / "labels.parquet")
    assert [annotations[0] for annotations in table["annotations"].to_pylist()] == expected()


def test_silence_ends(tmp_path: Path) -> None:
    with serve(Endpoint(lambda number: "hang" if number == 0 else "")) as endpoint:
        chat = Chat(endpoint.address, "tiny", timeout=0.5)
        done = annotate(DOCUMENTS.slice(0, 2), chat, tmp_path / "labels.parquet", double=0)
    assert done.failed == {}
    assert len(endpoint.asked) == 3


def test_what_has_no_answer_is_left_out_and_asked_for_again(tmp_path: Path) -> None:
    output = tmp_path / "labels.parquet"
    with serve(Endpoint(lambda number: "prose" if number >= 6 else "")) as endpoint:
        chat = Chat(endpoint.address, "tiny", attempts=2)
        done = annotate(DOCUMENTS, chat, output, double=0, parallel=1)
        assert sorted(done.failed) == sorted(f"d{number}" for number in range(6, 12))
        assert "not one JSON object" in done.failed["d6"]
        assert pq.read_table(output)["id"].to_pylist() == [f"d{number}" for number in range(6)]
        endpoint.fault, before = lambda number: "", len(endpoint.asked)
        again = annotate(DOCUMENTS, chat, output, double=0)
        assert (again.resumed, again.asked, len(endpoint.asked) - before) == (6, 6, 6)
        assert pq.read_table(output).num_rows == 12
        assert annotate(DOCUMENTS, chat, output, double=0).asked == 0


def test_a_line_that_a_kill_cut_short_is_asked_for_again(tmp_path: Path) -> None:
    output = tmp_path / "labels.parquet"
    journal = tmp_path / "labels.parquet.journal.jsonl"
    with serve(Endpoint()) as endpoint:
        chat = Chat(endpoint.address, "tiny")
        annotate(DOCUMENTS, chat, output, double=0)
        whole = pq.read_table(output)
        journal.write_bytes(journal.read_bytes()[:-5])
        assert annotate(DOCUMENTS, chat, output, double=0).asked == 1
        assert pq.read_table(output).equals(whole)
        with pytest.raises(OutputError, match="another model"):
            annotate(DOCUMENTS, Chat(endpoint.address, "other"), output)
        journal.write_text(journal.read_text().replace('"grades": [', '"grades": [9, ', 1))
        with pytest.raises(OutputError, match="line 2 is damaged"):
            annotate(DOCUMENTS, chat, output)


@pytest.mark.parametrize(("fault", "why"), [("404", "no such model"), ("redirect", "307")])
def test_what_cannot_pass_stops_at_once(fault: str, why: str, tmp_path: Path) -> None:
    with serve(Endpoint(lambda number: fault)) as endpoint:
        with pytest.raises(RequestError, match=why) as caught:
            annotate(DOCUMENTS, Chat(endpoint.address, "tiny"), tmp_path / "labels.parquet", parallel=1)
        assert len(endpoint.asked) <= 2
    assert KEY not in str(caught.value)


def test_a_wrong_key_is_named_by_its_variable_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = "sk-wrong-fedcba9876543210"
    monkeypatch.setenv(KEY_VARIABLE, wrong)
    with serve(Endpoint()) as endpoint, pytest.raises(RequestError, match=KEY_VARIABLE) as caught:
        annotate(DOCUMENTS, Chat(endpoint.address, "tiny"), tmp_path / "labels.parquet")
    assert endpoint.asked[0]["authorization"] == f"Bearer {wrong}"
    assert "Incorrect API key provided: Bearer [key]" in str(caught.value)
    monkeypatch.delenv(KEY_VARIABLE)
    with serve(Endpoint()) as endpoint, pytest.raises(RequestError, match=f"set {KEY_VARIABLE}"):
        annotate(DOCUMENTS, Chat(endpoint.address, "tiny"), tmp_path / "labels.parquet")
    assert endpoint.asked[0]["authorization"] is None


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("ftp://host/v1", "not an HTTP address"),
        ("host/v1", "not an HTTP address"),
        ("https://user:secret@host/v1", "no credentials"),
        ("http://host.example/v1", "in clear"),
    ],
)
def test_an_endpoint_that_exposes_the_key_is_refused(address: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        Chat(address, "tiny")
    assert "secret" not in str(caught.value)


def test_the_command_leaks_no_key_and_resumes(tmp_path: Path) -> None:
    """Everything that the command prints or writes, in the worst hour of a server."""
    pq.write_table(DOCUMENTS, tmp_path / "docs.parquet")
    faults = ["500", "429", "half", "prose"]
    with serve(Endpoint(lambda number: faults[number % 4] if number < 8 else "")) as endpoint:
        command = [sys.executable, "-m", "florilegium.pipelines", "annotate", str(tmp_path / "docs.parquet")]
        command += ["--endpoint", endpoint.address, "--model", "tiny", "--output", str(tmp_path / "labels.parquet")]
        command += ["--attempts", "2", "--parallel", "1", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        figures = json.loads(done.stdout)
        assert figures["failed"]
        again = subprocess.run(command, capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["documents"] == 12
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for said in (done.stdout, done.stderr, again.stdout, again.stderr, *written):
        assert KEY[:12] not in (said if isinstance(said, str) else said.decode("latin-1"))
    assert os.environ[KEY_VARIABLE] == KEY


def test_estimates_count_what_would_be_asked() -> None:
    found = estimate(DOCUMENTS, 0.5, 7, (1.0, 2.0))
    assert found["requests"] == 12 + sum(read_twice(DOCUMENTS["id"].to_pylist(), 0.5, 7))
    assert found["completion_tokens"] >= found["requests"] * len(json.dumps(dict.fromkeys(dimensions(), 0))) / 4
    cost = (found["prompt_tokens"] + 2 * found["completion_tokens"]) / 1e6
    assert found["cost"] == pytest.approx(cost, abs=1e-4)
    with pytest.raises(InputError, match="d0"):
        estimate(pa.concat_tables([DOCUMENTS, DOCUMENTS]), 0, 7)
