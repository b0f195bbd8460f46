"""What tests of cluster engines share: the embedded example, the command that a user types, processes left behind."""

import contextlib
import hashlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from florilegium.pipelines.storage import Folder

__all__ = [
    "MORE_SPLITS",
    "Started",
    "checksums",
    "command",
    "descendants",
    "finished_files",
    "free_ports",
    "named",
    "start",
    "still_alive",
    "stored_checksums",
    "wait_until",
]

OUTPUTS = ("shards", "rejects", "weights", "dedup", "scored", "decisions")
MORE_SPLITS = ("--set", "reading.split_bytes=8192")  # 14 tasks of `score`


def command(output: Path | str, engine: str, *more: str) -> list[str]:
    """`florilegium run` of the example, with dedup, charters and weights, on an engine with two workers."""
    line = [sys.executable, "-m", "florilegium.pipelines", "run", "quickstart", "--engine", engine, "--workers", "2"]
    return [*line, "--output", str(output), "--json", *more]


class Started:
    """A driver under way, with its processes in a session of its own."""

    def __init__(self, line: list[str]) -> None:
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def wait(self, seconds: float = 400) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        output, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, output, errors


def start(output: Path | str, engine: str, *more: str) -> Started:
    return Started(command(output, engine, *more))


def checksums(run: Path) -> dict[str, str]:
    """Name → sha256 of every file that a run wrote, and of its ledger."""
    files = [file for part in OUTPUTS for file in (run / part).rglob("*.parquet")]
    files += [run / "ledger.json", run / "weights/plan.json"]
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def stored_checksums(url: str) -> dict[str, str]:
    """As `checksums`, of a run in an object store."""
    folder = Folder(url)
    names = [name for part in OUTPUTS for name in folder.names(f"{part}/*.parquet")]
    return {
        name: hashlib.sha256(folder.read_bytes(name)).hexdigest()
        for name in [*names, "ledger.json", "weights/plan.json"]
    }


def finished_files(run: Path) -> dict[str, tuple[int, int]]:
    """Name → inode and time of change, of files that finished tasks wrote."""
    found = (file for part in (*OUTPUTS, "tasks") for file in (run / part).rglob("[0-9]*.*"))
    files = [file for file in found if file.suffix != ".tmp"]  # what a kill left half written
    return {str(file.relative_to(run)): (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def wait_until(holds: Callable[[], object], seconds: float = 150, why: str = "") -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, why or "waited too long"
        time.sleep(0.02)


def descendants(pid: int) -> set[tuple[int, str]]:
    """(process id, time of start) of all that a process has started, directly or not."""
    parents: dict[int, list[tuple[int, str]]] = {}
    for number, fields in _processes():
        parents.setdefault(int(fields[1]), []).append((number, fields[19]))
    found, new = set[tuple[int, str]](), [pid]
    while new:
        children = parents.get(new.pop(), [])
        found.update(children)
        new += [child for child, _ in children]
    return found


def still_alive(processes: set[tuple[int, str]]) -> set[tuple[int, str]]:
    return {(number, fields[19]) for number, fields in _processes() if fields[0] != "Z"} & processes


def named(prefix: str) -> list[int]:
    """Processes whose command line begins with a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().replace(b"\0", b" ").startswith(prefix.encode()):
                found.append(int(path.parent.name))
    return found


def _processes() -> list[tuple[int, list[str]]]:
    """Process id and the fields of its `stat` from the state on."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found.append((int(path.parent.name), path.read_text().rpartition(")")[2].split()))
    return found


def free_ports() -> tuple[int, int]:
    """Two ports of this machine that nobody listens at."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
