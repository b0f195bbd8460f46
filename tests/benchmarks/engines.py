"""What an engine adds to the work: CPU seconds of whole runs above a plain loop over the same tasks.

    python -m tests.benchmarks.engines [--rows N] [--json FILE]

Every run is a process of its own, and counts user and system seconds of all processes that it starts; it
stands beside a plain loop in as many processes. The start-up of each is that of a run over a few posts and
is taken off; what remains is compared. The posts beside the checkout are taken twice, the second time under
other titles, so that they are at least 200 MB of different documents.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .measure import Measured, run_measured
from .score_path import FEW, _forum, _part, _posts, _stored, _table, console

__all__ = ["main"]

# Engine, workers, and how much it may add to a plain loop in as many processes.
ENGINES = (("local", 1, 0.10), ("beam", 1, 0.20), ("local", 2, 0.10), ("beam", 2, 0.20))
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

    def work(engine: str, workers: int, name: str) -> tuple[float, float, Measured]:
        """CPU seconds of start-up and of the work beyond it, and the whole run."""
        start, whole = (
            run_measured("forum", _forum(posts, *more), scratch / f"{name}-{posts.name}", workers, engine)
            for posts in (few, all_posts)
        )
        shutil.rmtree(scratch / f"{name}-{all_posts.name}")
        return start.cpu_seconds, whole.cpu_seconds - start.cpu_seconds, whole

    shown = _table(
        f"Engines · {table.num_rows:,} posts, {table.nbytes / 1e6:,.0f} MB, read to shards; CPU seconds",
        *("engine", "start-up", "work", "plain loop", "above (bound)"),
    )
    figures: dict[str, Any] = {"documents": table.num_rows, "engines": {}}
    for engine, workers, bound in ENGINES:
        name = f"{engine}, {workers} worker{'s' * (workers > 1)}"
        # Each beside its own plain loop: what else the machine does changes what a CPU second is worth.
        _, plain, whole = work("plain", workers, f"plain-{engine}-{workers}")
        start, seconds, _ = work(engine, workers, f"{engine}-{workers}")
        added = seconds / plain - 1
        shown.add_row(name, f"{start:.1f}", f"{seconds:.1f}", f"{plain:.1f}", f"{added:+.1%} ({bound:.0%})")
        figures["text_megabytes"] = whole.text_bytes / 1e6
        figures["engines"][name] = {"start_up": start, "work": seconds, "plain": plain, "above": added, "bound": bound}
    console.print(shown)
    return figures


if __name__ == "__main__":
    main()
