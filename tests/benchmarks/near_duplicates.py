"""How well and how fast near-duplicates are found, beside datatrove's MinHash on the same posts in one run.

    python -m tests.benchmarks.near_duplicates [--posts N] [--json FILE]

Each post gets a copy in which a share of its words is replaced by words of other posts. *Theory* is what bands
promise for the true Jaccard similarity of each pair, averaged; recall is the share of planted pairs that meet in
a bucket. Precision is taken over all pairs of all posts and copies that meet: the share of them whose true
similarity is at least 0.5. Both sides use 5-word shingles and 14 bands of 8, each with its own words; a
similarity is always that of the side's own shingles.
"""

import argparse
import json
import random
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from florilegium.pipelines.stages.minhash import Minhash
from florilegium.schemas.document import BUCKETS
from florilegium.schemas.recipe import MinhashOptions
from rich.console import Console

from .measure import ROOT
from .score_path import _example_posts, _part, _table, _texts

DATA = ROOT.parent / "shared" / "data" / "forum"
SHARES = (0.02, 0.05, 0.10, 0.20)
LEAST_WORDS, LEAST_SIMILAR = 50, 0.5
ROUNDS = 3

Signed = tuple[list[list[Any]], list[set[Any]], float]  # buckets, shingles, CPU seconds of the buckets
console = Console(highlight=False, width=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--posts", type=int, default=600, help="posts to edit")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE too")
    arguments = parser.parse_args()
    posts = _posts(arguments.posts)
    words = sorted({word for post in posts for word in post.split()})
    groups = [posts, *([edited(post, share, words, index) for index, post in enumerate(posts)] for share in SHARES)]
    texts = [text for group in groups for text in group]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    sides: dict[str, Callable[[Sequence[str]], Signed]] = {"ours": _ours, "datatrove": _datatrove}
    figures: dict[str, Any] = {"posts": len(posts), "text_megabytes": megabytes}
    table = _table(
        f"Near-duplicates · {len(posts)} posts with {len(SHARES)} copies each, {megabytes:.1f} MB",
        "words changed", "Jaccard", "theory", "recall", "precision", "MB/s",
    )  # fmt: skip
    for title, sign in sides.items():
        buckets, shingles, seconds = sign(texts)
        pairs = meetings(buckets)
        precision = sum(similarity(shingles[a], shingles[b]) >= LEAST_SIMILAR for a, b in pairs) / max(len(pairs), 1)
        figures[title] = {
            "megabytes_per_second": megabytes / seconds,
            "pairs": len(pairs),
            "precision": precision,
            "planted": {},
        }
        table.add_row(title, "", "", "", f"{precision:.2%}", f"{megabytes / seconds:,.2f}", style="bold")
        for level, share in enumerate(SHARES, start=1):
            planted = [(index, level * len(posts) + index) for index in range(len(posts))]
            alike = [similarity(shingles[a], shingles[b]) for a, b in planted]
            theory = sum(1 - (1 - value**8) ** 14 for value in alike) / len(alike)
            recall = sum(pair in pairs for pair in planted) / len(planted)
            mean = sum(alike) / len(alike)
            figures[title]["planted"][share] = {"jaccard": mean, "theory": theory, "recall": recall}
            table.add_row(f"  {share:.0%}", f"{mean:.3f}", f"{theory:.1%}", f"{recall:.1%}", "", "")
    figures["ratio"] = figures["ours"]["megabytes_per_second"] / figures["datatrove"]["megabytes_per_second"]
    table.add_section()
    table.add_row("times as fast", "", "", "", "", f"{figures['ratio']:,.0f} ×", style="bold")
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


def _posts(number: int) -> list[str]:
    """Evenly spaced posts of at least LEAST_WORDS words, no two the same."""
    if DATA.is_dir():
        table = pa.concat_tables(pq.read_table(path) for path in sorted(DATA.glob("*.parquet")))
    else:
        console.print("no forum data beside the checkout: the embedded example")
        table = _example_posts(number)
    texts = [text for text in dict.fromkeys(_texts(_part(table, 3 * number))) if len(text.split()) >= LEAST_WORDS]
    return texts[:number]


def edited(text: str, share: float, words: Sequence[str], seed: int) -> str:
    """The text with each word replaced with the probability `share`; white space stays."""
    source = random.Random(f"{seed}:{share}")
    return re.sub(r"\S+", lambda word: source.choice(words) if source.random() < share else word[0], text)


def meetings(buckets: Sequence[Sequence[Any]]) -> set[tuple[int, int]]:
    """Pairs of documents that share a bucket, the smaller index first."""
    members: dict[Any, list[int]] = defaultdict(list)
    for index, found in enumerate(buckets):
        for bucket in found:
            members[bucket].append(index)
    return {pair for group in members.values() for pair in combinations(group, 2)}


def similarity(one: set[Any], other: set[Any]) -> float:
    """Jaccard."""
    return len(one & other) / max(len(one | other), 1)


def _ours(texts: Sequence[str]) -> Signed:
    stage = Minhash(MinhashOptions())
    stage.setup()
    batch = pa.record_batch({"text": pa.array(texts)})
    seconds = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        signed = stage.apply(batch)
        seconds = min(seconds, time.process_time() - started)
    words = [re.findall(r"[^\W_]+", text.lower()) for text in texts]
    return signed[BUCKETS].to_pylist(), [set(zip(*(found[k:] for k in range(5)))) for found in words], seconds  # noqa: B905


def _datatrove(texts: Sequence[str]) -> Signed:
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    with tempfile.TemporaryDirectory() as folder:
        step = MinhashDedupSignature(folder, MinhashConfig())
        step.get_shingles("to load its tokenizer")
        started = time.process_time()
        shingles = [step.get_shingles(text) for text in texts]
        signed = [step.get_signature(found) for found in shingles]
        seconds = time.process_time() - started
    buckets = [[(band, *minima) for band, minima in enumerate(found)] for found in signed]
    return buckets, [set(found[:, 0].tolist()) for found in shingles], seconds


if __name__ == "__main__":
    main()
