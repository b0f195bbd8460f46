from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from florilegium.classifiers.configs import CONFIGS
from florilegium.classifiers.fasttext_file import parse, window_logits
from florilegium.classifiers.fit import COMMON, fit
from florilegium.classifiers.spellings import Spellings, read_spellings
from florilegium.classifiers.tokens import tokenize
from florilegium.schemas.arrays import string_buffers
from florilegium.schemas.errors import RecipeError

SHIPPED = CONFIGS / "spellings.yaml"
OPTIONS = {"minimum_documents": 5, "buckets": 1 << 21, "ridge": 0.5}


def test_the_shipped_ones_are_read() -> None:
    spellings = read_spellings(SHIPPED)
    assert {"scots", "speech", "american"} == set(spellings.varieties)
    assert len(spellings.standard) > 600
    assert spellings.respell(["ah dinnae think yer neebors wid come"]) == ["i don't think your neighbours would come"]
    assert spellings.respell([""]) == [""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("words:\n  scots: {'no': nae}\n  other: {now: nae}", "'nae' stands for 'no' and for 'now'"),
        ("words:\n  scots: {'no': nae, nae: naw}", "'nae' is a spelling and a standard word"),
        ("words:\n  scots: {'no': nae nae}", "named twice"),
        ("words:\n  scots: {'no': Nae}", "'Nae' is no single word in lower case"),
        ("words:\n  scots: {'no': o'}", r"\"o'\" is no single word"),
        ("words:\n  scots: {no: nae}", "valid string"),  # YAML's no is not the word
        ("- nae", "not spellings of words"),
        ("words: {", "not spellings of words"),
        ("words: {}\nsuffixes: {}", "Extra inputs"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "spellings.yaml").write_text(content)
    with pytest.raises(RecipeError, match=rf"(?s)spellings\.yaml.*{message}"):
        read_spellings(tmp_path / "spellings.yaml")


def test_pairs_mix_no_varieties() -> None:
    spellings = Spellings.of({"scots": {"i": "ah", "was": "wis"}, "speech": {"was": "wuz"}})
    assert set(spellings.pairs("i", "was")) == {("ah", "was"), ("i", "wis"), ("i", "wuz"), ("ah", "wis")}
    assert set(spellings.pairs("they", "was")) == {("they", "wis"), ("they", "wuz")}
    assert not list(spellings.pairs("they", "are"))


def test_endings_spell_words_that_are_known_and_make_no_other_word() -> None:
    endings = Spellings.of({"scots": {"going": "gaun"}}, {"speech": {"ing": "in"}})
    known = ["thing", "thin", "going", "doing", "king", "ing"]
    assert endings.words(known) == [("doin", 3), ("gaun", 2), ("goin", 2)]
    assert endings.respell(["doin gaun"]) == ["doin going"]


def logits(payload: bytes, texts: list[str]) -> np.ndarray:
    data, offsets = string_buffers(tokenize(pa.array(texts)))
    return window_logits(parse(payload), data, offsets, 10_000, np.eye(2, 3, dtype=np.float32), distinct=True).logits


def test_a_spelling_weighs_as_its_word_does() -> None:
    """Alone and in pairs that are common, though no document has it; and it teaches where one does."""
    random = np.random.default_rng(4)
    words = np.array(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])
    lines = [" ".join(random.choice(words, 20)) for _ in range(20 * COMMON)]
    kind = random.random(len(lines)) < 0.5
    lines = [f"{line} my neighbour helped" if good else line for line, good in zip(lines, kind, strict=True)]
    targets = np.column_stack([kind, ~kind]).astype(float)
    spellings = Spellings.of({"scots": {"my": "ma", "neighbour": "neebour neebor", "helped": "helpit", "away": "awa"}})
    payload = fit(lines, targets, ["a", "b"], **OPTIONS, spellings=spellings).serialize()
    texts = [
        "two my neighbour helped",
        "two ma neebour helpit",
        "two ma neebor helped",
        "two ma helped",
        "two mah neybr",
    ]
    found = logits(payload, texts)
    assert found[0, 0] - found[4, 0] > 0.2
    assert found[1] == pytest.approx(found[0], abs=1e-6)
    assert found[2] == pytest.approx(found[0], abs=1e-6)
    assert found[3, 0] < found[0, 0]
    endings = Spellings.of({}, {"speech": {"ed": "it"}})
    ended = parse(fit(lines, targets, ["a", "b"], **OPTIONS, spellings=endings).serialize())
    words = [word.decode() for word in ended.vocabulary.words]
    assert (ended.inputs[words.index("helpit")] == ended.inputs[words.index("helped")]).all()
    assert b"awa" not in payload  # no document says "away"
    without = logits(fit(lines, targets, ["a", "b"], **OPTIONS).serialize(), texts)
    assert without[1, 0] < without[0, 0] - 0.2
    respelt = [line.replace("my neighbour helped", "ma neebour helpit") for line in lines]
    taught = logits(fit(respelt, targets, ["a", "b"], **OPTIONS, spellings=spellings).serialize(), texts)
    assert taught == pytest.approx(found, abs=1e-6)
