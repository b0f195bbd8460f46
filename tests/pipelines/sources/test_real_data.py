"""Archives of the real world, broken ones included: no exception, and every record is accounted for."""

import gzip
from collections import Counter
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real data of ../shared/data is not here")

SUFFIXES = (".warc", ".warc.gz", ".wet.gz", ".wat.gz", ".lz4", ".bad")
ARCHIVES = sorted(path for path in (DATA / "web").rglob("*") if path.name.endswith(SUFFIXES)) if DATA.is_dir() else []
# FastWARC stops at, or reads over, what these files have wrong; warcio agrees with the numbers given.
COUNTS = {"example.warc": 6, "missing-status-text.warc": 1, "clueweb-quirk.warc.gz": 30}
OF_ONE_CRAWL = {f"pages-{number:03d}.warc.gz" for number in (1, 2, 3)}  # like the first, at four seconds each


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.long] if path.name in OF_ONE_CRAWL else []) for path in ARCHIVES],
    ids=lambda path: path.name,
)
def test_every_record_is_a_row_or_skipped(read_all, path: Path) -> None:
    rows, skipped = read_all(path)
    expected = COUNTS.get(path.name)
    if expected is None:
        with path.open("rb") as file:
            expected = sum(1 for _ in ArchiveIterator(file, record_types=WarcRecordType.any_type, parse_http=False))
    assert len(rows) + sum(skipped.values()) == expected
    split_bytes = max(1024, path.stat().st_size // 5)
    assert read_all(path, split_bytes=split_bytes) == (rows, skipped)


def test_pages_give_text_in_which_the_expected_sentences_stand(read_all) -> None:
    rows, _ = read_all(DATA / "web" / "pages-000.warc.gz")
    assert len(rows) == 200
    assert sum(row["error"] is None for row in rows) >= 195
    assert Counter(row["title"] is None for row in rows)[True] < 20


def test_compressed_json_lines(read_all) -> None:
    for path in sorted((DATA / "web" / "real").rglob("*.jsonl.gz")):
        rows, _ = read_all(path)
        assert len(rows) == gzip.decompress(path.read_bytes()).count(b"\n")
        assert all(row["error"] is None for row in rows)
