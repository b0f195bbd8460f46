"""The cascade's logic on features that are counts of words; with the extra `semantic` also the real encoder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from florilegium.classifiers import Classifier, load
from florilegium.classifiers import encoder as encoder_module
from florilegium.classifiers.calibration import OUTPUTS, QUALITY_GRADES, fit_calibration
from florilegium.classifiers.cascade import Cascade, Gate, composite_labels, logits
from florilegium.classifiers.semantic import Heads
from florilegium.classifiers.student import FORMAT_VERSION, TAXONOMY_VERSION, TOKENS_VERSION
from florilegium.classifiers.train import LABELS
from florilegium.pipelines.stages.classify import Classify
from florilegium.schemas.document import to_grid
from florilegium.schemas.errors import MissingExtraError, ModelError
from florilegium.schemas.hashing import digest
from florilegium.schemas.recipe import ClassifyOptions
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL

WORDS = ("idiot", "thank", "sorry", "because")
TEXTS = [
    "You are a stupid worthless idiot, shut up you pathetic loser.",
    "The train leaves at nine from the second platform.",
    "",
    "I was wrong, I am sorry, and I thank you for explaining it so kindly. " * 30,
    "Bread is cheaper at the other shop.",
    "She said that he called her an idiot, and that it hurt her because she had trusted him.",
]


class Counts:
    """An encoder whose features are counts of four words."""

    def features(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.array([[text.lower().count(word) for word in WORDS] for text in texts], np.float32).reshape(-1, 4)


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    student = load("prosocial")
    assert isinstance(student, Classifier)
    random = np.random.default_rng(2)
    labels = composite_labels(LABELS)
    inputs = np.column_stack([random.normal(size=(200, len(labels))), np.zeros(200)])
    grades = {name: random.integers(0, 3, 200).astype(float) for name in (*PROSOCIAL, *HARMS, "quality")}
    made = Cascade(
        name="counts",
        version="1",
        digest="0123456789abcdef",
        languages=("en",),
        header={"reading": {"window": 800, "passages": 3}},
        student=student,
        gate=Gate(0.5, 1e9),
        heads=Heads(LABELS, random.normal(size=(len(LABELS), 4)).astype(np.float32), np.zeros(len(LABELS), np.float32)),
        adapter=None,
        calibration=fit_calibration(inputs, labels, grades, np.ones(200, bool)),
    )
    made.__dict__["encoder"] = Counts()
    return made


def test_only_what_passes_the_gate_is_read(cascade: Cascade) -> None:
    scores, alone = cascade.score(TEXTS), cascade.student.score(TEXTS)
    assert scores.seen is not None
    assert scores.seen.tolist() == [True, False, False, False, False, bool(alone.toxic[5].sum() >= 0.5)]
    assert (scores.prosocial[~scores.seen] == alone.prosocial[~scores.seen]).all()
    assert (scores.topical[~scores.seen] == alone.topical[~scores.seen]).all()
    assert (scores.prosocial[0] != alone.prosocial[0]).any()
    assert scores.valid.tolist() == alone.valid.tolist()
    assert (scores.toxic <= scores.topical).all()
    for values in (scores.quality, scores.prosocial, scores.topical, scores.toxic):
        assert np.isfinite(values).all()
        assert (values == to_grid(values)).all()


def test_a_row_depends_on_its_text_alone(cascade: Cascade) -> None:
    together = cascade.score(pa.chunked_array([pa.array(TEXTS[:2]), pa.array(TEXTS[2:])]))
    for row, text in enumerate(TEXTS):
        alone = cascade.score([text])
        for name in ("quality", "prosocial", "topical", "toxic"):
            assert (getattr(alone, name)[0] == getattr(together, name)[row]).all()


def test_the_gate_by_hand() -> None:
    probabilities = np.zeros((3, len(OUTPUTS)))
    probabilities[0, QUALITY_GRADES : QUALITY_GRADES + 2] = 0.5  # two prosocial dimensions
    probabilities[1, OUTPUTS.index("hate>=2")] = probabilities[1, OUTPUTS.index("violence>=2")] = 0.25
    assert Gate.qualities(probabilities).tolist() == [0.5, 0, 0]
    assert Gate.harms(probabilities).tolist() == [0, 0.5, 0]
    assert Gate(0.5, 0.5).passes(probabilities).tolist() == [True, True, False]
    assert Gate(0.6, 0.6).passes(probabilities).tolist() == [False, False, False]


def test_logits_stay_finite() -> None:
    assert np.isfinite(logits(np.array([[0.0, 0.5, 1.0]]))).all()
    assert logits(np.array([[0.5]])) == 0


def test_the_stage_names_who_had_the_last_word(cascade: Cascade) -> None:
    stage = Classify(ClassifyOptions(model="counts", harm=[]))
    stage._classifier = cascade
    stage.setup()
    columns = {"text": TEXTS, "language": ["en"] * 5 + ["de"], "error": [None] * 6}
    batch = pa.RecordBatch.from_pydict(columns, pa.schema([(name, pa.string()) for name in columns]))
    student = f"prosocial@{cascade.student.digest[:8]}"
    scored_by = stage.apply(batch)["scored_by"].to_pylist()
    assert scored_by == ["counts@01234567", student, None, student, student, None]
    assert stage.apply(stage.apply(batch)).equals(stage.apply(batch))


def write_header(folder: Path, **values: object) -> None:
    header = {
        "format": FORMAT_VERSION,
        "kind": "cascade",
        "taxonomy_version": TAXONOMY_VERSION,
        "tokens": TOKENS_VERSION,
        "outputs": list(OUTPUTS),
        **values,
    }
    (folder / "model.json").write_text(json.dumps({**header, "digest": digest(header)}))


def test_without_the_packages_a_cascade_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_header(tmp_path)
    monkeypatch.setattr(encoder_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"florilegium\[semantic\]"):
        load(tmp_path)


def test_a_folder_without_heads_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_header(tmp_path, files={})
    monkeypatch.setattr(encoder_module.importlib.util, "find_spec", lambda name: name)  # nothing is read by a package
    with pytest.raises(ModelError, match=r"model\.json: lists no heads\.safetensors .* install the model again"):
        load(tmp_path)
