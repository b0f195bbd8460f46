import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from florilegium.pipelines.stages import Stage
from florilegium.pipelines.stages.statistics import (
    ANY_TERMINAL,
    BULLETS,
    DASHES,
    STOP_WORDS,
    SYMBOL,
    TERMINALS,
    Statistics,
    character_bits,
)
from florilegium.schemas.document import SCORED, STATISTIC_NAMES
from florilegium.schemas.recipe import StatisticsOptions
from hypothesis import given
from hypothesis import strategies as st

from tests.pipelines.stages.test_words import tokenize

Records = Callable[..., pa.RecordBatch]
stage = Statistics(StatisticsOptions())
SYMBOL_POINTS, ANY_TERMINAL_POINTS = (
    set((character_bits() & bit).nonzero()[0].tolist()) for bit in (SYMBOL, ANY_TERMINAL)
)
C4 = [name for name in STATISTIC_NAMES if name.startswith("c4_")]


def share(part: int, whole: int) -> float:
    return part / max(whole, 1)


def starts_with_a_bullet(line: str) -> bool:
    return line[0] in BULLETS or (line[0] in DASHES and len(line) > 1 and line[1].isspace())


def reference(text: str) -> dict[str, float]:
    """The definitions, one after the other."""
    words = [word for word in text.split() if any(character.isalnum() for character in word)]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ellipses = [line.endswith(("...", "…")) for line in lines]
    ascii_letters = re.findall("[A-Za-z]", text)
    runs = "".join(character if character.isalnum() else " " for character in text).split()
    return {
        "characters": len(text),
        "words": len(words),
        "lines": len(lines),
        "mean_word_length": share(sum(map(len, words)), len(words)),
        "alphabetic_words": share(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        "symbols_per_word": share(text.count("#") + text.count("...") + text.count("…"), len(words)),
        "bullet_lines": share(sum(map(starts_with_a_bullet, lines)), len(lines)),
        "ellipsis_lines": share(sum(ellipses), len(lines)),
        "terminal_lines": share(
            sum(line[-1] in TERMINALS and not ellipsis for line, ellipsis in zip(lines, ellipses, strict=True)),
            len(lines),
        ),
        "duplicate_lines": share(
            sum(len(line) for place, line in enumerate(lines) if line in lines[:place]), sum(map(len, lines))
        ),
        "uppercase": share(sum(map(str.isupper, ascii_letters)), len(ascii_letters)),
        "digits": share(len(re.findall("[0-9]", text)), len(text)),
        "stop_words": sum(run.isascii() and run.lower() in STOP_WORDS for run in runs),
        **published(text),
    }


def occurrences(items: list[str]) -> tuple[int, int]:
    """How many items equal an earlier one, and their characters."""
    repeated = [item for place, item in enumerate(items) if item in items[:place]]
    return len(repeated), sum(map(len, repeated))


def published(text: str) -> dict[str, float]:
    """What the rule sets compare, as datatrove's filters write it (C4's rules have tests of their own)."""
    tokens = tokenize(text)
    lines, raw_lines = text.splitlines(), re.split("\n+", text) if text else []
    text_lines = [line for line in text.split("\n") if line.strip()]
    paragraphs = re.split("\n{2,}", text.strip()) if text.strip() else []
    words = [token for token in tokens if not all(ord(character) in SYMBOL_POINTS for character in token)]
    endings = [line.rstrip().endswith(("...", "…")) for line in lines]
    values = {
        "gopher_tokens": len(tokens),
        "gopher_words": len(words),
        "gopher_word_length": share(sum(map(len, words)), len(words)),
        "gopher_hashes": share(text.count("#"), len(tokens)),
        "gopher_ellipses": share(text.count("...") + text.count("…"), len(tokens)),
        "gopher_bullet_lines": share(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)),
        "gopher_ellipsis_lines": share(sum(endings), len(lines)),
        "gopher_alphabetic_words": share(sum(any(map(str.isalpha, token)) for token in tokens), len(tokens)),
        "gopher_stop_words": len(set(STOP_WORDS) & set(tokens)),
        "repeated_lines": share(occurrences(raw_lines)[0], len(raw_lines)),
        "repeated_line_characters": share(occurrences(raw_lines)[1], len(text)),
        "repeated_paragraphs": share(occurrences(paragraphs)[0], len(paragraphs)),
        "repeated_paragraph_characters": share(occurrences(paragraphs)[1], len(text)),
    }
    for n in range(2, 5):
        grams = Counter(" ".join(tokens[place : place + n]) for place in range(len(tokens) - n + 1))
        top, count = grams.most_common(1)[0] if grams else ("", 0)
        values[f"top_{n}_gram_characters"] = share(len(top) * count, len(text))
    for n in range(5, 11):
        seen, repeated, place = set[str](), 0, 0
        while place <= len(tokens) - n:
            gram = "".join(tokens[place : place + n])
            repeated += len(gram) if gram in seen else 0
            place += n if gram in seen else 1
            seen.add(gram)
        values[f"repeated_{n}_gram_characters"] = share(repeated, len(text))
    return values | {
        "fineweb_terminal_lines": share(
            sum(ord(line[-1]) in ANY_TERMINAL_POINTS for line in text_lines), len(text_lines)
        ),
        "fineweb_short_lines": share(sum(len(line) <= 30 for line in text_lines), len(text_lines)),
        "fineweb_duplicate_characters": share(occurrences(text_lines)[1], len(text) - text.count("\n")),
        "fineweb_newlines": share(text.count("\n"), len(tokens)),
    }


def measured(records: Records, *texts: str) -> list[dict[str, Any]]:
    return stage.apply(records(texts))["statistics"].to_pylist()


def without_c4(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in C4}


def test_a_document_is_measured(records: Records) -> None:
    text = (
        "The river rose. We left with 3 bags and THAT old dog...\n"
        "- first, the bridge\n"
        "• then the road…\n"
        "\n"
        "#help #water 2024\n"
        "- first, the bridge"
    )
    expected = {
        "characters": 131,
        "words": 24,
        "lines": 5,
        "mean_word_length": 4.208,
        "alphabetic_words": 0.917,
        "symbols_per_word": 0.167,
        "bullet_lines": 0.6,
        "ellipsis_lines": 0.4,
        "terminal_lines": 0.0,
        "duplicate_lines": 0.151,
        "uppercase": 0.069,
        "digits": 0.038,
        "stop_words": 7,
    }
    row = measured(records, text)[0]
    assert {name: row[name] for name in expected} == pytest.approx(expected, abs=5e-4)


ALPHABET = st.one_of(
    st.sampled_from("aZ9 \n\t.…#-•*\"”!?。'é½Ⅷ語ا\u00a0\u3000\u0301😀²_"),
    st.characters(codec="utf-8", exclude_characters="\r"),
)
PIECES = st.sampled_from(
    [*STOP_WORDS, "The", "THAT", "weather", "\n", "same line\n", " ", "...", "....", "- ", "•", "# ", '"']
)


@given(
    texts=st.lists(st.one_of(st.text(ALPHABET, max_size=60), st.lists(PIECES, max_size=30).map("".join)), max_size=5)
)
def test_statistics_are_as_defined(records: Records, texts: list[str]) -> None:
    rows = [without_c4(row) for row in measured(records, *texts)]
    assert rows == [pytest.approx(reference(text), abs=1e-6) for text in texts]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("", "characters", 0),
        ("", "mean_word_length", 0.0),
        ("... # …", "symbols_per_word", 3.0),
        ("......", "symbols_per_word", 2.0),
        ("well....", "ellipsis_lines", 1.0),
        ("well....", "terminal_lines", 0.0),
        ("well..", "terminal_lines", 1.0),
        ("wait. .", "terminal_lines", 1.0),
        ("He said “yes.”\n「はい。」\nक्या।", "terminal_lines", 1.0),
        ("-5 degrees\n**bold**\n-\n* item", "bullet_lines", 0.25),
        ("that's be-have; other withe THE", "stop_words", 4),
        ("abcdefghijthe", "stop_words", 0),
        ("a\n a \na", "duplicate_lines", 2 / 3),
        ("ab\nba\na b\nab c", "duplicate_lines", 0.0),
        ("½ Ⅷ ² _ -", "words", 3),
        ("१२ ab", "alphabetic_words", 0.5),
        ("ÀÉab", "uppercase", 0.0),
        ("٣3", "digits", 0.5),
    ],
)
def test_details(records: Records, text: str, name: str, value: float) -> None:
    assert measured(records, text)[0][name] == pytest.approx(value)


def test_many_lines_are_told_apart(records: Records) -> None:
    lines = [f"line {number}" for number in range(20_000)]
    distinct, doubled = measured(records, "\n".join(lines), "\n".join(lines * 2))
    assert (distinct["lines"], distinct["duplicate_lines"]) == (20_000, 0.0)
    assert (doubled["lines"], doubled["duplicate_lines"]) == (40_000, 0.5)


def test_rows_are_independent(
    records: Records, check_rows_are_independent: Callable[[Stage, pa.RecordBatch], None]
) -> None:
    texts = ["", "one\none\ntwo", "- a\n- a", "THE", "é", "the end..."]
    check_rows_are_independent(stage, records(texts))
    check_rows_are_independent(stage, records(["one\ntwo", *texts]).slice(1))


def test_types_are_those_of_the_schema(records: Records) -> None:
    result = stage.apply(records(["a"]))
    assert result.schema.field("statistics").type == SCORED.field("statistics").type
    assert set(reference("a")) | set(C4) == set(STATISTIC_NAMES)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("The lake is deep. It is cold! Is it?", {"c4_lines": 1, "c4_sentences": 3}),
        ('He said: "It is cold." Then he left.', {"c4_lines": 1, "c4_sentences": 2}),
        ("The lake is deep.[1] It is cold.[citation needed]", {"c4_lines": 1, "c4_sentences": 2}),
        ("The lake is deep. [1]", {"c4_unterminated_lines": 1}),
        ("The lake is deep", {"c4_unterminated_lines": 1}),
        ("The lake is deep...", {"c4_unterminated_lines": 1}),
        ("", {"c4_unterminated_lines": 1}),
        ("Too short.", {"c4_few_words_lines": 1}),
        ("a " + "b" * 1001 + " c.", {"c4_long_word_lines": 1}),
        ("a " + "b" * 1000 + " c.", {"c4_lines": 1, "c4_sentences": 1}),
        ("Please enable JavaScript now.", {"c4_javascript_lines": 1}),
        ("Please enable java[1]script now.", {"c4_javascript_lines": 1}),
        ("This site uses Cookies daily.", {"c4_policy_lines": 1}),
        ("The terms of use apply.", {"c4_policy_lines": 1}),
        ("The terms of\u00a0use apply.", {"c4_lines": 1, "c4_sentences": 1}),
        ("A { in plain prose.", {"c4_lines": 1, "c4_sentences": 1, "c4_curly_bracket_lines": 1}),
        ("A { in javascript, alas.", {"c4_javascript_lines": 1}),
        ("Lorem ipsum dolor sit.", {"c4_lines": 1, "c4_sentences": 1, "c4_lorem_ipsum_lines": 1}),
        ("Lorem ipsum dolor sit", {"c4_unterminated_lines": 1}),
    ],
)
def test_lines_of_c4(records: Records, line: str, expected: dict[str, int]) -> None:
    row = measured(records, f"{line}\n{line}\n")[0]
    twice = {name: 2 * count for name, count in expected.items()}
    assert {name: row[name] for name in C4 if row[name]} == twice


HOSTILE = {
    "one word": lambda size: "a" * size,
    "newlines": lambda size: "\n" * size,
    "emoji": lambda size: "😀" * (size // 4),
    "full stops": lambda size: "." * size,
    "exclamation marks": lambda size: "!" * size,
    "a repeated n-gram": lambda size: "one two three four " * (size // 19),
    "brackets": lambda size: "[1" * (size // 2) + ".",
    "citations in one line": lambda size: "a b [1] " * (size // 8) + ".",
    "an address": lambda size: "a.b@c/" * (size // 6),
    "digits and hyphens": lambda size: "1-" * (size // 2),
    "triggers": lambda size: "javascrip use of cookie " * (size // 24),
    "equal lines": lambda size: "the same line\n" * (size // 14),
    "apostrophes": lambda size: "'s" * (size // 2),
    "lists of tokens": lambda size: " ".join(map(str, range(size // 6))),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_is_linear_in_hostile_text(records: Records, make: Callable[[int], str]) -> None:
    """Eight times the text may cost 24 times the time; a quadratic step would cost 64 times."""

    def cost(batch: pa.RecordBatch) -> float:
        start = time.process_time()
        stage.apply(batch)
        return time.process_time() - start

    small, large = records([make(125_000)]), records([make(1_000_000)])
    stage.apply(small)
    bound = 24 * max(min(cost(small) for _ in range(5)), 1e-3)
    assert any(cost(large) < bound for _ in range(3))
