"""Engine `ray`, on real Ray: the bytes of `local`, whatever is killed; what a worker lacks is named."""

import contextlib
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.schemas.errors import MissingExtraError, RequestError

from tests.pipelines.engines.clusters import (
    MORE_SPLITS,
    Started,
    checksums,
    command,
    descendants,
    finished_files,
    free_ports,
    named,
    start,
    still_alive,
    wait_until,
)

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed; `make test-engines` installs it")
TASK = "ray::florilegium score"


def assert_valid(run: Path) -> None:
    subprocess.run([sys.executable, "-m", "florilegium.pipelines", "validate", str(run)], check=True)


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed here")
def test_without_ray_the_remedy_is_said() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'florilegium\[ray\]'"):
        load_engine("ray", 2)


def test_options_that_nobody_knows_are_refused() -> None:
    with pytest.raises(RequestError, match="--adress=auto: no such option; did you mean --address"):
        load_engine("ray", 2, ["--adress=auto"])
    with pytest.raises(RequestError, match="'much' is no amount of memory"):
        load_engine("ray", 2, ["--memory", "much"])
    with pytest.raises(RequestError, match="'0' is no whole number above 0"):
        load_engine("ray", 2, ["--cpus-per-task=0"])


@pytest.mark.engines
@needs_ray
def test_the_same_bytes_and_nothing_is_left(expected_example: dict[str, str], tmp_path: Path) -> None:
    before = {file.name for file in Path("/tmp").glob("florilegium-ray-*")}
    driver = start(tmp_path / "run", "ray", *MORE_SPLITS, "--", "--memory=200M")
    seen = set[tuple[int, str]]()
    while driver.process.poll() is None:
        seen |= descendants(driver.process.pid)
        time.sleep(0.1)
    code, output, errors = driver.wait()
    assert code == 0, errors
    assert checksums(tmp_path / "run") == expected_example
    assert_valid(tmp_path / "run")
    assert json.loads(output)["documents"]["read"] == 194
    assert not [line for line in errors.splitlines() if not line[0].isupper() or "ray" in line.lower()], errors
    assert len(seen) > 6
    assert still_alive(seen) == set()
    # Another test's Ray may be at work; what this one left would stay for ever.
    wait_until(lambda: {file.name for file in Path("/tmp").glob("florilegium-ray-*")} <= before)


@pytest.mark.engines
@needs_ray
def test_a_killed_worker_is_replaced_and_its_task_tried_again(expected_example: dict[str, str], tmp_path: Path) -> None:
    driver = start(tmp_path / "run", "ray", *MORE_SPLITS)
    wait_until(lambda: busy_with(driver.process.pid))
    os.kill(busy_with(driver.process.pid)[0], signal.SIGKILL)
    code, output, errors = driver.wait()
    assert code == 0, errors
    assert "score: 1 to be tried again, since its Ray worker was killed" in errors
    assert "Traceback" not in errors
    assert json.loads(output)["documents"]["read"] == 194
    assert checksums(tmp_path / "run") == expected_example


@pytest.mark.engines
@needs_ray
def test_a_ray_that_dies_is_started_anew(expected_example: dict[str, str], tmp_path: Path) -> None:
    driver = start(tmp_path / "run", "ray", *MORE_SPLITS)
    wait_until(lambda: busy_with(driver.process.pid))
    begun = {pid for pid, _ in descendants(driver.process.pid)}
    [raylet] = [pid for pid in begun if Path(f"/proc/{pid}/comm").read_text().strip() == "raylet"]
    os.kill(raylet, signal.SIGKILL)
    code, _, errors = driver.wait()
    assert code == 0, errors
    assert "to be tried again, since its Ray node was lost" in errors
    assert checksums(tmp_path / "run") == expected_example


# Read by every Python before anything else. A worker that is at one task leaves its process id in a file as soon as the
# task opens its first, and waits there for what comes: so nobody has to be quick to find it.
WAITING = """
import os, sys, threading, time

def wait(event, arguments):
    if event != "open" or threading.current_thread() is not threading.main_thread() or getattr(wait, "looks", False):
        return
    wait.looks = True
    with open("/proc/self/cmdline", "rb") as file:
        title = file.read().replace(bytes(1), b" ").strip()
    if title == {title!r}:
        open(os.path.join({folder!r}, str(os.getpid())), "w").close()
        time.sleep(120)
    wait.looks = False

sys.addaudithook(wait)
"""


@pytest.mark.engines
@needs_ray
def test_a_task_that_kills_its_worker_is_named_and_half_a_run_ends_on_local(
    expected_example: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = tmp_path / "waiting"
    waiting.mkdir()
    (tmp_path / "sitecustomize.py").write_text(WAITING.format(title=f"{TASK} 3".encode(), folder=str(waiting)))
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
        driver = start(tmp_path / "run", "ray", *MORE_SPLITS)
    killed = set[int]()
    while driver.process.poll() is None:
        for worker in {int(file.name) for file in waiting.iterdir()} - killed:
            os.kill(worker, signal.SIGKILL)
            killed.add(worker)
        time.sleep(0.02)
    code, _, errors = driver.wait()
    assert code == 1
    assert len(killed) == 3, "each of the three attempts was at its task when it was killed"
    assert "1 of 14 tasks of phase score failed" in errors
    assert "quickstart.warc.gz [22796:30395]: its Ray worker was killed" in errors
    before = finished_files(tmp_path / "run")
    ended = subprocess.run(command(tmp_path / "run", "local", *MORE_SPLITS), capture_output=True, text=True, check=True)
    assert "Score: 14 tasks, 13 done before" in ended.stderr
    assert finished_files(tmp_path / "run").items() >= before.items()
    assert checksums(tmp_path / "run") == expected_example


@pytest.mark.engines
@needs_ray
def test_a_run_half_done_on_local_ends_on_ray_with_nothing_done_again(
    expected_example: dict[str, str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    driver = start(run, "local", *MORE_SPLITS)
    wait_until(lambda: len(list((run / "tasks/score").glob("0*.json"))) >= 5)
    driver.process.kill()
    driver.wait()
    done = len(list((run / "tasks/score").glob("0*.json")))
    before = finished_files(run)
    assert 5 <= done < 14
    code, _, errors = start(run, "ray", *MORE_SPLITS).wait()
    assert code == 0, errors
    assert f"Score: 14 tasks, {done} done before" in errors
    markers = {name for name in before if name.startswith("tasks/")}
    after = finished_files(run)
    assert {name: after[name] for name in markers} == {name: before[name] for name in markers}
    assert checksums(run) == expected_example


@pytest.mark.engines
@needs_ray
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_driver_that_ends_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    driver = start(tmp_path / "run", "ray", *MORE_SPLITS)
    wait_until(lambda: busy_with(driver.process.pid))
    begun = descendants(driver.process.pid)
    driver.process.send_signal(number)
    code, _, errors = driver.wait()
    if number == signal.SIGTERM:
        assert code == 130
        assert "run the same command again to go on" in errors
    wait_until(lambda: not still_alive(begun), 20, "processes outlived the driver")


class TwoNodes:
    """A Ray cluster of two nodes with one CPU each on this machine; the second may see other packages."""

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        self.ray, self.nodes = str(Path(sys.executable).with_name("ray")), list[subprocess.Popen[bytes]]()
        port, client_port = free_ports()
        self.address, self.client = f"127.0.0.1:{port}", f"ray://127.0.0.1:{client_port}"
        ports = [f"--port={port}", f"--ray-client-server-port={client_port}"]
        self._start(
            ["--head", "--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={folder}", *ports]
        )
        wait_until(lambda: self.status().returncode == 0)

    def add(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start the second node."""
        self.environment |= environment
        node = self._start([f"--address={self.address}"])
        wait_until(lambda: b"2.0 CPU" in self.status().stdout)
        return node

    def status(self) -> subprocess.CompletedProcess[bytes]:
        line = [self.ray, "status", f"--address={self.address}"]
        return subprocess.run(line, env=self.environment, capture_output=True, check=False)

    def _start(self, options: list[str]) -> subprocess.Popen[bytes]:
        line = [self.ray, "start", "--block", "--num-cpus=1", "--object-store-memory=80000000", *options]
        nowhere = subprocess.DEVNULL
        self.nodes.append(subprocess.Popen(line, env=self.environment, stdout=nowhere, stderr=nowhere))
        return self.nodes[-1]

    def stop(self) -> None:
        family = {process for node in self.nodes for process in descendants(node.pid)}
        for node in reversed(self.nodes):
            node.terminate()
            try:
                node.wait(30)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()
        for pid, _ in still_alive(family):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def two_nodes() -> Iterator[TwoNodes]:
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        nodes = TwoNodes(Path(folder))
        try:
            yield nodes
        finally:
            nodes.stop()


@pytest.mark.engines
@needs_ray
def test_a_node_that_is_lost(
    expected_example: dict[str, str], tmp_path: Path, two_nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    node = two_nodes.add()
    driver = start(tmp_path / "run", "ray", *MORE_SPLITS, "--", f"--address={two_nodes.address}")
    wait_until(lambda: busy_with(node.pid))
    for pid, _ in descendants(node.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    code, _, errors = driver.wait()
    assert code == 0, errors
    assert "to be tried again, since its Ray" in errors
    assert checksums(tmp_path / "run") == expected_example


@pytest.mark.engines
@needs_ray
def test_by_the_client_a_node_without_our_package_is_named_and_left_out(
    expected_example: dict[str, str], tmp_path: Path, two_nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (tmp_path / "other/florilegium").mkdir(parents=True)
    hidden = "No module named 'florilegium'"
    (tmp_path / "other/florilegium/__init__.py").write_text(f'raise ModuleNotFoundError("{hidden}")\n')
    two_nodes.add(PYTHONPATH=str(tmp_path / "other"))
    code, _, errors = start(tmp_path / "run", "ray", *MORE_SPLITS, "--", f"--address={two_nodes.client}").wait()
    assert code == 0, errors
    assert f"worker {platform.node()}: {hidden}; install what the driver has" in errors
    assert "its node is left out" in errors
    assert checksums(tmp_path / "run") == expected_example


@pytest.mark.engines
@needs_ray
def test_a_list_that_no_worker_has_is_named(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("kindness\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"extends: quickstart\nstages: {{lexicon: {{lists: [{{name: kind, path: {words}}}]}}}}\n")
    line = command(tmp_path / "run", "ray")
    driver = Started([part if part != "quickstart" else str(recipe) for part in line])
    wait_until((tmp_path / "run/tasks/score/plan.json").exists)
    words.unlink()
    code, _, errors = driver.wait()
    assert code == 1
    assert "no worker of the Ray cluster is fit for the tasks" in errors
    assert f"worker {platform.node()}: " in errors
    assert f"{words}" in errors
    assert "put it there, or where every worker sees it" in errors


@pytest.mark.engines
@needs_ray
def test_what_cannot_work_is_one_sentence(tmp_path: Path) -> None:
    for option, sentence in {
        "--address=127.0.0.1:9": "--address 127.0.0.1:9: no Ray cluster to join there",
        "--memory=900T": "this machine has no room for a task of 1 CPU and 9.22e+05 GiB of memory",
    }.items():
        code, _, errors = start(tmp_path / "run", "ray", "--", option).wait()
        assert code == 2
        assert errors.splitlines()[-1].startswith(f"florilegium: {sentence}")
        assert len(errors.splitlines()) == 2
    code, _, errors = start("memory://run", "ray").wait()
    assert code == 2
    assert "only one process can see this memory" in errors


def busy_with(driver: int) -> list[int]:
    """Processes of Ray's that are at a task of this driver."""
    family = {pid for pid, _ in descendants(driver)}
    return [pid for pid in named(TASK) if pid in family]
