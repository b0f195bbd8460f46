"""A Ray instance of one machine, kept by a process that ends all of it when the driver has gone.

Ray ends its own processes when the driver does, but not at once when that is killed, and some not for
minutes. This one is the parent of whatever loses its parent, and kills what is left when the pipe from
the driver closes. Called with the number of CPUs and a folder, it prints the instance's address.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
from pathlib import Path

__all__: list[str] = []

PR_SET_CHILD_SUBREAPER = 36
OBJECT_STORE_BYTES = 80 << 20  # the least that Ray takes; tasks pass each other nothing but files


def _keep(cpus: int, folder: str) -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the pipe alone says when to end
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        print(_start(cpus, folder), flush=True)
        sys.stdin.read()
    finally:
        _kill_descendants()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


def _start(cpus: int, folder: str) -> str:
    import ray  # type: ignore[import-not-found]

    context = ray.init(
        address="local",
        num_cpus=cpus,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=folder,
    )
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray has set its own
    return context.address_info["gcs_address"]


def _kill_descendants() -> None:
    """Kill children until none comes from a killed one."""
    while children := _children():
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(path.parent.name))
    return found


if __name__ == "__main__":
    _keep(int(sys.argv[1]), sys.argv[2])
