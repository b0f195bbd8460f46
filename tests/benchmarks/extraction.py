"""What extraction finds and leaves out on real pages, and how fast, one extractor beside the other.

    python -m tests.benchmarks.extraction [--json FILE]

The pages and the sentences that their texts should and should not hold are those of trafilatura's evaluation, which
lie beside the checkout where there is real data. Precision is the share of wanted sentences among all that were
found, recall the share of the wanted that were found, leak the share of the unwanted. WARC to text; CPU seconds of
parent and child together.
"""

import argparse
import json
import resource
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.sources import RecordReader, plan_splits
from florilegium.pipelines.sources.extraction import shared_extractor
from rich.console import Console

from .measure import ROOT
from .score_path import _table

DATA = ROOT.parent / "shared" / "data" / "web"
EXTRACTORS = {
    "resiliparse and blocks": [],
    "… comments: false": ["extraction.comments=false"],
    "trafilatura": ["extraction.extractor=trafilatura"],
}
console = Console(highlight=False, width=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE too")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        console.print("Extraction · no real pages beside the checkout: skipped")
        return
    expected = [json.loads(line) for line in (DATA / "pages-expected.jsonl").read_text("utf-8").splitlines()]
    figures: dict[str, Any] = {"pages": len(expected)}
    table = _table(
        f"Extraction · {len(expected)} pages", "extractor", "precision", "recall", "F1", "leak", "comments", "pages/s"
    )
    for name, options in EXTRACTORS.items():
        if name == "trafilatura" and find_spec("trafilatura") is None:
            console.print("trafilatura is not installed: left out")
            continue
        figures[name] = found = measure(expected, options)
        table.add_row(
            name,
            *(f"{found[key]:.3f}" for key in ("precision", "recall", "f1", "leak", "comments")),
            f"{found['pages_per_second']:.0f}",
        )
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


def measure(expected: list[dict[str, Any]], options: list[str]) -> dict[str, float]:
    """Read all archives with an extractor and look for the sentences."""
    recipe = load_recipe("common_crawl", [f"inputs.crawl.paths=[{DATA}/pages-*.warc.gz]", *options])
    texts: dict[str, str] = {}
    pages = 0
    began = _cpu_seconds()
    for split in plan_splits(recipe.inputs[0], recipe.reading):
        for batch in RecordReader(split, recipe.inputs[0], recipe.reading, recipe.extraction):
            texts.update(zip(batch["url"].to_pylist(), batch["text"].to_pylist(), strict=True))
            pages += batch.num_rows
    # A child's time is known when it has ended.
    shared_extractor(recipe.extraction, recipe.reading.max_document_bytes).close()
    seconds = _cpu_seconds() - began

    def count(kind: str) -> tuple[int, int]:
        """How many sentences of a kind were found, of how many."""
        asked = [(page["url"], sentence) for page in expected for sentence in page.get(kind, []) if sentence]
        return sum(sentence in (texts.get(url) or "") for url, sentence in asked), len(asked)

    (found, of_wanted), (leaked, of_unwanted), (heard, of_comments) = map(count, ("with", "without", "comments"))
    precision, recall = found / (found + leaked), found / of_wanted
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall),
        "leak": leaked / of_unwanted,
        "comments": heard / of_comments,
        "pages_per_second": pages / seconds,
    }


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


if __name__ == "__main__":
    main()
