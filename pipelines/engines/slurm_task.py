"""One task of a Slurm job array: some tasks of a phase, one after the other.

Called by the job's script with the run's URL, the phase, the folder in the run where the driver left its
order, the driver's versions and its working folder. What it did stands in that folder beside the order.
"""

import os
import platform
import sys
from typing import Any

from ...schemas.errors import FlorilegiumError
from ..storage import Folder
from .elsewhere import attempt
from .totals import Throttled

__all__ = ["ORDER", "UNFIT", "share", "told_name"]

ORDER = "order.json"
UNFIT = 78  # exit code of a worker that cannot even read its order
TELL_SECONDS = 5.0


def share(indices: list[int], job: int, jobs: int) -> list[int]:
    """The tasks of one of so many jobs; neighbours go to different ones, since they are often alike."""
    return indices[job::jobs]


def told_name(job: int) -> str:
    return f"told-{job:05d}.json"


def _work(url: str, phase: str, place: str, expected: str, folder: str) -> None:
    try:
        run = Folder(url)
        order = run.read_json(f"{place}/{ORDER}")
    except (FlorilegiumError, OSError) as error:
        print(f"worker {platform.node()}: it does not see the run in {url} ({error})", file=sys.stderr)
        sys.exit(UNFIT)
    job = int(os.environ["SLURM_ARRAY_TASK_ID"])
    told: dict[str, Any] = {"task": -1, "tried": [], "figures": [0, 0, 0], "refused": None}

    def tell(_: int, *more: int) -> None:
        told["figures"] = [total + number for total, number in zip(told["figures"], more, strict=True)]
        run.write_json(f"{place}/{told_name(job)}", told)

    progress = Throttled(tell, TELL_SECONDS)
    for index in share(order["indices"], job, order["jobs"]):
        told["task"] = index
        progress.flush(0)
        told["refused"] = attempt(url, phase, index, expected, folder, progress)
        if told["refused"]:
            break
        told["tried"].append(index)
    told["task"] = -1
    progress.flush(0)


if __name__ == "__main__":
    _work(*sys.argv[1:])
