"""Engine `slurm`, on a real Slurm of one node: the bytes of `local`, whatever is killed; what Slurm refuses is said."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.schemas.errors import OutputError, RequestError, RunError

from tests.pipelines.engines.clusters import (
    MORE_SPLITS,
    checksums,
    command,
    finished_files,
    named,
    start,
    wait_until,
)
from tests.pipelines.engines.one_node_slurm import OneNodeSlurm, missing

needs_slurm = pytest.mark.skipif(bool(missing()), reason=str(missing()))
FEW_JOBS = ("--", "--tasks-per-job=5")  # 3 of `score`: each starts Python and loads the models
WORKER = f"{sys.executable} -m florilegium.pipelines.engines.slurm_task"


@pytest.fixture(scope="module")
def slurm() -> Iterator[OneNodeSlurm]:
    """Arrays of at most ten jobs, so that some of the example's 14 splits share one."""
    with OneNodeSlurm(array_size=10) as running:
        yield running


def workers_at(run: Path, index: int | None = None) -> list[int]:
    """Processes at a task of `score`, or at this one."""
    found = []
    at = {}
    for file in run.glob("logs/score-*/told-*.json"):
        with contextlib.suppress(OSError):
            at[str(int(file.stem.removeprefix("told-")))] = json.loads(file.read_bytes())["task"]
    for pid in named(f"{WORKER} {run} score"):
        with contextlib.suppress(OSError):
            pairs = (item.partition("=") for item in Path(f"/proc/{pid}/environ").read_text().split("\0"))
            task = at.get({name: value for name, _, value in pairs}.get("SLURM_ARRAY_TASK_ID", ""), -1)
            if task >= 0 and index in (None, task):
                found.append(pid)
    return found


@pytest.mark.skipif(shutil.which("sbatch") is not None, reason="Slurm is installed here")
def test_without_slurm_the_remedy_is_said() -> None:
    with pytest.raises(RequestError, match="no `sbatch` here; run this where Slurm's commands are"):
        load_engine("slurm", 2)


def test_options_that_nobody_knows_are_refused() -> None:
    with pytest.raises(RequestError, match="--partion=main: no such option; did you mean --partition"):
        load_engine("slurm", 2, ["--partion=main"])
    with pytest.raises(RequestError, match="'many' is no whole number above 0"):
        load_engine("slurm", 2, ["--tasks-per-job", "many"])


@pytest.mark.engines
@needs_slurm
def test_the_same_bytes_and_nothing_is_left(
    expected_example: dict[str, str], tmp_path: Path, slurm: OneNodeSlurm
) -> None:
    options = ["--time=10", "--mem=1000M", "--setup=export GREETING=hello", "--sbatch-arg=--comment=example"]
    code, output, errors = start(tmp_path / "run", "slurm", *MORE_SPLITS, "--", *options).wait()
    assert code == 0, errors
    assert checksums(tmp_path / "run") == expected_example
    subprocess.run([sys.executable, "-m", "florilegium.pipelines", "validate", str(tmp_path / "run")], check=True)
    assert json.loads(output)["documents"]["read"] == 194
    assert slurm.jobs() == []
    assert not (tmp_path / "run/logs").exists()


@pytest.mark.engines
@needs_slurm
def test_killed_jobs_are_tried_again(expected_example: dict[str, str], tmp_path: Path, slurm: OneNodeSlurm) -> None:
    run = tmp_path / "run"
    driver = start(run, "slurm", *MORE_SPLITS, *FEW_JOBS)
    wait_until(lambda: workers_at(run))
    os.kill(workers_at(run)[0], signal.SIGKILL)
    wait_until(lambda: workers_at(run))
    job = slurm.running()[0]
    subprocess.run(["scancel", "--signal=KILL", "--batch", job], check=True)
    code, output, errors = driver.wait()
    assert code == 0, errors
    assert "to be tried again, since its job was killed by signal 9" in errors
    assert json.loads(output)["documents"]["read"] == 194
    assert checksums(run) == expected_example


@pytest.mark.engines
@needs_slurm
def test_a_task_that_kills_its_job_is_named_and_half_a_run_ends_on_local(
    expected_example: dict[str, str], tmp_path: Path, slurm: OneNodeSlurm
) -> None:
    run = tmp_path / "run"
    driver = start(run, "slurm", *MORE_SPLITS)  # the first of its job, as long as models take to load
    while driver.process.poll() is None:
        for worker in workers_at(run, 3):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.02)
    code, _, errors = driver.wait()
    assert code == 1
    assert "1 of 14 tasks of phase score failed" in errors
    assert "quickstart.warc.gz [22796:30395]: its job was killed by signal 9 on" in errors
    assert slurm.jobs() == []
    before = finished_files(run)
    ended = subprocess.run(command(run, "local", *MORE_SPLITS), capture_output=True, text=True, check=True)
    assert "Score: 14 tasks, 13 done before" in ended.stderr
    assert finished_files(run).items() >= before.items()
    assert checksums(run) == expected_example


@pytest.mark.engines
@needs_slurm
def test_sigterm_cancels_the_jobs_and_sigkill_harms_nothing(
    expected_example: dict[str, str], tmp_path: Path, slurm: OneNodeSlurm
) -> None:
    run = tmp_path / "run"
    driver = start(run, "slurm", *MORE_SPLITS, *FEW_JOBS)
    wait_until(lambda: workers_at(run))
    driver.process.terminate()
    code, _, errors = driver.wait()
    assert code == 130
    assert "run the same command again to go on" in errors
    assert slurm.jobs() == []

    driver = start(run, "slurm", *MORE_SPLITS, *FEW_JOBS)
    wait_until(lambda: workers_at(run))
    driver.process.kill()
    driver.wait()
    assert slurm.jobs() != []
    left = slurm.running()
    code, _, errors = start(run, "slurm", *MORE_SPLITS, *FEW_JOBS).wait()
    assert code == 0, errors
    assert checksums(run) == expected_example
    assert left
    assert slurm.jobs() == []
    assert not list(run.rglob("*.tmp"))


@pytest.mark.engines
@needs_slurm
def test_a_node_that_goes_down_is_noticed(
    expected_example: dict[str, str], tmp_path: Path, slurm: OneNodeSlurm
) -> None:
    run = tmp_path / "run"
    driver = start(run, "slurm", *MORE_SPLITS, *FEW_JOBS)
    wait_until(lambda: workers_at(run))
    slurm.set_node("DOWN")
    time.sleep(5)
    slurm.set_node("RESUME")
    code, _, errors = driver.wait()
    assert code == 0, errors
    assert "to be tried again, since its node failed" in errors
    assert checksums(run) == expected_example


@pytest.mark.engines
@needs_slurm
def test_too_little_memory_is_said(tmp_path: Path, slurm: OneNodeSlurm) -> None:
    code, _, errors = start(tmp_path / "run", "slurm", "--", "--mem=60M").wait()
    assert code == 1
    assert "2 of 2 tasks of phase score failed" in errors
    assert "give more --mem" in errors.lower()
    assert slurm.jobs() == []


@pytest.mark.engines
@needs_slurm
@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--partition=nowhere", "Slurm takes no job (Batch job submission failed: Invalid partition name specified)"),
        ("--partition=nowhere", "give a --partition that `sinfo` lists"),
        ("--mem=900G", "lower --mem"),
        ("--time=often", "Slurm takes no job (Invalid --time specification)"),
    ],
)
def test_what_slurm_refuses_is_one_sentence(option: str, sentence: str, tmp_path: Path, slurm: OneNodeSlurm) -> None:
    with pytest.raises(RequestError) as refused:
        execute(plan_run(load_recipe("quickstart", [])), str(tmp_path / "run"), load_engine("slurm", 2, [option]))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.engines
@needs_slurm
def test_jobs_that_can_never_start_are_cancelled(tmp_path: Path, slurm: OneNodeSlurm) -> None:
    engine = load_engine("slurm", 2, ["--partition=brief", "--time=10"])
    with pytest.raises(RequestError, match="Slurm will never start the jobs"):
        execute(plan_run(load_recipe("quickstart", [])), str(tmp_path / "run"), engine)
    assert slurm.jobs() == []


@pytest.mark.engines
@needs_slurm
def test_a_worker_without_our_package_or_a_list_is_named(tmp_path: Path, slurm: OneNodeSlurm) -> None:
    plan = plan_run(load_recipe("quickstart", []))
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
    engine = load_engine("slurm", 2, [f"--venv={tmp_path}/venv"])
    with pytest.raises(RunError, match=f"worker {slurm.host}: .*No module named.*say with --venv or --setup where"):
        execute(plan, str(tmp_path / "run"), engine)

    words = tmp_path / "words.txt"
    words.write_text("kindness\n")
    plan = plan_run(load_recipe("quickstart", [f"stages.lexicon.lists=[{{name: kind, path: {words}}}]"]))
    words.unlink()
    with pytest.raises(RunError, match=rf"worker {slurm.host}: .*{words}.*put it there"):
        execute(plan, str(tmp_path / "other"), load_engine("slurm", 2))


@pytest.mark.engines
@needs_slurm
def test_memory_is_not_shared(slurm: OneNodeSlurm) -> None:
    with pytest.raises(OutputError, match="only one process can see this memory"):
        execute(plan_run(load_recipe("quickstart", [])), "memory://run", load_engine("slurm", 1))
