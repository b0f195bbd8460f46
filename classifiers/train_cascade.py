"""Train a cascade on top of a student: heads, composite calibration, gate and figures.

The student's folds are trained anew, so that each annotated document has a probability of a student that has not seen
it; heads are fitted in the same folds. The composite is calibrated on these held-out pairs, the gate's thresholds are
quantiles of them over the natural rows that never let more through than was asked, and every figure on the card is
held out as well. Reading the documents with the encoder takes most of the time (about 20 documents a second on two
idle cores); with `cache` it is kept in a folder, part by part, and done once, as are the student's folds. With `tuning`
the encoder is fine-tuned too (finetune.py), anew for each fold; else heads are all that is learned of it. It may learn
the student's pseudo-labels as well (`pseudo_importance`), those of each fold's own teacher. `encoder` may also be one
that you fine-tuned with sentence-transformers.
"""

import functools
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..schemas.errors import InputError, ModelError
from ..schemas.hashing import digest
from ..schemas.taxonomy import HARMS, TAXONOMY_VERSION
from .calibration import OUTPUTS, fit_calibration
from .card import render_cascade_card
from .cascade import KIND, Gate, composite_labels, logits, write_cascade
from .encoder import Encoder, load_encoder, passages
from .finetune import Adapter, Lesson, Tuned, Tuning, fine_tune_cached
from .pseudo_labels import PseudoLabels
from .semantic import Heads, fit_heads, read_documents, score_documents
from .student import FORMAT_VERSION, MODELS, Classifier, load
from .tokens import TOKENS_VERSION
from .train import LABELS, CardText, HeldOut, TrainConfig, data_digest, figures, held_out, pseudo_labels_for

__all__ = ["CascadeConfig", "GateShares", "document_features", "read_cached", "train_cascade"]

Matrix = np.ndarray[Any, np.dtype[np.float64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
Say = Callable[[str], None]

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)  # of documents seen, at which figures are taken
FOUND = 0.5  # a probability of toxic from which the composite is said to have found it
CHUNK = 256  # documents read between two lines of progress


class GateShares(BaseModel):
    """Shares of the natural pool that each side of the gate lets through; both together let through less."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    harm: float = Field(default=0.1, ge=0, le=1)
    prosocial: float = Field(default=0.1, ge=0, le=1)


class CascadeConfig(BaseModel):
    """What a cascade is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    version: str
    student: str = "prosocial"  # a shipped model's name or a folder
    encoder: str  # "minilm", a name on the hub or a folder
    tokens: int = Field(default=384, ge=16, le=512)  # of a passage
    layers: bool = True  # features of every layer, not only the sentence vector
    window: int = Field(default=1600, ge=200)  # characters of a passage
    passages: int = Field(default=8, ge=1)  # of a document at most
    ridge: float = Field(default=3.0, gt=0)  # of heads on an encoder that is not fine-tuned
    tuning: Tuning | None = Field(default=None, exclude_if=lambda value: value is None)  # fine-tune it
    # How much a document of the student's pseudo-labels counts in that, beside 1 of an annotated one.
    pseudo_importance: float = Field(default=0.0, ge=0, le=1, exclude_if=lambda value: value == 0)
    gate: GateShares = GateShares()
    card: CardText

    @model_validator(mode="after")
    def _tuned_by_them(self) -> "CascadeConfig":
        if self.pseudo_importance and self.tuning is None:
            raise ValueError("`pseudo_importance` is for an encoder that is fine-tuned: add `tuning` or leave it out")
        return self


def train_cascade(
    config: CascadeConfig,
    data: str | Path,
    output: str | Path,
    sets: str | Path = ".",
    say: Say = lambda _: None,
    cache: str | Path | None = None,
    pseudo: str | Path | None = None,
) -> dict[str, Any]:
    """Train and measure; write `heads.safetensors`, header and card to `output`; return the header.

    `data`, `sets` and `pseudo` are what the student was trained on. Raises `InputError` for other data,
    `MissingExtraError` without the extra `semantic`.
    """
    student = load(config.student)
    if not isinstance(student, Classifier):
        raise ModelError(f"{config.student}: is itself a cascade; name a student")
    training = student.header["training"]
    if training["data_sha256"] != data_digest(data):
        raise InputError(f"{data}: {student.name} was trained on other rows; train it on these first, then name it")
    encoder = load_encoder(config.encoder, config.tokens, config.layers or config.tuning is not None)
    known = _known(student, data, sets, say, cache, pseudo)
    texts = [*known.gold.texts.to_pylist(), *known.further.texts]
    adapter = labels = None
    if config.tuning is None:
        features, counts = read_cached(encoder, texts, config.window, config.passages, say, cache)
        scores, heads = _heads(config, known, features, counts)
    else:
        if config.pseudo_importance:
            labels = pseudo_labels_for(TrainConfig.model_validate(training["parameters"]), data, pseudo)
            if labels is None:
                raise InputError(f"{student.name}: learned from no pseudo-labels; leave `pseudo_importance` out")
        scores, heads, adapter = _tuned(config, config.tuning, known, texts, labels, say, cache)
    say("composite and gate")
    inputs = np.column_stack([logits(known.probabilities), scores, np.zeros(len(scores))])
    names = composite_labels(LABELS)
    calibration = fit_calibration(inputs, names, known.gold.grades, known.gold.natural)
    composite = _held_out_composite(known, inputs, names)
    gate = _gate(config, known)
    payloads = {"heads.safetensors": heads.serialize()}
    if adapter is not None:
        payloads["adapter.safetensors"] = adapter.serialize()
    header: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "kind": KIND,
        "name": config.name,
        "version": config.version,
        "taxonomy_version": TAXONOMY_VERSION,
        "tokens": TOKENS_VERSION,
        "languages": list(student.languages),
        "student": {"name": student.name, "version": student.version, "digest": student.digest},
        "encoder": {
            "name": config.encoder,
            "digest": encoder.digest,
            "tokens": encoder.tokens,
            "layers": encoder.layers,
            "dim": heads.weights.shape[1],
        },
        "reading": {"window": config.window, "passages": config.passages},
        "gate": {"harm": gate.harm, "prosocial": gate.prosocial},
        "labels": list(LABELS),
        "outputs": list(OUTPUTS),
        "rank_only": [
            name for name, basis in zip(HARMS, calibration.basis[-len(HARMS) :], strict=True) if basis == "share"
        ],
        "calibration": calibration.to_json(),
        "files": {name: hashlib.sha256(payload).hexdigest() for name, payload in payloads.items()},
        "training": {
            "parameters": config.model_dump(mode="json"),
            "data_sha256": training["data_sha256"],
            "rows": len(known.gold.ids),
            "natural_rows": int(known.gold.natural.sum()),
            "set_rows": training["set_rows"],
            **({} if labels is None else {"pseudo_rows": len(labels.ids), "pseudo_sha256": labels.digest}),
        },
        "metrics": _metrics(known, composite, gate),
    }
    header["digest"] = digest(header)
    shipped = (MODELS / config.student).resolve().parent == MODELS.resolve()
    write_cascade(
        Path(output), header, payloads, render_cascade_card(header), None if shipped else Path(config.student)
    )
    return header


def _known(
    student: Classifier,
    data: str | Path,
    sets: str | Path,
    say: Say,
    cache: str | Path | None,
    pseudo: str | Path | None,
) -> HeldOut:
    """What the student's folds say, from the cache where it is kept."""
    parameters = TrainConfig.model_validate(student.header["training"]["parameters"])
    kept = None if cache is None else Path(cache) / f"student-{student.digest}.npz"
    if kept is not None and kept.is_file():
        with np.load(kept) as file:
            return held_out(parameters, data, sets, say, file["probabilities"])
    known = held_out(parameters, data, sets, say, pseudo=pseudo)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, probabilities=known.probabilities)
    return known


def read_cached(
    encoder: Encoder, texts: list[str], window: int, most: int, say: Say, cache: str | Path | None
) -> tuple[Floats, np.ndarray[Any, np.dtype[np.int64]]]:
    """Features of all passages and how many each text has; parts that the cache holds are not read again."""
    asked = [encoder.digest, encoder.tokens, encoder.layers, window, most, encoder.device, texts]
    folder = None if cache is None else Path(cache) / f"read-{digest(asked)}"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for first in range(0, len(texts), CHUNK):
        kept = None if folder is None else folder / f"{first:06d}.npz"
        if kept is not None and kept.is_file():
            with np.load(kept) as file:
                parts.append((file["features"], file["counts"]))
            continue
        say(f"read with {encoder.name} on {encoder.device}: {first:,} of {len(texts):,} documents")
        features, counts = read_documents(encoder, texts[first : first + CHUNK], window, most)
        parts.append((features, counts))
        if kept is not None:
            with (scratch := kept.with_suffix(".part")).open("wb") as file:
                np.savez(file, features=features, counts=counts)
            scratch.rename(kept)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def document_features(features: Floats, counts: np.ndarray[Any, Any]) -> Floats:
    """The mean of each text's passages, (texts, dim)."""
    starts = np.cumsum(counts) - counts
    return (np.add.reduceat(features, starts, axis=0) / counts[:, None]).astype(np.float32)


def _heads(
    config: CascadeConfig, known: HeldOut, features: Floats, counts: np.ndarray[Any, Any]
) -> tuple[Matrix, Heads]:
    """Held-out scores of the annotated documents, (rows, labels), and the heads of all rows."""
    starts = np.cumsum(counts) - counts
    documents = document_features(features, counts)
    further = np.arange(len(known.folds), len(counts))

    def fitted(rows: np.ndarray[Any, Any]) -> Heads:
        chosen = np.append(rows, further)
        return fit_heads(documents[chosen], known.targets[chosen], LABELS, known.importance[chosen], config.ridge)

    scores = np.zeros((len(known.folds), len(LABELS)))
    for fold in np.unique(known.folds):
        rows = np.flatnonzero(known.folds == fold)
        held = np.concatenate([np.arange(starts[row], starts[row] + counts[row]) for row in rows])
        scores[rows] = score_documents(fitted(np.flatnonzero(known.folds != fold)), features[held], counts[rows])
    return scores, fitted(np.arange(len(known.folds)))


def _tuned(
    config: CascadeConfig,
    tuning: Tuning,
    known: HeldOut,
    texts: list[str],
    pseudo: PseudoLabels | None,
    say: Say,
    cache: str | Path | None,
) -> tuple[Matrix, Heads, Adapter]:
    """Held-out scores of the annotated documents, (rows, labels), and heads and adapter of all rows.

    A fold learns from pseudo-labels of teachers that have not seen its documents either.
    """
    more = [] if pseudo is None else pseudo.texts
    firsts = [passages(text, config.window, config.passages)[0] for text in (*texts, *more)]
    importance = np.append(known.importance, np.full(len(more), config.pseudo_importance))
    further = np.arange(len(known.folds), len(firsts))

    @functools.cache
    def features() -> Floats:
        plain = load_encoder(config.encoder, config.tokens, layers=True).halved()
        return read_cached(plain, firsts, config.window, 1, say, cache)[0]

    def fitted(fold: int) -> tuple[Encoder, Tuned]:
        encoder = load_encoder(config.encoder, config.tokens, layers=True)
        rows = np.append(np.flatnonzero(known.folds != fold), further)
        targets = known.targets if pseudo is None else np.vstack([known.targets, pseudo.targets[fold]])
        taught = [firsts[row] for row in rows]
        lesson = Lesson(taught, targets[rows], LABELS, importance[rows], lambda: features()[rows])
        return encoder, fine_tune_cached(encoder, lesson, tuning, say, cache)

    scores = np.zeros((len(known.folds), len(LABELS)))
    for fold in np.unique(known.folds):
        rows = np.flatnonzero(known.folds == fold)
        say(f"fine-tune without fold {fold + 1} of {len(np.unique(known.folds))}")
        encoder, tuned = fitted(int(fold))
        held = [texts[row] for row in rows]
        adapted = tuned.adapter.apply(encoder)
        scores[rows] = score_documents(
            tuned.heads, *read_cached(adapted, held, config.window, config.passages, say, cache)
        )
    say("fine-tune on all documents")
    _, tuned = fitted(-1)
    return scores, tuned.heads, tuned.adapter


def _held_out_composite(known: HeldOut, inputs: Matrix, labels: tuple[str, ...]) -> Matrix:
    """Probabilities, (rows, outputs), of each fold as calibrated on the other folds."""
    probabilities = np.zeros((len(inputs), len(OUTPUTS)))
    for fold in np.unique(known.folds):
        inside, outside = known.folds != fold, known.folds == fold
        grades = {name: values[inside] for name, values in known.gold.grades.items()}
        calibration = fit_calibration(inputs[inside], labels, grades, known.gold.natural[inside])
        probabilities[outside] = calibration.apply(inputs[outside])
    return probabilities


def _gate(config: CascadeConfig, known: HeldOut) -> Gate:
    """Thresholds at which the configured shares of the natural rows pass."""
    natural = known.probabilities[known.gold.natural]
    return Gate(
        harm=_threshold(Gate.harms(natural), config.gate.harm),
        prosocial=_threshold(Gate.qualities(natural), config.gate.prosocial),
    )


def _threshold(values: Matrix, share: float) -> float:
    """The least value, of six digits, that no more than this share of rows reach; values are 0 or more."""
    if share <= 0:
        return round(float(values.max()) + 1.0, 6)
    if share >= 1:
        return 0.0
    first_held_back = float(np.sort(values)[::-1][int(share * len(values))])
    return math.floor(first_held_back * 1e6 + 1) / 1e6


def _metrics(known: HeldOut, composite: Matrix, gate: Gate) -> dict[str, Any]:
    """Held-out figures of student, composite and cascade, by share of documents seen, and what the gate keeps."""
    student, natural = known.probabilities, known.gold.natural
    passed = gate.passes(student)

    def cascade(seen: np.ndarray[Any, Any]) -> dict[str, Any]:
        return figures(known.gold, np.where(seen[:, None], composite, student))

    harms, qualities = Gate.harms(student), Gate.qualities(student)
    curve = []
    for share in SHARES:
        entry: dict[str, Any] = {"share": share}
        for side, values, keys in (
            ("prosocial", qualities, ("prosocial_roc_auc", "prosocial_average_precision")),
            ("harm", harms, ("harm_roc_auc",)),
        ):
            seen = values >= _threshold(values[natural], share)
            measured = cascade(seen)["natural"]
            entry |= {key: measured[key] for key in keys}
            if side == "harm":
                entry["toxic_kept"] = _kept(composite, seen)
        curve.append(entry)
    return {
        "student": _short(figures(known.gold, student)),
        "composite": _short(figures(known.gold, composite)),
        **cascade(passed),
        "seen": {
            "natural": round(float(passed[natural].mean()), 4),
            "harm": round(float((harms >= gate.harm)[natural].mean()), 4),
            "prosocial": round(float((qualities >= gate.prosocial)[natural].mean()), 4),
        },
        "toxic_kept": {
            "all": _kept(composite, harms >= gate.harm),
            "natural": _kept(composite[natural], (harms >= gate.harm)[natural]),
        },
        "by_share_seen": curve,
    }


def _kept(composite: Matrix, seen: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Of the documents in which the composite finds a toxic harm, how many the gate lets through."""
    found = composite[:, -len(HARMS) :].max(axis=1) >= FOUND
    return {"found": int(found.sum()), "kept": int((found & seen).sum())}


def _short(measured: dict[str, Any]) -> dict[str, Any]:
    return {
        part: {key: value for key, value in values.items() if key != "outputs"} for part, values in measured.items()
    }
