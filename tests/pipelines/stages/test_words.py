"""Words and punctuation marks are split as spaCy's English tokenizer splits them."""

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
        key = np.uint64(hash_bytes(data, 0, len(data)))
        count = split(data, 0, len(data), key, word_classes(), exceptions(), ends)
        tokens += [bytes(part).decode() for part in np.split(data, ends[:count])[:-1]]
    return tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't (really)!", "Do n't ( really ) !"),
        ("It's, I'd've said.", "It 's , I 'd 've said ."),
        ("cannot gonna im, well", "can not gon na i m , well"),
        ("He’s here", "He ’s here"),
        ("the U.S. and a UK.", "the U.S. and a UK ."),
        ("Dr. Moss etc. (Jan.)", "Dr. Moss etc . ( Jan. )"),
        ("wait... what… no", "wait ... what … no"),
        ("hello:) :-D :)))", "hello :) :-D :)))"),
        ("a well-known one--maybe~not", "a well - known one -- maybe ~ not"),
        ("end.Start v.1.2", "end . Start v.1.2"),
        ("one,two:three/four 1,2", "one , two : three / four 1,2"),
        ("5,000.75+20% of 3.5kg", "5,000.75 + 20 % of 3.5 kg"),
        ("$5 and US$7 or 8€", "$ 5 and US$ 7 or 8 €"),
        ("www.example.com/a,b.", "www.example.com/a,b ."),
        ("me@example.org, 127.0.0.1", "me@example.org , 127.0.0.1"),
        ("(https://example.org/a-b?c=d)", "( https://example.org/a-b?c=d )"),
        ("so 😀😀 happy🎉now", "so 😀 😀 happy 🎉 now"),
        ("'quoted' and \"more\"", "' quoted ' and \" more \""),
        ("**bold** _it_", "* * bold * * _ it _"),
        ("10am to 5p.m. daily", "10 am to 5 p.m. daily"),
        ("日本語は。", "日本語は 。"),
        ("+a but +1", "+ a but +1"),
        ("1-2 but x-2", "1 - 2 but x-2"),
        ("21°C. or 70°f. (ಠ_ಠ)", "21 ° C . or 70 ° f . (ಠ_ಠ)"),
        ("o'clock y'all", "o'clock y' all"),
        ("....", "...."),
    ],
)
def test_texts_are_split(text: str, tokens: str) -> None:
    assert tokenize(text) == tokens.split()


@given(st.text(st.one_of(st.sampled_from("aB1.,'’-!?:)($€😀/@#é "), st.characters(codec="utf-8")), max_size=60))
def test_nothing_is_lost(text: str) -> None:
    tokens = tokenize(text)
    assert "".join(tokens) == "".join(text.split())
    assert all(tokens)


def test_spacy_splits_alike() -> None:
    spacy = pytest.importorskip("spacy", reason="needs spacy")
    tokenizer = spacy.blank("en").tokenizer
    for text in texts():
        assert tokenize(text) == [token.text for token in tokenizer(text) if token.text.strip()]


def test_the_exceptions_are_those_of_spacy() -> None:
    spacy = pytest.importorskip("spacy", reason="needs spacy")
    rules = {"|".join(token[65] for token in parts) for parts in spacy.blank("en").tokenizer.rules.values()}
    assert rules - exception_strings() - {" ", "\t", "\n", "\u00a0"} == {"(╯°□°）╯︵┻━┻"}
    assert exception_strings() <= rules
