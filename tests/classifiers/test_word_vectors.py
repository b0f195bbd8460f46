from pathlib import Path

import numpy as np
import pytest
from florilegium.classifiers.fit import fit
from florilegium.classifiers.word_vectors import WordVectors, main, read_word_vectors, write_word_vectors
from florilegium.schemas.errors import InputError


def test_a_word_lends_its_weight_to_words_of_like_meaning() -> None:
    """`thankful` stands in no document with the label; its vector is that of `grateful`, which does."""
    random = np.random.default_rng(2)
    filler = ["one", "two", "three", "four", "five", "six", "seven"]
    last = [*("grateful", "stone") * 30, *("thankful", "brick") * 3]
    lines = [" ".join([*random.choice(filler, 12), word]) for word in last]
    targets = np.array([[word == "grateful"] for word in last], float)
    vectors = WordVectors(
        ("grateful", "thankful", "stone", "brick"), np.array([[127, 0], [127, 0], [0, 127], [0, 127]], np.int8)
    )
    found = {}
    for smoothing in (0.0, 3.0):
        linear = fit(
            lines,
            targets,
            ["thanks>=2"],
            minimum_documents=3,
            buckets=1,
            ridge=0.5,
            vectors=vectors,
            smoothing=smoothing,
        )
        weights = dict(zip(linear.vocabulary.words, linear.weights[:, 0], strict=False))
        found[smoothing] = weights[b"thankful"] - weights[b"brick"]
    assert found[3.0] > found[0.0] + 0.05


def test_files_round_trip_and_foreign_ones_are_refused(tmp_path: Path) -> None:
    vectors = WordVectors(("one", "two"), np.array([[1, -127, 3], [0, 5, 127]], np.int8))
    write_word_vectors(vectors, tmp_path / "v.parquet", {"encoder": "none"})
    again = read_word_vectors(tmp_path / "v.parquet")
    assert again.words == vectors.words
    assert (again.vectors == vectors.vectors).all()
    assert again.lookup(["two", "three"]) == pytest.approx(np.array([[0, 5 / 127, 1], [0, 0, 0]]))
    with pytest.raises(InputError, match=r"absent\.parquet"):
        read_word_vectors(tmp_path / "absent.parquet")


def test_the_shipped_vectors_know_near_from_far() -> None:
    thankful, grateful, brick = read_word_vectors("minilm").lookup(["thankful", "grateful", "brick"])
    assert np.linalg.norm(thankful) == pytest.approx(1, abs=0.02)
    assert thankful @ grateful > 0.4 + thankful @ brick


def test_command_line_names_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path / "none.parquet"), "--output", str(tmp_path / "v.parquet")])
    assert caught.value.code == 2
    assert "none.parquet" in capsys.readouterr().err
