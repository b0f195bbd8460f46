"""Fork servers, from which worker processes start ready: what they are told, and where their sockets lie."""

import contextlib
import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

__all__ = ["DRIVER_VARIABLE", "STAGES_VARIABLE", "keep_paths_short", "told_stages"]

DRIVER_VARIABLE = "FLORILEGIUM_DRIVER"  # process id of the driver
STAGES_VARIABLE = "FLORILEGIUM_STAGES"  # options of the stages to have ready
LONGEST = 107 - len("/pymp-abcdefgh/listener-abcdefgh")  # bytes that a socket's address leaves to TMPDIR
SHORT = "/tmp"


@contextlib.contextmanager
def told_stages(options: str | None) -> Iterator[None]:
    """While it lasts, a fork server that starts has the stages for these options ready (JSON of `Stages`)."""
    if options is not None:
        os.environ[STAGES_VARIABLE] = options
    os.environ[DRIVER_VARIABLE] = str(os.getpid())
    try:
        yield
    finally:
        for name in (STAGES_VARIABLE, DRIVER_VARIABLE):
            os.environ.pop(name, None)


def keep_paths_short(package: Any) -> None:
    """Let `package` (multiprocessing or multiprocess) put its sockets into /tmp if TMPDIR is too long for them.

    A path over 107 bytes is no address ("AF_UNIX path too long"); clusters and test runners have such
    temporary folders. Call it before the package's first socket.
    """
    settings = package.current_process()._config
    if "tempdir" in settings or len(os.fsencode(tempfile.gettempdir())) <= LONGEST:
        return
    folder = tempfile.mkdtemp(prefix="pymp-", dir=SHORT)
    util = importlib.import_module(f"{package.__name__}.util")
    util.Finalize(None, shutil.rmtree, args=(folder, True), exitpriority=-100)
    settings["tempdir"] = folder
