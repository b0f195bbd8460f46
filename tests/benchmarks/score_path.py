"""`make bench`: documents/s and MB/s of text per core, stage by stage and end to end.

Everything is measured in one run on the same documents, since machines are noisy: the stages from the
run's own markers, the phases by the clock, two workers against one, the memory of a worker on a tenth
of the input and on all of it, and datatrove's stock filters on a sample of the same texts. The input
is the forum data beside the checkout, or the embedded example many times over where that is absent.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.progress import Silent
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.sources import RecordReader, plan_splits

FORUM = Path(__file__).resolve().parents[3] / "shared" / "data" / "forum"
STOCK_SAMPLE = 1500
ROWS_WITHOUT_FORUM = 40_000
PHASES_IN_ORDER = ("score", "decide", "weigh", "shard", "reject")


class Clock(Silent):
    """Notes when each phase began."""

    def __init__(self) -> None:
        self.starts: dict[str, float] = {}

    def phase(self, name: str, tasks: int, finished: int) -> None:
        self.starts[name] = time.perf_counter()

    def seconds(self, end: float) -> dict[str, float]:
        times = [*self.starts.values(), end]
        return {name: times[index + 1] - times[index] for index, name in enumerate(self.starts)}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="florilegium-bench-") as folder:
        scratch = Path(folder)
        source = _input(scratch)
        _run(source, scratch / "warm-up", workers=1, rows=500)
        outcome, seconds = _run(source, scratch / "one", workers=1)
        documents, megabytes = outcome.ledger.total("read"), _sum(outcome, "text_bytes") / 1e6
        print(f"\n{documents:,} documents, {megabytes:,.1f} MB of text, one core\n")
        _print_stages(outcome, documents, megabytes)
        _print_phases(seconds, documents, megabytes)
        _, twice = _run(source, scratch / "two", workers=2)
        print(f"\nscoring with two workers: {seconds['score'] / twice['score']:.2f} × one worker (start-up included)")
        _print_memory(source, scratch)
        _print_stock(source, documents / sum(seconds.values()))


def _input(scratch: Path) -> Path:
    """A folder of Parquet posts with several row groups."""
    if FORUM.is_dir():
        return FORUM
    print("no forum data beside the checkout: the embedded example many times over", file=sys.stderr)
    recipe = load_recipe("quickstart")
    texts = [
        text
        for source in recipe.inputs
        for split in plan_splits(source, recipe.reading)
        for batch in RecordReader(split, source, recipe.reading, recipe.extraction)
        for text in batch["text"].to_pylist()
        if text
    ]
    rows = [f"{texts[index % len(texts)]}\n\nCopy {index}." for index in range(ROWS_WITHOUT_FORUM)]
    folder = scratch / "posts"
    folder.mkdir()
    ids = [str(index) for index in range(len(rows))]
    columns = {
        "id": ids,
        "title": [""] * len(rows),
        "text": rows,
        "url": [None] * len(rows),
        "community": ["a"] * len(rows),
    }
    pq.write_table(pa.table(columns), folder / "posts.parquet", row_group_size=5000)
    return folder


def _run(source: Path, output: Path, workers: int, rows: int | None = None) -> tuple[Outcome, dict[str, float]]:
    if rows is not None:
        source = _first_rows(source, output.parent / f"first-{rows}", rows)
    created = (
        "created_utc" if "created_utc" in pq.read_schema(next(iter(sorted(source.glob("*.parquet"))))).names else "null"
    )
    overrides = [
        f"inputs.posts.paths=[{source}]",
        f"inputs.posts.fields.created={created}",
        "reading.split_bytes=4194304",
    ]
    clock = Clock()
    outcome = execute(plan_run(load_recipe("forum", overrides)), str(output), load_engine("local", workers), clock)
    return outcome, clock.seconds(time.perf_counter())


def _first_rows(source: Path, target: Path, rows: int) -> Path:
    """A folder with the first rows of a folder's first file."""
    target.mkdir(exist_ok=True)
    table = pq.read_table(next(iter(sorted(source.glob("*.parquet"))))).slice(0, rows)
    pq.write_table(table, target / "posts.parquet", row_group_size=5000)
    return target


def _markers(outcome: Outcome) -> list[dict[str, Any]]:
    run = outcome.run
    return list(run.finished("score", len(run.payloads("score"))).values())


def _sum(outcome: Outcome, name: str) -> int:
    return sum(marker[name] for marker in _markers(outcome))


def _print_stages(outcome: Outcome, documents: int, megabytes: float) -> None:
    seconds: dict[str, float] = {}
    for marker in _markers(outcome):
        for name, value in marker["seconds"].items():
            seconds[name] = seconds.get(name, 0.0) + value
    _print_table("stage", seconds, documents, megabytes)


def _print_phases(seconds: dict[str, float], documents: int, megabytes: float) -> None:
    print()
    _print_table(
        "phase", {**{name: seconds[name] for name in PHASES_IN_ORDER if name in seconds}}, documents, megabytes
    )
    total = sum(seconds.values())
    print(f"{'end to end':<16}{documents / total:>14,.0f}{megabytes / total:>10,.2f}{100:>9.0f}%")


def _print_table(title: str, seconds: dict[str, float], documents: int, megabytes: float) -> None:
    print(f"{title:<16}{'documents/s':>14}{'MB/s':>10}{'share':>10}")
    total = sum(seconds.values())
    for name, value in seconds.items():
        print(f"{name:<16}{documents / value:>14,.0f}{megabytes / value:>10,.1f}{100 * value / total:>9.1f}%")


def _print_memory(source: Path, scratch: Path) -> None:
    """Peak resident memory of a process that runs everything alone, on a tenth of the rows and on all."""
    tenth = sum(pq.read_metadata(path).num_rows for path in source.glob("*.parquet")) // 10
    peaks = {}
    for label, folder in (("a tenth", _first_rows(source, scratch / "tenth", tenth)), ("all", source)):
        call = f"_run(Path({str(folder)!r}), Path({str(scratch / label)!r}), 1)"
        code = f"from pathlib import Path; from tests.benchmarks.score_path import _run; {call}"
        process = subprocess.Popen([sys.executable, "-c", code])
        _, status, usage = os.wait4(process.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        peaks[label] = usage.ru_maxrss / 1024
    print(
        "peak memory of a worker: "
        + ", ".join(f"{peak:,.0f} MiB on {label} of the rows" for label, peak in peaks.items())
    )


def _print_stock(source: Path, ours: float) -> None:
    """datatrove's own filters on a sample, one document at a time as it comes."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            steps = list(_stock_steps())
    except ImportError as error:
        print(f"stock datatrove: not measured ({error}); `make bench` installs what it needs")
        return
    from datatrove.data import Document

    table = pq.read_table(next(iter(sorted(source.glob("*.parquet"))))).slice(0, STOCK_SAMPLE)
    texts = [
        f"{title}\n\n{text}" for title, text in zip(table["title"].to_pylist(), table["text"].to_pylist(), strict=True)
    ]
    print(f"\nstock datatrove on {len(texts):,} of the same documents, one core")
    print(f"{'filter':<28}{'documents/s':>14}{'MB/s':>10}")
    megabytes, total = sum(len(text.encode()) for text in texts) / 1e6, 0.0
    for name, judge in steps:
        documents = [Document(text=text, id=str(index)) for index, text in enumerate(texts)]
        judge(documents[0])
        started = time.perf_counter()
        for document in documents:
            judge(document)
        seconds = time.perf_counter() - started
        total += seconds
        print(f"{name:<28}{len(texts) / seconds:>14,.0f}{megabytes / seconds:>10,.2f}")
    stock = len(texts) / total
    print(f"{'all of them':<28}{stock:>14,.0f}{megabytes / total:>10,.2f}")
    print(f"ours end to end, with twenty scores, dedup, weights and shards: {ours / stock:,.1f} × these filters alone")


def _stock_steps() -> Iterator[tuple[str, Callable[[Any], Any]]]:
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    for step in (
        GopherQualityFilter(),
        GopherRepetitionFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    ):
        yield type(step).__name__, step.filter


if __name__ == "__main__":
    main()
