import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from florilegium.pipelines.stages import Stage
from florilegium.pipelines.stages.statistics import BULLETS, DASHES, STOP_WORDS, TERMINALS, Statistics
from florilegium.schemas.document import SCORED, STATISTIC_NAMES
from florilegium.schemas.recipe import StatisticsOptions
from hypothesis import given
from hypothesis import strategies as st

Records = Callable[..., pa.RecordBatch]
stage = Statistics(StatisticsOptions())


def share(part: int, whole: int) -> float:
    return round(part / max(whole, 1) * 1000) / 1000


def starts_with_a_bullet(line: str) -> bool:
    return line[0] in BULLETS or (line[0] in DASHES and len(line) > 1 and line[1].isspace())


def reference(text: str) -> dict[str, float]:
    """The definitions, one after the other."""
    words = [word for word in text.split() if any(character.isalnum() for character in word)]
    lines = [line.strip() for line in text.split("\n") if line.strip()]
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
    }


def measured(records: Records, *texts: str) -> list[dict[str, Any]]:
    return stage.apply(records(texts))["statistics"].to_pylist()


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
    assert measured(records, text) == [pytest.approx(expected, abs=1e-6)]


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
    assert measured(records, *texts) == [pytest.approx(reference(text), abs=1e-6) for text in texts]


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
        ("a\n a \na", "duplicate_lines", 0.667),
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
    assert tuple(reference("a")) == STATISTIC_NAMES
