import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from florilegium.classifiers import Classifier, load
from florilegium.classifiers.student import MODELS
from florilegium.schemas.document import to_grid
from florilegium.schemas.errors import ModelError
from florilegium.schemas.hashing import digest
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL
from hypothesis import given, settings
from hypothesis import strategies as st

STORY = (
    "When my father fell ill I had no idea what to do. I was afraid, and I am still learning. Thank you all for your "
    "patience; your kind words gave me hope, and I want to give something back to this community. "
)
ADVICE = "It is your choice, and either option can be right. Could you tell me more about why you feel that way? "
INSULT = "You are a stupid worthless idiot, nobody likes you, shut up and get out of here you pathetic loser. "
LISTS = st.lists(st.one_of(st.text(max_size=80), st.sampled_from([STORY * 9, ADVICE, INSULT * 30])), max_size=6)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load("prosocial")


def test_scores_have_the_stated_shape(classifier: Classifier) -> None:
    scores = classifier.score([STORY, "", ADVICE])
    assert scores.quality.shape == (3,)
    assert scores.prosocial.shape == (3, len(PROSOCIAL))
    assert scores.topical.shape == scores.toxic.shape == (3, len(HARMS))
    assert scores.valid.tolist() == [True, False, True]
    for values in (scores.quality, scores.prosocial, scores.topical, scores.toxic):
        assert values.dtype == np.float32
    assert not scores.quality[1].any()
    assert not scores.prosocial[1].any()


@pytest.mark.parametrize("times", [2, 3, 50, 400])
def test_saying_it_again_changes_no_score(classifier: Classifier, times: int) -> None:
    texts = [STORY, ADVICE, INSULT, "Thank you, I was wrong, I am sorry."]
    once, often = classifier.score(texts), classifier.score([" ".join([text] * times) for text in texts])
    for name in ("quality", "prosocial", "topical", "toxic"):
        assert (getattr(once, name) == getattr(often, name)).all()


def test_it_tells_clear_cases_apart(classifier: Classifier) -> None:
    scores = classifier.score([STORY * 3, INSULT * 3])
    for name in ("personal_story", "growth", "humility", "compassion"):
        column = PROSOCIAL.index(name)
        assert scores.prosocial[0, column] > 2 * scores.prosocial[1, column]
    harassment = HARMS.index("harassment")
    assert scores.topical[1, harassment] > 4 * scores.topical[0, harassment]
    assert scores.toxic[1, harassment] > 4 * scores.toxic[0, harassment]


@settings(deadline=None, max_examples=40)
@given(LISTS)
def test_a_row_depends_on_its_text_alone(texts: list[str]) -> None:
    classifier = load("prosocial")
    together = classifier.score(texts)
    backwards = classifier.score(pa.chunked_array([pa.array(texts[::-1], pa.string())]))
    for name in ("quality", "prosocial", "topical", "toxic", "valid"):
        values = getattr(together, name)
        assert (values == getattr(backwards, name)[::-1]).all()
        for row, text in enumerate(texts):
            assert (getattr(classifier.score([text]), name)[0] == values[row]).all()
    assert (together.toxic <= together.topical).all()
    for values in (together.quality, together.prosocial, together.topical, together.toxic):
        assert (values == to_grid(values)).all()


def test_long_documents_are_means_and_worst_windows(classifier: Classifier) -> None:
    """Harm in one passage shows in the whole, and what fills a fraction of a text counts for a fraction."""
    calm = STORY * 80
    long, mixed = (classifier.score([text]) for text in (calm, calm + INSULT * 20))
    harassment = HARMS.index("harassment")
    insult = classifier.score([INSULT * 20])
    assert mixed.topical[0, harassment] > 0.8 * insult.topical[0, harassment]
    assert mixed.topical[0, harassment] > 2 * long.topical[0, harassment]
    story = PROSOCIAL.index("personal_story")
    assert insult.prosocial[0, story] < mixed.prosocial[0, story] < long.prosocial[0, story]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS / "prosocial", tmp_path / "copy"))


def test_a_folder_loads_like_a_name(copy: Path, classifier: Classifier) -> None:
    assert load(copy).digest == load(str(copy)).digest == classifier.digest
    assert (classifier.name, classifier.languages) == ("prosocial", ("en",))


def rewrite(folder: Path, **changes: object) -> None:
    header = json.loads((folder / "model.json").read_text()) | changes
    header.pop("digest")
    (folder / "model.json").write_text(json.dumps({**header, "digest": digest(header)}))


def test_absent_damaged_and_foreign_models_are_refused(copy: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        load("antisocial")
    payload = (copy / "model.ftz").read_bytes()
    (copy / "model.ftz").write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"model\.ftz: does not match"):
        load(copy)
    (copy / "model.ftz").write_bytes(payload)
    header = (copy / "model.json").read_text()
    (copy / "model.json").write_text(header.replace('"window": 2000', '"window": 2001', 1))
    with pytest.raises(ModelError, match=r"model\.json: its content"):
        load(copy)
    (copy / "model.json").write_text(header[:-50])
    with pytest.raises(ModelError, match="not a header in JSON"):
        load(copy)
    (copy / "model.json").write_text("[]")
    with pytest.raises(ModelError, match="not a header in JSON"):
        load(copy)


@pytest.mark.parametrize(("key", "value"), [("taxonomy_version", 2), ("format", 0), ("tokens", "tokens.v0")])
def test_other_versions_are_refused_with_a_remedy(copy: Path, key: str, value: object) -> None:
    rewrite(copy, **{key: value})
    with pytest.raises(ModelError, match=rf"{key} is {value!r}.*train the model again"):
        load(copy)


def test_calibration_of_other_labels_is_refused(copy: Path) -> None:
    calibration = json.loads((copy / "model.json").read_text())["calibration"]
    calibration[0]["weights"] = {"beauty>=1": 1.0}
    rewrite(copy, calibration=calibration)
    with pytest.raises(ModelError, match="cannot be used"):
        load(copy)


def test_repeating_words_buys_nothing(classifier: Classifier) -> None:
    """Weights pay authors, so a text's score may not rise by saying it again, nor by one loved word a hundred times."""
    words = ["compassion", "thank you", "kindness", "hope", "please", "#"]
    once = classifier.score([*words, STORY, ADVICE])
    often = classifier.score([*(" ".join([word] * 150) for word in words), STORY * 3, ADVICE * 8])
    assert (often.prosocial.max(axis=1) < np.maximum(once.prosocial.max(axis=1), 0.2) + 0.15).all()
    assert (often.prosocial[-2:] - once.prosocial[-2:]).max() < 0.1
