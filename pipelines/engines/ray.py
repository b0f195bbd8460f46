"""Engine `ray`: tasks on a Ray cluster, or on an instance of Ray that lives as long as the driver.

datatrove's RayPipelineExecutor is not used: its completion marks are keyed by rank alone (traps.md 1), it
forks a new process for each task, which would load every model again, and it says nothing until a task ends.
Here a task is a plain Ray task that Ray never retries; a worker or a node that is lost counts as an attempt,
and the driver of the run tries again. Ray keeps worker processes, so kernels and models are loaded once.
"""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
import weakref
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...schemas.errors import MissingExtraError, RequestError, RunError, TaskError
from ..phases import store_note
from ..progress import Listener
from ..storage import Folder
from . import Engine
from .elsewhere import await_markers, environment, variables
from .options import OptionParser, byte_count, positive
from .signals import ending_in_order

__all__ = ["RayEngine"]

POLL_SECONDS = 0.3
CONNECT_SECONDS = 20.0
CONNECT_ATTEMPTS = 3
MOST_AT_ONCE = 10_000  # tasks that wait in Ray's own queue, where an autoscaler sees them
SHORT = "/tmp"  # sockets lie in Ray's folder, and a path over 107 bytes is no address
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or Ray warns of it
}


class RayEngine(Engine):
    """Runs each task as a Ray task. Raises RequestError for options that cannot work, MissingExtraError without Ray.

    Without an address Ray is started on this machine with a slot for each worker; with one, `workers` bounds
    the tasks at once, and None lets the cluster decide.
    """

    shares_memory = False

    def __init__(self, workers: int | None = None, options: Sequence[str] = ()) -> None:
        parser = OptionParser("ray")
        parser.add_argument("--address", default=os.environ.get("RAY_ADDRESS"))
        parser.add_argument("--cpus-per-task", type=positive, default=1)
        parser.add_argument("--memory", type=byte_count, default=0)
        self.options = parser.parse(options)
        if importlib.util.find_spec("ray") is None:
            raise MissingExtraError("--engine ray needs: pip install 'florilegium[ray]'")
        self.workers = workers
        self._cluster: _Cluster | None = None

    def run(self, url: str, phase: str, indices: list[int], listener: Listener) -> None:
        if self._cluster is not None and self._cluster.is_lost():
            self._cluster.leave()
            self._cluster = None
        if self._cluster is None:
            self._cluster = _Cluster(self.workers, self.options)
            weakref.finalize(self, self._cluster.leave)
        self._cluster.check_room(listener)
        _Attempt(self._cluster, Folder(url).absolute_url(), phase, listener).run(indices)


class _Cluster:
    """The connection to Ray, for all phases of a run."""

    def __init__(self, workers: int | None, options: Any) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        self.workers, self.cpus, self.memory = workers, options.cpus_per_task, options.memory
        self.refused: dict[str, str] = {}  # node → why its workers are not fit
        self._keeper: subprocess.Popen[str] | None = None
        self._folder = ""
        self.is_here = options.address in (None, "local")
        address = self._start(workers or _cores()) if self.is_here else options.address
        self._join(address)

    def _start(self, slots: int) -> str:
        """Start Ray on this machine, closed to everybody else; its address."""
        if "RAY_AUTH_MODE" not in os.environ:
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}
        self._folder = tempfile.mkdtemp(prefix="florilegium-ray-", dir=SHORT if Path(SHORT).is_dir() else None)
        line = [sys.executable, "-m", "florilegium.pipelines.engines.ray_keeper", str(slots * self.cpus), self._folder]
        with Path(self._folder, "keeper.err").open("w+") as errors:
            self._keeper = subprocess.Popen(
                line,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is the driver's business
            )
            import ray  # type: ignore[import-not-found]  # noqa: F401  (seconds, while the other starts)

            assert self._keeper.stdout is not None
            address = self._keeper.stdout.readline().strip()
            if not address:
                errors.seek(0)
                said = errors.read().strip().splitlines() or ["no word why"]
                raise RunError(f"Ray does not start on this machine: {said[-1]}")
        return address

    def _join(self, address: str) -> None:
        import ray  # type: ignore[import-not-found]
        from ray._private import worker  # type: ignore[import-not-found]

        from . import ray_worker

        worker._worker_logs_enabled = False  # Ray prints to standard output that a worker died; the driver says it
        try:
            if not ray.is_initialized():
                with _quiet():
                    _knock(address)
                    _connect(address)
        except Exception as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.leave()
            raise RequestError(
                f"--address {address}: no Ray cluster to join there ({first}). Is it running, and does `ray status` "
                f"see it? Ray must have the same version everywhere, here {ray.__version__}"
            ) from error
        ray.cloudpickle.register_pickle_by_value(ray_worker)
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        figures: Any = ray.remote(ray_worker.Figures)
        self.figures = figures.options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()
        self.task: Any = ray.remote(ray_worker.run_attempt)

    def options(self) -> dict[str, Any]:
        """What Ray needs to know of each task."""
        options: dict[str, Any] = {"num_cpus": self.cpus, "max_retries": 0}
        if self.memory:
            options["memory"] = self.memory
        if lent := variables():
            options["runtime_env"] = {"env_vars": lent}
        if self.refused:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(self.refused))})"}
        return options

    def check_room(self, listener: Listener) -> None:
        """Say so where no node has room for a task, now or ever."""
        if self._nodes():
            return
        room = f"{self.cpus} CPU{'s' * (self.cpus > 1)}"
        if self.memory:
            room += f" and {self.memory / (1 << 30):.3g} GiB of memory"
        if self.is_here:
            raise RequestError(f"this machine has no room for a task of {room}; lower --cpus-per-task or --memory")
        listener.say(f"no node of the Ray cluster has {room} for a task; waiting for one that has")

    def refuse(self, node: str, reason: str, listener: Listener) -> None:
        """Leave a node out from now on. Raises RunError where none is left."""
        if node not in self.refused:
            self.refused[node] = reason
            if self._nodes() <= self.refused.keys():
                raise RunError(f"no worker of the Ray cluster is fit for the tasks: {reason}")
            listener.say(f"{reason}; its node is left out")

    def is_lost(self) -> bool:
        """Whether the Ray that was started for this run has ended."""
        import ray  # type: ignore[import-not-found]

        return self.is_here and not any(node["Alive"] for node in ray.nodes())

    def _nodes(self) -> set[str]:
        """Nodes that are alive and have room for a task when nothing else runs there."""
        import ray  # type: ignore[import-not-found]

        return {
            node["NodeID"]
            for node in ray.nodes()
            if node["Alive"]
            and node["Resources"].get("CPU", 0) >= self.cpus
            and node["Resources"].get("memory", 0) >= self.memory
        }

    def leave(self) -> None:
        """End the connection, and Ray itself where it was started for this run."""
        import ray  # type: ignore[import-not-found]

        with contextlib.suppress(Exception):
            ray.shutdown()
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(20)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


class _Attempt:
    """One attempt at the tasks of a phase."""

    def __init__(self, cluster: _Cluster, url: str, phase: str, listener: Listener) -> None:
        self.cluster, self.url, self.phase, self.listener = cluster, url, phase, listener
        self.name = uuid.uuid4().hex
        self.task = {"url": url, "phase": phase, "expected": environment(), "folder": str(Path.cwd())}
        self.lost: Counter[str] = Counter()  # why → tasks
        self.done: list[int] = []

    def run(self, indices: list[int]) -> None:
        import ray  # type: ignore[import-not-found]

        waiting, running = deque(indices), dict[Any, int]()
        try:
            with ending_in_order():
                while waiting or running:
                    while waiting and len(running) < (self.cluster.workers or MOST_AT_ONCE):
                        index = waiting.popleft()
                        running[self._submit(index)] = index
                    few = max(1, len(running) // 50)
                    for ref in ray.wait(list(running), num_returns=few, timeout=POLL_SECONDS, fetch_local=False)[0]:
                        index = running.pop(ref)
                        if not self._settle(ref, index):
                            waiting.append(index)
                    self._report()
        except (ConnectionError, ray.exceptions.RaySystemError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RunError(f"the connection to Ray is lost ({said}); run the same command again to go on") from error
        finally:
            for ref in running:
                with contextlib.suppress(Exception):
                    ray.cancel(ref, force=True)
        for reason, tasks in self.lost.items():
            self.listener.say(f"{self.phase}: {tasks} to be tried again, since {reason}")
        await_markers(self.url, self.phase, self.done)
        self._report()

    def _submit(self, index: int) -> Any:
        task = self.cluster.task.options(**self.cluster.options(), name=f"florilegium {self.phase} {index}")
        return task.remote(self.task | {"index": index}, self.name, self.cluster.figures)

    def _settle(self, ref: Any, index: int) -> bool:
        """Note what became of a task; False where its worker refused it."""
        import ray  # type: ignore[import-not-found]

        try:
            refusal = ray.get(ref)
        except ray.exceptions.RayError as error:
            reason = _sentence(error)
            self.lost[reason] += 1
            store_note(self.url, self.phase, index, TaskError(reason))
            return True
        if refusal is not None:
            node, reason = refusal
            self.cluster.refuse(node, reason, self.listener)
            return False
        self.done.append(index)
        return True

    def _report(self) -> None:
        """Tell the listener; figures that cannot be had now come with the next call."""
        import ray  # type: ignore[import-not-found]

        with contextlib.suppress(ray.exceptions.RayError):
            self.listener.update(*ray.get(self.cluster.figures.of.remote(self.name), timeout=POLL_SECONDS))


def _knock(address: str) -> None:
    """Raise OSError where nobody listens; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


def _connect(address: str) -> None:
    """Join; a second and third time where a client's server did not get its own process started in time."""
    import ray  # type: ignore[import-not-found]

    for attempt in range(CONNECT_ATTEMPTS):
        try:
            ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
            return
        except ConnectionError as error:
            if "Initialization failure" not in str(error) or attempt == CONNECT_ATTEMPTS - 1:
                raise
            ray.shutdown()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what Ray's C++ core writes to standard error while it connects; what goes wrong is raised too."""
    with open(os.devnull, "w") as nowhere:
        before = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)


def _sentence(error: Exception) -> str:
    """What happened to a task that did not end by itself, and what may help."""
    from ray import exceptions  # type: ignore[import-not-found]

    if isinstance(error, exceptions.OutOfMemoryError):
        return "Ray ended its worker, whose node was short of memory; give --memory, so that fewer tasks share a node"
    if isinstance(error, exceptions.WorkerCrashedError):
        return "its Ray worker was killed; out of memory? Give --memory, so that fewer tasks share a node"
    if isinstance(error, exceptions.NodeDiedError | exceptions.LocalRayletDiedError):
        return "its Ray node was lost"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"Ray could not run it: {lines[-1].strip()}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
