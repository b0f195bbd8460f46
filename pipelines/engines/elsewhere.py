"""Tasks on machines that the driver knows little of: first it is seen whether a worker is fit for them.

A worker with another pyarrow, model or word list would give other bytes without an error, and one that does
not see the run's folder would work for nothing. Such a worker refuses a task and says why; the engine sends
the task elsewhere and leaves that machine out from then on.
"""

import contextlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable
from functools import cache

from ...schemas.errors import FlorilegiumError
from ...schemas.hashing import digest
from ...schemas.taxonomy import TAXONOMY_VARIABLE, own_taxonomy
from ..phases import run_task
from ..plan import open_run
from ..progress import Progress
from ..scoring import ready_stages
from ..storage import Folder

__all__ = ["SHARED", "attempt", "await_markers", "environment", "variables"]

PACKAGES = ("florilegium", "pyarrow", "numpy", "numba", "resiliparse", "fastwarc", "py3langid")
SAME = "install what the driver has (requirements.lock) on every worker"
SHARED = "give an --output that every worker sees: a folder on a shared file system or the URL of an object store"
VISIBLE_SECONDS = 60.0  # how long a network file system may hide a file that another machine has written


def environment() -> str:
    """The versions that decide bytes, as text: equal where the driver and a worker are."""
    python = ".".join(platform.python_version_tuple()[:2])
    versions = [f"{name}-{importlib.metadata.version(name)}" for name in PACKAGES]
    return " ".join([f"python-{python}", *versions, f"taxonomy-{digest(own_taxonomy() or 'shipped')[:8]}"])


def variables() -> dict[str, str]:
    """What the driver's environment must lend to workers: the text of a taxonomy of one's own, not its path."""
    taxonomy = own_taxonomy()
    return {TAXONOMY_VARIABLE: taxonomy} if taxonomy else {}


def attempt(url: str, phase: str, index: int, expected: str, folder: str, progress: Progress) -> str | None:
    """Run a task as `run_task` does, in the working folder of the driver; or say why this worker cannot."""
    with contextlib.suppress(OSError):
        os.chdir(folder)
    reason = _unfit(url, phase, expected)
    if reason is None:
        run_task(url, phase, index, progress)
    return reason and f"worker {platform.node()}: {reason}"


def await_markers(url: str, phase: str, indices: Iterable[int]) -> None:
    """Wait until the markers of tasks that workers call done are seen here too, but not for ever."""
    folder, until = Folder(url), time.monotonic() + VISIBLE_SECONDS
    for index in indices:
        while not any(folder.exists(f"tasks/{phase}/{name}{index:06d}.json") for name in ("", "failed-")):
            if time.monotonic() > until:
                return
            time.sleep(1)


@cache
def _unfit(url: str, phase: str, expected: str) -> str | None:
    pairs = zip(environment().split(), expected.split(), strict=True)
    different = [f"{here} (the driver has {there})" for here, there in pairs if here != there]
    if different:
        return f"it has {', '.join(different)}; {SAME}"
    try:
        run = open_run(url)
    except (FlorilegiumError, OSError):
        return f"it does not see the run in {url}; {SHARED}"
    if phase != "score":
        return None
    try:
        stages = ready_stages(run.recipe.stages.model_dump_json())
        found = {stage.name: digest(stage.identity()) for stage in stages}
    except (FlorilegiumError, ImportError, OSError) as error:
        return f"{error}; put it there, or where every worker sees it"
    needed = run.manifest.identity["stages"]
    other = [name for name in needed if found.get(name) != needed[name]]
    if other:
        return f"its models, lists or code of stage {other[0]} differ from the driver's; {SAME}"
    return None
