"""Train a harm model for languages without annotated documents: public sets in, ranks out.

    florilegium train harm-de --sets labelled --data pages.parquet --output DIR

The training split of the sets teaches a linear model over units (units.py), in the closed form of fit.py; their
development split says how steep a rank rises, and their test split gives the figures of the card. Documents that
people wrote for no such set, `--data`, are ordinary: one in two, by hash of id, teaches with one window what harmless
text of the language looks like, and the others are measured. A rank is set so low that

    at most `Threshold.ordinary` of the ordinary documents, and at most `Threshold.harmless` of the harmless rows of
    the development split, are above `Threshold.floor`

since a good page that is rejected costs more than a bad one that is kept. A text that is in two splits counts in the
first of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from ..schemas.document import to_grid
from ..schemas.errors import InputError
from ..schemas.hashing import digest
from ..schemas.taxonomy import HARMS, TAXONOMY_VERSION
from .calibration import fit_labels
from .configs import CONFIGS
from .fasttext_file import parse
from .fit import fit
from .harm_card import render_harm_card
from .harm_model import ranks, worst_windows
from .labelled_sets import LabelledRows, LabelledSet, Rule, read_contrasts, read_labelled_sets
from .measures import Ranking, interval, resample
from .student import FORMAT_VERSION, write_model
from .tokens import TOKENS_VERSION
from .train import CardText
from .units import Units, read_lines

__all__ = ["HarmConfig", "train_harm"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Say = Callable[[str], None]
FEW = 20  # rows of each kind that a label needs
FLOORS = (0.3, 0.5)  # of shipped recipes, for the figures
RESAMPLES = 500
JOINED = 5  # rows that stand together for a longer document in the figures


class Threshold(BaseModel):
    """How seldom harmless text may be above a floor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    floor: float = Field(default=0.3, gt=0, lt=1)  # the lowest that a shipped recipe rejects at
    ordinary: float = Field(default=0.01, gt=0, lt=1)  # at most this share of ordinary documents is above it
    harmless: float = Field(default=0.02, gt=0, lt=1)  # and of the harmless rows of the sets


class HarmConfig(BaseModel):
    """What training a harm model is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["harm"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    version: str
    languages: list[str] = Field(min_length=1)
    units: Units = "words"
    seed: int = 7
    outputs: list[str] = Field(min_length=1)  # such as "hate>=2"
    sets: list[LabelledSet] = Field(min_length=1)
    contrasts: str | None = None  # a YAML file beside the shipped configs, or a path: sentences from templates
    ordinary_importance: float = Field(default=0.3, gt=0, le=1)  # of a window of an ordinary document
    minimum_documents: int = Field(default=5, ge=5)  # the promise of every shipped card
    buckets: int = Field(default=1 << 20, ge=1)
    ridge: float = Field(default=2.0, gt=0)
    window: int = Field(default=4000, ge=100)  # bytes of units
    threshold: Threshold = Threshold()
    groups: dict[str, dict[str, tuple[float, float]]] = Field(default_factory=dict)  # of test rows, to look at apart
    card: CardText


@dataclass(frozen=True)
class _Split:
    """Rows of a split, or documents, as lines of units."""

    texts: list[str]
    lines: pa.StringArray
    targets: Floats  # (rows, outputs), NaN where unknown
    importance: Floats  # (rows,)


@dataclass(frozen=True)
class _Ordinary:
    """Ordinary documents: those that teach, one window each, and those that are measured."""

    taught: list[str]
    measured: pa.StringArray
    digest: str | None  # of their ids and lines


def train_harm(
    config: HarmConfig,
    output: str | Path,
    sets: str | Path = ".",
    data: str | Path | None = None,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Train and measure; write model, header and card to `output`; return the header.

    `data` names ordinary documents (Parquet with `id`, `text` and, where it holds several languages, `language`, as
    `florilegium score` writes it); without them the sets alone decide. Raises `InputError`, `RecipeError`.
    """
    foreign = [name for name in config.outputs if name not in {f"{harm}>=2" for harm in HARMS}]
    if foreign:
        raise InputError(f"outputs: {foreign[0]!r} is no toxic harm of the taxonomy; write {HARMS[0]}>=2 and the like")
    splits = _splits(config, Path(sets))
    ordinary = _read_ordinary(config, data)
    taught = splits["train"]
    say(f"{len(taught.lines):,} rows of the sets, {len(ordinary.taught):,} ordinary documents beside them")
    contrasts = _contrasts(config)
    lines = [*taught.lines.to_pylist(), *contrasts.lines.to_pylist(), *ordinary.taught]
    targets = np.vstack([taught.targets, contrasts.targets, np.zeros((len(ordinary.taught), len(config.outputs)))])
    importance = np.concatenate(
        [taught.importance, contrasts.importance, np.full(len(ordinary.taught), config.ordinary_importance)]
    )
    linear = fit(
        lines,
        targets,
        config.outputs,
        minimum_documents=config.minimum_documents,
        buckets=config.buckets,
        ridge=config.ridge,
        importance=importance,
    )
    say("measure")
    model = parse(linear.serialize())
    dev, test, documents = (
        worst_windows(model, part, config.window)[0]
        for part in (splits["dev"].lines, splits["test"].lines, ordinary.measured)
    )
    slopes, _ = fit_labels(dev, splits["dev"].targets, np.ones(len(dev), np.bool_))
    for name in (name for name, slope in zip(config.outputs, slopes, strict=True) if slope <= 0):
        raise InputError(f"{name}: the development split ranks no better than chance; look at its rules and labels")
    bounds = [
        _bound(config.threshold, dev[splits["dev"].targets[:, k] == 0, k], documents[:, k])
        for k in range(len(config.outputs))
    ]
    floor = np.log(config.threshold.floor / (1 - config.threshold.floor))
    intercepts = floor - slopes * np.array(bounds)
    payload = linear.serialize(slopes, intercepts)

    def ranked(logits: Floats) -> Floats:
        return to_grid(ranks(logits, slopes, intercepts))

    header: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "kind": "harm",
        "name": config.name,
        "version": config.version,
        "taxonomy_version": TAXONOMY_VERSION,
        "tokens": TOKENS_VERSION,
        "units": config.units,
        "languages": config.languages,
        "window": config.window,
        "aggregation": {"harm": "max"},
        "outputs": config.outputs,
        "rank_only": [name.split(">=")[0] for name in config.outputs],
        "calibration": [
            {"output": name, "basis": "rank", "slope": float(slopes[k]), "intercept": float(intercepts[k])}
            for k, name in enumerate(config.outputs)
        ],
        "files": {"model.ftz": sha256(payload).hexdigest()},
        "training": {
            "parameters": config.model_dump(mode="json"),
            "set_rows": {split: len(rows.lines) for split, rows in splits.items()},
            "contrasts": len(contrasts.lines),
            "ordinary_taught": len(ordinary.taught),
            "ordinary_measured": len(ordinary.measured),
            "ordinary_digest": ordinary.digest,
            "words": len(linear.vocabulary.words),
            "features": len(linear.weights),
        },
        "metrics": _figures(
            config,
            splits["test"],
            ranked(test),
            ranked(documents),
            lambda lines: ranked(worst_windows(model, lines, config.window)[0]),
            Path(sets),
        ),
    }
    header["digest"] = digest(header)
    write_model(Path(output), header, {"model.ftz": payload}, render_harm_card(header))
    return header


def _lines(config: HarmConfig, texts: list[str]) -> pa.StringArray:
    return read_lines(pa.array(texts, pa.string()), config.units)


def _splits(config: HarmConfig, folder: Path) -> dict[str, _Split]:
    """The rows of each split that the rules know, none of them in two."""
    taken: set[str] = set()
    splits = {}
    for split in ("train", "dev", "test"):
        rows = read_labelled_sets(config.sets, folder, tuple(config.outputs), taken, split=split)
        taken.update(rows.lines)
        _check(config, split, rows.targets)
        splits[split] = _of(config, rows)
    return splits


def _contrasts(config: HarmConfig) -> _Split:
    contrasts = None if config.contrasts is None else read_contrasts(CONFIGS / config.contrasts)
    return _of(config, read_labelled_sets([], Path(), tuple(config.outputs), set(), contrasts))


def _of(config: HarmConfig, rows: LabelledRows) -> _Split:
    return _Split(rows.texts, _lines(config, rows.texts), rows.targets, rows.importance)


def _check(config: HarmConfig, split: str, targets: Floats) -> None:
    for column, output in enumerate(config.outputs):
        toxic, harmless = (int((targets[:, column] == value).sum()) for value in (1.0, 0.0))
        if min(toxic, harmless) < FEW:
            raise InputError(
                f"{output}: {toxic} toxic and {harmless} harmless rows in the split {split!r} of the sets, at least "
                f"{FEW} of each are needed; add a set, or leave the output out"
            )


def _read_ordinary(config: HarmConfig, path: str | Path | None) -> _Ordinary:
    """The ordinary documents of a file in the languages of the model."""
    if path is None:
        return _Ordinary([], pa.array([], pa.string()), None)
    try:
        present = pq.read_schema(path).names
        table = pq.read_table(path, columns=["id", "text", *(["language"] if "language" in present else [])])
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise InputError(f"{path}: cannot be read as documents; needs the columns id and text ({error})") from error
    rows = [
        (str(row["id"]), row["text"])
        for row in table.to_pylist()
        if row["text"] and row.get("language", config.languages[0]) in config.languages
    ]
    lines = _lines(config, [text for _, text in rows]).to_pylist()
    taught: list[str] = []
    measured: list[str] = []
    seen: dict[str, str] = {}  # line → id
    for (name, _), line in sorted(zip(rows, lines, strict=True)):
        if not line or line in seen:
            continue
        seen[line] = name
        drawn = int(digest([config.seed, "ordinary", name]), 16)
        if drawn % 2:
            taught.append(_window(line, config.window, drawn // 2))
        else:
            measured.append(line)
    return _Ordinary(taught, pa.array(measured, pa.string()), digest([[name, line] for line, name in seen.items()]))


def _window(line: str, window: int, drawn: int) -> str:
    """One window of a line. A document teaches with one, so that no word of one document alone is found in several."""
    units = line.split(" ")
    count = -(-len(line.encode()) // window)
    size = -(-len(units) // count)
    first = drawn % count * size
    return " ".join(units[first : first + size]) or " ".join(units[:size])


def _bound(threshold: Threshold, harmless: Floats, documents: Floats) -> float:
    """The logit that is to be ranked as the threshold's floor."""
    bounds = [np.quantile(harmless, 1 - threshold.harmless, method="higher")]
    if len(documents):
        bounds.append(np.quantile(documents, 1 - threshold.ordinary, method="higher"))
    return float(max(bounds))


def _figures(
    config: HarmConfig,
    test: _Split,
    scores: Floats,
    documents: Floats,
    score: Callable[[pa.StringArray], Floats],
    folder: Path,
) -> dict[str, Any]:
    """Figures on the test split and on the ordinary documents that did not teach; shares are those above a floor."""
    groups = {name: score(_lines(config, _group(config, folder, when, test))) for name, when in config.groups.items()}
    found: dict[str, Any] = {}
    for column, output in enumerate(config.outputs):
        target = test.targets[:, column]
        rows = np.flatnonzero(np.isfinite(target))
        toxic, of = target[rows] == 1, scores[rows, column]
        ranking = Ranking.of(toxic, of)
        drawn = resample([str(row) for row in rows], RESAMPLES, config.seed)
        joined = [score(_lines(config, _joined(test.texts, target == value)))[:, column] for value in (1.0, 0.0)]
        whole = Ranking.of(np.repeat([True, False], [len(part) for part in joined]), np.concatenate(joined))
        found[output] = {
            "rows": len(rows),
            "positives": int(toxic.sum()),
            "roc_auc": _figure(ranking.roc_auc(), ranking.roc_auc(drawn)),
            "average_precision": _figure(ranking.average_precision(), ranking.average_precision(drawn)),
            "toxic_above": _above(of[toxic]),
            "harmless_above": _above(of[~toxic]),
            "ordinary_above": _above(documents[:, column]),
            "joined": {
                "documents": [len(part) for part in joined],
                "roc_auc": round(float(whole.roc_auc()), 3),
                "toxic_above": _above(joined[0]),
                "harmless_above": _above(joined[1]),
            },
            "groups": {
                name: {"rows": len(values), "above": _above(values[:, column])} for name, values in groups.items()
            },
        }
    return found


def _group(config: HarmConfig, folder: Path, when: dict[str, tuple[float, float]], test: _Split) -> list[str]:
    """The texts of test rows whose labels lie in these ranges."""
    known = set(test.texts)
    rule = Rule(when=when, known={config.outputs[0]: 0.0})
    sets = [item.model_copy(update={"rules": [rule]}) for item in config.sets]
    found = read_labelled_sets(sets, folder, tuple(config.outputs), set(), split="test").texts
    return [text for text in found if text in known]


def _joined(texts: list[str], chosen: np.ndarray[Any, Any]) -> list[str]:
    """Texts of one kind as longer documents, JOINED of them each."""
    kind = [texts[row] for row in np.flatnonzero(chosen)]
    return ["\n".join(kind[first : first + JOINED]) for first in range(0, len(kind) - JOINED + 1, JOINED)]


def _above(values: Floats) -> dict[str, float | None]:
    """The share of ranks above each floor."""
    return {f"{floor:g}": round(float((values > floor).mean()), 4) if len(values) else None for floor in FLOORS}


def _figure(value: Floats, drawn: Floats) -> dict[str, Any]:
    found = interval(drawn)
    return {
        "value": round(float(value), 3),
        "interval": None if found is None else [round(found[0], 3), round(found[1], 3)],
    }
