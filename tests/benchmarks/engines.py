"""What an engine adds to the work: CPU seconds of whole runs above a plain loop over the same tasks.

    python -m tests.benchmarks.engines [--rows N] [--json FILE]

Every run is a process of its own and counts user and system seconds of all processes that it starts. The
start-up of each engine is that of a run over a few posts and is taken off; what remains is compared. The
posts beside the checkout are taken twice, the second time under other titles, so that they are at least
200 MB of different documents.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .measure import Measured, run_measured
from .score_path import FEW, _forum, _part, _posts, _stored, _table, console

__all__ = ["main"]

# Engine, workers, and how much it may add.
ENGINES = (("plain", 1, None), ("local", 2, 0.10), ("beam", 1, 0.20), ("beam", 2, 0.20))
SPLITS = "reading.split_bytes=8388608"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, help="take so many posts only, for a quick look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="florilegium-bench-") as folder:
        scratch = Path(folder)
        table = pq.read_table(_posts(scratch, None) / "posts.parquet", columns=["id", "title", "text"])
        again = table.set_column(1, "title", pc.binary_join_element_wise("Once more:", table["title"], " "))
        table = pa.concat_tables([table, again])
        figures = compare(_part(table, arguments.rows or table.num_rows), scratch)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


def compare(table: pa.Table, scratch: Path) -> dict[str, Any]:
    """Run every engine over all posts and over a few; returns what each adds, as a share."""
    all_posts, few = _stored(table, scratch / "all"), _stored(_part(table, FEW), scratch / "few-posts")
    more = [
        SPLITS,
        "inputs.posts.fields.url=null",
        "inputs.posts.fields.created=null",
        "inputs.posts.fields.group=null",
    ]
    run_measured("forum", _forum(few, *more), scratch / "warm-up")  # numba compiles what it has not cached
    runs: dict[str, tuple[Measured, Measured]] = {}
    for engine, workers, _ in ENGINES:
        name = f"{engine}, {workers} worker{'s' * (workers > 1)}" if engine != "plain" else "plain loop"
        runs[name] = (
            run_measured("forum", _forum(few, *more), scratch / f"few-{engine}-{workers}", workers, engine),
            run_measured("forum", _forum(all_posts, *more), scratch / f"all-{engine}-{workers}", workers, engine),
        )
    megabytes = runs["plain loop"][1].text_bytes / 1e6
    shown = _table(
        f"Engines · {table.num_rows:,} posts, {megabytes:,.0f} MB of text, read to shards",
        *("engine", "start-up, CPU s", "work, CPU s", "MB/s", "above plain", "may be"),
    )
    figures: dict[str, Any] = {"documents": table.num_rows, "text_megabytes": megabytes, "engines": {}}
    plain = runs["plain loop"][1].cpu_seconds - runs["plain loop"][0].cpu_seconds
    for (name, (start, whole)), (_, _, bound) in zip(runs.items(), ENGINES, strict=True):
        work = whole.cpu_seconds - start.cpu_seconds
        added = work / plain - 1
        cells = (f"{start.cpu_seconds:.1f}", f"{work:.1f}", f"{megabytes / work:.1f}")
        shown.add_row(name, *cells, *(("", "") if bound is None else (f"{added:+.1%}", f"{bound:.0%}")))
        figures["engines"][name] = {"start_up": start.cpu_seconds, "work": work, "above_plain": added, "bound": bound}
    console.print(shown)
    return figures


if __name__ == "__main__":
    main()
