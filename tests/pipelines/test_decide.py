"""Every rule of the policy fires on its own and nowhere else, and a document keeps all its reasons."""

from typing import Any

import pyarrow as pa
import pytest
from florilegium.pipelines.decide import (
    PREFIXES,
    REASONS,
    RULE_SETS,
    Reasons,
    assign_domains,
    content_reasons,
    provenance_reasons,
)
from florilegium.schemas.document import STATISTIC_NAMES
from florilegium.schemas.recipe import Domain, Policy, Takedown, Weighing

from tests.builders import scored_row, scored_table

POLICY = Policy(
    languages=["en", "ja"],
    mean_word_length=(3, 10),
    min_stop_words=2,
    min_quality=0.2,
    max_toxic={"hate": 0.5},
    licenses_allowed=["cc0-1.0", "mit"],
    licenses_denied=["mit"],
    takedown=Takedown(ids=["own-7"], urls=["https://a.example/x"], hosts=["gone.example"]),
)


def reasons_of(row: dict[str, Any], policy: Policy = POLICY) -> list[str]:
    table = scored_table(row)
    reasons = provenance_reasons(table, policy)
    reasons.extend(content_reasons(table, policy))
    return reasons.to_array().to_pylist()[0]


def sound(**changes: Any) -> dict[str, Any]:
    return scored_row(license=changes.pop("license", "cc0-1.0"), **changes)


def test_a_sound_document_has_no_reasons() -> None:
    assert reasons_of(sound()) == []
    assert reasons_of(sound(license="CC0-1.0")) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"error": "read.not_json"}, "read.not_json"),
        ({"source_id": "own-7"}, "takedown.id"),
        ({"url": "https://a.example/x"}, "takedown.url"),
        ({"host": "gone.example"}, "takedown.host"),
        ({"host": "blog.gone.example"}, "takedown.host"),
        ({"license": None}, "license.not_allowed"),
        ({"license": "CC-BY-NC-4.0"}, "license.not_allowed"),
        ({"language": "fr"}, "language.not_wanted"),
        ({"language_confidence": 0.4}, "language.uncertain"),
        ({"language": None, "language_confidence": None, "statistics": {"stop_words": 1}}, "language.uncertain"),
        ({"statistics": {"words": 19}}, "statistics.too_few_words"),
        ({"statistics": {"words": 200_001}}, "statistics.too_many_words"),
        ({"statistics": {"mean_word_length": 10.1}}, "statistics.mean_word_length"),
        ({"statistics": {"symbols_per_word": 0.2}}, "statistics.symbols"),
        ({"statistics": {"bullet_lines": 0.95}}, "statistics.bullet_lines"),
        ({"statistics": {"ellipsis_lines": 0.4}}, "statistics.ellipsis_lines"),
        ({"statistics": {"alphabetic_words": 0.5}}, "statistics.few_alphabetic_words"),
        ({"statistics": {"stop_words": 1}}, "statistics.few_stop_words"),
        ({"statistics": {"duplicate_lines": 0.5}}, "statistics.duplicate_lines"),
        ({"quality": 0.199}, "classify.quality"),
        ({"toxic": {"hate": 0.501}}, "classify.toxic.hate"),
    ],
)
def test_each_rule_fires_alone(changes: dict[str, Any], reason: str) -> None:
    assert reasons_of(sound(**changes)) == [reason]
    assert reason in REASONS or reason.startswith("read.")


PUBLISHED = Policy.model_validate(dict.fromkeys(RULE_SETS, "default"))


@pytest.mark.parametrize(
    ("group", "rule", "at_the_limit", "beyond"),
    [
        ("gopher_quality", "min_words", 50, 49),
        ("gopher_quality", "max_words", 100_000, 100_001),
        ("gopher_quality", "min_word_length", 3.0, 2.99),
        ("gopher_quality", "max_word_length", 10.0, 10.01),
        ("gopher_quality", "max_hashes", 0.1, 0.101),
        ("gopher_quality", "max_ellipses", 0.1, 0.101),
        ("gopher_quality", "max_bullet_lines", 0.9, 0.901),
        ("gopher_quality", "max_ellipsis_lines", 0.3, 0.301),
        ("gopher_quality", "min_alphabetic_words", 0.8, 0.799),
        ("gopher_quality", "min_stop_words", 2, 1),
        ("gopher_repetition", "max_repeated_lines", 0.3, 0.301),
        ("gopher_repetition", "max_repeated_line_characters", 0.2, 0.201),
        ("gopher_repetition", "max_repeated_paragraphs", 0.3, 0.301),
        ("gopher_repetition", "max_repeated_paragraph_characters", 0.2, 0.201),
        ("gopher_repetition", "max_top_2_gram_characters", 0.2, 0.201),
        ("gopher_repetition", "max_top_3_gram_characters", 0.18, 0.181),
        ("gopher_repetition", "max_top_4_gram_characters", 0.16, 0.161),
        ("gopher_repetition", "max_repeated_5_gram_characters", 0.15, 0.151),
        ("gopher_repetition", "max_repeated_6_gram_characters", 0.14, 0.141),
        ("gopher_repetition", "max_repeated_7_gram_characters", 0.13, 0.131),
        ("gopher_repetition", "max_repeated_8_gram_characters", 0.12, 0.121),
        ("gopher_repetition", "max_repeated_9_gram_characters", 0.11, 0.111),
        ("gopher_repetition", "max_repeated_10_gram_characters", 0.1, 0.101),
        ("c4", "min_sentences", 5, 4),
        ("c4", "max_lorem_ipsum_lines", 0, 1),
        ("c4", "max_curly_bracket_lines", 0, 1),
        ("fineweb", "min_terminal_lines", 0.12, 0.119),
        ("fineweb", "max_short_lines", 0.67, 0.671),
        ("fineweb", "max_duplicate_characters", 0.01, 0.0101),
        ("fineweb", "max_newlines", 0.3, 0.301),
    ],
)
def test_each_published_rule_fires_alone_and_can_be_switched_off(
    group: str, rule: str, at_the_limit: float, beyond: float
) -> None:
    statistic = PREFIXES[group] + rule[4:]
    assert reasons_of(sound(statistics={statistic: at_the_limit}), PUBLISHED) == []
    row = sound(statistics={statistic: beyond})
    assert reasons_of(row, PUBLISHED) == [f"statistics.{group}.{rule}"]
    assert f"statistics.{group}.{rule}" in REASONS
    assert reasons_of(row, Policy.model_validate({group: {rule: None}})) == []
    assert reasons_of(row, Policy()) == []


def test_published_rules_that_need_spaced_or_english_words_leave_other_languages_alone() -> None:
    bad = dict.fromkeys(STATISTIC_NAMES, 0) | {"characters": 600}
    assert (
        reasons_of(sound(language="ja", statistics=bad), PUBLISHED.model_copy(update={"min_alphabetic_words": None}))
        == []
    )
    french = reasons_of(sound(language="fr", statistics={"gopher_stop_words": 0}), PUBLISHED)
    assert french == []


def test_limits_themselves_pass() -> None:
    row = sound(statistics={"words": 20, "mean_word_length": 10.0}, quality=0.2, toxic={"hate": 0.5})
    assert reasons_of(row) == []


def test_a_document_keeps_every_reason() -> None:
    row = sound(license="mit", language="fr", toxic={"hate": 0.9})
    assert reasons_of(row) == ["license.denied", "language.not_wanted", "classify.toxic.hate"]


def test_languages_without_spaces_count_characters() -> None:
    few_words = {"words": 2, "mean_word_length": 300.0, "alphabetic_words": 0.0}
    assert reasons_of(sound(language="ja", statistics=few_words)) == []
    assert reasons_of(sound(language="ja", statistics=few_words | {"characters": 39})) == ["statistics.too_few_words"]


def test_documents_without_scores_are_not_judged_by_them() -> None:
    assert reasons_of(sound(language="ja", scored=False)) == []


def test_a_host_is_no_suffix_of_another_name() -> None:
    assert reasons_of(sound(host="notgone.example")) == []


def test_reasons_become_one_list_a_row() -> None:
    reasons = Reasons(3)
    table = scored_table(sound(), sound(license="mit"), sound(license=None))
    reasons.extend(provenance_reasons(table, POLICY))
    assert reasons.to_array().to_pylist() == [[], ["license.denied"], ["license.not_allowed"]]
    assert reasons.any().tolist() == [False, True, True]


def test_the_first_domain_that_matches_wins_and_the_column_serves_the_rest() -> None:
    weighing = Weighing(
        domains=[
            Domain(name="care", hosts=["clinic.example"]),
            Domain(name="notes", sources=["posts"], url_pattern=r"/notes/\d+$"),
            Domain(name="crafts", groups=["repair", "garden"]),
        ],
        domain_column="group",
    )
    table = scored_table(
        sound(host="a.clinic.example", group="repair"),
        sound(url="https://b.example/notes/7", group="talk"),
        sound(group="garden"),
        sound(group="talk"),
        sound(),
    )
    assert assign_domains(table, weighing).to_pylist() == ["care", "notes", "crafts", "talk", "unknown"]


def test_an_empty_table_has_no_reasons() -> None:
    table = scored_table()
    assert provenance_reasons(table, POLICY).to_array().to_pylist() == []
    assert content_reasons(table, POLICY).to_array() == pa.array([], pa.list_(pa.string()))
