"""How long a phase takes on many workers: tasks of uneven length, workers that start late and are lost.

    python -m tests.benchmarks.stragglers --terabytes 100 --cpu-per-mb 1.5 --workers 2000

Tasks go to whichever worker is free, as every engine does. A lost worker's task begins anew elsewhere. What
is printed is the phase's hours over those of perfect packing, by the size of a split.
"""

import argparse
import heapq
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Phase:
    """Hours that a phase took, and hours of work that were lost with workers."""

    hours: float
    lost_hours: float


def simulate(
    seconds: np.ndarray, workers: int, start_seconds: float, lost_an_hour: float, source: np.random.Generator
) -> Phase:
    """Run tasks of `seconds`, shape (tasks,), in their order on `workers`.

    Each worker comes up within `start_seconds` and is lost at the rate `lost_an_hour`, to come up again.
    """
    free = [(at, worker) for worker, at in enumerate(source.uniform(0, start_seconds, workers))]
    heapq.heapify(free)
    pending, end, lost = list(seconds[::-1]), 0.0, 0.0
    rate = lost_an_hour / 3600
    while pending:
        at, worker = heapq.heappop(free)
        task = pending.pop()
        survives = source.exponential(1 / rate) if rate else np.inf
        if survives < task:
            lost += survives
            pending.append(task)
            heapq.heappush(free, (at + survives + start_seconds, worker))
            continue
        end = max(end, at + task)
        heapq.heappush(free, (at + task, worker))
    return Phase(end / 3600, lost / 3600)


def task_seconds(
    terabytes: float, split_megabytes: float, cpu_per_mb: float, spread: float, source: np.random.Generator
) -> np.ndarray:
    """Lognormal lengths whose mean is that of the split; `spread` is the standard deviation of their logarithm."""
    tasks = max(1, round(terabytes * 1e6 / split_megabytes))
    return cpu_per_mb * split_megabytes * source.lognormal(-(spread**2) / 2, spread, tasks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--terabytes", type=float, default=100.0)
    parser.add_argument("--cpu-per-mb", type=float, default=1.5, help="As `florilegium estimate` measures")
    parser.add_argument("--workers", type=int, default=2000)
    parser.add_argument("--spread", type=float, default=0.5)
    parser.add_argument("--start-seconds", type=float, default=180.0)
    parser.add_argument("--lost-an-hour", type=float, default=0.05, help="Of each worker; spot machines are lost often")
    given = parser.parse_args()
    print(f"{'split MB':>9} {'tasks':>10} {'hours':>8} {'of ideal':>9} {'lost h':>7}")
    for size in (128, 512, 1024, 4096):
        source = np.random.default_rng(7)
        seconds = task_seconds(given.terabytes, size, given.cpu_per_mb, given.spread, source)
        found = simulate(seconds, given.workers, given.start_seconds, given.lost_an_hour, source)
        ideal = seconds.sum() / given.workers / 3600
        print(f"{size:>9} {len(seconds):>10,} {found.hours:>8.1f} {found.hours / ideal:>9.2f} {found.lost_hours:>7.0f}")


if __name__ == "__main__":
    main()
