"""Lines that a site repeats go; a page's own lines, copies of one page, and pages without a host stay."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.boilerplate import note_lines, remove_lines, repeated_lines
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.validation import validate
from florilegium.schemas.recipe import BoilerplateOptions
from florilegium.schemas.run import StoredTable

MENU = "Home  About  Contact"
NOTICE = "  We use cookies.  "


def page(number: int) -> str:
    return f"{MENU}\nThis is the story of day {number}, told once.\n\n{NOTICE}\nIt ended well, on day {number}."


def batch(*rows: tuple[str | None, str]) -> pa.RecordBatch:
    urls, texts = zip(*rows, strict=True)
    flags = pa.array([[]] * len(rows), pa.list_(pa.string()))
    return pa.record_batch({"url": pa.array(urls, pa.string()), "text": pa.array(texts), "flags": flags})


def find(tmp_path: Path, *batches: pa.RecordBatch, **options: float) -> np.ndarray:
    files = []
    for index, one in enumerate(batches):
        files.append(str(tmp_path / f"{index}.parquet"))
        pq.write_table(note_lines(one), files[-1])
    return repeated_lines(files, BoilerplateOptions.model_validate(options))


def test_what_a_site_repeats_goes_and_nothing_else(tmp_path: Path) -> None:
    site = [(f"https://www.a.example/{number}", page(number)) for number in range(6)]
    repeated = find(tmp_path, batch(*site[:2]), batch(*site[2:]), min_pages=5)
    assert len(repeated) == 2
    other = [("https://b.example/1", page(1)), (None, page(2))]
    cleaned, removed = remove_lines(batch(site[0], *other), repeated)
    own = "This is the story of day 0, told once.\n\nIt ended well, on day 0."
    assert cleaned["text"].to_pylist() == [own, page(1), page(2)]
    assert cleaned["flags"].to_pylist() == [["boilerplate.removed"], [], []]
    assert removed == 2


def test_copies_of_one_page_are_one_page(tmp_path: Path) -> None:
    copies = [(f"https://a.example/?session={number}", page(7)) for number in range(9)]
    assert len(find(tmp_path, batch(*copies), min_pages=2)) == 0


def test_a_line_on_few_of_many_pages_is_no_boilerplate(tmp_path: Path) -> None:
    pages = [(f"https://a.example/{number}", f"Told once on day {number}.") for number in range(95)]
    pages += [(f"https://a.example/song/{number}", f"Chorus\nVerse {number}") for number in range(5)]
    assert len(find(tmp_path, batch(*pages))) == 0
    assert len(find(tmp_path, batch(*pages), min_share=0.05)) == 1


def test_nothing_to_remove(tmp_path: Path) -> None:
    repeated = find(tmp_path, batch((None, "a")), batch(("https://a.example", "")))
    assert remove_lines(batch((None, "a")), repeated) == (batch((None, "a")), 0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "pages.jsonl"
    lines = [{"id": str(number), "url": f"https://a.example/{number}", "text": page(number)} for number in range(40)]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def run(site: Path, output: Path, *more: str) -> Outcome:
    overrides = [f"inputs.posts.paths=[{site}]", "inputs.posts.fields.text=text", "policy.min_words=1", *more]
    return execute(plan_run(load_recipe("forum", overrides)), str(output), load_engine("local", 1))


def files(outcome: Outcome) -> list[StoredTable]:
    return [*outcome.run.manifest.shards, *outcome.run.manifest.rejects]


def test_a_run_removes_and_counts_them_whatever_the_splits(site: Path, tmp_path: Path) -> None:
    whole = run(site, tmp_path / "whole", "boilerplate={}")
    assert whole.ledger.boilerplate_lines == {"posts": 80}
    texts = pq.read_table(tmp_path / "whole/scored/00000-000.parquet")["text"].to_pylist()
    assert sorted(texts)[0] == "This is the story of day 0, told once.\n\nIt ended well, on day 0."
    assert [check.faults for check in validate(str(tmp_path / "whole"))] == [[]] * 7
    parts = run(site, tmp_path / "parts", "boilerplate={}", "reading.split_bytes=1024")
    assert files(parts) == files(whole)
    assert len(parts.run.manifest.scored) > 1
    off = run(site, tmp_path / "off")
    assert off.ledger.boilerplate_lines == {}
    assert files(off) != files(whole)
