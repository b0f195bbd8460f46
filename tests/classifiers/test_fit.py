from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from florilegium.classifiers.fasttext_file import parse, window_logits
from florilegium.classifiers.fit import fit
from florilegium.classifiers.word_vectors import read_word_vectors
from florilegium.schemas.arrays import string_buffers
from threadpoolctl import threadpool_limits

OPTIONS = {"minimum_documents": 5, "buckets": 1 << 21, "ridge": 0.5}


def corpus() -> tuple[list[str], np.ndarray]:
    random = np.random.default_rng(4)
    words = np.array(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "kind", "cruel"])
    lines = [" ".join(random.choice(words, random.integers(8, 40))) for _ in range(80)]
    targets = np.array([[line.count("kind") > 1, line.count("cruel") > 1] for line in lines], float)
    return lines, targets


def test_it_is_the_ridge_solution() -> None:
    """Scores equal those of the normal equations in the primal, on a dense matrix built by hand."""
    lines, targets = corpus()
    linear = fit(lines, targets, ["kind", "cruel"], **OPTIONS)
    tokens = [[*line.split(" "), "</s>"] for line in lines]
    rows = [[*row, *(f"{a} {b}" for a, b in pairwise(row))] for row in tokens]
    names = sorted({name for row in rows for name in row if sum(name in other for other in rows) >= 5})
    counts = np.array([[name in row for name in names] for row in rows], float)
    idf = np.log(len(lines) / (counts > 0).sum(axis=0)) + 1
    z = counts * idf / np.sqrt(counts.sum(axis=1, keepdims=True))
    penalty = OPTIONS["ridge"] * np.mean((z**2).sum(axis=1))
    primal = np.linalg.solve(z.T @ z + penalty * np.eye(len(names)), z.T @ (targets - targets.mean(axis=0)))
    assert len(linear.weights) == len(names)
    data, offsets = string_buffers(pa.array(lines))
    windows = window_logits(
        parse(linear.serialize()), data, offsets, 10_000, np.eye(2, 3, dtype=np.float32), distinct=True
    )
    assert windows.logits == pytest.approx(z @ primal, abs=0.02)
    assert np.corrcoef(windows.logits.ravel(), (z @ primal).ravel())[0, 1] > 0.9995


def test_seldom_words_and_pairs_are_left_out() -> None:
    lines, targets = corpus()
    lines = [f"{line} zyzzyva zyzzyva zyzzyva" if row < 4 else line for row, line in enumerate(lines)]
    payload = fit(lines, targets, ["kind", "cruel"], **OPTIONS).serialize()
    assert b"zyzzyva" not in payload
    assert b"eight" in payload


def test_same_lines_same_bytes() -> None:
    lines, targets = corpus()
    first, second = (fit(lines, targets, ["kind", "cruel"], **OPTIONS).serialize() for _ in range(2))
    assert first == second


def scores(lines: list[str], texts: list[str], **options: object) -> np.ndarray:
    _, targets = corpus()
    payload = fit(lines, targets, ["kind", "cruel"], **OPTIONS, **options).serialize()
    data, offsets = string_buffers(pa.array(texts))
    return window_logits(parse(payload), data, offsets, 10_000, np.eye(2, 3, dtype=np.float32), distinct=True).logits


def test_pairs_that_ought_to_be_scored_alike_are() -> None:
    """A word that goes along with a label is not heard where pairs say so; other words still are."""
    lines, targets = corpus()
    lines = [f"{line} thou" if target[0] else line for line, target in zip(lines, targets, strict=True)]
    texts = ["one two thou", "one two", "one kind kind two"]
    pairs = [(f"{word} thou", word) for word in ("three four", "five nine", "ten six", "seven eight", "two one")]
    heard = scores(lines, texts)
    unheard = scores(lines, texts, alike=pairs, alike_importance=50.0)
    assert heard[0, 0] - heard[1, 0] > 0.1
    assert abs(unheard[0, 0] - unheard[1, 0]) < 0.25 * (heard[0, 0] - heard[1, 0])
    assert unheard[2, 0] > unheard[1, 0]


def test_pairs_do_not_change_what_a_target_is_centred_on() -> None:
    """An equal pair differs in nothing, so it changes nothing, whatever it counts."""
    lines, _ = corpus()
    texts = ["one kind two", "three cruel four"]
    equal = [("one two three", "one two three")]
    plain = scores(lines, texts)
    assert scores(lines, texts, alike=equal, alike_importance=1000.0) == pytest.approx(plain, abs=1e-3)


def test_as_many_threads_as_there_are_change_no_byte() -> None:
    vectors, random = read_word_vectors("minilm"), np.random.default_rng(5)
    words = np.array(vectors.words[:400])
    lines = [" ".join(random.choice(words, 60)) for _ in range(3000)]
    targets = random.random((3000, 24))
    made = set()
    for threads in (1, 2, 3):
        with threadpool_limits(limits=threads, user_api="blas"):
            made.add(
                fit(lines, targets, [f"l{n}" for n in range(24)], **OPTIONS, vectors=vectors, smoothing=0.3).serialize()
            )
    assert len(made) == 1
