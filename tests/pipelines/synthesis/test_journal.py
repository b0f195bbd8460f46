"""What was answered is asked for once, wherever the run lies and whoever goes on with it."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from florilegium.classifiers import chat as chat_module
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.storage import Folder
from florilegium.pipelines.synthesis import journal as journal_module
from florilegium.pipelines.synthesis.drafting import Written
from florilegium.pipelines.synthesis.generate import plan_synthesis, synthesize
from florilegium.pipelines.synthesis.journal import Journal, journal_names, read_journal
from florilegium.schemas.errors import TaskError
from florilegium.schemas.recipe import Recipe

from tests.object_stores import BUCKET, Proxy, s3_environment, s3_server

from .server import KEY, Server, serve
from .test_endpoint import CLIENT, VARIABLE, recipe


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(str(tmp_path) if request.param == "disk" else f"memory://{uuid4().hex}")


def results(*indices: int, status: str = "accepted") -> list[Written]:
    return [Written(index, f"id{index}", status, f"Text {index}: ü.") for index in indices]


def keep(folder: Folder, key: str, *written: Written) -> None:
    journal = Journal(folder, 3, key)
    for result in written:
        journal.append(result)
    journal.close()


def test_attempts_add_up_and_a_failure_gives_way(folder: Folder) -> None:
    keep(folder, "key", *results(0, 1), *results(2, 4, status="failed"))
    keep(folder, "key", *results(2))
    keep(folder, "key", *results(2, status="failed"))
    known = read_journal(folder, journal_names(folder, 3), "key")
    assert {name: result.status for name, result in known.items()} == {
        "id0": "accepted", "id1": "accepted", "id2": "accepted", "id4": "failed",
    }  # fmt: skip
    assert known["id1"] == results(1)[0]
    assert read_journal(folder, journal_names(folder, 3), "another plan's") == {}
    assert journal_names(folder, 4) == []


def test_a_line_cut_short_is_no_answer(folder: Folder) -> None:
    keep(folder, "key", *results(0, 1))
    (name,) = journal_names(folder, 3)
    folder.write_bytes(name, folder.read_bytes(name)[:-5])
    assert list(read_journal(folder, [name], "key")) == ["id0"]


def test_a_store_holds_parts_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PART_BYTES", 1000)
    folder = Folder(f"memory://{uuid4().hex}")
    journal = Journal(folder, 3, "key")
    for result in results(*range(40)):
        journal.append(result)
    while len(journal_names(folder, 3)) < len(journal.names):  # parts are stored beside the writing
        time.sleep(0.01)
    before_the_end = read_journal(folder, journal_names(folder, 3), "key")
    journal.close()
    assert len(before_the_end) > 20  # what a kill now would have left
    assert len(journal.names) > 5
    assert journal_names(folder, 3) == sorted(journal.names)
    assert all(folder.size(name) < 2000 for name in journal.names)
    assert len(read_journal(folder, journal.names, "key")) == 40


def test_a_part_comes_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PART_SECONDS", 0.05)
    folder = Folder(f"memory://{uuid4().hex}")
    journal = Journal(folder, 3, "key")
    journal.append(results(0)[0])
    time.sleep(0.1)
    journal.append(results(1)[0])
    journal.append(results(2)[0])
    while not (names := journal_names(folder, 3)):
        time.sleep(0.01)
    assert list(read_journal(folder, names, "key")) == ["id0", "id1"]
    journal.close()
    assert len(journal.names) == 2


def test_a_store_that_takes_no_part_is_an_error() -> None:
    folder = Folder(f"memory://{uuid4().hex}")
    journal = Journal(folder, 3, "key")

    def refuse(name: str, data: bytes) -> None:
        raise OSError("no room")

    folder.write_bytes = refuse  # type: ignore[method-assign]
    journal.append(results(0)[0])
    with pytest.raises(OSError, match="no room"):
        journal.close()


def go(made: Recipe, place: str) -> Any:
    return synthesize(plan_synthesis(made), place, load_engine("local", 1))


def test_an_interrupted_run_in_memory_asks_for_the_rest_alone() -> None:
    place = f"memory://{uuid4().hex}"

    def expire(number: int) -> str:
        server.key = KEY if number < 31 else "another"
        return ""

    with serve(Server(expire)) as server, pytest.raises(TaskError, match="401"):
        go(recipe(server.address, 40, revisions=0, task_documents=15), place)
    folder = Folder(f"{place}/synthetic")
    finished = sum(folder.read_bytes(name).count(b"\n") - 1 for name in folder.names("journal/*.jsonl"))
    assert finished > 0
    with serve(Server()) as server:
        account = go(recipe(server.address, 40, revisions=0, task_documents=15), place)
    assert len(server.asked) == 1 + 2 * (40 - finished)  # a first word, then a draft and a critique each
    counts = {status: account.total(status) for status in ("accepted", "refused", "failed")}
    assert sum(counts.values()) == sum(account.planned.values()) == 40
    assert folder.names("journal/*.jsonl") == []


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with s3_server() as proxy:
        for name, value in s3_environment(proxy).items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.mark.engines
@pytest.mark.skipif(not importlib.util.find_spec("moto"), reason="needs moto; `make test-engines` has it")
def test_a_run_killed_on_one_machine_goes_on_from_the_store(s3: Proxy, tmp_path: Path) -> None:
    place = f"s3://{BUCKET}/{tmp_path.name}"
    patched = f"from florilegium.pipelines.synthesis import journal\njournal.PART_SECONDS = 0.2\n{CLIENT}"
    with serve(Server(lambda number: "429" if number % 7 == 3 else "", latency=0.05)) as server:
        made = recipe(server.address, 60, task_documents=60, revisions=0, backend={"attempts": 12})
        process = subprocess.Popen([sys.executable, "-c", patched, made.model_dump_json(), place], env=dict(os.environ))
        folder = Folder(f"{place}/synthetic")
        end = time.monotonic() + 120
        while len(folder.names("journal/*.jsonl")) < 3 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished = sum(folder.read_bytes(name).count(b"\n") - 1 for name in folder.names("journal/*.jsonl"))
        assert 0 < finished < 60
        asked = len(server.asked)
        server.fault = lambda number: ""
        account = go(made, place)
        assert len(server.asked) - asked == 1 + 2 * (60 - finished)
    assert sum(account.total(status) for status in ("accepted", "refused", "failed")) == 60
    rows = []
    for status in ("accepted", "refused", "failed"):
        for name in folder.names(f"{status}/*.parquet"):
            with folder.open(name) as file:
                rows += pq.read_table(file)["index"].to_pylist()
    assert sorted(rows) == list(range(60))
