import re

import pyarrow as pa
import pytest
from florilegium.classifiers.tokens import tokenize, without_repeats
from hypothesis import given
from hypothesis import strategies as st

SEPARATORS = set("\x00\t\n\v\f\r")


def one(text: str) -> str:
    return tokenize(pa.array([text], pa.string()))[0].as_py()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        (" \n\t ", ""),
        ("Don't SHOUT!!", "don't shout ! !"),
        ("'quoted' dogs' it’s", "' quoted ' dogs ' it's"),
        ("in 2019, 3.5%", "in 0000 , 0 . 0 %"),
        ("a\nb\r\nc\x00d", "a b c d"),
        ("well—known…“so”", 'well - known . " so "'),
        ("a\u00a0b\u2003c\u200bd\u3000e", "a b c d e"),
        ("Ünïcode ÉTÉ 漢字 🙂", "Ünïcode ÉtÉ 漢字 🙂"),
        ("__label__x </s>", "_ _ label _ _ x < / s >"),
        ("€5 ′ ‰", "€0 ′ ‰"),
    ],
)
def test_lines(text: str, line: str) -> None:
    assert one(text) == line


@given(st.text())
def test_a_line_is_clean_and_stays_as_it_is(text: str) -> None:
    line = one(text)
    assert line == " ".join(token for token in line.split(" ") if token)
    assert not SEPARATORS & set(line)
    assert not any(token.startswith("__label__") or token == "</s>" for token in line.split(" "))
    assert one(line) == line


@given(st.lists(st.one_of(st.none(), st.text()), max_size=8), st.integers(0, 7))
def test_rows_do_not_mix(texts: list[str | None], start: int) -> None:
    rows = tokenize(pa.array(texts, pa.string()).slice(min(start, len(texts))))
    assert rows.to_pylist() == [one(text or "") for text in texts[start:]]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("Yes. No. yes. No! No.", "yes . no . no !"),
        ("Wait... Wait... Wait..", "wait . . . wait . ."),
        ("one two one two", "one two one two"),
        ("a. a", "a . a"),
        ("! ! !", "! ! !"),
    ],
)
def test_sentences_are_kept_once(text: str, line: str) -> None:
    assert without_repeats(tokenize(pa.array(["Yes.", text, "Yes. No."], pa.string()))).to_pylist()[1:] == [
        line,
        "yes . no .",
    ]


@given(st.lists(st.text(alphabet="ab .!?", max_size=60), max_size=5))
def test_repeats_are_gone_and_nothing_else(texts: list[str]) -> None:
    lines = tokenize(pa.array(texts, pa.string()))
    once = without_repeats(lines)
    assert without_repeats(once).to_pylist() == once.to_pylist()
    for line, left in zip(lines.to_pylist(), once.to_pylist(), strict=True):
        assert set(left.split(" ")) == set(line.split(" "))
        assert line.startswith(re.split(r" [.!?]", left)[0])  # the first sentence
