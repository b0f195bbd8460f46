"""A model's card: written from the header it describes, so that figures and text cannot part."""

from collections.abc import Iterator
from typing import Any

from ..schemas.taxonomy import HARMS, PROSOCIAL

__all__ = ["heading", "render_card", "render_cascade_card"]

FIGURES = (
    "| | rows | prosocial ROC-AUC | AP | ECE | harm ROC-AUC | ECE | quality ≥ 3 ROC-AUC |",
    "|---|---|---|---|---|---|---|---|",
)


def heading(header: dict[str, Any], summary: str) -> Iterator[str]:
    """Lines that begin the card of any model: what it is, and how to know it again."""
    yield from (f"# {header['name']} {header['version']}", "", summary, "")
    yield (
        f"- digest `{header['digest']}`, taxonomy version {header['taxonomy_version']}, "
        f"tokeniser `{header['tokens']}`, languages: {', '.join(header['languages'])}"
    )
    yield from (f"- `{name}` SHA-256 `{value}`" for name, value in header["files"].items())


def render_card(header: dict[str, Any]) -> str:
    """The card of a trained model as Markdown, from the content of `model.json` (its digest included)."""
    training = header["training"]
    description = training["parameters"]["card"]
    from_all, shares = _few(header)
    lines = [
        *heading(header, description["summary"]),
        *_sources(training),
        f"- {training['words']:,} words and {training['features'] - training['words']:,} word pairs, each found in "
        f"at least {training['parameters']['minimum_documents']} documents"
        + (", or one that is in another spelling" if training["parameters"].get("spellings") else ""),
        "",
        "## Outputs",
        "",
        f"- `prosocial`: for each of the {len(PROSOCIAL)} dimensions, the probability that a careful reader finds it "
        "clearly there (grade ≥ 2); the mean over windows.",
        f"- `harm`: for each of the {len(HARMS)} harms, the probability of topical or worse (grade ≥ 1) and of toxic "
        "(grade 2, never above topical); the worst window.",
        "- `quality`: the expected grade divided by 5; the mean over windows.",
        "",
        f"Windows are up to {header['window']:,} bytes of tokenised text, and every byte is scored. Scores are "
        "rounded to 1/1000. A text without tokens, or in another language, has no scores.",
        "",
        *_limits(description),
        "",
        "## Calibration",
        "",
        "Logistic, on out-of-fold scores of the natural rows. With fewer than 50 positives there, slopes are learned "
        "from all rows and intercepts fitted to the natural rows' smoothed share: " + from_all + ".",
        "",
        "With fewer than 50 toxic rows in all, toxic is topical times a fixed share, **a rank and not a probability**: "
        + shares
        + ".",
        "",
        "## Held-out figures",
        "",
        f"{training['parameters']['folds']} folds by hash of id; each fold scored by a model, and calibrated on rows, "
        "of the other folds, through the shipped file format and kernel.",
        "",
        *FIGURES,
        *(_figures(part, header["metrics"][part]) for part in ("natural", "all")),
        "",
        *_outputs(header),
        "",
        "## Reading the file elsewhere",
        "",
        "`model.ftz` loads in fastText. Tokenise first (`florilegium.classifiers.tokens`); `predict` then gives one "
        "logistic per label (`compassion>=2`). The scores above count each feature of a window once, however often "
        "it is repeated, divide by the root of their number, and are calibrated together.",
        "",
    ]
    return "\n".join(lines)


def _tuning(settings: dict[str, Any] | None) -> list[str]:
    if settings is None:
        return []
    return [
        f"- the encoder is fine-tuned: changes of rank {settings['rank']} to its linear layers, {settings['epochs']} "
        f"passes over the documents, seed {settings['seed']}"
    ]


def render_cascade_card(header: dict[str, Any]) -> str:
    """The card of a cascade as Markdown, from the content of its `model.json` (its digest included)."""
    training, metrics = header["training"], header["metrics"]
    description, encoder = training["parameters"]["card"], header["encoder"]
    student, seen = header["student"], metrics["seen"]
    from_all, shares = _few(header)
    kept = metrics["toxic_kept"]
    lines = [
        f"# {header['name']} {header['version']}",
        "",
        description["summary"],
        "",
        f"- digest `{header['digest']}`, taxonomy version {header['taxonomy_version']}, "
        f"languages: {', '.join(header['languages'])}",
        f"- student `{student['name']}` {student['version']}, digest `{student['digest']}`",
        f"- encoder `{encoder['name']}`, SHA-256 of its tensors `{encoder['digest']}`, not included; "
        f"{encoder['dim']:,} features a passage{' (the mean over tokens of every layer)' if encoder['layers'] else ''}",
        *_tuning(training["parameters"].get("tuning")),
        *(f"- `{name}` SHA-256 `{value}`" for name, value in header["files"].items()),
        *_sources(training),
        "",
        "## Gate",
        "",
        f"The encoder reads a document where the student expects {header['gate']['harm']:.3f} toxic harms or "
        f"more ({_share(seen['harm'])} of the natural rows), or where its prosocial uncertainty reaches "
        f"{header['gate']['prosocial']:.3f} ({_share(seen['prosocial'])}); together {_share(seen['natural'])}. All "
        "others keep the student's scores. The gate is fixed and knows no charter.",
        "",
        f"Of {kept['all']['found']:,} documents in which the composite finds a toxic harm, the harm side lets "
        f"{kept['all']['kept']:,} through (natural rows: {kept['natural']['kept']:,} of "
        f"{kept['natural']['found']:,}).",
        "",
        *_limits(description),
        "",
        "## Calibration",
        "",
        "Of the composite: logistic, on held-out probabilities of the student and held-out scores of the heads. With "
        "fewer than 50 positives among natural rows, slopes are learned from all rows: " + from_all + ". With "
        "fewer than 50 toxic rows in all, toxic is topical times a fixed share, **a rank and not a probability**: "
        + shares
        + ".",
        "",
        "## Held-out figures",
        "",
        "The student's folds; each fold scored by student and heads, and calibrated on rows, of the other folds. "
        "Composite: the encoder reads everything.",
        "",
        *FIGURES,
        *(
            _figures(f"{model}, {part}", measured[part])
            for part in ("natural", "all")
            for model, measured in (
                ("student", metrics["student"]),
                ("cascade", metrics),
                ("composite", metrics["composite"]),
            )
        ),
        "",
        "By the share of natural rows that one side of the gate lets through:",
        "",
        "| share seen | prosocial ROC-AUC | AP | harm ROC-AUC | toxic findings kept |",
        "|---|---|---|---|---|",
        *(
            f"| {entry['share']:.0%} | {_figure(entry['prosocial_roc_auc'])} | "
            f"{_figure(entry['prosocial_average_precision'])} | {_figure(entry['harm_roc_auc'])} | "
            f"{entry['toxic_kept']['kept']} of {entry['toxic_kept']['found']} |"
            for entry in metrics["by_share_seen"]
        ),
        "",
        *_outputs(header),
        "",
    ]
    return "\n".join(lines)


def _sources(training: dict[str, Any]) -> list[str]:
    """What it learned from."""
    lines = [
        f"- {training['rows']:,} documents ({training['natural_rows']:,} drawn at random from the natural pool), "
        f"data SHA-256 `{training['data_sha256']}`"
    ]
    if sets := training["set_rows"]:
        lines.append(f"- for harm also {', '.join(f'{rows:,} of {name}' for name, rows in sets.items())}")
    if rows := training.get("pseudo_rows"):
        lines.append(f"- {rows:,} pseudo-labelled documents, file SHA-256 `{training['pseudo_sha256']}`")
    if pairs := training.get("alike_pairs"):
        lines.append(f"- {pairs:,} pairs of sentences that ought to be scored alike")
    return lines


def _limits(description: dict[str, str]) -> list[str]:
    named = [f"- **{title.capitalize()}.** {text}" for title, text in description.items() if title != "summary"]
    return ["## Data, licences, use and limits", "", *named]


def _few(header: dict[str, Any]) -> tuple[str, str]:
    """Outputs whose slopes come from all rows, and those that are a share of topical: too few positives for more."""
    entries = header["calibration"]
    return (
        _listed([entry["output"] for entry in entries if entry["basis"] == "all"]),
        _listed([f"{entry['output']} ({entry['share']:.3f})" for entry in entries if entry["basis"] == "share"]),
    )


def _figures(title: str, part: dict[str, Any]) -> str:
    """A row under FIGURES."""
    measures = ("prosocial_roc_auc", "prosocial_average_precision", "prosocial_calibration_error")
    measures += ("harm_roc_auc", "harm_calibration_error", "quality_roc_auc")
    return f"| {title} | {part['rows']:,} | {' | '.join(_figure(part[measure]) for measure in measures)} |"


def _outputs(header: dict[str, Any]) -> list[str]:
    """What the measures mean, and a table of them for each output."""
    natural, every = (header["metrics"][part]["outputs"] for part in ("natural", "all"))
    return [
        "AP: average precision. ECE: expected calibration error, ten bins of equal width. Prosocial at grade ≥ 2, "
        "harm at ≥ 1; macro means. The labels are one language model's, so these figures are agreement with it.",
        "",
        "| output | positives natural / all | ROC-AUC | AP | ECE |",
        "|---|---|---|---|---|",
        *(_row(output, natural[output], every[output]) for output in header["outputs"]),
    ]


def _share(value: float) -> str:
    return f"{value:.1%}"


def _listed(values: list[str]) -> str:
    return ", ".join(values) if values else "none"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".removeprefix("0")


def _row(output: str, natural: dict[str, Any], every: dict[str, Any]) -> str:
    name, grade = output.split(">=")
    measures = " | ".join(
        f"{_figure(natural[measure])} / {_figure(every[measure])}"
        for measure in ("roc_auc", "average_precision", "calibration_error")
    )
    return f"| {name} ≥ {grade} | {natural['positives']} / {every['positives']} | {measures} |"
