"""Phrases are found by their first words as their patterns find them, wherever they stand."""

import random

import pytest
from florilegium.pipelines.synthesis.composer import compose
from florilegium.pipelines.synthesis.grid import plan_cells
from florilegium.pipelines.synthesis.phrases import LISTS, PATTERNS, Index, _beginnings, plain
from florilegium.schemas.recipe import Synthesis

from .examples import examples

NAMES = [name for name, values in LISTS.items() if "phrases" in values]


def texts() -> list[str]:
    files, groups = ("examples.yaml", "fresh.yaml", "later.yaml"), ("passing", "failing")
    written = [draft.text for file in files for group in groups for draft, _ in examples(group, file)]
    return written + [compose(cell) for cell in plan_cells(Synthesis(documents=20), 3)]


def shuffled(text: str) -> str:
    """Its words in another order, with what stood between them."""
    words = text.split(" ")
    random.Random(len(text)).shuffle(words)
    return " ".join(words)


def test_an_index_finds_what_the_patterns_find() -> None:
    index, found = Index(*NAMES), set()
    for text in texts():
        for one in (plain(text), shuffled(text)):
            spans = {name: [match.span() for match in PATTERNS[name].finditer(one)] for name in NAMES}
            expected = {name: each for name, each in spans.items() if each}
            assert index.find(one) == expected
            found |= expected.keys()
    assert found == set(NAMES)


@pytest.mark.parametrize(
    ("phrase", "beginnings"),
    [
        ("as an? (?:ai|model)", {("as", True)}),
        ("(?:that'?s|this is) so", {("that", False), ("this", True)}),
        ("(?:the )?(?:cells?|rubric) says", {("the", True), ("cell", False), ("rubric", True)}),
        ("i(?:'m| am) here", {("i", True)}),
        ("teach(?:es|ing)? us", {("teach", False)}),
        (r"\w+ like you", {("", False)}),
    ],
)
def test_beginnings_of_a_phrase(phrase: str, beginnings: set[tuple[str, bool]]) -> None:
    assert set(_beginnings(phrase)) == beginnings


def test_a_plain_text_is_as_long_as_it_was() -> None:
    assert plain("İSTANBUL isn’t FAR") == "İstanbul isn't far"
