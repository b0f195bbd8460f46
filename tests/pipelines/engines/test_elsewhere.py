"""Workers on other machines: those that would write other bytes, or none, refuse a task and say why."""

import platform
from pathlib import Path

import orjson
import pytest
from florilegium.pipelines.engines.elsewhere import attempt, environment
from florilegium.pipelines.phases import execute_phase
from florilegium.pipelines.plan import Run, plan_run, start_run
from florilegium.pipelines.progress import SILENT, Listener
from florilegium.pipelines.recipes import load_recipe
from florilegium.schemas.errors import TaskError


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has just been started; its word list is in `tmp_path`."""
    (tmp_path / "words.txt").write_text("kindness\n")
    (tmp_path / "posts.jsonl").write_text('{"text": "We asked before we gave advice."}\n')
    options = [f"inputs.posts.paths=[{tmp_path}/posts.jsonl]", "inputs.posts.fields.created=null"]
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


def test_a_failure_on_another_machine_names_it(run: Run) -> None:
    class Elsewhere:
        shares_memory = True

        def run(self, url: str, phase: str, indices: list[int], listener: Listener) -> None:
            note = {"host": "node7", "error": "no such file", "final": True}
            Path(url, f"tasks/{phase}/failed-000000.json").write_bytes(orjson.dumps(note))

    with pytest.raises(TaskError, match=r"no such file \(on node7\)"):
        execute_phase(run, Elsewhere(), SILENT, "decide", [{"part": 0, "of": 1}])
