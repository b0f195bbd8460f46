"""The rule sets decide as datatrove's own filters do: on recorded texts, and on real ones where they are at hand.

Known differences: a text without any word is dropped here by the rules that ask for words, not by
Gopher's repetition rules, and single rules on such a text are not compared (datatrove divides by zero,
or takes the mean of nothing).
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.decide import RULE_SETS, content_reasons
from florilegium.pipelines.stages.statistics import Statistics
from florilegium.schemas.recipe import Policy, StatisticsOptions

from tests.pipelines.stages.parity_texts import texts
from tests.pipelines.stages.record_parity import GOLDEN, RULES, decisions

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
DOCUMENTS = int(os.environ.get("PARITY_DOCUMENTS", "40"))  # of each file; 800, 5,000 in all, take minutes
AGREEMENT = 0.99

Decisions = dict[str, list[bool]]


def ours(documents: Sequence[str]) -> tuple[Decisions, list[bool]]:
    """By rule set and by rule, whether each document is left out; and whether it has any word."""
    batch = pa.record_batch({"text": pa.array(documents, pa.string())})
    statistics = Statistics(StatisticsOptions()).apply(batch)["statistics"]
    rows = len(documents)
    table = pa.table(
        {
            "statistics": statistics,
            "error": pa.nulls(rows, pa.string()),
            "language": pa.array(["en"] * rows),
            "language_confidence": pa.array([1.0] * rows, pa.float32()),
        }
    )
    masks = content_reasons(table, Policy.model_validate(dict.fromkeys(RULE_SETS, "default"))).masks
    none = np.zeros(rows, bool)
    found: Decisions = {}
    for group, (_, model) in RULE_SETS.items():
        rules = {rule: masks.get(f"statistics.{group}.{rule}", none) for rule in model.model_fields}
        found[group] = np.logical_or.reduce(list(rules.values())).tolist()
        found |= {f"{group}.{rule}": mask.tolist() for rule, mask in rules.items()}
    return found, (statistics.field("gopher_words").to_numpy() > 0).tolist()


def differences(documents: Sequence[str], recorded: Sequence[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    """`(rule set or rule, row)` wherever the two decide differently."""
    found, has_words = ours(documents)
    for name, mask in found.items():
        for row, (left_out, theirs, words) in enumerate(zip(mask, recorded, has_words, strict=True)):
            if words or name in ("gopher_quality", "c4", "fineweb"):
                expected = name in theirs["rules"] if "." in name else theirs[name] is not None
                if left_out != expected:
                    yield name, row


@pytest.fixture(scope="module")
def golden() -> list[dict[str, Any]]:
    return json.loads(GOLDEN.read_text())


def test_recorded_decisions_are_met(golden: list[dict[str, Any]]) -> None:
    assert list(differences(texts(), golden)) == []


def test_the_record_tries_every_rule_but_the_longest(golden: list[dict[str, Any]]) -> None:
    rules = {f"{group}.{rule}" for group, names in RULES.items() for rule in names}
    assert rules == {f"{group}.{rule}" for group, (_, model) in RULE_SETS.items() for rule in model.model_fields}
    assert rules - {rule for row in golden for rule in row["rules"]} == {"gopher_quality.max_words"}


def test_thresholds_are_the_published_ones() -> None:
    for group, (_, model) in RULE_SETS.items():
        published = {rule: next(iter(arguments.values())) for rule, arguments in RULES[group].items()}
        for rule, limit in model().model_dump().items():
            value = published[rule]
            value = value[0][1] if isinstance(value, tuple) else value
            assert limit == (0 if value is True else value), (group, rule)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the development data in ../shared/data")
def test_real_documents_are_decided_alike() -> None:
    for package in ("spacy", "regex", "nltk"):
        pytest.importorskip(package, reason="needs datatrove[processing] and spacy")
    documents: list[str] = []
    for path in sorted([*SHARED.glob("forum/*.parquet"), *SHARED.glob("text/*.parquet")]):
        column = pq.read_table(path, columns=["text"])["text"].to_pylist()
        documents += [text[:50_000] for text in column[:: max(len(column) // DOCUMENTS, 1)][:DOCUMENTS] if text]
    wrong: dict[str, int] = {}
    for name, _ in differences(documents, [decisions(text) for text in documents]):
        wrong[name] = wrong.get(name, 0) + 1
    print(f"{len(documents)} documents; different decisions: {wrong}")
    assert max(wrong.values(), default=0) <= (1 - AGREEMENT) * len(documents), wrong
