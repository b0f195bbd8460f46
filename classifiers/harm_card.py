"""The card of a harm model: written from the header it describes, so that figures and text cannot part."""

from collections.abc import Mapping
from typing import Any

from .card import heading

__all__ = ["render_harm_card"]

UNITS = {
    "words": "words",
    "parts": "parts of words, four letters each",
    "characters": "characters and words in Latin script",
}


def render_harm_card(header: dict[str, Any]) -> str:
    """The card as Markdown, from the content of `model.json` (its digest included)."""
    training, parameters = header["training"], header["training"]["parameters"]
    description, rows = parameters["card"], training["set_rows"]
    lines = [
        *heading(header, description["summary"]),
        f"- {rows['train']:,} rows of {_listed([item['file'] for item in parameters['sets']])} teach, "
        f"{rows['dev']:,} set slopes and thresholds, {rows['test']:,} are measured",
        *_further(training),
        f"- {training['words']:,} {UNITS[header['units']]} and {training['features'] - training['words']:,} pairs of "
        f"them, each found in at least {parameters['minimum_documents']} rows or documents",
        "",
        "## Outputs",
        "",
        f"- toxic {_listed(header['rank_only'])}, the worst window of up to {header['window']:,} bytes: **an "
        "uncalibrated rank, not a probability**. No labels say how common the harm is in this language, so ranks of "
        "two models or of two languages do not compare.",
        "- All else is unknown: topical, the other harms, `quality` and `prosocial` are null.",
        "",
        f"{_floor(header)} Slopes are logistic, on the same split.",
        "",
        "## Data, licences, use and limits",
        "",
        *(f"- **{title.capitalize()}.** {text}" for title, text in description.items() if title != "summary"),
        "",
        "## Figures on the test split",
        "",
        "Shares of what is above a rank, in per cent. Joined: five rows of one kind as one document.",
        "",
        "| output | toxic / rows | ROC-AUC | average precision |",
        "|---|---|---|---|",
        *(_ranking(output, measured) for output, measured in header["metrics"].items()),
        "",
        "| above | " + " | ".join(f"{name}, > {floor}" for name, floor in _columns(header)) + " |",
        "|---" * (1 + len(_columns(header))) + "|",
        *_shares(header),
        "",
        "## Reading the file elsewhere",
        "",
        f"`model.ftz` loads in fastText. Write a text as units first (`florilegium.classifiers.units`, "
        f"`{header['units']}`); `predict` then gives one logistic per label, on another scale than the ranks above, "
        "which divide the sum over distinct features by the root of their number.",
        "",
    ]
    return "\n".join(lines)


def _further(training: Mapping[str, Any]) -> list[str]:
    lines = []
    if count := training["contrasts"]:
        lines.append(f"- {count:,} sentences that we wrote, from {training['parameters']['contrasts']}")
    if count := training["ordinary_taught"]:
        lines.append(
            f"- {count:,} ordinary documents teach with one window each, {training['ordinary_measured']:,} others are "
            f"measured; digest of all of them `{training['ordinary_digest']}`"
        )
    return lines


def _floor(header: dict[str, Any]) -> str:
    threshold = header["training"]["parameters"]["threshold"]
    ordinary = f"{threshold['ordinary']:.1%} of the ordinary documents and "
    return (
        f"A rank of {threshold['floor']:g} lies so high that at most "
        f"{ordinary if header['training']['ordinary_measured'] else ''}{threshold['harmless']:.1%} of the harmless "
        "rows of the development split are above it."
    )


def _columns(header: dict[str, Any]) -> list[tuple[str, str]]:
    first = next(iter(header["metrics"].values()))
    return [(output.split(">=")[0], floor) for output in header["metrics"] for floor in first["toxic_above"]]


def _ranking(output: str, measured: Mapping[str, Any]) -> str:
    cells = []
    for name in ("roc_auc", "average_precision"):
        figure = measured[name]
        low, high = figure["interval"] or (None, None)
        cells.append(f"{_short(figure['value'])} ({_short(low)}–{_short(high)})")
    return f"| {output.replace('>=', ' ≥ ')} | {measured['positives']:,} / {measured['rows']:,} | {' | '.join(cells)} |"


def _shares(header: dict[str, Any]) -> list[str]:
    metrics = list(header["metrics"].values())
    found: dict[str, list[Mapping[str, float | None]]] = {
        "toxic rows": [measured["toxic_above"] for measured in metrics],
        "harmless rows": [measured["harmless_above"] for measured in metrics],
    }
    for name in metrics[0]["groups"]:
        found[f"{name} ({metrics[0]['groups'][name]['rows']:,})"] = [item["groups"][name]["above"] for item in metrics]
    found["toxic rows, joined"] = [measured["joined"]["toxic_above"] for measured in metrics]
    found["harmless rows, joined"] = [measured["joined"]["harmless_above"] for measured in metrics]
    if header["training"]["ordinary_measured"]:
        found["ordinary documents"] = [measured["ordinary_above"] for measured in metrics]
    return [
        f"| {name} | {' | '.join(_per_cent(value) for shares in row for value in shares.values())} |"
        for name, row in found.items()
    ]


def _listed(values: list[str]) -> str:
    return " and ".join(values)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".removeprefix("0")


def _per_cent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
