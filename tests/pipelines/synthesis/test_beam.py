"""On Beam the bytes of `local` are written, each cell once, never above the limit."""

from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from florilegium.classifiers import chat as chat_module
from florilegium.pipelines.cli import app
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.synthesis import beam as beam_module
from florilegium.pipelines.synthesis.beam import WriteCells
from florilegium.pipelines.synthesis.generate import plan_synthesis, synthesize
from florilegium.pipelines.synthesis.grid import plan_cells
from florilegium.schemas.errors import RequestError, TaskError
from florilegium.schemas.recipe import Recipe, Synthesis
from typer.testing import CliRunner

from .server import KEY, Server, serve
from .test_endpoint import balanced, recipe


def test_every_cell_comes_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("FLORILEGIUM_API_KEY", KEY)
    with serve(Server(lambda number: "429" if number % 4 == 1 else "", latency=0.02)) as server:
        backend = {"name": "tiny", "endpoint": server.address, "model": "tiny-1", "concurrency": 3, "attempts": 12}
        options = Synthesis.model_validate({"documents": 20, "backends": [backend]})
        cells = plan_cells(options, 7)

        def once(written: list) -> None:
            assert sorted(result.index for result in written) == list(range(20))
            assert {result.status for result in written} <= {"accepted", "refused"}
            assert all(result.text for result in written)

        with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as pipeline:
            written = pipeline | beam.Create(cells) | WriteCells(options, options.backends[0])
            assert_that(written, once)
    assert 1 < max(count for _, count in server.busy) <= 3


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("FLORILEGIUM_API_KEY", KEY)


def files(place: Path) -> dict[str, bytes]:
    """What was accepted, refused and failed, and the ledger."""
    found = [path for status in ("accepted", "refused", "failed") for path in (place / "synthetic" / status).glob("*")]
    return {str(path.relative_to(place)): path.read_bytes() for path in [*found, place / "synthetic/ledger.json"]}


def both(server: Server, documents: int) -> Recipe:
    """A recipe of two backends, the composer and an endpoint, of which some documents pass and some do not."""
    made = recipe(server.address, documents, task_documents=8, charters=["stoa"], backend={"attempts": 12})
    assert made.synthesis is not None
    options = made.synthesis.model_dump(mode="json")
    options["backends"].append({"name": "composer"})
    options["kinds"] = {"dialogue": 0.7, "reasons": 0.3}
    return Recipe.model_validate({"name": "made", "seed": 5, "synthesis": options})


@pytest.mark.usefixtures("_quick")
def test_the_engine_writes_the_bytes_of_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam_module, "BATCHES_IN_ONE", 1)  # so that a task is several batches
    used = []
    monkeypatch.setattr(beam_module, "_write_batch", _noting(used, beam_module._write_batch))
    faults = ["", "429", "", "500", "", "half", "", "none", "", ""]
    with serve(Server(lambda number: faults[number % len(faults)] if number > 2 else "")) as server:
        made = both(server, 40)
        for engine in ("local", "beam"):
            synthesize(plan_synthesis(made), str(tmp_path / engine), load_engine(engine, 1))
    assert balanced(tmp_path / "beam", 40)["planned"] == {"synthetic.composer": 20, "synthetic.tiny": 20}
    assert files(tmp_path / "beam") == files(tmp_path / "local")
    assert len(used) > 3
    assert not list((tmp_path / "beam/synthetic/journal").glob("*"))


@pytest.mark.long
@pytest.mark.usefixtures("_quick")
def test_two_processes_write_the_bytes_of_local(tmp_path: Path) -> None:
    with serve(Server(lambda number: "429" if number % 5 == 3 else "")) as server:
        made = both(server, 32)
        for engine, workers in (("local", 1), ("beam", 2)):
            synthesize(plan_synthesis(made), str(tmp_path / engine), load_engine(engine, workers))
    assert balanced(tmp_path / "beam", 32)
    assert files(tmp_path / "beam") == files(tmp_path / "local")


def _noting(used: list, write: Any) -> Any:
    async def noting(cells: Any, *arguments: Any) -> None:
        used.append(len(cells))
        await write(cells, *arguments)

    return noting


@pytest.mark.usefixtures("_quick")
def test_the_command_and_a_refusal_on_the_way(tmp_path: Path) -> None:
    def expire(number: int) -> str:
        server.key = KEY if number < 25 else "another"
        return ""

    with serve(Server(expire)) as server:
        plan = plan_synthesis(recipe(server.address, 60, task_documents=60))
        with pytest.raises(TaskError, match="401"):
            synthesize(plan, str(tmp_path), load_engine("beam", 1))
    assert len(server.asked) <= 25 + 2 * 4  # what was under way, and no storm
    kept = sum(len(path.read_bytes().splitlines()) - 1 for path in (tmp_path / "synthetic/journal").iterdir())
    assert kept > 0
    with serve(Server(key="another")) as server:
        plan = plan_synthesis(recipe(server.address, 60, task_documents=60))
        with pytest.raises(RequestError, match="401"):
            synthesize(plan, str(tmp_path), load_engine("beam", 1))
    assert len(server.asked) == 1
    with serve(Server()) as server:
        (tmp_path / "made.yaml").write_text(recipe(server.address, 60, task_documents=60).model_dump_json())
        command = ["synthesize", str(tmp_path / "made.yaml"), "-o", str(tmp_path), "--engine", "beam"]
        answer = CliRunner().invoke(app, command)
        assert answer.exit_code == 0, answer.output
        drafts = [request for request in server.asked[1:] if "Write a" in str(request["body"]["messages"][-1])]
        assert len(drafts) <= 60 - kept
    balanced(tmp_path, 60)
