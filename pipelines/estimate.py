"""What a recipe would take at scale: a sample of its own input is run for real and scaled to a terabyte.

    measured   CPU seconds, bytes read, text, bytes written, sorted runs; of whole splits, evenly spaced
    counted    tasks and files, from the recipe's sizes
    modelled   requests to a store: so many a split, a range and a task that merges, and ROUNDS for each file that
               one of them opens; the CPU seconds of merging are not in the figures

Prices are the caller's own; none is built in.
"""

import math
import os
import resource
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..schemas.errors import InputError
from .engines import load_engine
from .merging import plan_levels
from .phases import MERGED_ROWS, PAIR_ROWS, execute
from .plan import RunPlan
from .scoring import ready_stages

__all__ = ["Prices", "estimate", "sample_splits"]

TERABYTE = 10**12
READS_A_SPLIT, WRITES_A_SPLIT = 30, 4  # near what the tests count at a store; those of a range are assumed
READS_A_RANGE, WRITES_A_RANGE = 40, 12
ROUNDS = 4  # to open a sorted file for a range: its size, its footer, keys and columns


@dataclass(frozen=True)
class Prices:
    """What a unit costs, in any one currency; 0 where it is free or not asked for."""

    vcpu_hour: float = 0.0
    thousand_reads: float = 0.0
    thousand_writes: float = 0.0
    gigabyte_month: float = 0.0


def sample_splits(plan: RunPlan, sample_bytes: int) -> RunPlan:
    """The plan with splits of about `sample_bytes`, evenly spaced over all; at least one."""
    splits = [split for split in plan.splits if split.size > 0]
    if not splits:
        raise InputError("the recipe's inputs hold nothing to measure")
    total = sum(split.size for split in splits)
    count = max(1, min(len(splits), round(len(splits) * sample_bytes / total)))
    chosen = [splits[(2 * index + 1) * len(splits) // (2 * count)] for index in range(count)]
    return replace(plan, splits=chosen)


def estimate(plan: RunPlan, sample_bytes: int, prices: Prices) -> dict[str, Any]:
    """Figures per terabyte of input, and for the whole input, from a sample that is run in this process."""
    sample = sample_splits(plan, sample_bytes)
    ready_stages(plan.recipe.stages.model_dump_json())  # loaded once by a worker, and so not part of the rate
    with tempfile.TemporaryDirectory(prefix="florilegium-") as scratch:
        cpu, started = _cpu_seconds(), time.monotonic()
        outcome = execute(sample, scratch, load_engine("local", 1))
        cpu, seconds = _cpu_seconds() - cpu, time.monotonic() - started
        written = {
            kind: sum(path.stat().st_size for path in Path(scratch, kind).rglob("*.parquet"))
            for kind in ("scored", "bands", "decisions", "weights", "shards", "rejects")
        }
        scored = outcome.run.finished("score", len(sample.splits)).values()
    read = sum(split.size for split in sample.splits)
    text = sum(marker["text_bytes"] for marker in scored)
    runs = sum(len(marker["outputs"]) for marker in scored)
    buckets = sum(stored["rows"] for marker in scored for stored in marker["bands"])
    whole = sum(split.size for split in plan.splits)
    measured = {
        "splits": len(sample.splits),
        "input_bytes": read,
        "documents": outcome.ledger.total("read") + outcome.ledger.total("generated"),
        "text_bytes": text,
        "cpu_seconds": cpu,
        "seconds": seconds,
        "written_bytes": written,
        "longest_split_seconds": max(sum(marker["seconds"].values()) for marker in scored),
    }
    rates = {
        "cpu_seconds_per_mb": cpu / read * 1e6,
        "text_per_input": text / read,
        "written_per_input": {kind: size / read for kind, size in written.items()},
        "runs_per_split": runs / len(sample.splits),
        "bucket_rows_per_mb": buckets / read * 1e6,
    }
    mean_split = whole / len(plan.splits)
    return {
        "recipe": plan.recipe.name,
        "measured": measured,
        "rates": rates,
        "per_terabyte": _scaled(plan, rates, TERABYTE, mean_split, prices),
        "input": _scaled(plan, rates, whole, mean_split, prices),
    }


def _scaled(plan: RunPlan, rates: dict[str, Any], size: float, mean_split: float, prices: Prices) -> dict[str, Any]:
    """Figures for `size` bytes of input."""
    output = plan.recipe.output
    splits = math.ceil(size / mean_split)
    runs = math.ceil(splits * rates["runs_per_split"])
    ranges = math.ceil(size * rates["text_per_input"] / output.shard_bytes)
    near = plan.recipe.dedup.near
    scans = 3 if near else 2  # decide, and rank; shards and rejects together cover the text once
    text = size * rates["text_per_input"]
    levels, merging, opened = _opened("scored", runs, ranges, text, output.run_bytes, scans)
    if near:
        rows = size / 1e6 * rates["bucket_rows_per_mb"]
        pairs = math.ceil(rows / PAIR_ROWS)
        _, more, for_pairs = _opened("bands", runs, pairs, rows, MERGED_ROWS, 1)
        merging, opened = merging + more, opened + for_pairs
    reads = splits * READS_A_SPLIT + (ranges + merging) * READS_A_RANGE + opened * ROUNDS
    writes = splits * WRITES_A_SPLIT + ranges * WRITES_A_RANGE + 2 * merging
    hours = size / 1e6 * rates["cpu_seconds_per_mb"] / 3600
    stored = size * (sum(rates["written_per_input"].values()) + levels * rates["written_per_input"]["scored"])
    costs = {
        "compute": hours * prices.vcpu_hour,
        "reads": reads / 1000 * prices.thousand_reads,
        "writes": writes / 1000 * prices.thousand_writes,
        "storage_month": stored / 1e9 * prices.gigabyte_month,
    }
    return {
        "input_bytes": size,
        "vcpu_hours": hours,
        "tasks": {"score": splits, "merge": merging, "ranges": ranges},
        "merge_levels": levels,
        "files": 2 * splits + runs + 8 * ranges + 2 * merging,
        "runs": runs,
        "reads": reads,
        "writes": writes,
        "written_bytes": stored,
        "costs": costs,
    }


def _opened(table: str, files: int, ranges: int, size: float, part_size: float, scans: int) -> tuple[int, int, int]:
    """Levels of merging that a table takes, their tasks, and how often any of its files is opened, all told."""
    levels = plan_levels(table, files, ranges, size, part_size)
    parts, tasks, opened = 1, 0, 0
    for level in levels:
        tasks += level.parts * level.files
        opened += level.parts * files
        parts, files = level.parts, level.files
    return len(levels), tasks, opened + scans * files * (ranges + parts - 1)


def _cpu_seconds() -> float:
    """Of this process and of those it has waited for, such as the extractor's."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    live = _children_seconds()
    return sum(each.ru_utime + each.ru_stime for each in used) + live


def _children_seconds() -> float:
    """CPU seconds of living children, where the system tells them."""
    total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    for listing in Path("/proc/self/task").glob("*/children"):
        for child in listing.read_text().split():
            try:
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended in the meantime
                continue
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total
