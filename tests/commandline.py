"""The command line as tests call it: in a process of its own, or in this one, which saves the start."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from unittest import mock

from florilegium.pipelines.cli import main

__all__ = ["florilegium", "florilegium_here"]


def florilegium(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """As a user's shell would."""
    command = [sys.executable, "-m", "florilegium.pipelines", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def florilegium_here(*arguments: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same entry point in this process, from `folder`."""
    command = ["florilegium", *map(str, arguments)]
    code = 0
    with (
        mock.patch.object(sys, "argv", command),
        contextlib.chdir(folder or Path.cwd()),
        contextlib.redirect_stdout(io.StringIO()) as output,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return subprocess.CompletedProcess(command, code, output.getvalue(), errors.getvalue())
