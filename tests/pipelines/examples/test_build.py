"""The embedded example is what its YAML says, is all invented, and meets the rules that it is there to show."""

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType
from florilegium.pipelines import examples
from florilegium.pipelines.decide import REASONS as POLICY_REASONS
from florilegium.pipelines.decide import content_reasons, provenance_reasons
from florilegium.pipelines.examples.build import (
    Collection,
    Document,
    build,
    json_lines,
    read_collection,
    tables,
    warc_records,
)
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.sources import REASONS as READ_REASONS
from florilegium.pipelines.sources import RecordReader, plan_splits
from florilegium.pipelines.stages.language import Language
from florilegium.pipelines.stages.normalize import Normalize
from florilegium.pipelines.stages.personal_data import PersonalData
from florilegium.pipelines.stages.statistics import Statistics
from florilegium.schemas.document import SCORED
from florilegium.schemas.recipe import ExtractionOptions, Policy, Reading, Stages
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL

FOLDER = Path(str(examples.__file__)).parent
WARC, JSONL = FOLDER / "quickstart.warc.gz", FOLDER / "quickstart.jsonl.gz"
RECIPE = load_recipe("quickstart")
# What a classifier makes of a document is its own affair; the rules that count are the example's.
POLICY = RECIPE.policy.model_copy(update={"min_quality": None, "max_toxic": {}})


@pytest.fixture(scope="module")
def collection() -> Collection:
    return read_collection()


def read(name: str, path: Path) -> tuple[list[pa.RecordBatch], dict[str, int]]:
    source = next(item for item in RECIPE.inputs if item.name == name)
    batches: list[pa.RecordBatch] = []
    skipped: Counter[str] = Counter()
    for split in plan_splits(source, Reading()):
        reader = RecordReader(split, source, Reading(), ExtractionOptions())
        batches += reader
        skipped.update(reader.skipped)
    return batches, dict(skipped)


@pytest.fixture(scope="module")
def records() -> tuple[list[pa.RecordBatch], dict[str, int]]:
    """What the readers make of both files, and what they pass over."""
    (pages, skipped_pages), (posts, skipped_posts) = read("pages", WARC), read("posts", JSONL)
    return pages + posts, skipped_pages | skipped_posts


@pytest.fixture(scope="module")
def scored(records: tuple[list[pa.RecordBatch], dict[str, int]]) -> pa.Table:
    """All rows after the stages that need no model."""
    options = Stages()
    stages = [
        Normalize(options.normalize),
        Language(options.language),
        PersonalData(options.personal_data),
        Statistics(options.statistics),
    ]
    for stage in stages:
        stage.setup()
    batches = records[0]
    for stage in stages:
        batches = [stage.apply(batch) for batch in batches]
    table = pa.Table.from_batches(batches)
    for name in ("quality", "harm"):
        table = table.append_column(SCORED.field(name), pa.nulls(len(table), SCORED.field(name).type))
    return table


def warc_rows() -> Iterator[tuple[str, str | None, bool]]:
    """(kind, URL, whether the digests hold) of each record, as FastWARC reads it."""
    with WARC.open("rb") as stream:
        for record in ArchiveIterator(stream, parse_http=False, record_types=WarcRecordType.any_type):
            valid = record.verify_block_digest()
            if record.headers["WARC-Type"] == "response":
                record.parse_http()
                valid = valid and record.verify_payload_digest()
            yield record.headers["WARC-Type"], record.headers.get("WARC-Target-URI"), valid


def test_rebuilding_gives_the_same_bytes(tmp_path: Path) -> None:
    warc, jsonl = build(tmp_path)
    assert gzip.decompress(warc.read_bytes()) == gzip.decompress(WARC.read_bytes())
    assert gzip.decompress(jsonl.read_bytes()) == gzip.decompress(JSONL.read_bytes())


def test_readme_holds_the_tables_of_this_collection(collection: Collection) -> None:
    assert tables(collection) in (FOLDER / "README.md").read_text("utf-8")


def test_size() -> None:
    assert WARC.stat().st_size + JSONL.stat().st_size < 300_000


def test_warc_records_are_sound() -> None:
    rows = list(warc_rows())
    kinds = Counter(kind for kind, _, _ in rows)
    assert kinds == {"response": 87, "warcinfo": 1, "request": 3, "revisit": 1, "metadata": 1}
    assert all(valid for _, _, valid in rows)


def test_every_warc_record_is_one_gzip_member(collection: Collection) -> None:
    data, members = WARC.read_bytes(), []
    while data:
        member = zlib.decompressobj(31)
        members.append(member.decompress(data))
        data = member.unused_data
    assert members == list(warc_records(collection))


def test_lines(collection: Collection) -> None:
    lines = gzip.decompress(JSONL.read_bytes()).split(b"\n")
    assert lines.pop() == b""
    assert lines == list(json_lines(collection))
    assert len(lines) == 109
    objects = [json.loads(line) for line in lines if not line.startswith((b'{"id": "line-', b"["))]
    assert len(objects) == 104
    for one in objects:
        assert set(one) - {"created"} == {"id", "text", "title", "url", "license", "community"}
        assert one["license"] in ("cc-by-4.0", "cc0-1.0", "all-rights-reserved")


def test_source_ids_are_unique(collection: Collection) -> None:
    names = [one.source_id for one in collection.documents] + [one.id for one in collection.lines]
    assert max(Counter(names).values()) == 1
    assert max(Counter(one.page for one in collection.pages()).values()) == 1


def test_nothing_points_outside_the_example(collection: Collection) -> None:
    urls = [url for _, url, _ in warc_rows() if url] + [one.address for one in collection.documents]
    everything = "\n".join(one.text + (one.html or "") for one in collection.documents)
    urls += re.findall(r"https?://[^\s\"'<>]+", everything)
    assert all(str(urlsplit(url).hostname).endswith(".example") for url in urls)
    addresses = re.findall(r"[\w.+-]+@([\w.-]*\w\.\w+)", everything)
    assert len(addresses) >= 5
    assert all(host.endswith(".example") for host in addresses)


def test_telephone_numbers_are_reserved_for_fiction(collection: Collection) -> None:
    everything = "\n".join(one.text for one in collection.documents)
    numbers = re.findall(r"(?:\+\d[\d -]{8,}\d|(?<!\d )\b0\d{2,3} \d{3,4} \d{4}\b)", everything)
    assert len(numbers) >= 6
    fictional = re.compile(r"\+1[- ]202[- ]555[- ]01\d\d|(?:\+44 |0)20 7946 0\d{3}")
    assert all(fictional.fullmatch(number) for number in numbers)


def test_annotations_use_known_names(collection: Collection) -> None:
    for one in collection.documents:
        assert set(one.grades) | set(one.near_miss) <= set(PROSOCIAL), one.id
        assert set(one.harm) | set(one.about) <= set(HARMS), one.id
        assert set(one.expect) <= {*POLICY_REASONS, "dedup.near"}, one.id
        assert one.failed is None or one.failed in READ_REASONS, one.id


def test_every_dimension_is_shown_at_least_six_times(collection: Collection) -> None:
    graded = Counter(name for one in collection.documents for name in one.grades)
    strong = Counter(name for one in collection.documents for name, grade in one.grades.items() if grade == 3)
    assert all(graded[name] >= 6 for name in PROSOCIAL)
    assert all(strong[name] >= 3 for name in PROSOCIAL)
    assert all(80 <= len(one.text.split()) <= 300 for one in collection.documents if one.grades)


def last_words(one: Document) -> list[str]:
    """The end of each paragraph, without markup."""
    plain = re.sub(r"\*\*", "", one.text)
    return [re.sub(r"\s+", " ", line).strip()[-40:].lstrip("-• ") for line in plain.splitlines() if line.strip()]


def test_readers_find_every_text_whole(
    collection: Collection, records: tuple[list[pa.RecordBatch], dict[str, int]]
) -> None:
    found: dict[str, str] = {}
    for batch in records[0]:
        for name, text in zip(batch["source_id"].to_pylist(), batch["text"].to_pylist(), strict=True):
            found[name] = re.sub(r"\s+", " ", text)
    for one in collection.documents:
        if one.skipped is None and one.truncated is None and not one.splice and one.hex is None:
            for ending in last_words(one):
                assert re.sub(r"^(?:#+|\d+\.) ", "", ending) in found[one.source_id], one.id


def test_failed_skipped_and_flagged(
    collection: Collection, records: tuple[list[pa.RecordBatch], dict[str, int]]
) -> None:
    batches, skipped = records
    rows = [row for batch in batches for row in batch.to_pylist()]
    wanted = Counter(one.failed for one in (*collection.documents, *collection.lines) if one.failed)
    assert Counter(row["error"] for row in rows if row["error"]) == wanted
    assert skipped == {
        "warc.warcinfo": 1,
        "warc.request": 3,
        "warc.revisit": 1,
        "warc.metadata": 1,
        **Counter(one.skipped for one in collection.documents if one.skipped),
    }


def test_what_was_saved_is_flagged(collection: Collection, scored: pa.Table) -> None:
    ignored = {"personal_data.masked"}  # a test of its own
    rows = zip(scored["source_id"].to_pylist(), scored["flags"].to_pylist(), strict=True)
    assert {name: found for name, flags in rows if (found := set(flags) - ignored)} == {
        (one.source_id if isinstance(one, Document) else one.id): set(one.flags)
        for one in (*collection.documents, *collection.lines)
        if one.flags
    }


def reasons(table: pa.Table, policy: Policy) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {name: set() for name in table["source_id"].to_pylist()}
    for decided in (provenance_reasons(table, policy), content_reasons(table, policy)):
        for reason, mask in decided.masks.items():
            for name in table["source_id"].filter(pa.array(mask)).to_pylist():
                found[name].add(reason)
    return found


def test_rules_leave_out_what_they_should_and_nothing_else(collection: Collection, scored: pa.Table) -> None:
    found = reasons(scored, POLICY)
    for one in collection.documents:
        if one.failed is None and one.skipped is None:
            wanted = {reason for reason in one.expect if not reason.startswith("dedup.")}
            assert wanted <= found[one.source_id], one.id
            assert bool(wanted) == bool(found[one.source_id]), (one.id, found[one.source_id])


def test_exact_copies_share_an_id_and_near_copies_do_not(collection: Collection, scored: pa.Table) -> None:
    sound = scored.filter(pc.is_null(scored["error"]))
    clusters: dict[str, set[Any]] = {}
    for name, document in zip(sound["source_id"].to_pylist(), sound["id"].to_pylist(), strict=True):
        clusters.setdefault(document, set()).add(name)
    by_id = {one.id: one.source_id for one in collection.documents}
    assert {frozenset(names) for names in clusters.values() if len(names) > 1} == {
        frozenset({by_id["bicycle-puncture"], by_id["bicycle-puncture-print"]}),
        frozenset({"chain-letter-lower", "chain-letter-shouted"}),
        frozenset({"notice-water", "notice-water-again", "notice-water-third"}),
    }
    assert sum("dedup.near" in one.expect for one in collection.documents) == 4


def test_languages_and_personal_data(collection: Collection, scored: pa.Table) -> None:
    languages = dict(zip(scored["source_id"].to_pylist(), scored["language"].to_pylist(), strict=True))
    found = dict(zip(scored["source_id"].to_pylist(), scored["personal_data"].to_pylist(), strict=True))
    for one in collection.documents:
        if one.failed or one.skipped:
            continue
        if not one.expect or one.language != "en":
            assert languages[one.source_id] == one.language, one.id
        counts = {kind: count for kind, count in found[one.source_id].items() if count}
        assert counts == (one.personal_data or {}), one.id
