"""Engine `beam`: the same bytes on every runner, whatever is killed; what cannot work is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.engines.beam import BeamEngine
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.progress import Silent
from florilegium.pipelines.recipes import load_recipe
from florilegium.schemas.errors import RequestError, RunError, TaskError

PORTABLE = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"]
WORDS = "the river was high that year and we learned to ask before we gave advice to anyone"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of posts, with a twin, a short post and a line that is none in each."""
    folder = tmp_path_factory.mktemp("corpus")
    for part in range(3):
        texts = [f"{part} and {number}: {WORDS}. I think that {WORDS}, and so did they." for number in range(12)]
        lines = [json.dumps({"id": f"{part}-{number}", "text": text}) for number, text in enumerate(texts)]
        lines += [json.dumps({"id": f"{part}-twin", "text": texts[0].upper()}), json.dumps({"text": "Too short."})]
        (folder / f"posts-{part}.jsonl").write_text("\n".join([*lines, "{broken"]) + "\n")
    return folder


def options(corpus: Path) -> list[str]:
    return [
        f"inputs.posts.paths=[{corpus}/*.jsonl]",
        "inputs.posts.fields.text=text",
        "inputs.posts.fields.created=null",
        "policy.gopher_repetition=null",
        "weighing.domain_column=source",
        "output.shard_bytes=2048",
    ]


def checksums(outcome: Outcome) -> dict[str, str]:
    manifest = outcome.run.manifest
    return {table.name: table.sha256 for table in [*manifest.shards, *manifest.rejects, *manifest.weights]}


def run(corpus: Path, output: Path | str, engine: str = "local", workers: int = 1) -> Outcome:
    return execute(plan_run(load_recipe("forum", options(corpus))), str(output), load_engine(engine, workers))


def command(corpus: Path, output: Path, workers: int, *more: str) -> list[str]:
    line = [sys.executable, "-m", "florilegium.pipelines", "run", "forum", "--engine", "beam", "--json"]
    line += ["--workers", str(workers), "--output", str(output)]
    return line + [part for option in options(corpus) for part in ("--set", option)] + list(more)


@pytest.fixture(scope="module")
def expected(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return checksums(run(corpus, tmp_path_factory.mktemp("run") / "local"))


class Watcher(Silent):
    """Keeps the largest figures told of each phase."""

    def __init__(self) -> None:
        self.name = ""
        self.told: dict[str, tuple[int, int]] = {}

    def phase(self, name: str, tasks: int, finished: int) -> None:
        self.name = name

    def update(self, finished: int, documents: int, size: int, rejects: int) -> None:
        self.told[self.name] = max(self.told.get(self.name, (0, 0)), (finished, documents))


def test_in_memory(expected: dict[str, str], corpus: Path, tmp_path: Path) -> None:
    engine, watcher = BeamEngine(1), Watcher()
    outcome = execute(plan_run(load_recipe("forum", options(corpus))), str(tmp_path / "run"), engine, watcher)
    assert checksums(outcome) == expected
    assert watcher.told["score"] == (3, 45)
    assert watcher.told["decide"][1] == 45
    counters, ledger = engine.counters, outcome.ledger
    for step in ("read", "normalize", "classify", "write", "decide"):
        assert counters[f"{step}.rows"] == ledger.total("read")
    assert counters["score.tasks"] == 3
    assert counters["reasons.read.not_json"] == sum(ledger.reasons["read.not_json"].values()) == 3
    assert "score.failed_tasks" not in counters


@pytest.mark.long
@pytest.mark.parametrize("runner", [[], PORTABLE], ids=["two processes", "portable"])
def test_other_runners_from_the_command_line(
    expected: dict[str, str], corpus: Path, tmp_path: Path, runner: list[str]
) -> None:
    scratch = _long_folder(tmp_path)
    ended = subprocess.run(
        command(corpus, tmp_path / "run", 2, *(["--", *runner] if runner else [])),
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert checksums(run(corpus, tmp_path / "run")) == expected
    assert json.loads(ended.stdout)["documents"]["read"] == 45
    said = [line for line in ended.stderr.splitlines() if ":" not in line or not line[0].isupper()]
    assert said == [], "what Beam logs is not for people"
    assert "WARNING" not in ended.stderr
    assert list(scratch.iterdir()) == []


def test_a_split_that_always_fails_is_named_and_the_others_stay(corpus: Path, tmp_path: Path) -> None:
    plan = plan_run(load_recipe("forum", options(corpus)))
    lost, engine = corpus / "posts-1.jsonl", BeamEngine(1)
    content = lost.read_text()
    lost.unlink()
    try:
        with pytest.raises(TaskError, match=r"1 of 3 tasks of phase score failed:\s+.*posts-1\.jsonl"):
            execute(plan, str(tmp_path / "run"), engine)
    finally:
        lost.write_text(content)
    assert engine.counters["score.failed_tasks"] >= 1
    assert len(list((tmp_path / "run/tasks/score").glob("0*.json"))) == 2
    outcome = execute(plan, str(tmp_path / "run"), load_engine("local", 1))
    assert outcome.resumed == 2
    assert outcome.ledger.imbalances() == {}


@pytest.mark.long
def test_a_killed_worker_is_noticed(expected: dict[str, str], corpus: Path, tmp_path: Path) -> None:
    scratch = _long_folder(tmp_path)
    process = subprocess.Popen(
        command(corpus, tmp_path / "run", 2),
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (busy := _busy_workers(scratch)):
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(busy[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "a worker process was killed" in errors
    assert "Traceback" not in errors
    assert checksums(run(corpus, tmp_path / "run")) == expected


def _long_folder(parent: Path) -> Path:
    """A folder for temporary files whose path is no address of a socket, as clusters have them."""
    folder = parent / "temporary-" / ("x" * 100)
    folder.mkdir(parents=True)
    return folder


def _busy_workers(scratch: Path) -> list[int]:
    files = sorted(scratch.glob("*/worker-*.json"))
    return [int(file.stem.removeprefix("worker-")) for file in files if json.loads(file.read_text())["task"] >= 0]


@pytest.mark.long
def test_sigkill_of_the_driver_in_each_phase(expected: dict[str, str], corpus: Path, tmp_path: Path) -> None:
    """One run is killed in phase after phase on beam, leaves no process, and ends on local with the same bytes."""
    output = tmp_path / "run"
    for phase in ("score", "decide", "weigh", "shard", "reject"):
        process = subprocess.Popen(
            command(corpus, output, 2 if phase == "score" else 1),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not (output / "tasks" / phase / "plan.json").exists():
            assert process.poll() is None
            time.sleep(0.005)
        if phase == "score":
            while not _others_of_session(process.pid):  # the workers are there
                assert process.poll() is None
                time.sleep(0.005)
        process.kill()
        process.wait()
        for _ in range(200):
            if not (left := _others_of_session(process.pid)):
                break
            time.sleep(0.05)
        assert left == [], f"processes outlived the driver in phase {phase}"
    outcome = run(corpus, output)
    assert outcome.resumed > 0
    assert checksums(outcome) == expected
    assert not list(output.rglob("*.tmp"))


def _others_of_session(leader: int) -> list[int]:
    """Live processes that `leader` started, directly or not; Linux only."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state != "Z" and int(path.parent.name) != leader:
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("name", ["DirectRunner", "direct", "PrismRunner", "apache_beam.runners.dask.DaskRunner"])
def test_runners_that_do_harm_are_refused(name: str) -> None:
    with pytest.raises(RequestError, match="refused, "):
        BeamEngine(1, [f"--runner={name}"])


def test_options_that_nobody_knows_are_refused() -> None:
    with pytest.raises(RequestError, match="did you mean --environment_type"):
        BeamEngine(1, ["--enviroment_type=LOOPBACK"])
    with pytest.raises(RequestError, match="engine local takes no options"):
        load_engine("local", 1, ["--runner=PortableRunner"])
    with pytest.raises(RequestError, match="stray"):
        BeamEngine(1, ["stray"])


def test_an_unreachable_runner_is_one_sentence(corpus: Path, tmp_path: Path) -> None:
    engine = BeamEngine(1, ["--runner=PortableRunner", "--job_endpoint=localhost:9", "--job_server_timeout=1"])
    with pytest.raises(RunError, match="PortableRunner failed in phase score"):
        execute(plan_run(load_recipe("forum", options(corpus))), str(tmp_path / "run"), engine)


def test_memory_is_shared_only_within_a_process() -> None:
    assert BeamEngine(1).shares_memory
    assert BeamEngine(1, PORTABLE).shares_memory
    assert not BeamEngine(2).shares_memory
    assert not BeamEngine(1, ["--runner=PortableRunner", "--job_endpoint=localhost:9"]).shares_memory
