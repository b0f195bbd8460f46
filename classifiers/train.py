"""Train a shipped model from annotated documents.

    python -m florilegium.classifiers.train CONFIG --data train.parquet --output DIR

One linear model learns a label for each output ("compassion>=2"). The label of a prosocial dimension learns the
grade itself, from 0 to 3, and calibration then says how likely 2 is reached: rare top grades borrow from the
grades below. Harms learn both of theirs, also from sets of documents that were labelled for harm alone
(labelled_sets.py). Pseudo-labels of a slower teacher are further rows (pseudo_labels.py), pairs of sentences that
ought to be scored alike keep a dialect or a group from being heard (alike.py), and so do documents rewritten in other
varieties (voices.py) and spellings of one word that weigh alike (spellings.py). Folds by hash of id give out-of-fold
logits, through the file and the kernel that are shipped; calibration is fitted and every published figure
measured on them. Only rows with `ship` are read, and a word or word pair found in fewer than
`minimum_documents` documents is left out.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..schemas.arrays import string_buffers
from ..schemas.errors import FlorilegiumError, InputError, RecipeError
from ..schemas.hashing import digest
from ..schemas.taxonomy import HARMS, PROSOCIAL, TAXONOMY_VERSION
from .agreement import disagreements
from .alike import AlikePairs, alike_pairs, read_alike
from .calibration import OUTPUTS, QUALITY_GRADES, expected_calibration_error, fit_calibration, fit_labels
from .card import render_card
from .configs import CONFIGS
from .evaluate import average_precision, roc_auc
from .fasttext_file import parse, window_logits
from .fit import LinearModel, fit
from .labelled import HIGHEST, mean_grades
from .labelled_sets import LabelledRows, LabelledSet, read_contrasts, read_labelled_sets
from .pseudo_labels import Distillation, PseudoLabels, read_pseudo_labels
from .spellings import Spellings, read_spellings
from .student import FORMAT_VERSION, write_model
from .tokens import TOKENS_VERSION, tokenize
from .voices import Voices, read_voices
from .word_vectors import WordVectors, read_word_vectors

__all__ = [
    "LABELS",
    "CardText",
    "Gold",
    "HeldOut",
    "PlainStudents",
    "TrainConfig",
    "config_path",
    "data_digest",
    "drawn",
    "figures",
    "held_out",
    "main",
    "plain_students",
    "pseudo_labels_for",
    "read_config",
    "read_gold",
    "train",
    "train_any",
]

DIMENSIONS = (*PROSOCIAL, *HARMS, "quality")
FEW_POSITIVES = 20  # below which training says so
MANY, NEARLY_ALL, SELDOM = 30, 0.9, 0.2  # documents of a source, shares of positives in it and elsewhere
LABELS = (
    *(f"{name}>=2" for name in PROSOCIAL),
    *(f"{name}>={grade}" for name in HARMS for grade in (1, 2)),
    *(f"quality>={grade}" for grade in range(1, QUALITY_GRADES + 1)),
)
Matrix = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Say = Callable[[str], None]
Config = TypeVar("Config", bound=BaseModel)


def _unset(value: Any) -> bool:
    return value is None


class CardText(BaseModel):
    """What a card says that no figure can."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: str
    data: str
    licences: str
    use: str
    limits: str


class TrainConfig(BaseModel):
    """What a training run is made of; sizes in their natural units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    version: str
    languages: list[str]
    seed: int = 7  # of the folds
    folds: int = Field(default=5, ge=2)
    minimum_documents: int = Field(default=5, ge=5)  # the promise of every shipped card
    buckets: int = Field(default=1 << 21, ge=1)  # of word pairs, before those that are seldom found are left out
    ridge: float = Field(default=1.0, gt=0)  # penalty, in units of the mean squared length of a document's vector
    word_vectors: str | None = None  # a name ("minilm") or a file; words of like meaning then get like weights
    smoothing: float = Field(default=0.3, ge=0)  # how much: the vectors' part of a document's squared length
    harm_sets: list[LabelledSet] = Field(default_factory=list)
    contrasts: str | None = None  # a YAML file beside the shipped configs, or a path: sentences from templates
    alike: str | None = None  # likewise: pairs of sentences that ought to be scored alike
    voices: str | None = None  # likewise: rules that rewrite annotated documents in other varieties
    spellings: str | None = None  # likewise: other spellings of words, which get their weights
    distillation: Distillation | None = None  # learn from pseudo-labels too
    # Guards against bad labels; a header names those that are set.
    minimum_agreement: float | None = Field(default=None, ge=-1, le=1, exclude_if=_unset)  # kappa with other annotators
    source_share: float | None = Field(default=None, gt=0, le=1, exclude_if=_unset)  # of the documents, at most
    window: int = Field(default=2000, ge=100)  # bytes of tokenised text
    card: CardText


@dataclass(frozen=True)
class Gold:
    """Annotated documents that may train released weights."""

    ids: list[str]
    texts: pa.StringArray
    grades: dict[str, Matrix]  # per dimension: mean over annotations, NaN where none knows it, (rows,)
    natural: Mask  # (rows,) drawn at random from the natural pool
    sources: list[str]  # empty where the file does not say


def read_gold(path: str | Path, minimum_agreement: float | None = None, say: Say = lambda _: None) -> Gold:
    """The rows of an annotated Parquet file whose `ship` is true.

    Needs columns id, text, sampling, ship and annotations (lists of 20 grades: 12 prosocial, 7 harms,
    quality, in the taxonomy's order; null where a dimension was not judged); `source`, and `annotators` (who gave
    each list of grades; else the first, the second … of each row), where there are any. With `minimum_agreement`,
    grades of a dimension by annotators who disagree with the others are left out. Raises `InputError`.
    """
    try:
        present = set(pq.read_schema(path).names)
        optional = [name for name in ("source", "annotators") if name in present]
        table = pq.read_table(path, columns=["id", "text", "sampling", "ship", "annotations", *optional])
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise InputError(f"{path}: cannot be read as annotated documents ({error})") from error
    table = table.filter(table["ship"]).combine_chunks()
    annotations = table["annotations"].to_pylist()
    found = sorted({len(grades) for row in annotations for grades in row} - {len(DIMENSIONS)})
    if not annotations or found:
        message = f"{path}: needs rows with `ship` true and annotations of {len(DIMENSIONS)} grades"
        raise InputError(f"{message}, not {found[0]}; null stands for a dimension not judged" if found else message)
    if minimum_agreement is not None:
        named: list[list[str] | None] = (
            table["annotators"].to_pylist() if "annotators" in present else [None] * len(annotations)
        )
        annotations = _agreeing(path, annotations, named, minimum_agreement, say)
    means = np.array([mean_grades(row) for row in annotations], np.float64)
    return Gold(
        ids=table["id"].to_pylist(),
        texts=pa.array(table["text"].to_pylist(), pa.string()),
        grades={name: means[:, column] for column, name in enumerate(DIMENSIONS)},
        natural=np.array([value == "random" for value in table["sampling"].to_pylist()], np.bool_),
        sources=table["source"].to_pylist() if "source" in present else [],
    )


def _agreeing(
    path: str | Path,
    annotations: list[list[list[float | None]]],
    annotators: list[list[str] | None],
    minimum: float,
    say: Say,
) -> list[list[list[float | None]]]:
    """Annotations without the grades of annotators who disagree with the others on a dimension."""
    named = [
        [f"annotator {place + 1}" for place in range(len(row))] if names is None else names
        for row, names in zip(annotations, annotators, strict=True)
    ]
    wrong = next((row for row, names in enumerate(named) if len(names) != len(annotations[row])), None)
    if wrong is not None:
        raise InputError(f"{path}: row {wrong}: `annotators` names {len(named[wrong])} of {len(annotations[wrong])}")
    if max(map(len, annotations)) < 2:
        say("agreement cannot be checked: no document was read twice")
        return annotations
    left_out: dict[str, set[int]] = {}
    for item in disagreements(annotations, named, {name: HIGHEST[name] for name in DIMENSIONS}, minimum):
        say(
            f"{item.annotator}: kappa {item.kappa:.2f} with the others on {item.dimension} ({item.documents:,} "
            f"documents), below {minimum:g}: {item.grades:,} grades left out"
        )
        left_out.setdefault(item.annotator, set()).add(DIMENSIONS.index(item.dimension))
    return [
        [
            [None if column in left_out.get(name, ()) else grade for column, grade in enumerate(grades)]
            for grades, name in zip(row, names, strict=True)
        ]
        for row, names in zip(annotations, named, strict=True)
    ]


def _bounded(gold: Gold, config: TrainConfig, say: Say) -> tuple[Gold, Matrix]:
    """The documents, and how much each counts, (rows,), so that no source counts for more than its share.

    All documents of a larger source count for less; those beyond its share, by hash of id, calibrate nothing.
    """
    importance = np.ones(len(gold.ids))
    for source, share, dimension, rest in _lopsided(gold):
        say(
            f"source {source}: {share:.0%} of its documents reach {dimension}, {rest:.0%} of all others; read some of "
            "them, and leave the source out where its labels are wrong"
        )
    if config.source_share is None:
        return gold, importance
    if not gold.sources:
        raise InputError("`source_share` needs a column `source` in the annotated documents; add it or drop the key")
    most = max(int(config.source_share * len(gold.ids)), 1)
    sources, natural = np.array(gold.sources), gold.natural.copy()
    for source, count in Counter(gold.sources).items():
        if count > most:
            rows = np.flatnonzero(sources == source)
            order = sorted(rows.tolist(), key=lambda row: digest([config.seed, "source", gold.ids[row]]))
            importance[rows], natural[order[most:]] = most / count, False
            say(f"source {source}: {count:,} documents count as {most:,} (`source_share` {config.source_share:g})")
    return replace(gold, natural=natural), importance


def _lopsided(gold: Gold) -> list[tuple[str, float, str, float]]:
    """Sources nearly all of whose documents have a quality that others seldom have: a look at them is worth while."""
    sources, found = np.array(gold.sources), []
    for source, count in sorted(Counter(gold.sources).items()):
        for name in PROSOCIAL if count >= MANY else ():
            reached, own = _reaches(gold, f"{name}>=2"), sources == source
            judged = np.isfinite(reached)
            inside, outside = reached[judged & own], reached[judged & ~own]
            if len(inside) >= MANY and len(outside) and inside.mean() >= NEARLY_ALL and outside.mean() <= SELDOM:
                found.append((source, float(inside.mean()), name, float(outside.mean())))
    return found


def train(
    config: TrainConfig,
    data: str | Path,
    output: str | Path,
    sets: str | Path = ".",
    say: Say = lambda _: None,
    pseudo: str | Path | None = None,
) -> dict[str, Any]:
    """Train, calibrate and measure; write model, header and card to `output`; return the header.

    `sets` is the folder that the files of `harm_sets` lie in, `pseudo` the file of pseudo-labels where the
    configuration has a `distillation`; `say` is told how far it is.
    """
    labels = pseudo_labels_for(config, data, pseudo)
    gold, importance = _bounded(read_gold(data, config.minimum_agreement, say), config, say)
    lines = tokenize(gold.texts).to_pylist()
    material = _material(config, gold, importance, lines, Path(sets), labels)
    folds = _folds(gold.ids, config.folds, config.seed)
    reached = np.column_stack([_reaches(gold, label) for label in LABELS])
    inputs = _held_out_inputs(config, material, folds, say)
    say("calibration, and the model of all documents")
    calibration = fit_calibration(inputs, LABELS, gold.grades, gold.natural)
    few = [
        f"{output} ({every})"
        for output, (_, every) in zip(OUTPUTS, calibration.positives, strict=True)
        if every < FEW_POSITIVES
    ]
    if few:
        say(f"fewer than {FEW_POSITIVES} positives, so little is learned of {', '.join(few)}")
    means = inputs[:, :-1] / np.exp(inputs[:, -1:] / 2)
    linear = _fit(config, material, np.arange(len(lines)))
    payload = linear.serialize(*fit_labels(means, reached, gold.natural))
    header: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "name": config.name,
        "version": config.version,
        "taxonomy_version": TAXONOMY_VERSION,
        "tokens": TOKENS_VERSION,
        "languages": config.languages,
        "window": config.window,
        "aggregation": {"quality": "mean", "prosocial": "mean", "harm": "max"},
        "outputs": list(OUTPUTS),
        "rank_only": [
            name for name, basis in zip(HARMS, calibration.basis[-len(HARMS) :], strict=True) if basis == "share"
        ],
        "calibration": calibration.to_json(),
        "files": {"model.ftz": hashlib.sha256(payload).hexdigest()},
        "training": {
            "parameters": config.model_dump(mode="json"),
            "data_sha256": data_digest(data),
            "rows": len(lines),
            "natural_rows": int(gold.natural.sum()),
            "set_rows": dict(Counter(material.further.sources)),
            "alike_pairs": 0 if material.alike is None else len(material.alike.lines),
            "pseudo_rows": 0 if material.pseudo is None else len(material.pseudo.lines),
            "pseudo_sha256": None if material.pseudo is None else material.pseudo.digest,
            "words": len(linear.vocabulary.words),
            "features": len(linear.weights),
        },
        "metrics": figures(gold, _held_out(gold, inputs, folds)),
    }
    header["digest"] = digest(header)
    write_model(Path(output), header, {"model.ftz": payload}, render_card(header))
    return header


def _reaches(gold: Gold, label: str) -> Matrix:
    """1 where rows reach the grade of a label such as "compassion>=2", means rounded; else 0, NaN where unknown."""
    name, grade = label.split(">=")
    grades = gold.grades[name]
    return np.where(np.isnan(grades), np.nan, grades >= int(grade) - 0.5)


def _folds(ids: Iterable[str], folds: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([int(digest([seed, "fold", value]), 16) % folds for value in ids], np.int64)


def drawn(ids: Iterable[str], share: float, seed: int) -> Mask:
    """The documents of a part of all, (rows,), by hash of id: a smaller share lies within a larger one."""
    return np.array([int(digest([seed, "share", value])[:8], 16) < share * 16**8 for value in ids], np.bool_)


@dataclass(frozen=True)
class _Material:
    """What models are fitted to: annotated documents, then those of the sets, as tokenised lines."""

    lines: list[str]
    targets: Matrix  # (rows, labels), NaN where unknown
    importance: Matrix  # (rows,)
    further: LabelledRows  # the rows after the annotated documents
    vectors: WordVectors | None
    alike: AlikePairs | None
    voices: Voices | None
    rewritten: list[tuple[int, str]]  # annotated documents as `voices` has them
    spellings: Spellings | None
    pseudo: PseudoLabels | None


def pseudo_labels_for(config: TrainConfig, data: str | Path, path: str | Path | None) -> PseudoLabels | None:
    """The pseudo-labels that a configuration asks for. Raises `InputError` where they are missing or of other rows."""
    if config.distillation is None:
        if path is not None:
            raise InputError(f"{path}: {config.name} has no `distillation` in its configuration to use pseudo-labels")
        return None
    if path is None:
        raise InputError(
            f"{config.name} learns from pseudo-labels: name their file with --pseudo, made by `python -m "
            "florilegium.classifiers.distil`, or leave `distillation` out of the configuration"
        )
    expected = {"data_sha256": data_digest(data), "folds": config.folds, "seed": config.seed, "labels": list(LABELS)}
    return read_pseudo_labels(path, expected)


def _material(
    config: TrainConfig,
    gold: Gold,
    importance: Matrix,
    lines: list[str],
    folder: Path,
    pseudo: PseudoLabels | None = None,
) -> _Material:
    learned = [
        gold.grades[label.split(">=")[0]] if label.split(">=")[0] in PROSOCIAL else _reaches(gold, label)
        for label in LABELS
    ]
    targets = np.column_stack(learned)
    contrasts = None if config.contrasts is None else read_contrasts(CONFIGS / config.contrasts)
    voices = None if config.voices is None else read_voices(CONFIGS / config.voices)
    further = read_labelled_sets(config.harm_sets, folder, LABELS, set(lines), contrasts)
    return _Material(
        lines=[*lines, *further.lines],
        targets=np.vstack([targets, further.targets]),
        importance=np.append(importance, further.importance),
        further=further,
        vectors=None if config.word_vectors is None else read_word_vectors(config.word_vectors),
        alike=None if config.alike is None else alike_pairs(read_alike(CONFIGS / config.alike)),
        voices=voices,
        rewritten=[] if voices is None else voices.rewritten(gold.ids, lines),
        spellings=None if config.spellings is None else read_spellings(CONFIGS / config.spellings),
        pseudo=pseudo,
    )


def _fit(config: TrainConfig, material: _Material, rows: np.ndarray[Any, Any], fold: int = -1) -> LinearModel:
    """The model of these rows of the annotated documents, of all rows of the sets and of the pseudo-labels.

    `fold` is the one that the rows leave out, whose documents the teacher has not seen either; -1 if none.
    """
    annotated = len(material.lines) - len(material.further.lines)
    places = {int(row): place for place, row in enumerate(rows)}
    rows = np.append(rows, np.arange(annotated, len(material.lines)))
    lines, targets, importance = (
        [material.lines[row] for row in rows],
        material.targets[rows],
        material.importance[rows],
    )
    if material.pseudo is not None and config.distillation is not None:
        lines += material.pseudo.lines
        targets = np.vstack([targets, material.pseudo.targets[fold]])
        importance = np.append(importance, np.full(len(material.pseudo.lines), config.distillation.importance))
    return fit(
        lines,
        targets,
        LABELS,
        minimum_documents=config.minimum_documents,
        buckets=config.buckets,
        ridge=config.ridge,
        vectors=material.vectors,
        smoothing=config.smoothing,
        importance=importance,
        alike=() if material.alike is None else material.alike.lines,
        alike_importance=1.0 if material.alike is None else material.alike.importance,
        rewritten=[(places[row], line) for row, line in material.rewritten if row in places],
        rewritten_importance=1.0 if material.voices is None else material.voices.importance,
        spellings=material.spellings,
    )


def _inputs(payload: bytes, lines: list[str]) -> Matrix:
    """What calibration takes, (rows, labels + 1): tokenised documents scored as one window each."""
    model = parse(payload)
    data, offsets = string_buffers(pa.array(lines, pa.string()))
    outputs = np.eye(len(LABELS), len(LABELS) + 1, dtype=np.float32)
    windows = window_logits(model, data, offsets, max(int(np.diff(offsets).max()), 1), outputs, distinct=True)
    values = np.zeros((len(lines), len(LABELS) + 1))
    values[windows.counts > 0] = np.column_stack([windows.logits, np.log(windows.types)])
    return values


def _held_out_inputs(
    config: TrainConfig, material: _Material, folds: np.ndarray[Any, Any], say: Say, taught: Mask | None = None
) -> Matrix:
    """What calibration takes, (rows, labels + 1), of each annotated document by a model of the other folds.

    `taught`, (rows,), marks the documents that models may learn from; all of them if None.
    """
    taught = np.ones(len(folds), np.bool_) if taught is None else taught
    inputs = np.zeros((len(folds), len(LABELS) + 1))
    for fold in range(config.folds):
        held_out = np.flatnonzero(folds == fold)
        count = len(material.lines) - int((~taught & (folds != fold)).sum())
        say(f"fold {fold + 1} of {config.folds}: {count:,} documents, {len(held_out):,} of them held out")
        payload = _fit(config, material, np.flatnonzero((folds != fold) & taught), fold).serialize()
        inputs[held_out] = _inputs(payload, [material.lines[row] for row in held_out])
    return inputs


def _held_out(gold: Gold, inputs: Matrix, folds: np.ndarray[Any, Any], taught: Mask | None = None) -> Matrix:
    """Probabilities, (rows, outputs), of each fold as calibrated on rows of the other folds, those of `taught`."""
    taught = np.ones(len(folds), np.bool_) if taught is None else taught
    probabilities = np.zeros((len(inputs), len(OUTPUTS)))
    for fold in np.unique(folds):
        inside, held_out = (folds != fold) & taught, folds == fold
        grades = {name: values[inside] for name, values in gold.grades.items()}
        calibration = fit_calibration(inputs[inside], LABELS, grades, gold.natural[inside])
        probabilities[held_out] = calibration.apply(inputs[held_out])
    return probabilities


@dataclass(frozen=True)
class HeldOut:
    """The rows that a student was trained on, and what it says of each when it has not seen it."""

    gold: Gold
    folds: np.ndarray[Any, np.dtype[np.int64]]
    probabilities: Matrix  # (rows, outputs)
    further: LabelledRows  # rows of the sets, which no fold holds out
    targets: Matrix  # (rows + further rows, labels), NaN where unknown
    importance: Matrix  # (rows + further rows,)


def held_out(
    config: TrainConfig,
    data: str | Path,
    sets: str | Path = ".",
    say: Say = lambda _: None,
    probabilities: Matrix | None = None,
    pseudo: str | Path | None = None,
    share: float = 1.0,
) -> HeldOut:
    """The student's folds trained anew: what a second model on top of it may learn from.

    `probabilities`, where an earlier call gave them, save the training, and `pseudo` is then not read. With a `share`
    below 1 only that part of the annotated documents teaches and calibrates, chosen by hash of id, so that a smaller
    part lies within a larger one; all documents are still held out in the same folds.
    """
    gold, importance = _bounded(read_gold(data, config.minimum_agreement, say), config, say)
    labels = pseudo_labels_for(config, data, pseudo) if probabilities is None else None
    material = _material(config, gold, importance, tokenize(gold.texts).to_pylist(), Path(sets), labels)
    folds = _folds(gold.ids, config.folds, config.seed)
    if probabilities is None:
        taught = drawn(gold.ids, share, config.seed)
        inputs = _held_out_inputs(config, material, folds, say, taught)
        probabilities = _held_out(gold, inputs, folds, taught)
    return HeldOut(gold, folds, probabilities, material.further, material.targets, material.importance)


@dataclass(frozen=True)
class PlainStudents:
    """Students of annotated documents and sets alone, without pseudo-labels: a part of their teacher (distil.py)."""

    gold: Gold
    config: TrainConfig
    folds: np.ndarray[Any, np.dtype[np.int64]]
    material: _Material

    @property
    def further(self) -> LabelledRows:
        """Rows of the sets."""
        return self.material.further

    @property
    def lines(self) -> list[str]:
        """Annotated documents, then rows of the sets, tokenised."""
        return self.material.lines

    @property
    def targets(self) -> Matrix:
        """What is known of them, (rows, labels), NaN where unknown."""
        return self.material.targets

    @property
    def importance(self) -> Matrix:
        """Of each row, (rows,)."""
        return self.material.importance

    def rows_without(self, fold: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Rows of training that leave a fold's documents out; all of them for a fold that there is not."""
        return np.append(np.flatnonzero(self.folds != fold), np.arange(len(self.folds), len(self.lines)))

    def student(self, fold: int, lines: list[str]) -> Matrix:
        """What the student of `rows_without(fold)` says of tokenised lines, (lines, labels), in the labels' units."""
        linear = _fit(self.config, self.material, np.flatnonzero(self.folds != fold))
        rows = self.rows_without(fold)
        known = np.isfinite(self.targets[rows])
        weights = known * self.importance[rows][:, None]
        sums = np.sum(np.where(known, self.targets[rows], 0.0) * weights, axis=0)
        return _inputs(linear.serialize(), lines)[:, :-1] + sums / np.maximum(np.sum(weights, axis=0), 1e-12)


def plain_students(config: TrainConfig, data: str | Path, sets: str | Path = ".") -> PlainStudents:
    """The rows and folds of a student as they are without pseudo-labels."""
    plain = config.model_copy(update={"distillation": None})
    gold, importance = _bounded(read_gold(data, plain.minimum_agreement), plain, lambda _: None)
    material = _material(plain, gold, importance, tokenize(gold.texts).to_pylist(), Path(sets))
    return PlainStudents(gold, plain, _folds(gold.ids, config.folds, config.seed), material)


def figures(gold: Gold, probabilities: Matrix) -> dict[str, Any]:
    """Figures of held-out probabilities, (rows, outputs), on the natural rows and on all."""
    every = np.ones(len(probabilities), np.bool_)
    return {
        "natural": _measure(gold, probabilities, gold.natural),
        "all": _measure(gold, probabilities, every),
    }


def _measure(gold: Gold, probabilities: Matrix, rows: Mask) -> dict[str, Any]:
    outputs: dict[str, dict[str, float | int | None]] = {}
    for column, output in enumerate(OUTPUTS):
        reached = _reaches(gold, output)
        known = rows & ~np.isnan(reached)
        target, score = reached[known] > 0.5, probabilities[known, column]
        values = {
            "roc_auc": roc_auc(target, score),
            "average_precision": average_precision(target, score),
            "calibration_error": expected_calibration_error(target.astype(np.float64), score),
        }
        rounded = {key: None if np.isnan(value) else round(value, 3) for key, value in values.items()}
        outputs[output] = {"positives": int(target.sum()), **rounded}
    judged = rows & ~np.isnan(gold.grades["quality"])
    quality = probabilities[judged, :QUALITY_GRADES].sum(axis=1)

    def macro(names: Iterable[str], measure: str) -> float | None:
        values = [float(value) for name in names if (value := outputs[name][measure]) is not None]
        return round(float(np.mean(values)), 3) if values else None

    prosocial, topical = [f"{name}>=2" for name in PROSOCIAL], [f"{name}>=1" for name in HARMS]
    return {
        "rows": int(rows.sum()),
        "prosocial_roc_auc": macro(prosocial, "roc_auc"),
        "prosocial_average_precision": macro(prosocial, "average_precision"),
        "prosocial_calibration_error": macro(prosocial, "calibration_error"),
        "harm_roc_auc": macro(topical, "roc_auc"),
        "harm_calibration_error": macro(topical, "calibration_error"),
        "quality_roc_auc": round(roc_auc(gold.grades["quality"][judged] >= 2.5, quality), 3),
        "outputs": outputs,
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line of this module; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m florilegium.classifiers.train", description=__doc__)
    parser.add_argument("config", help="a shipped configuration's name or the YAML file of a training run")
    parser.add_argument("--data", type=Path, help="annotated documents (Parquet); of a harm model, ordinary ones")
    parser.add_argument("--sets", type=Path, default=Path(), help="folder that the files of `harm_sets` lie in")
    parser.add_argument("--output", type=Path, required=True, help="the model's folder")
    parser.add_argument("--cache", type=Path, help="folder that keeps what an encoder read")
    parser.add_argument("--pseudo", type=Path, help="pseudo-labels, where the configuration has a `distillation`")
    options = parser.parse_args(arguments)
    try:
        header = train_any(
            config_path(options.config),
            options.data,
            options.output,
            options.sets,
            lambda line: print(line, file=sys.stderr, flush=True),
            options.cache,
            options.pseudo,
        )
    except FlorilegiumError as error:
        parser.exit(error.exit_code, f"{error}\n")
    print(json.dumps(header["metrics"], indent=1))
    return 0


def data_digest(path: str | Path) -> str:
    """SHA-256 of a file of annotated documents. Raises `InputError` where there is none."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read as annotated documents ({error.strerror})") from error


def train_any(
    path: str | Path,
    data: str | Path | None,
    output: str | Path,
    sets: str | Path = ".",
    say: Say = lambda _: None,
    cache: str | Path | None = None,
    pseudo: str | Path | None = None,
) -> dict[str, Any]:
    """Train what a YAML file describes: a harm model, a cascade where it names an encoder, else a student.

    Returns the header. A harm model alone can do without `data`.
    """
    content = _read_yaml(path)
    if content.get("kind") == "harm":
        from .train_harm import HarmConfig, train_harm

        harm = _validated(HarmConfig, content, path)
        say(f"train {harm.name} {harm.version} on {', '.join(item.file for item in harm.sets)}")
        return train_harm(harm, output, sets, data, say)
    if data is None:
        raise InputError(f"{path}: learns from annotated documents; name their file with --data")
    if "encoder" not in content:
        config = _validated(TrainConfig, content, path)
        say(f"train {config.name} {config.version} on {data}")
        return train(config, data, output, sets, say, pseudo)
    from .train_cascade import CascadeConfig, train_cascade

    cascade = _validated(CascadeConfig, content, path)
    say(f"train {cascade.name} {cascade.version} on {data}")
    return train_cascade(cascade, data, output, sets, say, cache, pseudo)


def config_path(name: str | Path) -> Path:
    """The file of a shipped configuration, by its name, or of one's own. Raises `RecipeError` where there is none."""
    for path in (CONFIGS / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path
    near = get_close_matches(str(name), sorted(path.stem for path in CONFIGS.glob("*.yaml")), n=1)
    raise RecipeError(f"{name}: no such configuration" + (f"; did you mean {near[0]!r}?" if near else " or file"))


def read_config(path: str | Path) -> TrainConfig:
    """A student's training run from its YAML file. Raises `RecipeError` that names the key."""
    return _validated(TrainConfig, _read_yaml(path), path)


def _read_yaml(path: str | Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: not a training run ({error})") from error
    return content if isinstance(content, dict) else {}


def _validated(kind: type[Config], content: dict[str, Any], path: str | Path) -> Config:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{path}: not a training run ({error})") from error


if __name__ == "__main__":
    raise SystemExit(main())
