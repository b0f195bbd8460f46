from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from florilegium.classifiers.audit import load_suite
from florilegium.classifiers.configs import CONFIGS
from florilegium.classifiers.fasttext_file import parse, window_logits
from florilegium.classifiers.fit import fit
from florilegium.classifiers.voices import READ, Voices, read_voices
from florilegium.schemas.arrays import string_buffers
from florilegium.schemas.errors import RecipeError

SHIPPED = CONFIGS / "voices.yaml"
OPTIONS = {"minimum_documents": 5, "buckets": 1 << 21, "ridge": 0.5}


def voices(rules: list[str], documents: int = 10) -> Voices:
    return Voices(importance=2, documents=documents, varieties={"here": rules})


def test_rules_apply_to_whole_words_one_after_the_other() -> None:
    made = voices(["you're|you are => you", "(he|she)'s ([a-z]+ing) => \\1 \\2", "the => ", "you right => true"])
    lines = ["you're right , she's singing the theme", "you are the one you are", "youre", ""]
    assert made.rewrite(lines, "here") == ["true , she singing theme", "you one you", "youre", ""]


def test_the_shipped_rules_keep_what_is_said() -> None:
    """Each variety rewrites; signs and most words stay."""
    shipped = read_voices(SHIPPED)
    assert set(shipped.varieties) == set(load_suite("dialects"))
    line = "i don't think that you're going to like it , because the people there were very rude to my mother ."
    line += " she doesn't have any friends in town and i have asked her to live with us ."
    for variety in shipped.varieties:
        (found,) = shipped.rewrite([line], variety)
        assert found != line, variety
        before, after = line.split(" "), found.split(" ")
        assert after.count(".") == before.count(".")
        assert len(set(before) & set(after)) > len(set(before)) / 2, variety
        assert "\\" not in found


def test_documents_are_chosen_by_id_where_they_change() -> None:
    made = voices(["was => wis", "house => hoose"], documents=3)
    ids = [f"d{row}" for row in range(40)]
    lines = ["the house was old" if row % 2 else "nothing changes here" for row in range(40)]
    found = made.rewritten(ids, lines)
    assert len(found) == 3
    assert all(row % 2 and line == "the hoose wis old" for row, line in found)
    order = list(np.random.default_rng(1).permutation(40))
    shuffled = made.rewritten([ids[row] for row in order], [lines[row] for row in order])
    assert {ids[row] for row, _ in found} == {ids[order[row]] for row, _ in shuffled}
    assert READ * 3 < 40


@pytest.mark.parametrize(
    ("rule", "message"),
    [("was, wis", "needs two sides"), ("(was => wis", "is no pattern"), ("was => \\2", "is no pattern")],
)
def test_rules_that_cannot_be_are_named(tmp_path: Path, rule: str, message: str) -> None:
    content = yaml.safe_load(SHIPPED.read_text("utf-8"))
    content["varieties"]["scots"] = [rule]
    (tmp_path / "voices.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match=rf"(?s)voices\.yaml.*varieties\.scots.*{message}"):
        read_voices(tmp_path / "voices.yaml")


def test_a_variety_is_not_heard_and_its_documents_count_once() -> None:
    random = np.random.default_rng(4)
    words = np.array(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])
    lines = [" ".join(random.choice(words, 20)) for _ in range(200)]
    kind = random.random(len(lines)) < 0.5
    lines = [f"{line} you're right" if good else line for line, good in zip(lines, kind, strict=True)]
    lines = [f"{line} florimond" if row < 4 else line for row, line in enumerate(lines)]  # a name, in four documents
    targets = np.column_stack([kind, ~kind]).astype(float)
    ids = [str(row) for row in range(len(lines))]
    made = voices(["you're => you"], documents=60)
    rewritten = [*made.rewritten(ids, lines), *((row, f"{lines[row]} so") for row in range(8))]
    texts = ["two you're right", "two you right", "two"]

    def logits(**options: object) -> tuple[np.ndarray, bytes]:
        payload = fit(lines, targets, ["a", "b"], **OPTIONS, **options).serialize()
        data, offsets = string_buffers(pa.array(texts))
        return window_logits(
            parse(payload), data, offsets, 999, np.eye(2, 3, dtype=np.float32), distinct=True
        ).logits, payload

    plain, _ = logits()
    taught, payload = logits(rewritten=rewritten, rewritten_importance=20.0)
    assert plain[0, 0] - plain[1, 0] > 0.1
    assert abs(taught[0, 0] - taught[1, 0]) < 0.3 * (plain[0, 0] - plain[1, 0])
    assert taught[1, 0] - taught[2, 0] > 0.1
    assert b"florimond" not in payload  # rewriting makes no fifth document of four
    assert b"so" in parse(payload).vocabulary.words  # in eight
