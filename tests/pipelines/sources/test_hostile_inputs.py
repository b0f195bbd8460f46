"""Pages and texts that are made to break things, from file to shard: each a result or a reason, nothing lost."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.validation import validate

PROSE = "The dough rests for an hour in a warm place, under a cloth, until it has doubled in size. "
HEBREW = "שלום לכל הקוראים היקרים. זה מאמר קצר על לחם ועל סבלנות. "
ARABIC = "مرحبا بكم جميعا. هذا مقال قصير عن الخبز وعن الصبر. "
ACCENTED = "Die Bäckerin läßt den Teig über Nacht stehen, und früh am Morgen öffnet sie die Tür. "
CYRILLIC = "Тесто стоит в тёплом месте целый час, пока не станет вдвое больше. "
MAX_PAGE = 50_000_000


def html(body: str) -> bytes:
    return f"<html><body><article>{body}</article></body></html>".encode()


# Body, Content-Type, and what must be in the text; a reason (with a dot, without a blank) where there is none.
PAGES: dict[str, tuple[bytes, str, str]] = {
    "plain": (html(f"<p>{PROSE * 4}</p>"), "text/html", "doubled in size"),
    "nested": (html("<div>" * 10_000 + PROSE + "</div>" * 10_000), "text/html", "doubled in size"),
    "nested, never closed": (html("<b><div><ul><li>" * 10_000 + PROSE), "text/html", "doubled in size"),
    "scripts only": (html("<script>let a = '<p>no</p>';</script>" * 100), "text/html", "extract.empty"),
    "script never closed": (html(f"<p>{PROSE}</p><script>" + "x" * 100_000), "text/html", "doubled in size"),
    "no text": (html("<p> </p><img src=a.png>" * 100), "text/html", "extract.empty"),
    "empty": (b"", "text/html", "read.empty"),
    "right to left": (html(f"<p dir=rtl>{HEBREW * 3}</p><p dir=rtl>{ARABIC * 3}</p>"), "text/html", ARABIC.strip()),
    "mixed scripts": (
        html(f"<p>{PROSE}{HEBREW}パンを焼く。{CYRILLIC}</p>"),
        "text/html",
        "パンを焼く。" + CYRILLIC[:20],
    ),
    "emoji wall": (html("<p>" + "😀🍞👩‍👩‍👧‍👦🏳️‍🌈" * 20_000), "text/html", "😀🍞"),
    "zero width": (html("<p>" + "do\u200bugh\u200d\ufeff" * 20_000), "text/html", "dough"),
    "homoglyphs": (html("<p>" + "Тhе dоugh rеsts fоr аn hоur in а wаrm plаcе. " * 20), "text/html", "Тhе dоugh"),
    "one word": (html("<p>" + "a" * 1_000_000), "text/html", "a" * 1_000_000),
    "combining marks": (html("<p>a" + "\u0301" * 100_000), "text/html", "á"),
    "latin-1, said to be UTF-8": (ACCENTED.encode("latin-1") * 3, "text/html; charset=utf-8", ACCENTED.strip()),
    "UTF-8, said to be latin-1": (html(f"<p>{ACCENTED * 3}"), "text/html; charset=iso-8859-1", ACCENTED.strip()),
    "windows-1251, said to be latin-1": (CYRILLIC.encode("cp1251") * 3, "text/html; charset=latin1", CYRILLIC.strip()),
    "a charset that there is not": (html(f"<p>{CYRILLIC * 3}"), "text/html; charset=x-no-such", CYRILLIC.strip()),
    "UTF-16 without a mark": (html(f"<p>{PROSE * 3}").decode().encode("utf-16-le"), "text/html", "doubled in size"),
    "bytes at random": (bytes((at * at + 7 * at) % 251 for at in range(100_000)), "text/html", ""),
    "zeros": (b"\0" * 100_000, "text/html", ""),
}

# Text as it comes from a JSON line: no extraction stands before the score path.
TEXTS: dict[str, str] = {
    "one word": "x" * 1_000_000,
    "digits": "1" * 1_000_000,
    "a line a character": "a\n" * 200_000,
    "blanks": "a" + " " * 500_000 + "b",
    "one word over and over": "buffalo " * 100_000,
    "stops": ". " * 200_000,
    "emoji wall": "😀🍞👩‍👩‍👧‍👦🏳️‍🌈" * 20_000,
    "zero width": "\u200b\u200c\u200d\u2060\ufeff" * 50_000 + "a",
    "directions": "\u202e\u2066abc\u2069\u202c" * 50_000,
    "combining marks": "a" + "\u0301" * 200_000,
    "homoglyphs": "Тhе dоugh rеsts fоr аn hоur. " * 2_000,
    "right to left": (HEBREW + ARABIC + PROSE) * 500,
    "hangul": "가나다" * 50_000,
    "ligatures": "ﷺ" * 50_000,
    "addresses": "a@b." * 50_000,
    "lone surrogate": "a \ud800 b",
    "control": "\x00\x01\x02\x1b[31m" * 10_000 + "a",
}


@pytest.fixture(scope="module")
def archive(http: Any, warc: Any, members: Any) -> bytes:
    """One record a page, in the order of PAGES."""
    pages = enumerate(PAGES.values())
    return members([warc(number, http(body, content_type)) for number, (body, content_type, _) in pages])


def run(folder: Path, *overrides: str) -> Outcome:
    recipe = load_recipe("common_crawl", ["weighing.charters={uniform: 1.0}", *overrides])
    outcome = execute(plan_run(recipe), str(folder), load_engine("local", 1))
    assert [fault for check in validate(str(folder)) for fault in check.faults] == []
    return outcome


def rows(outcome: Outcome) -> Iterator[dict[str, Any]]:
    for path in sorted(Path(outcome.run.folder.url, "scored").glob("*.parquet")):
        yield from pq.read_table(path).to_pylist()


def check_numbers(row: dict[str, Any]) -> None:
    """Every number of a scored row is finite, and every share between 0 and 1."""
    statistics = row["statistics"]
    assert all(math.isfinite(value) and value >= 0 for value in statistics.values() if value is not None)
    scores = [
        *(row["prosocial"] or {}).values(),
        *(kind for harm in (row["harm"] or {}).values() for kind in harm.values() if kind is not None),
    ]
    assert all(0 <= score <= 1 for score in [*scores, row["quality"] or 0, row["language_confidence"] or 0])


def test_hostile_pages_from_archive_to_shard(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "pages.warc.gz").write_bytes(archive)
    outcome = run(tmp_path / "run", f"inputs.crawl.paths=[{tmp_path}/pages.warc.gz]", "extraction.timeout_seconds=300")
    found = {row["source_id"]: row for row in rows(outcome)}
    assert outcome.ledger.total("read") == len(found) == len(PAGES)
    for number, (name, (_, _, wanted)) in enumerate(PAGES.items()):
        row = found[f"<urn:test:{number}>"]
        if "." in wanted and " " not in wanted:
            assert row["error"] == wanted, name
        elif wanted:
            assert row["error"] is None, (name, row["error"])
            assert wanted in row["text"].replace("\u200b", "").replace("\u200d", "").replace("\ufeff", ""), name
        if row["error"] is None:
            check_numbers(row)


def test_hostile_texts_from_lines_to_shard(tmp_path: Path) -> None:
    lines = [json.dumps({"id": name, "text": text}) for name, text in TEXTS.items()]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    outcome = run(tmp_path / "run", f"inputs.crawl.paths=[{tmp_path}/texts.jsonl]")
    found = {row["source_id"]: row for row in rows(outcome)}
    assert outcome.ledger.total("read") == len(found) == len(TEXTS)
    assert found.keys() == TEXTS.keys()
    for row in found.values():
        assert row["error"] is None or row["text"] == ""
        check_numbers(row)


def large_page(element: str, text: str) -> bytes:
    """A page of MAX_PAGE bytes: an article, then one kind of element until it is full."""
    begin = html(f"<h1>Bread</h1><p>{PROSE * 4}</p>").removesuffix(b"</article></body></html>")
    filling = f"<{element}>{text}</{element}>\n".encode()
    return begin + filling * ((MAX_PAGE - len(begin)) // len(filling))


@pytest.fixture(scope="module")
def large(http: Any, warc: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a small page, one of 50 MB that is nearly all script, one of 50 MB of prose, and a small page."""
    pages = [
        html(f"<p>{PROSE * 3}</p>"),
        large_page("script", "let a = [" + "0, " * 5_000 + "];"),
        large_page("p", PROSE * 40),
        html(f"<p>{PROSE * 5}</p>"),
    ]
    path = tmp_path_factory.mktemp("large") / "large.warc"
    path.write_bytes(b"".join(warc(number, http(body)) for number, body in enumerate(pages)))
    return path


def test_pages_of_fifty_megabytes_are_refused_and_their_neighbours_are_not(large: Path, tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", f"inputs.crawl.paths=[{large}]")
    errors = {row["source_id"]: row["error"] for row in rows(outcome)}
    assert errors == {
        "<urn:test:0>": None,
        "<urn:test:1>": "read.too_large",
        "<urn:test:2>": "read.too_large",
        "<urn:test:3>": None,
    }
    assert outcome.ledger.total("failed") == 2


@pytest.mark.long
def test_pages_of_fifty_megabytes_are_read_where_the_recipe_says_so(large: Path, tmp_path: Path) -> None:
    options = ["reading.max_document_bytes=100000000", "extraction.timeout_seconds=300"]
    outcome = run(tmp_path / "run", f"inputs.crawl.paths=[{large}]", *options)
    found = {row["source_id"]: row for row in rows(outcome)}
    assert [found[f"<urn:test:{number}>"]["error"] for number in range(4)] == [None] * 4
    assert found["<urn:test:1>"]["text"] == f"Bread\n\n{(PROSE * 4).strip()}"
    assert found["<urn:test:2>"]["text"].count(PROSE.strip()) > 500_000
    for row in found.values():
        check_numbers(row)


def test_a_page_of_fifty_megabytes_that_does_not_fit_the_child_gets_a_reason(large: Path, tmp_path: Path) -> None:
    options = ["reading.max_document_bytes=100000000", "extraction.timeout_seconds=300"]
    options.append(f"extraction.memory_bytes={256 << 20}")
    outcome = run(tmp_path / "run", f"inputs.crawl.paths=[{large}]", *options)
    errors = {row["source_id"]: row["error"] for row in rows(outcome)}
    assert errors["<urn:test:2>"] in ("extract.too_large", "extract.crashed", "extract.failed")
    assert (errors["<urn:test:0>"], errors["<urn:test:3>"]) == (None, None)
