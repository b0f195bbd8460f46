"""Workers on other machines: those that would write other bytes, or none, refuse a task and say why."""

import os
import platform
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from florilegium.classifiers.student import MODELS
from florilegium.pipelines.engines import Engine
from florilegium.pipelines.engines.elsewhere import attempt, environment, variables
from florilegium.pipelines.engines.slurm import SlurmEngine
from florilegium.pipelines.phases import execute_phase
from florilegium.pipelines.plan import Run, plan_run, start_run
from florilegium.pipelines.progress import SILENT, Listener
from florilegium.pipelines.recipes import load_recipe
from florilegium.schemas.errors import TaskError
from florilegium.schemas.taxonomy import TAXONOMY_VARIABLE

from tests.pipelines.commands.test_taxonomy import DIMENSION


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has just been started; its word list and its model are in `tmp_path`."""
    shutil.copytree(MODELS / "prosocial", tmp_path / "model")
    (tmp_path / "words.txt").write_text("kindness\n")
    (tmp_path / "posts.jsonl").write_text('{"text": "We asked before we gave advice."}\n')
    options = [f"inputs.posts.paths=[{tmp_path}/posts.jsonl]", "inputs.posts.fields.created=null"]
    options.append(f"stages.classify.model={tmp_path}/model")
    options.append(f"stages.lexicon.lists=[{{name: kind, path: {tmp_path}/words.txt}}]")
    return start_run(plan_run(load_recipe("forum", options)), str(tmp_path / "run"))


def refusal(run: Run, phase: str = "score", expected: str | None = None, url: str | None = None) -> str | None:
    return attempt(url or run.folder.url, phase, 0, expected or environment(), str(Path.cwd()), SILENT)


def test_a_worker_with_another_package_refuses(run: Run) -> None:
    driver = environment().replace("pyarrow-", "pyarrow-9")
    said = refusal(run, "decide", driver)
    assert said is not None
    assert said.startswith(f"worker {platform.node()}: it has pyarrow-")
    assert "(the driver has pyarrow-9" in said
    assert "install what the driver has" in said


def test_a_worker_that_does_not_see_the_run_refuses(run: Run, tmp_path: Path) -> None:
    said = refusal(run, url=str(tmp_path / "elsewhere"))
    assert said is not None
    assert f"it does not see the run in {tmp_path}/elsewhere; give an --output that every worker sees" in said
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (Path.unlink, "words.txt"),
        (lambda path: path.write_text("other\n"), "its models, lists or code of stage lexicon differ"),
    ],
    ids=["missing", "other"],
)
def test_a_worker_with_another_list_refuses(change: object, sentence: str, run: Run, tmp_path: Path) -> None:
    change(tmp_path / "words.txt")  # type: ignore[operator]
    said = refusal(run)
    assert said is not None
    assert sentence in said


def test_a_worker_without_the_model_refuses(run: Run, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "model")
    said = refusal(run)
    assert said is not None
    assert f"{tmp_path}/model" in said
    assert said.endswith("; put it there, or where every worker sees it")
    assert "\n" not in said


def test_a_taxonomy_travels_as_text(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert variables() == {}
    driver = environment()
    shipped = files("florilegium.schemas").joinpath("taxonomy.yaml").read_text("utf-8")
    (tmp_path / "ours.yaml").write_text(shipped.replace("\nharm:\n", DIMENSION, 1))
    monkeypatch.setenv(TAXONOMY_VARIABLE, str(tmp_path / "ours.yaml"))
    said = refusal(run, "decide", driver)
    assert said is not None
    assert "it has taxonomy-" in said
    lent = {**os.environ, **variables()}
    (tmp_path / "ours.yaml").unlink()
    program = (
        "from florilegium.schemas.taxonomy import PROSOCIAL\n"
        "from florilegium.pipelines.engines.elsewhere import environment\n"
        "print(PROSOCIAL[-1], environment(), sep=';')"
    )
    worker = subprocess.run([sys.executable, "-c", program], env=lent, capture_output=True, text=True, check=True)
    name, theirs = worker.stdout.strip().split(";")
    assert name == "playfulness"
    assert theirs != driver
    monkeypatch.setenv(TAXONOMY_VARIABLE, lent[TAXONOMY_VARIABLE])
    assert environment() == theirs
    script = SlurmEngine.script(SimpleNamespace(options=SimpleNamespace(venv=None, setup=[])), "url")  # type: ignore[arg-type]
    told = subprocess.run(
        ["bash"], input=script.rpartition("exec ")[0] + f"printf %s \"${TAXONOMY_VARIABLE}\"", env={},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout == lent[TAXONOMY_VARIABLE]


def test_a_failure_on_another_machine_names_it(run: Run) -> None:
    class Elsewhere(Engine):
        shares_memory = True

        def run(self, url: str, phase: str, indices: list[int], listener: Listener) -> None:
            note = {"host": "node7", "error": "no such file", "final": True}
            Path(url, f"tasks/{phase}/failed-000000.json").write_bytes(orjson.dumps(note))

    with pytest.raises(TaskError, match=r"no such file \(on node7\)"):
        execute_phase(run, Elsewhere(), SILENT, "decide", [{"part": 0, "of": 1}])
