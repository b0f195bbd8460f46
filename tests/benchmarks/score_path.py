"""`make bench`: what the main job costs on one core, and what others take for the same work, in one run.

    python -m tests.benchmarks.score_path [--rows N] [--json FILE]

Machines are noisy and differ, so the comparisons run beside the job on the same texts, and CPU seconds are
counted wherever one process is measured. *Speed of light* is the rate of the score path if it were nothing
but its parts, each run alone over the same batches: what the end-to-end rate misses of it is spent between
the parts. The input is the real data beside the checkout, or the embedded example many times over.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import florilegium.pipelines.examples as examples
import pyarrow as pa
import pyarrow.parquet as pq
from fastwarc.warc import ArchiveIterator, WarcRecordType
from florilegium.classifiers.student import MODELS
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.runs import RunWriter
from florilegium.pipelines.scoring import Scoring, ready_stages, score_batch, score_split
from florilegium.pipelines.sources import RecordReader, plan_splits
from florilegium.pipelines.storage import Folder
from florilegium.schemas.recipe import Recipe
from rich import box
from rich.console import Console
from rich.table import Table

from .measure import ROOT, run_measured

DATA = ROOT.parent / "shared" / "data"
ROUNDS = 3
ROW_GROUP = 5000
TERMS = 3000
EXAMPLE_POSTS = 40_000
EXAMPLE_ARCHIVES = 12
FEW = 100  # posts of a run that is nothing but start-up
STOCK_SAMPLE = 1500
DOLMA_SAMPLE = 4000
DOLMA = ROOT / ".venv-dolma" / "bin" / "python"

console = Console(highlight=False, width=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, help="take so many posts only, for a quick look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE too")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"cpus": os.cpu_count(), "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="florilegium-bench-") as folder:
        scratch = Path(folder)
        posts, archives = _posts(scratch, arguments.rows), _archives(scratch, arguments.rows)
        stages = [f"stages.lexicon.lists=[{{name: terms, path: {_terms(posts, scratch)}, language: en}}]"]
        console.print("CPU seconds of one core, user and system, unless a line says otherwise\n")
        figures["score_path"] = _score_path(posts, stages)
        figures["run"] = _whole_run(posts, stages, scratch)
        figures["web"] = _web(archives, stages, scratch)
        figures["others"] = _others(posts, scratch, figures["score_path"]["end_to_end"])
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", min_width=36 if not index else 10)
    return table


# The input.


def _posts(scratch: Path, rows: int | None) -> Path:
    """A folder with one Parquet file of posts."""
    if (DATA / "forum").is_dir():
        table = pa.concat_tables(pq.read_table(path) for path in sorted((DATA / "forum").glob("*.parquet")))
    else:
        console.print("no forum data beside the checkout: the embedded example many times over")
        table = _example_posts(rows or EXAMPLE_POSTS)
    # Evenly spaced rows, so that fewer of them are the same mixture.
    table = _part(table, rows or table.num_rows)
    return _stored(table, scratch / "posts")


def _example_posts(rows: int) -> pa.Table:
    recipe = load_recipe("quickstart")
    texts = [
        text
        for source in recipe.inputs
        for split in plan_splits(source, recipe.reading)
        for batch in RecordReader(split, source, recipe.reading, recipe.extraction)
        for text in batch["text"].to_pylist()
        if text
    ]
    return pa.table(
        {
            "id": [str(index) for index in range(rows)],
            "title": [f"Copy {index}" for index in range(rows)],
            "text": [texts[index % len(texts)] for index in range(rows)],
            "url": pa.nulls(rows, pa.string()),
            "community": ["example"] * rows,
            "created_utc": [1_600_000_000 + index for index in range(rows)],
        }
    )


def _part(table: pa.Table, rows: int) -> pa.Table:
    return table.take(pa.array([index * table.num_rows // rows for index in range(min(rows, table.num_rows))]))


def _stored(table: pa.Table, folder: Path) -> Path:
    folder.mkdir()
    pq.write_table(table, folder / "posts.parquet", row_group_size=ROW_GROUP, compression="zstd")
    return folder


def _archives(scratch: Path, rows: int | None) -> Path:
    """A folder with web archives."""
    found = sorted((DATA / "web").glob("pages-*.warc.gz"))
    if not found:
        console.print("no web archives beside the checkout: the embedded example many times over")
        found = [Path(examples.__file__).parent / "quickstart.warc.gz"] * EXAMPLE_ARCHIVES
    folder = scratch / "archives"
    folder.mkdir()
    for index, path in enumerate(found[: 2 if rows else None]):
        shutil.copy(path, folder / f"{index:03d}.warc.gz")
    return folder


def _terms(posts: Path, scratch: Path) -> Path:
    """A word list for the lexicon: every third of the longer words of some posts, so that terms do occur."""
    words = {word for text in _texts(_part(pq.read_table(posts / "posts.parquet"), 1000)) for word in text.split()}
    terms = sorted(word.lower() for word in words if word.isalpha() and len(word) > 5)[::3][:TERMS]
    path = scratch / "terms.txt"
    path.write_text("\n".join(dict.fromkeys(terms)) + "\n", "utf-8")
    return path


def _forum(posts: Path, *more: str) -> list[str]:
    return [f"inputs.posts.paths=[{posts}]", "weighing.domain_column=source", *more]


# The score path, its parts and the speed of light.


def _score_path(posts: Path, stages: Sequence[str]) -> dict[str, Any]:
    recipe = load_recipe("forum", _forum(posts, *stages))
    ready_stages(recipe.stages.model_dump_json())
    parts: dict[str, float] = {}
    whole = float("inf")
    rows = size = 0
    for _ in range(ROUNDS):
        for name, seconds in _parts_alone(recipe):
            parts[name] = min(parts.get(name, seconds), seconds)
        with tempfile.TemporaryDirectory() as folder:
            started = time.process_time()
            markers = [
                score_split(Scoring(Folder(folder), f"scored/{index}", split, recipe))
                for index, split in enumerate(plan_splits(recipe.inputs[0], recipe.reading))
            ]
            seconds = time.process_time() - started
            whole = min(whole, seconds)
        rows = sum(sum(marker["read"].values()) for marker in markers)
        size = sum(marker["text_bytes"] for marker in markers)
    megabytes, light = size / 1e6, sum(parts.values())
    table = _table(
        f"Score path · {rows:,} posts, {megabytes:,.1f} MB of text", "part, alone", "MB/s", "posts/s", "share"
    )
    for name, seconds in parts.items():
        table.add_row(name, f"{megabytes / seconds:,.0f}", f"{rows / seconds:,.0f}", f"{seconds / light:.1%}")
    table.add_section()
    for name, seconds in (("speed of light: all parts in turn", light), ("read to write, end to end", whole)):
        share = f"{light / seconds:.1%}"
        table.add_row(name, f"{megabytes / seconds:,.1f}", f"{rows / seconds:,.0f}", share, style="bold")
    console.print(table)
    return {
        "documents": rows,
        "text_megabytes": megabytes,
        "parts": {name: megabytes / seconds for name, seconds in parts.items()},
        "speed_of_light": megabytes / light,
        "end_to_end": megabytes / whole,
        "share_of_light": light / whole,
    }


def _parts_alone(recipe: Recipe) -> Iterator[tuple[str, float]]:
    """CPU seconds of reading, of every stage and of writing, each over all batches at once."""
    source = recipe.inputs[0]
    stages = ready_stages(recipe.stages.model_dump_json())

    def timed(work: Callable[[], Any]) -> tuple[float, Any]:
        started = time.process_time()
        result = work()
        return time.process_time() - started, result

    totals: dict[str, float] = {}
    for split in plan_splits(source, recipe.reading):
        reader = RecordReader(split, source, recipe.reading, recipe.extraction)
        seconds, records = timed(lambda reader=reader: list(reader))
        totals["read"] = totals.get("read", 0.0) + seconds
        batches = records
        for stage in stages:
            seconds, batches = timed(lambda stage=stage, batches=batches: [stage.apply(batch) for batch in batches])
            totals[stage.name] = totals.get(stage.name, 0.0) + seconds
        scored = [score_batch(batch, []) for batch in batches]
        with tempfile.TemporaryDirectory() as folder:
            writer = RunWriter(Folder(folder), "run", recipe.seed, recipe.output.run_bytes)
            seconds, _ = timed(lambda writer=writer, scored=scored: _write(writer, scored))
        totals["write"] = totals.get("write", 0.0) + seconds
    yield from totals.items()


def _write(writer: RunWriter, batches: Sequence[pa.RecordBatch]) -> None:
    for batch in batches:
        writer.write(batch)
    writer.flush()


# The whole run: growth, memory, workers.


def _whole_run(posts: Path, stages: Sequence[str], scratch: Path) -> dict[str, Any]:
    table = pq.read_table(posts / "posts.parquet")
    quarter = _stored(_part(table, table.num_rows // 4), scratch / "quarter")
    few = _stored(_part(table, FEW), scratch / "few")
    more = [*stages, "reading.split_bytes=4194304"]
    run_measured("forum", _forum(few, *more), scratch / "warm-up")  # numba compiles what it has not cached
    runs = {
        "a few": run_measured("forum", _forum(few, *more), scratch / "run-few"),
        "a quarter": run_measured("forum", _forum(quarter, *more), scratch / "run-quarter"),
        "all": run_measured("forum", _forum(posts, *more), scratch / "run-all"),
        "all, two workers": run_measured("forum", _forum(posts, *more), scratch / "run-two", workers=2),
    }
    title = "The whole run · read, score, dedup, decide, weigh, shard; start-up included"
    shown = _table(title, "posts", "CPU s", "MB/s", "scoring, wall s", "peak MiB")
    for name, run in runs.items():
        rate = f"{run.text_bytes / 1e6 / run.cpu_seconds:,.1f}"
        peak = "" if "workers" in name else f"{run.peak_mib:,.0f}"
        cells = (f"{run.cpu_seconds:,.1f}", rate, f"{run.phases['score']:,.1f}", peak)
        shown.add_row(f"{name} ({run.documents:,})", *cells)
    console.print(shown)
    start, part, whole, two = runs.values()
    growth = whole.cpu_seconds / part.cpu_seconds
    net_growth = (whole.cpu_seconds - start.cpu_seconds) / (part.cpu_seconds - start.cpu_seconds)
    marginal = (whole.text_bytes - part.text_bytes) / 1e6 / (whole.cpu_seconds - part.cpu_seconds)
    speedup = whole.phases["score"] / two.phases["score"]
    extra = two.cpu_seconds / whole.cpu_seconds
    console.print(
        f"4 × the posts cost {growth:.2f} × the CPU seconds; without start-up (the first line) {net_growth:.2f} ×,\n"
        f"a ratio of differences, noisy on a busy machine and with few posts; at {marginal:.1f} MB/s\n"
        f"two workers score {speedup:.2f} × as fast as one (wall seconds, load {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores)\nfor {extra:.2f} × the CPU seconds\n"
    )
    return {
        "runs": {name: asdict(run) for name, run in runs.items()},
        "cpu_growth_for_4x": growth,
        "cpu_growth_for_4x_without_start_up": net_growth,
        "marginal_megabytes_per_second": marginal,
        "two_workers_speedup": speedup,
        "two_workers_cpu": extra,
    }


# Web archives.


def _web(archives: Path, stages: Sequence[str], scratch: Path) -> dict[str, Any]:
    pages, html = _responses(archives)
    twice = scratch / "twice"
    twice.mkdir()
    for copy in range(2):
        for path in archives.iterdir():
            shutil.copy(path, twice / f"{copy}-{path.name}")
    once, both = (
        run_measured("common_crawl", [f"inputs.crawl.paths=[{folder}]", *stages], scratch / f"crawl-{folder.name}")
        for folder in (archives, twice)
    )
    seconds = both.cpu_seconds - once.cpu_seconds
    text = both.text_bytes - once.text_bytes
    figures = {
        "pages": pages,
        "html_megabytes": html / 1e6,
        "pages_per_second": pages / seconds,
        "html_megabytes_per_second": html / 1e6 / seconds,
        "text_megabytes_per_second": text / 1e6 / seconds,
        "extraction_share": both.stages["read"] / sum(both.stages.values()),
        "peak_mib": both.peak_mib,
    }
    title = f"Web · WARC to shard, {pages:,} pages, {html / 1e6:,.1f} MB of HTML; without start-up"
    table = _table(title, "per core", "pages/s", "MB/s HTML", "MB/s text", "peak MiB")
    table.add_row(
        f"read, extract, score … shard (extraction {figures['extraction_share']:.0%})",
        *(f"{figures[f'{name}_per_second']:,.1f}" for name in ("pages", "html_megabytes", "text_megabytes")),
        f"{both.peak_mib:,.0f}",
        style="bold",
    )
    console.print(table)
    return figures


def _responses(archives: Path) -> tuple[int, int]:
    """Number of responses and bytes of their bodies."""
    pages = size = 0
    for path in archives.iterdir():
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
                pages += 1
                size += len(record.reader.read())
    return pages, size


# The same work by others.


def _others(posts: Path, scratch: Path, ours: float) -> dict[str, Any]:
    table = pq.read_table(posts / "posts.parquet", columns=["title", "text"])
    console.print(
        "The same texts by others: each step alone, reading and writing not counted. Their language\n"
        "step wants lid.176 from the net; it gets a stand-in of that model's shape, trained here on the\n"
        "sample (n-grams of 2 to 4, 16 dimensions, hierarchical softmax, fewer labels). Their classifier\n"
        "step gets our model.\n"
    )
    language_model = _language_model(_texts(_part(table, 500)), scratch)
    others = (
        ("Stock datatrove", Path(sys.executable), "stock_datatrove.py", STOCK_SAMPLE),
        ("Dolma's taggers", DOLMA, "dolma_taggers.py", DOLMA_SAMPLE),
    )
    return {
        title: _other(title, python, script, _texts(_part(table, rows)), language_model, ours)
        for title, python, script, rows in others
    }


def _texts(table: pa.Table) -> list[str]:
    rows = zip(table["title"].to_pylist(), table["text"].to_pylist(), strict=True)
    return [f"{title}\n\n{text}" for title, text in rows]


def _language_model(texts: list[str], scratch: Path) -> Path:
    """A stand-in for lid.176: its shape and cost, not its knowledge."""
    import fasttext

    examples_texts = _example_posts(200)["text"].to_pylist()
    stages = ready_stages(load_recipe("quickstart").stages.model_dump_json())
    language = next(stage for stage in stages if stage.name == "language")
    texts = texts + examples_texts
    batch = pa.record_batch({"text": pa.array(texts), "language_hint": pa.nulls(len(texts), pa.string())})
    labels = language.apply(batch)["language"].to_pylist()
    lines = scratch / "languages.txt"
    with lines.open("w", encoding="utf-8") as stream:
        for label, text in zip(labels, texts, strict=True):
            stream.write(f"__label__{label} {' '.join(text.split())}\n")
    model = fasttext.train_supervised(
        str(lines), dim=16, minn=2, maxn=4, loss="hs", bucket=2_000_000, epoch=1, thread=1, verbose=0
    )
    path = scratch / "languages.bin"
    model.save_model(str(path))
    return path


def _other(
    title: str, python: Path, script: str, texts: list[str], language_model: Path, ours: float
) -> dict[str, Any] | None:
    if not python.exists():
        console.print(f"\n{title}: not measured, {python.parent.parent.name} is not there; `make bench` makes it")
        return None
    sample = language_model.with_name(f"{script}.jsonl")
    sample.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    models = (language_model, MODELS / "prosocial" / "model.ftz")
    command = [str(item) for item in (python, Path(__file__).with_name(script), sample, *models)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=sample.parent, check=False)
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        console.print(f"\n{title}: not measured ({reason}); `make bench` installs what it needs")
        return None
    seconds: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    table = _table(f"{title} · {len(texts):,} posts, {megabytes:.1f} MB", "step, alone", "MB/s", "posts/s")
    for name, value in seconds.items():
        table.add_row(name, f"{megabytes / value:,.2f}", f"{len(texts) / value:,.0f}")
    total = sum(seconds.values())
    table.add_section()
    table.add_row("all of them", f"{megabytes / total:,.2f}", f"{len(texts) / total:,.0f}", style="bold")
    ratio = ours / (megabytes / total)
    table.add_row("ours, reading and writing included", f"{ours:,.2f}", f"{ratio:,.1f} ×", style="bold")
    console.print(table)
    rates = {name: megabytes / value for name, value in seconds.items()}
    return {"steps": rates, "all": megabytes / total, "ratio": ratio, "documents": len(texts)}


if __name__ == "__main__":
    main()
