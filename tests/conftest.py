"""Where tests write, and which of them wait to be asked for."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

ASKED_FOR = {
    "long": "kills and restarts whole runs; run it by `make test-long`",
    "engines": "starts a cluster or a store; run it by `make test-engines`",
}
MEMORY, ROOM = Path("/dev/shm"), 4 << 30  # bytes that must be free there

# Runs flush each of their many small files, which a disk takes its time for, and again to delete them.
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("markexpr"):
        return
    for item in items:
        for mark, reason in ASKED_FOR.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))
