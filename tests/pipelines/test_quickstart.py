"""The demo shows what it promises: every reason that its policy can give, every dimension, every phase."""

from pathlib import Path

import duckdb
import pytest
from florilegium.pipelines.decide import REASONS
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.examples.build import read_collection
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.schemas.taxonomy import PROSOCIAL

# Toxic harms whose floor the recipe does not set, or that no text written for a public repository should reach; and
# what only a run with synthetic documents leaves out.
NOT_SHOWN = {
    *(f"classify.toxic.{harm}" for harm in ("hate", "violence", "sexual", "self_harm", "illicit", "manipulation")),
    "synthesis.composer",
}
# Rule sets of the field, which the example leaves off; `test_statistics_parity.py` shows their reasons.
PRESETS = ("statistics.gopher_quality.", "statistics.gopher_repetition.", "statistics.c4.", "statistics.fineweb.")


def run(output: Path, engine: str = "local") -> Outcome:
    return execute(plan_run(load_recipe("quickstart")), str(output), load_engine(engine, 1))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(tmp_path_factory.mktemp("demo") / "run")


def test_every_reason_occurs(demo: Outcome) -> None:
    shown = {reason for reason in REASONS if not reason.startswith(PRESETS)} - NOT_SHOWN
    assert shown <= set(demo.ledger.reasons)
    failures = {"read.not_json", "read.not_an_object", "read.no_text", "read.empty", "extract.empty"}
    assert failures <= set(demo.ledger.reasons)
    assert {"warc.request", "warc.revisit", "http.status_404"} <= set(demo.ledger.skipped)


def test_every_document_has_the_reasons_it_was_written_for(demo: Outcome) -> None:
    query = f"select source_id, url, reasons from '{demo.run.folder.url}/rejects/*.parquet'"
    rows = duckdb.connect().execute(query).fetchall()
    found = {key: set(reasons) for source_id, url, reasons in rows for key in (source_id, url) if key}
    for document in read_collection().documents:
        wanted = {reason for reason in document.expect if not reason.startswith("dedup.")}
        assert wanted <= found.get(document.source_id, set()), document.id


def test_every_prosocial_dimension_is_found_and_rewarded(demo: Outcome) -> None:
    connection = duckdb.connect()
    for name in PROSOCIAL:
        query = f"select max(prosocial.{name}) from '{demo.run.folder.url}/shards/*.parquet'"
        (highest,) = connection.execute(query).fetchone() or (0,)
        assert highest > 0.1, name
    query = f"select max(weight), min(weight) from '{demo.run.folder.url}/shards/*.parquet'"
    highest, lowest = connection.execute(query).fetchone() or (0, 0)
    assert highest > 2
    assert lowest < 0.5


def test_personal_data_is_nowhere_in_the_run(demo: Outcome) -> None:
    folder = Path(demo.run.folder.url)
    connection = duckdb.connect()
    for part in ("scored", "shards", "rejects"):
        query = f"select count(*) from '{folder}/{part}/*.parquet' where regexp_matches(text, '@[a-z.-]+[.]example')"
        assert connection.execute(query).fetchone() == (0,)
    masked = f"select count(*) from '{folder}/scored/*.parquet' where list_contains(flags, 'personal_data.masked')"
    assert (connection.execute(masked).fetchone() or (0,))[0] >= 5


def test_beam_writes_the_same_bytes(demo: Outcome, tmp_path: Path) -> None:
    other = run(tmp_path / "beam", engine="beam")
    assert [table.sha256 for table in other.run.manifest.shards] == [table.sha256 for table in demo.run.manifest.shards]
    assert other.ledger == demo.ledger
