"""Where the sockets of worker processes lie: in a folder whose path is short enough for one."""

import importlib
import os
import shutil
import tempfile
from typing import Any

__all__ = ["keep_paths_short"]

LONGEST = 107 - len("/pymp-abcdefgh/listener-abcdefgh")  # bytes that sun_path leaves to a temporary folder
SHORT = "/tmp"


def keep_paths_short(package: Any) -> None:
    """Let `package` (multiprocessing or multiprocess) put its sockets into /tmp if TMPDIR is too long for them.

    A path over 107 bytes is no address ("AF_UNIX path too long"); clusters and test runners have such
    temporary folders. Call it before the package's first socket.
    """
    util = importlib.import_module(f"{package.__name__}.util")
    settings = package.current_process()._config
    if "tempdir" in settings or len(os.fsencode(tempfile.gettempdir())) <= LONGEST:
        return
    folder = tempfile.mkdtemp(prefix="pymp-", dir=SHORT)
    util.Finalize(None, shutil.rmtree, args=(folder, True), exitpriority=-100)
    settings["tempdir"] = folder
