"""What stands in for words: parts, characters; the same whatever comes beside a row."""

import pyarrow as pa
import pytest
from florilegium.classifiers.units import Units, read_lines
from hypothesis import given, settings
from hypothesis import strategies as st


def line(text: str, units: Units) -> str:
    return read_lines(pa.array([text], pa.string()), units)[0].as_py()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ja, dumm!", "_ja_ _,_ _dum dumm umm_ _!_"),
        ("Käse", "_käs käse äse_"),
        ("ü a", "_ü_ _a_"),
        ("don't", "_don don' on't n't_"),
        ("\U0001f600\U0001f600\U0001f600", "_\U0001f600\U0001f600\U0001f600 \U0001f600\U0001f600\U0001f600_"),
        ("", ""),
        (" \n", ""),
        ("Schon gut. Schon gut. Ja.", "_sch scho chon hon_ _gut gut_ _._ _ja_ _._"),
    ],
)
def test_parts(text: str, expected: str) -> None:
    assert line(text, "parts") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("你好", "你 好"),
        ("我用Python 3写。", "我 用 python 0 写 ."),
        ("好!好!", "好 !"),
        ("真的吗?真的吗?是。", "真 的 吗 ? 是 ."),
        ("ひらがな한국어", "ひ ら が な 한국어"),
        ("", ""),
    ],
)
def test_characters(text: str, expected: str) -> None:
    assert line(text, "characters") == expected


def parts(word: str) -> list[str]:
    padded = f"_{word}_"
    return [padded] if len(padded) <= 4 else [padded[at : at + 4] for at in range(len(padded) - 3)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=6))
def test_parts_are_those_of_the_words(texts: list[str]) -> None:
    lines = read_lines(pa.array(texts, pa.string()), "words").to_pylist()
    expected = [" ".join(part for word in line.split(" ") if word for part in parts(word)) for line in lines]
    found = read_lines(pa.array(texts, pa.string()), "parts")
    found.validate(full=True)
    assert found.to_pylist() == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=40), min_size=1, max_size=6))
def test_rows_do_not_matter_to_each_other(texts: list[str]) -> None:
    for units in ("words", "parts", "characters"):
        whole = read_lines(pa.array(texts, pa.string()), units)
        whole.validate(full=True)
        assert whole.to_pylist() == [line(text, units) for text in texts]
        assert read_lines(pa.array(texts, pa.string()).slice(1), units).to_pylist() == whole.to_pylist()[1:]
