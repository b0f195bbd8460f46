"""Words and punctuation marks are split as spaCy's English tokenizer splits them."""

import importlib.util

import numpy as np
import pytest
from florilegium.pipelines.stages.words import exception_strings, exceptions, hash_bytes, split, word_classes
from hypothesis import given
from hypothesis import strategies as st

from tests.pipelines.stages.parity_texts import texts


def tokenize(text: str) -> list[str]:
    """The parts of every run of characters without white space."""
    tokens: list[str] = []
    for chunk in text.split():
        data = np.frombuffer(chunk.encode(), np.uint8)
        ends = np.zeros(len(data) + 2, np.int64)
        key = hash_bytes(data, 0, len(data))
        count = split(data, 0, len(data), key, word_classes(), exceptions(), ends)
        tokens += [bytes(part).decode() for part in np.split(data, ends[:count])[:-1]]
    return tokens


@pytest.mark.parametrize(
    "tokens",
    [
        "Do n't ( really ) !",
        "( It 's , I 'd 've said )",
        "can not gon na im|",
        "He ’s here",
        "the U.S. and a UK .|",
        "Dr. Moss etc .|",
        "wait ... what …|",
        "hello :)|",
        "a well - known one -- maybe ~ not|",
        "end . Start|",
        "one , two : three / four|",
        "5,000.75 + 20 % of 3.5 kg|",
        "$ 5 and US$ 7 or 8 €|",
        "www.example.com/a,b .|",
        "me@example.org , 127.0.0.1|",
        "see ( https://example.org/a(b)?c=d )|",
        "so 😀 😀 happy 🎉|",
        "' quoted ' and \" more \"|",
        "* * bold * *|",
        "10 am to 5 p.m. daily|",
        "日本語は 。|",
        "+ 1 but +1|",
        "1 - 2 but 1 * -2|",
        "o'clock y' all|",
    ],
)
def test_texts_are_split(tokens: str) -> None:
    """Tokens are given with a space between; "|" at the end only marks the end."""
    expected = tokens.removesuffix("|").split()
    joined = {
        "im": ["i", "m"],
    }
    expected = [part for token in expected for part in joined.get(token, [token])]
    assert tokenize(" ".join(expected)) == expected or tokenize("".join(expected)) == expected


@given(st.text(st.one_of(st.sampled_from("aB1.,'’-!?:)($€😀/@#é "), st.characters(codec="utf-8")), max_size=60))
def test_nothing_is_lost(text: str) -> None:
    tokens = tokenize(text)
    assert "".join(tokens) == "".join(text.split())
    assert all(tokens)


@pytest.mark.skipif(importlib.util.find_spec("spacy") is None, reason="needs spacy")
def test_spacy_splits_alike() -> None:
    import spacy

    tokenizer = spacy.blank("en").tokenizer
    for text in texts():
        assert tokenize(text) == [token.text for token in tokenizer(text) if token.text.strip()]


@pytest.mark.skipif(importlib.util.find_spec("spacy") is None, reason="needs spacy")
def test_the_exceptions_are_those_of_spacy() -> None:
    import spacy

    rules = {"|".join(token[65] for token in parts) for parts in spacy.blank("en").tokenizer.rules.values()}
    assert rules - exception_strings() - {" ", "\t", "\n", "\u00a0"} == {"(╯°□°）╯︵┻━┻"}
    assert exception_strings() <= rules
