"""The kernels agree with fastText itself, on files that we write and on files that it writes."""

import os
import struct
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fasttext.FastText import fasttext
from florilegium.classifiers.fasttext_file import FastTextModel, Vocabulary, features, parse, serialize, window_logits
from florilegium.classifiers.student import MODELS
from florilegium.classifiers.tokens import tokenize
from florilegium.schemas.arrays import string_buffers

TEXTS = [
    "Thank you for taking the time to explain this; I was wrong about the second point.",
    "I don't know… maybe we could try both?\n\nWhat do you think — honestly?",
    "Ça va? Ünïcode, naïve café, 漢字とかな, emoji 🙂🙃, кириллица и ещё слова.",
    "BUY NOW!!! 100% FREE $$$ click http://example.com/?q=1&r=2 <b>win</b>",
    "a",
    "",
    " ".join(f"word{index} and the next one" for index in range(900)),
]
SENTENCE = "we all know that cats sit on mats while dogs run in the park and birds sing"
TRAINER = """
import sys, fasttext
model = fasttext.train_supervised(sys.argv[1], thread=1, loss="ova", dim=7, wordNgrams=2, minCount=1,
                                  bucket=30000, epoch=5, minn=0, maxn=0, verbose=0)
if sys.argv[3] == "quantized":
    model.quantize(dsub=2, qnorm=True, cutoff=300, thread=1)
model.save_model(sys.argv[2])
"""


def buffers(texts: list[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    lines = tokenize(pa.array(texts, pa.string()))
    return *string_buffers(lines), lines.to_pylist()


def assert_equal_to_fasttext(path: Path, model: FastTextModel, texts: list[str]) -> None:
    """Logits within 1e-4 of the sentence vector times outputs; probabilities as fastText's table has them.

    fastText looks the sigmoid up in a table of 512 steps over ±8 and adds 1e-5, so a logit within 1e-4
    of a step may fall on either side.
    """
    other = fasttext.fasttext()
    other.loadModel(str(path))
    data, offsets, lines = buffers(texts)
    windows = window_logits(model, data, offsets, 1 << 30)
    logits = iter(windows.logits)
    for line, count in zip(lines, windows.counts, strict=True):
        assert count == (1 if line else 0)
        if not line:
            continue
        found = next(logits)
        vector = fasttext.Vector(model.inputs.shape[1])
        other.getSentenceVector(vector, line + "\n")
        assert found == pytest.approx(model.outputs @ np.array(vector), abs=1e-4)
        predictions = other.predict(line + "\n", len(model.labels), 0.0, "strict")
        stated = {label.removeprefix("__label__"): probability for probability, label in predictions}
        for label, logit in zip(model.labels, found, strict=True):
            near = [_table(logit + shift) for shift in (-1e-4, 0, 1e-4)]
            assert min(abs(stated[label] - value) for value in near) < 1e-4


def _table(logit: float) -> float:
    if abs(logit) > 8:
        return float(logit > 0)
    return 1 / (1 + np.exp(8 - np.floor((logit + 8) * 32) / 32)) + 1e-5


def test_the_shipped_model_scores_as_fasttext_does() -> None:
    path = MODELS / "prosocial" / "model.ftz"
    assert_equal_to_fasttext(path, parse(path.read_bytes()), TEXTS)


@pytest.mark.parametrize("kind", ["full", "quantized"])
def test_files_that_fasttext_writes(tmp_path: Path, kind: str) -> None:
    words = SENTENCE.split()
    random = np.random.default_rng(2)
    lines = [f"__label__{index % 3} " + " ".join(random.choice(words, 30)) for index in range(300)]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-c", TRAINER, tmp_path / "train.txt", tmp_path / "model", kind]
    # The trainer reads memory that it has not written; fresh pages are zero.
    subprocess.run(command, check=True, env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}, capture_output=True)
    model = parse((tmp_path / "model").read_bytes())
    assert sorted(model.labels) == ["0", "1", "2"]
    assert bool(len(model.vocabulary.kept)) == (kind == "quantized")
    assert_equal_to_fasttext(tmp_path / "model", model, [*TEXTS, "cats sit on mats and dogs run"])


def small(weights: np.ndarray, kept: list[int] | None = None) -> bytes:
    words = [b"</s>", b"good", b"bad"]
    place = np.full(1000, -1, np.int32)
    place[kept or []] = np.arange(len(kept or []))
    labels = [f"l{index}" for index in range(weights.shape[1])]
    ones = np.ones(weights.shape[1])
    return serialize(Vocabulary.build(words, 1000, place), [9, 5, 5], labels, weights, ones, 0 * ones)


def test_weights_survive_in_one_byte() -> None:
    weights = np.array([[0.0, 5.0], [1.0, -5.0], [-0.02, 0.3]])
    model = parse(small(weights))
    assert model.inputs[:, -1].tolist() == [1, 1, 1]
    assert model.inputs[:, :2] == pytest.approx(weights, rel=0.03)
    assert model.inputs[0, 0] == 0
    assert model.inputs[0, 1] == np.float32(5)


def test_scores_by_hand(tmp_path: Path) -> None:
    model = parse(small(np.array([[0.0], [1.0], [-0.5]])))
    data, offsets, _ = buffers(["good good bad thing", "unknown", ""])
    mean = window_logits(model, data, offsets, 100)
    assert mean.counts.tolist() == [1, 1, 0]
    bad = float(model.inputs[2, 0])
    # of four features: good, good, bad and the end of the line
    assert mean.logits[:, 0] == pytest.approx([(2 + bad) / 4, 0], abs=1e-6)
    once = window_logits(model, data, offsets, 100, distinct=True)
    assert once.types.tolist() == mean.types.tolist() == [3, 1]  # "thing" and "unknown" are words too
    # of three: good, bad and the end of the line
    assert once.logits[:, 0] == pytest.approx([(1 + bad) / 3**0.5, 0], abs=1e-6)


def test_distinct_tokens_are_counted_anew_in_each_window() -> None:
    model = parse(small(np.array([[0.0], [1.0], [-0.5]])))
    names = ["".join(letters) for letters in product("abcdefghijklmno", repeat=3)]
    text = " ".join(f"{names[number % 61]} good {names[number % 13]}" for number in range(3_000))
    data, offsets, lines = buffers([text, text])
    windows = window_logits(model, data, offsets, 10_000)
    half = windows.counts[0]
    assert windows.counts.tolist() == [half, half]
    assert windows.types[:half].tolist() == windows.types[half:].tolist() == [62] * half
    data, offsets, lines = buffers([" ".join(names)])
    assert window_logits(model, data, offsets, len(lines[0])).types.tolist() == [len(names)]


def test_every_byte_is_in_one_window() -> None:
    model = parse(small(np.array([[0.0], [1.0], [-0.5]])))
    for text in ("good " * 997, "x" * 950 + " good" * 3, "good " + "x" * 950 + " good"):
        data, offsets, lines = buffers([text])
        windows = window_logits(model, data, offsets, 100)
        assert windows.counts[0] == len(windows.types) <= -(-len(lines[0]) // 100)
        assert windows.types.tolist() == [1] * len(windows.types) or "x" in text
        # A window of n good words and the end of a line says n / (n + 1).
        found = windows.logits[:, 0] / (1 - windows.logits[:, 0])
        assert found == pytest.approx(np.rint(found), rel=1e-4)
        assert np.rint(found).sum() == lines[0].split(" ").count("good")


def test_features_are_words_then_pairs() -> None:
    vocabulary = Vocabulary.build([b"</s>", b"good"], 1000)
    data, offsets, _ = buffers(["good good", "", "new"])
    found = features(vocabulary, data, offsets)
    assert np.diff(found.offsets).tolist() == [5, 0, 2]
    rows = np.split(found.indices, found.offsets[1:-1])
    assert rows[0][:3].tolist() == [1, 1, 0]
    assert all(index >= 2 for index in rows[0][3:])
    assert rows[2][0] == 0


def test_damaged_files_are_refused() -> None:
    payload = small(np.array([[0.0], [1.0], [-0.5]]))
    for broken in (payload[:-3], payload + b"x", b"\0" * 8 + payload[8:], payload[:100]):
        with pytest.raises((ValueError, struct.error)):
            parse(broken)
