import pyarrow as pa
import pytest
from florilegium.classifiers.tokens import tokenize
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
