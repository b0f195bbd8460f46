"""How good a model is on documents with labels: ranks, calibration, intervals, sources and functional tests.

Ranks are measured on all rows of a file, calibration on its rows drawn at random alone, since a file whose rows
were chosen for being positive has a prior that no corpus has. With a baseline, both models are measured on the same
documents and resamples, and the interval of their difference is a paired one.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..schemas.errors import InputError
from ..schemas.taxonomy import HARMS, PROSOCIAL
from .baseline import train_baseline
from .labelled import POSITIVE, Labelled, output_scores, read_labelled
from .measures import (
    Ranking,
    average_precision,
    brier_skill,
    calibration_error,
    calibration_slope,
    interval,
    resample,
    roc_auc,
)
from .student import Model, Scores

__all__ = ["Scorer", "average_precision", "evaluate", "evaluate_labelled", "render_evaluation", "roc_auc"]

Vector = np.ndarray[Any, Any]
Figure = dict[str, Any]  # value, and low and high of its interval where there is one

FEW = 5  # positives, and negatives, that a figure needs
FEW_ROWS = 30  # that a source needs to be shown
RANKS: dict[str, Callable[[Ranking, Vector | None], Vector]] = {
    "roc_auc": Ranking.roc_auc,
    "average_precision": Ranking.average_precision,
    "recall_at_precision_70": Ranking.recall_at_precision,
}
CALIBRATION: dict[str, Callable[[Vector, Vector, Vector | None], Vector]] = {
    "error": calibration_error,
    "brier_skill": brier_skill,
    "slope": calibration_slope,
}
GROUPS: dict[str, tuple[str, ...]] = {
    "prosocial": tuple(f"{name}>={POSITIVE}" for name in PROSOCIAL),
    "harm": tuple(f"{name}>=1" for name in HARMS),
    "quality": ("quality>=3",),
}


class Scorer(Protocol):
    """Anything that scores texts as a shipped model does."""

    def score(self, texts: pa.StringArray) -> Scores:
        """Scores of every text."""
        ...


def evaluate(
    model: Model,
    paths: Sequence[str | Path],
    baseline: str | Path | None = None,
    *,
    split: str = "test",
    resamples: int = 500,
    seed: int = 7,
    say: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Any]:
    """Everything that `florilegium evaluate` prints, JSON-like.

    `baseline` is a Parquet file of annotated documents: those that the model was trained on. Raises `InputError`
    where a file cannot be read or has documents in common with the baseline's.
    """
    floor: Scorer | None = None
    known: set[str] = set()
    if baseline is not None:
        say(f"Train the baseline on {baseline}")
        floor = train_baseline(baseline)
        known = _texts_of(baseline)
    trained_on = model.header.get("training", {}).get("data_sha256")
    sets = []
    for path in paths:
        labelled = read_labelled(path, split)
        if known and labelled.kind == "annotated" and not known.isdisjoint(labelled.texts.to_pylist()):
            raise InputError(
                f"{path}: shares documents with the training rows of {baseline}; hold rows out first, such as those "
                "without `ship`, and give either file its own"
            )
        say(f"Score {len(labelled):,} rows of {labelled.name}")
        if labelled.language not in model.languages:
            sets.append({"name": labelled.name, "kind": labelled.kind, "rows": len(labelled), "not_scored": True})
            sets[-1]["language"] = labelled.language
            continue
        seen = trained_on == hashlib.sha256(Path(path).read_bytes()).hexdigest()
        sets.append({"seen_in_training": seen, **evaluate_labelled(model, labelled, floor, resamples, seed)})
    return {
        "model": {"name": model.name, "version": model.version, "digest": model.digest},
        "baseline": None if floor is None else "TF-IDF (1-2-grams) with ridge",
        "resamples": resamples,
        "seed": seed,
        "sets": sets,
    }


def evaluate_labelled(
    model: Scorer, labelled: Labelled, baseline: Scorer | None = None, resamples: int = 500, seed: int = 7
) -> dict[str, Any]:
    """Figures of one file."""
    scores = output_scores(model.score(labelled.texts))
    labelled = replace(labelled, targets={name: of for name, of in labelled.targets.items() if name in scores})
    result: dict[str, Any] = {"name": labelled.name, "kind": labelled.kind, "rows": len(labelled)}
    if labelled.kind == "suite":
        return {**result, "tests": _tests(labelled, scores)} | _ranks(labelled, scores, None, resamples, seed)
    floor = None if baseline is None else output_scores(baseline.score(labelled.texts))
    result |= _ranks(labelled, scores, floor, resamples, seed)
    if labelled.natural.any():
        result["natural_rows"] = int(labelled.natural.sum())
        result["calibration"] = _calibration(labelled, scores, floor, resamples, seed)
        if not labelled.natural.all():
            rows = np.flatnonzero(labelled.natural)
            floor_there = None if floor is None else _at(floor, rows)
            result["natural"] = _ranks(_take(labelled, rows), _at(scores, rows), floor_there, resamples, seed)
    sources = sorted(set(labelled.sources))
    if len(sources) > 1:
        result["sources"] = {source: part for source in sources if (part := _source(labelled, scores, source))}
    return result


def _ranks(
    labelled: Labelled,
    scores: Mapping[str, Vector],
    floor: Mapping[str, Vector] | None,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Figures by output and macro means by group, of the model, of the baseline, and of their difference."""
    weights = resample(labelled.documents, resamples, seed)
    outputs: dict[str, Any] = {}
    drawn: dict[str, dict[str, list[Vector]]] = {}  # output → measure → resampled values of model and baseline
    for output, target in labelled.targets.items():
        rows = np.flatnonzero(~np.isnan(target))
        positive = target[rows] > 0.5
        entry: dict[str, Any] = {"rows": len(rows), "positives": int(positive.sum())}
        outputs[output] = entry
        if min(positive.sum(), (~positive).sum()) < FEW:
            continue
        models = [scores] if floor is None else [scores, floor]
        rankings = [Ranking.of(positive, values[output][rows]) for values in models]
        drawn[output] = {name: [measure(r, weights[:, rows]) for r in rankings] for name, measure in RANKS.items()}
        for name, measure in RANKS.items():
            values = [float(measure(ranking, None)) for ranking in rankings]
            entry[name] = _figure(values, drawn[output][name])
    groups = {name: group for name, members in GROUPS.items() if (group := _macro(members, outputs, drawn))}
    return {"outputs": outputs, "groups": groups}


def _macro(members: Iterable[str], outputs: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any] | None:
    """Means over the outputs of a group that have a figure."""
    present = [output for output in members if output in drawn]
    if not present:
        return None
    group: dict[str, Any] = {"outputs": len(present)}
    for name in RANKS:
        models = range(len(drawn[present[0]][name]))
        keys = ("value", "baseline")
        values = [float(np.mean([outputs[output][name][keys[m]] for output in present])) for m in models]
        group[name] = _figure(values, [np.mean([drawn[output][name][m] for output in present], axis=0) for m in models])
    return group


def _figure(values: Sequence[float], drawn: Sequence[Vector]) -> Figure:
    """A value with its interval and, with a baseline, its value and the interval of the difference."""
    figure: Figure = {"value": _rounded(values[0]), "interval": _interval(drawn[0])}
    if len(values) > 1:
        figure["baseline"] = _rounded(values[1])
        figure["difference"] = _rounded(values[0] - values[1])
        figure["difference_interval"] = _interval(drawn[0] - drawn[1])
    return figure


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _interval(values: Vector) -> list[float] | None:
    found = interval(values)
    return None if found is None else [round(found[0], 4), round(found[1], 4)]


def _calibration(
    labelled: Labelled,
    scores: Mapping[str, Vector],
    floor: Mapping[str, Vector] | None,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Expected calibration error, Brier skill and slope on the rows drawn at random; quality is no probability."""
    drawn = np.flatnonzero(labelled.natural)
    resampled = resample([labelled.documents[row] for row in drawn], resamples, seed)
    found: dict[str, Any] = {}
    for output, target in labelled.targets.items():
        known = ~np.isnan(target[drawn])
        rows, weights = drawn[known], resampled[:, known]
        if output.startswith("quality") or not len(rows):
            continue
        positive = target[rows] > 0.5
        entry: dict[str, Any] = {"positives": int(positive.sum())}
        probabilities = [values[output][rows] for values in ([scores] if floor is None else [scores, floor])]
        for name, measure in CALIBRATION.items():
            if name == "error" or positive.sum() >= FEW:
                values = [float(measure(positive, probability, None)) for probability in probabilities]
                entry[name] = _figure(
                    values, [measure(positive, probability, weights) for probability in probabilities]
                )
        found[output] = entry
    return found


def _source(labelled: Labelled, scores: Mapping[str, Vector], source: str) -> dict[str, Any] | None:
    rows = np.flatnonzero([name == source for name in labelled.sources])
    if len(rows) < FEW_ROWS:
        return None
    entry: dict[str, Any] = {"rows": len(rows)}
    for group, members in GROUPS.items():
        found = []
        for output in members:
            if output not in labelled.targets:
                continue
            target = labelled.targets[output][rows]
            known = ~np.isnan(target)
            positive = target[known] > 0.5
            if min(positive.sum(), (~positive).sum()) >= FEW:
                ranking = Ranking.of(positive, scores[output][rows][known])
                found.append((float(ranking.roc_auc()), float(ranking.average_precision())))
        if found:
            means = np.mean(found, axis=0)
            entry[group] = {
                "outputs": len(found),
                "roc_auc": _rounded(means[0]),
                "average_precision": _rounded(means[1]),
            }
    return entry


def _tests(labelled: Labelled, scores: Mapping[str, Vector]) -> dict[str, Any]:
    """By test: mean score, share of cases on the right side of .5, and ROC-AUC against all cases of the other class."""
    found: dict[str, Any] = {}
    names = np.array(labelled.tests)
    for test in dict.fromkeys(labelled.tests):
        rows = names == test
        known = [name for name, target in labelled.targets.items() if not np.isnan(target[rows]).any()]
        if not known:  # what a harm model does not give
            continue
        output = known[0]
        target, score = labelled.targets[output], scores[output]
        positive = bool(target[rows][0])
        others = target == (0.0 if positive else 1.0)
        against = roc_auc(np.concatenate([target[rows], target[others]]) > 0.5, np.append(score[rows], score[others]))
        found[test] = {
            "output": output,
            "cases": int(rows.sum()),
            "positive": positive,
            "mean_score": _rounded(float(score[rows].mean())),
            "right_at_half": _rounded(float(((score[rows] >= 0.5) == positive).mean())),
            "roc_auc_against_others": _rounded(against),
        }
    return found


def _take(labelled: Labelled, rows: Vector) -> Labelled:
    return Labelled(
        name=labelled.name,
        kind=labelled.kind,
        language=labelled.language,
        ids=[labelled.ids[row] for row in rows],
        documents=[labelled.documents[row] for row in rows],
        texts=labelled.texts.take(pa.array(rows)),
        sources=[labelled.sources[row] for row in rows],
        natural=labelled.natural[rows],
        targets={output: target[rows] for output, target in labelled.targets.items()},
    )


def _at(scores: Mapping[str, Vector], rows: Vector) -> dict[str, Vector]:
    return {output: values[rows] for output, values in scores.items()}


def _texts_of(path: str | Path) -> set[str]:
    """The texts that a baseline is trained on: those that may train released weights."""
    table = pq.read_table(path)
    if "ship" in table.column_names:
        table = table.filter(pc.fill_null(table["ship"], False))
    return set(table["text"].to_pylist())


def render_evaluation(result: Mapping[str, Any]) -> str:
    """The figures as Markdown, for people."""
    model = result["model"]
    lines = [f"# Evaluation of {model['name']} {model['version']}", ""]
    lines += [f"Digest `{model['digest']}`. 95 % intervals over {result['resamples']} resamples of documents."]
    if result["baseline"]:
        lines += [f"Baseline, trained on the same rows: {result['baseline']}; Δ is ours minus its figure."]
    for part in result["sets"]:
        lines += ["", f"## {part['name']} ({part['kind']}, {part['rows']:,} rows)", ""]
        if part.get("not_scored"):
            lines += [f"Not scored: the model does not cover `{part['language']}`."]
            continue
        if part.get("seen_in_training"):
            lines += ["**The model was trained on this file: these figures are not held out.**", ""]
        lines += _rank_lines(part)
        if "natural" in part:
            lines += ["", f"### Its {part['natural_rows']:,} rows drawn at random", "", *_rank_lines(part["natural"])]
        if "calibration" in part:
            lines += ["", "### Calibration on the rows drawn at random", "", *_calibration_lines(part["calibration"])]
        if "sources" in part:
            lines += ["", "### By source", "", *_source_lines(part["sources"])]
        if "tests" in part:
            lines += ["", "### By test", "", *_test_lines(part["tests"])]
    return "\n".join([*lines, ""])


def _rank_lines(part: Mapping[str, Any]) -> list[str]:
    head = "| | positives / rows | ROC-AUC | average precision | recall at precision .70 |"
    lines = [head, "|---|---|---|---|---|"]
    for name, group in part["groups"].items():
        cells = " | ".join(_cell(group[measure], "**") for measure in RANKS)
        lines.append(f"| **{name}**, mean of {group['outputs']} | | {cells} |")
    for output, entry in part["outputs"].items():
        cells = " | ".join(_cell(entry[measure]) if measure in entry else "–" for measure in RANKS)
        lines.append(f"| {output.replace('>=', ' ≥ ')} | {entry['positives']} / {entry['rows']} | {cells} |")
    return lines


def _cell(figure: Figure, mark: str = "") -> str:
    text = f"{mark}{_short(figure['value'])}{mark}"
    if figure["interval"]:
        text += f" ({_short(figure['interval'][0])}–{_short(figure['interval'][1])})"
    if "difference" in figure:
        text += f"; Δ {_signed(figure['difference'])}"
        if figure["difference_interval"]:
            text += f" ({' to '.join(map(_signed, figure['difference_interval']))})"
    return text


def _calibration_lines(calibration: Mapping[str, Any]) -> list[str]:
    lines = ["| output | positives | ECE | Brier skill | slope |", "|---|---|---|---|---|"]
    for output, entry in calibration.items():
        cells = " | ".join(_cell(entry[name]) if name in entry else "–" for name in CALIBRATION)
        lines.append(f"| {output.replace('>=', ' ≥ ')} | {entry['positives']} | {cells} |")
    return lines


def _source_lines(sources: Mapping[str, Any]) -> list[str]:
    lines = ["ROC-AUC / average precision, means over the outputs (in brackets how many) with five positives.", ""]
    lines += ["| source | rows | prosocial | harm | quality |", "|---|---|---|---|---|"]
    for source, entry in sources.items():
        cells = []
        for group in GROUPS:
            found = entry.get(group)
            figures = (
                found and f"{_short(found['roc_auc'])} / {_short(found['average_precision'])} ({found['outputs']})"
            )
            cells.append(figures or "–")
        lines.append(f"| {source} | {entry['rows']} | {' | '.join(cells)} |")
    return lines


def _test_lines(tests: Mapping[str, Any]) -> list[str]:
    lines = ["| test | output | cases | expected | mean score | right at .5 | ROC-AUC against the other class |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for test, entry in tests.items():
        expected = "high" if entry["positive"] else "low"
        figures = " | ".join(_short(entry[key]) for key in ("mean_score", "right_at_half", "roc_auc_against_others"))
        name = entry["output"].replace(">=", " ≥ ")
        lines.append(f"| {test.replace('_', ' ')} | {name} | {entry['cases']} | {expected} | {figures} |")
    return lines


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("0.", ".", 1)
