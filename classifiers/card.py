"""A model's card: written from the header it describes, so that figures and text cannot part."""

from typing import Any

__all__ = ["render_card", "render_cascade_card"]


def render_card(header: dict[str, Any]) -> str:
    """The card of a trained model as Markdown, from the content of `model.json` (its digest included)."""
    training, natural, every = header["training"], header["metrics"]["natural"], header["metrics"]["all"]
    entries = {entry["output"]: entry for entry in header["calibration"]}
    description = training["parameters"]["card"]
    from_all = [output for output, entry in entries.items() if entry["basis"] == "all"]
    shares = {output: entry["share"] for output, entry in entries.items() if entry["basis"] == "share"}
    lines = [
        f"# {header['name']} {header['version']}",
        "",
        description["summary"],
        "",
        f"- digest `{header['digest']}`, taxonomy version {header['taxonomy_version']}, "
        f"tokeniser `{header['tokens']}`, languages: {', '.join(header['languages'])}",
        *(f"- `{name}` SHA-256 `{value}`" for name, value in header["files"].items()),
        f"- {training['rows']:,} documents ({training['natural_rows']:,} drawn at random from the natural pool), "
        f"data SHA-256 `{training['data_sha256']}`",
        *(
            [f"- for harm also {', '.join(f'{rows:,} of {name}' for name, rows in training['set_rows'].items())}"]
            if training["set_rows"]
            else []
        ),
        f"- {training['words']:,} words and {training['features'] - training['words']:,} word pairs, each found in "
        f"at least {training['parameters']['minimum_documents']} documents",
        "",
        "## Outputs",
        "",
        "- `prosocial`: for each of the 12 dimensions, the probability that a careful reader finds it clearly there "
        "(grade ≥ 2); the mean over windows.",
        "- `harm`: for each of the 7 harms, the probability of topical or worse (grade ≥ 1) and of toxic (grade 2, "
        "never above topical); the worst window.",
        "- `quality`: the expected grade divided by 5; the mean over windows.",
        "",
        f"Windows are up to {header['window']:,} bytes of tokenised text, and every byte is scored. Scores are "
        "rounded to 1/1000. A text without tokens, or in another language, has no scores.",
        "",
        "## Data, licences, use and limits",
        "",
        *(f"- **{title.capitalize()}.** {text}" for title, text in description.items() if title != "summary"),
        "",
        "## Calibration",
        "",
        "Logistic, on out-of-fold scores of the natural rows. With fewer than 50 positives there, slopes are learned "
        "from all rows and intercepts fitted to the natural rows' smoothed share: " + _listed(from_all) + ".",
        "",
        "With fewer than 50 toxic rows in all, toxic is topical times a fixed share, **a rank and not a probability**: "
        + _listed([f"{output} ({share:.3f})" for output, share in shares.items()])
        + ".",
        "",
        "## Held-out figures",
        "",
        f"{training['parameters']['folds']} folds by hash of id; each fold scored by a model, and calibrated on rows, "
        "of the other folds, through the shipped file format and kernel.",
        "",
        "| | rows | prosocial ROC-AUC | AP | ECE | harm ROC-AUC | ECE | quality ≥ 3 ROC-AUC |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {title} | {part['rows']:,} | {_figure(part['prosocial_roc_auc'])} | "
            f"{_figure(part['prosocial_average_precision'])} | {_figure(part['prosocial_calibration_error'])} | "
            f"{_figure(part['harm_roc_auc'])} | {_figure(part['harm_calibration_error'])} | "
            f"{_figure(part['quality_roc_auc'])} |"
            for title, part in (("natural", natural), ("all", every))
        ),
        "",
        "AP: average precision. ECE: expected calibration error, ten bins of equal width. Prosocial at grade ≥ 2, "
        "harm at ≥ 1; macro means. The labels are one language model's, so these figures are agreement with it.",
        "",
        "| output | positives natural / all | ROC-AUC | AP | ECE |",
        "|---|---|---|---|---|",
        *(_row(output, natural["outputs"][output], every["outputs"][output]) for output in header["outputs"]),
        "",
        "## Reading the file elsewhere",
        "",
        "`model.ftz` loads in fastText. Tokenise first (`florilegium.classifiers.tokens`); `predict` then gives one "
        "logistic per label (`compassion>=2`). The scores above count each feature of a window once, however often "
        "it is repeated, divide by the root of their number, and are calibrated together.",
        "",
    ]
    return "\n".join(lines)


def render_cascade_card(header: dict[str, Any]) -> str:
    """The card of a cascade as Markdown, from the content of its `model.json` (its digest included)."""
    training, metrics = header["training"], header["metrics"]
    description, encoder = training["parameters"]["card"], header["encoder"]
    student, seen = header["student"], metrics["seen"]
    entries = {entry["output"]: entry for entry in header["calibration"]}
    from_all = [output for output, entry in entries.items() if entry["basis"] == "all"]
    shares = {output: entry["share"] for output, entry in entries.items() if entry["basis"] == "share"}
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
        *(f"- `{name}` SHA-256 `{value}`" for name, value in header["files"].items()),
        f"- {training['rows']:,} documents ({training['natural_rows']:,} drawn at random from the natural pool), "
        f"data SHA-256 `{training['data_sha256']}`",
        *(
            [f"- for harm also {', '.join(f'{rows:,} of {name}' for name, rows in training['set_rows'].items())}"]
            if training["set_rows"]
            else []
        ),
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
        "## Data, licences, use and limits",
        "",
        *(f"- **{title.capitalize()}.** {text}" for title, text in description.items() if title != "summary"),
        "",
        "## Calibration",
        "",
        "Of the composite: logistic, on held-out probabilities of the student and held-out scores of the heads. With "
        "fewer than 50 positives among natural rows, slopes are learned from all rows: " + _listed(from_all) + ". With "
        "fewer than 50 toxic rows in all, toxic is topical times a fixed share, **a rank and not a probability**: "
        + _listed([f"{output} ({share:.3f})" for output, share in shares.items()])
        + ".",
        "",
        "## Held-out figures",
        "",
        "The student's folds; each fold scored by student and heads, and calibrated on rows, of the other folds. "
        "Composite: the encoder reads everything.",
        "",
        "| | rows | prosocial ROC-AUC | AP | ECE | harm ROC-AUC | ECE | quality ≥ 3 ROC-AUC |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {model}, {part} | {measured[part]['rows']:,} | {_figure(measured[part]['prosocial_roc_auc'])} | "
            f"{_figure(measured[part]['prosocial_average_precision'])} | "
            f"{_figure(measured[part]['prosocial_calibration_error'])} | {_figure(measured[part]['harm_roc_auc'])} | "
            f"{_figure(measured[part]['harm_calibration_error'])} | {_figure(measured[part]['quality_roc_auc'])} |"
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
        "AP: average precision. ECE: expected calibration error, ten bins of equal width. Prosocial at grade ≥ 2, "
        "harm at ≥ 1; macro means. The labels are one language model's, so these figures are agreement with it.",
        "",
        "| output | positives natural / all | ROC-AUC | AP | ECE |",
        "|---|---|---|---|---|",
        *(
            _row(output, metrics["natural"]["outputs"][output], metrics["all"]["outputs"][output])
            for output in header["outputs"]
        ),
        "",
    ]
    return "\n".join(lines)


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
