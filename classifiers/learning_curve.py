"""Where more labels would pay: the student trained on a quarter, half and all of the annotated documents.

The documents are the same in every part of the curve that are held out, fold by fold, and a smaller part lies within
a larger one, both by hash of id. So points differ by what was learned alone, and the gain of the last doubling has a
paired interval. Figures are of the rows of the natural pool. The further sets of a configuration, which teach harm,
are whole at every point, and pseudo-labels, whose teacher saw all documents, stay out: the curve is that of the
annotated documents.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..schemas.errors import RecipeError
from .calibration import OUTPUTS
from .evaluate import GROUPS
from .measures import Ranking, interval, resample
from .train import HeldOut, TrainConfig, data_digest, drawn, held_out

__all__ = ["SHARES", "learning_curve", "render_learning_curve"]

Vector = np.ndarray[Any, Any]

SHARES = (0.25, 0.5, 1.0)
FEW = 5  # positives, and negatives, that a figure needs
MEASURES: dict[str, Callable[[Ranking, Vector | None], Vector]] = {
    "roc_auc": Ranking.roc_auc,
    "average_precision": Ranking.average_precision,
}
SHOWN = tuple(output for members in GROUPS.values() for output in members)


def learning_curve(
    config: TrainConfig,
    data: str | Path,
    sets: str | Path = ".",
    say: Callable[[str], None] = lambda _: None,
    *,
    shares: Sequence[float] = SHARES,
    resamples: int = 500,
) -> dict[str, Any]:
    """The curve, JSON-like: by output and as macro means, at each share, with intervals by resampling documents.

    Raises `RecipeError` for shares that are none or do not rise.
    """
    if not shares or list(shares) != sorted(set(shares)) or shares[0] <= 0 or shares[-1] > 1:
        raise RecipeError(f"shares of a learning curve rise from above 0 to at most 1, not {list(shares)}")
    config = config.model_copy(update={"distillation": None})
    points = []
    for share in shares:
        say(f"a learning curve at {share:.0%} of the documents")
        points.append(held_out(config, data, sets, say, share=share))
    gold = points[0].gold
    natural = np.flatnonzero(gold.natural)
    weights = resample([gold.ids[row] for row in natural], resamples, config.seed)
    values: dict[str, dict[str, list[tuple[float, Vector]]]] = {}  # output → measure → by share: value, resampled
    outputs: dict[str, Any] = {}
    for output in SHOWN:
        reached = _reached(points[0], output, natural)
        known = np.flatnonzero(np.isfinite(reached))
        positive = reached[known] > 0.5
        outputs[output] = {"positives": int(positive.sum()), "rows": len(known)}
        if min(positive.sum(), (~positive).sum()) < FEW:
            continue
        rankings = [Ranking.of(positive, _score(point, output)[natural[known]]) for point in points]
        values[output] = {
            name: [(float(measure(ranking, None)), measure(ranking, weights[:, known])) for ranking in rankings]
            for name, measure in MEASURES.items()
        }
        outputs[output] |= {name: _curve(found) for name, found in values[output].items()}
    groups: dict[str, Any] = {}
    for name, members in GROUPS.items():
        present = [output for output in members if output in values]
        if present:
            groups[name] = {"outputs": len(present)}
            for measure in MEASURES:
                means = [
                    (
                        float(np.mean([values[output][measure][place][0] for output in present])),
                        np.mean([values[output][measure][place][1] for output in present], axis=0),
                    )
                    for place in range(len(shares))
                ]
                groups[name][measure] = _curve(means)
    return {
        "name": config.name,
        "version": config.version,
        "data_sha256": data_digest(data),
        "shares": list(shares),
        "rows": [int(drawn(gold.ids, share, config.seed).sum()) for share in shares],
        "set_rows": len(points[0].further.lines),
        "natural_rows": len(natural),
        "folds": config.folds,
        "resamples": resamples,
        "groups": groups,
        "outputs": outputs,
    }


def _reached(point: HeldOut, output: str, rows: Vector) -> Vector:
    """1 where rows reach an output's grade, 0 where not, NaN where unknown."""
    name, grade = output.split(">=")
    grades = point.gold.grades[name][rows]
    return np.where(np.isnan(grades), np.nan, grades >= int(grade) - 0.5)


def _score(point: HeldOut, output: str) -> Vector:
    """What ranks documents for an output: its probability, for quality the expected grade."""
    if output.startswith("quality"):
        return np.sum(point.probabilities[:, [name.startswith("quality") for name in OUTPUTS]], axis=1)
    return point.probabilities[:, OUTPUTS.index(output)]


def _curve(found: Sequence[tuple[float, Vector]]) -> dict[str, Any]:
    """Values with intervals, and what the last doubling (or whatever the last step is) gained."""
    curve: dict[str, Any] = {
        "values": [round(value, 4) for value, _ in found],
        "intervals": [_interval(drawn_) for _, drawn_ in found],
    }
    if len(found) > 1:
        (before, drawn_before), (after, drawn_after) = found[-2:]
        curve["last_gain"] = round(after - before, 4)
        curve["last_gain_interval"] = _interval(drawn_after - drawn_before)
    return curve


def _interval(values: Vector) -> list[float] | None:
    found = interval(values)
    return None if found is None else [round(found[0], 4), round(found[1], 4)]


def render_learning_curve(result: Mapping[str, Any]) -> str:
    """The curve as Markdown, for people; the outputs in the order of what the last doubling gained."""
    parts = [f"{rows:,}" for rows in result["rows"]]
    lines = [
        f"# Learning curve of {result['name']} {result['version']}",
        "",
        f"Trained on {', '.join(parts)} annotated documents, each part within the next, and on the same "
        f"{result['set_rows']:,} further rows; held out in {result['folds']} folds, figures of the "
        f"{result['natural_rows']:,} natural rows. 95 % intervals over {result['resamples']} resamples of documents; "
        "that of the gain, which is what the last step brought, is paired.",
    ]
    for measure, title in (("average_precision", "Average precision"), ("roc_auc", "ROC-AUC")):
        lines += ["", f"## {title}", "", f"| output | positives | {' | '.join(parts)} | gain |"]
        lines += ["|---|---|" + "---|" * (len(parts) + 1)]
        for name, group in result["groups"].items():
            lines.append(_row(f"**{name}**, mean of {group['outputs']}", "", group[measure]))
        shown = {name: entry for name, entry in result["outputs"].items() if measure in entry}
        for name in sorted(shown, key=lambda name: -shown[name][measure].get("last_gain", 0.0)):
            lines.append(_row(name.replace(">=", " ≥ "), str(shown[name]["positives"]), shown[name][measure]))
    few = [name.replace(">=", " ≥ ") for name, entry in result["outputs"].items() if "roc_auc" not in entry]
    if few:
        lines += ["", f"Fewer than {FEW} positives among the natural rows, so without figures: {', '.join(few)}."]
    return "\n".join([*lines, ""])


def _row(name: str, positives: str, curve: Mapping[str, Any]) -> str:
    cells = [
        _short(value) + ("" if found is None else f" ({_short(found[0])}–{_short(found[1])})")
        for value, found in zip(curve["values"], curve["intervals"], strict=True)
    ]
    gain = "–"
    if "last_gain" in curve:
        gain = _signed(curve["last_gain"])
        if curve["last_gain_interval"]:
            gain += f" ({' to '.join(map(_signed, curve['last_gain_interval']))})"
    return f"| {name} | {positives} | {' | '.join(cells)} | {gain} |"


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1)
