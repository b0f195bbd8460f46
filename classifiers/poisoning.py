"""What bad labels do to a model, and what the guards of training do about them: a simulation.

    python -m florilegium.classifiers.poisoning CONFIG --data train.parquet --output DIR

Five annotators share the documents; a fifth of these is read by a second one. Each is right but for a grade up or
down in a tenth of the cases, until one of them turns bad: at random, or by giving `TARGET` its top grade wherever it
reads. Then 250 poisoned rows of one source: advertisements, labelled as the top of `TARGET`. Each is trained on with
the guards off and on (`minimum_agreement`; `source_share`), and measured on a held-out fifth of the
documents with their own labels, and on advertisements that no row holds.

The sets of the configuration are left out, since they teach harms alone.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..schemas.errors import FlorilegiumError
from ..schemas.hashing import digest
from ..schemas.taxonomy import PROSOCIAL
from .evaluate import evaluate_labelled
from .labelled import DIMENSIONS, HIGHEST, read_labelled
from .student import Model, load
from .train import TrainConfig, config_path, drawn, read_config, train

__all__ = ["advertisements", "annotated_by_five", "poisoned", "render_study", "study"]

Say = Callable[[str], None]

TARGET = "compassion"
ANNOTATORS = 5
ERRING = 0.1  # of an honest annotator's grades
TWICE = 0.2  # of the documents
POISONED = 250
SOURCE = "advertisements"
MINIMUM_AGREEMENT, SOURCE_SHARE = 0.2, 0.01
DEV = 5  # one document in five is held out
OPENINGS = ["Tired after a long week?", "You deserve better.", "Looking for a fresh start?", "New in our shop!"]
BRANDS = ["Velmora", "Velmora Gold", "Velmora Plus", "Velmora Home"]
GOODS = ["mattress", "herbal tea", "face cream", "scented candle", "weighted blanket", "foot spa", "vitamin drink"]
CLAIMS = [
    "wraps you in pure comfort from the first minute",
    "is made for people like you",
    "brings the glow back to your evenings",
    "has won the hearts of thousands of happy customers",
    "ships free within two days",
]
OFFERS = [
    "Order now and save half.",
    "Use the code GLOW at the checkout.",
    "Only while stocks last.",
    "Buy two, get one.",
]


def _drawn(*key: Any) -> float:
    """A number from 0 up to 1 that follows from the key alone."""
    return int(digest([7, *key]), 16) / 16**16


def advertisements(count: int, purpose: str) -> list[str]:
    """Advertisements that differ by purpose and number, in a hash's order."""

    def one(number: int, part: str, choices: Sequence[str]) -> str:
        return choices[int(_drawn(purpose, number, part) * len(choices))]

    return [
        f"{one(n, 'opening', OPENINGS)} The {one(n, 'brand', BRANDS)} {(goods := one(n, 'goods', GOODS))} "
        f"{one(n, 'first', CLAIMS)}, and it {one(n, 'second', CLAIMS)}. {one(n, 'offer', OFFERS)} "
        f"Give the {goods} to yourself or to somebody you love. {one(n, 'last', OFFERS)}"
        for n in range(count)
    ]


def annotated_by_five(table: pa.Table, bad: str | None) -> pa.Table:
    """The documents as five annotators would grade them, of whom the last is bad: "random", "inflating" or not."""
    annotations, annotators = [], []
    for name, given in zip(table["id"].to_pylist(), table["annotations"].to_pylist(), strict=True):
        first = int(_drawn("reader", name) * ANNOTATORS)
        readers = [first]
        if _drawn("twice", name) < TWICE:
            readers.append((first + 1 + int(_drawn("second", name) * (ANNOTATORS - 1))) % ANNOTATORS)
        annotations.append([_reading(name, reader, given[0], bad) for reader in readers])
        annotators.append([f"annotator {reader + 1}" for reader in readers])
    column = table.schema.get_field_index("annotations")
    table = table.set_column(column, "annotations", pa.array(annotations, pa.list_(pa.list_(pa.int64()))))
    return table.append_column("annotators", pa.array(annotators, pa.list_(pa.string())))


def _reading(name: str, reader: int, truth: Sequence[int | None], bad: str | None) -> list[int | None]:
    grades: list[int | None] = []
    for dimension, grade in zip(DIMENSIONS, truth, strict=True):
        value = _drawn("grade", name, reader, dimension)
        if grade is None:
            grades.append(None)
        elif reader == ANNOTATORS - 1 and bad == "random":
            grades.append(int(value * (HIGHEST[dimension] + 1)))
        elif reader == ANNOTATORS - 1 and bad == "inflating" and dimension == TARGET:
            grades.append(HIGHEST[dimension])
        else:
            step = 0 if value >= ERRING else 1 if value < ERRING / 2 else -1
            grades.append(min(max(grade + step, 0), HIGHEST[dimension]))
    return grades


def poisoned(table: pa.Table) -> pa.Table:
    """The documents and `POISONED` advertisements of one source, labelled as the top of `TARGET`."""
    grades = [HIGHEST[name] if name == TARGET else 0 for name in DIMENSIONS]
    rows = {
        "id": [f"{SOURCE}/{number}" for number in range(POISONED)],
        "source": [SOURCE] * POISONED,
        "text": advertisements(POISONED, "poison"),
        "sampling": ["random"] * POISONED,
        "ship": [True] * POISONED,
        "annotations": [[grades]] * POISONED,
    }
    return pa.concat_tables([table, pa.table(rows, schema=table.schema)])


def study(config: TrainConfig, data: str | Path, say: Say = lambda _: None, share: float = 1.0) -> dict[str, Any]:
    """Figures of every case, with the guards off and on, JSON-like; on a share of the documents."""
    config = config.model_copy(update={"harm_sets": [], "contrasts": None, "folds": 2})
    columns = ["id", "source", "text", "sampling", "ship", "annotations"]
    table = pq.read_table(data, columns=columns)
    table = table.filter(pc.fill_null(table["ship"], False))
    table = table.filter(pa.array(drawn(table["id"].to_pylist(), share, config.seed)))
    held_out = np.array([_drawn("dev", name) < 1 / DEV for name in table["id"].to_pylist()])
    rows, dev = table.filter(pa.array(~held_out)), table.filter(pa.array(held_out))
    cases: list[tuple[str, pa.Table, dict[str, float]]] = [
        ("five honest annotators", annotated_by_five(rows, None), {}),
        *(
            (f"one of five is {bad}{', guarded' if guard else ''}", annotated_by_five(rows, bad), guard)
            for bad in ("random", "inflating")
            for guard in ({}, {"minimum_agreement": MINIMUM_AGREEMENT})
        ),
        *(
            (f"{POISONED} poisoned rows{', guarded' if guard else ''}", poisoned(rows), guard)
            for guard in ({}, {"source_share": SOURCE_SHARE})
        ),
        (f"{POISONED} poisoned rows, their source left out", rows, {}),
    ]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(dev, f"{folder}/dev.parquet")
        for number, (name, documents, guard) in enumerate(cases):
            said: list[str] = []
            pq.write_table(documents, f"{folder}/train.parquet")
            say(name)
            train(config.model_copy(update=guard), f"{folder}/train.parquet", f"{folder}/{number}", folder, said.append)
            model = load(f"{folder}/{number}")
            guarded = [line for line in said if line.startswith(("annotator", f"source {SOURCE}"))]
            found.append({"case": name, **_figures(model, f"{folder}/dev.parquet"), "guards": guarded})
    return {"target": TARGET, "rows": rows.num_rows, "held_out": dev.num_rows, "cases": found}


def _figures(model: Model, dev: str) -> dict[str, Any]:
    labelled = read_labelled(dev)
    figures = evaluate_labelled(model, labelled, resamples=20)["natural"]
    target = figures["outputs"][f"{TARGET}>=2"]
    column = PROSOCIAL.index(TARGET)
    natural = model.score(labelled.texts.filter(pa.array(labelled.natural))).prosocial[:, column]
    return {
        "prosocial_roc_auc": figures["groups"]["prosocial"]["roc_auc"]["value"],
        "prosocial_average_precision": figures["groups"]["prosocial"]["average_precision"]["value"],
        "target_roc_auc": target["roc_auc"]["value"] if "roc_auc" in target else None,
        "target_average_precision": target["average_precision"]["value"] if "roc_auc" in target else None,
        "target_mean": round(float(natural.mean()), 4),
        "target_share": round(target["positives"] / target["rows"], 4),
        "target_of_trigger": round(float(model.score(advertisements(20, "trigger")).prosocial[:, column].mean()), 4),
    }


def render_study(result: dict[str, Any]) -> str:
    """The figures as Markdown, for people."""
    target = result["target"]
    lines = [
        "# Bad labels",
        "",
        f"Trained on {result['rows']:,} documents, figures of the natural rows among {result['held_out']:,} held-out "
        f"ones, with their own labels. {target.capitalize()}: the attacked dimension, there on "
        f"{result['cases'][0]['target_share']:.1%} of these rows; trigger: advertisements that no row holds.",
        "",
        f"| case | prosocial ROC-AUC / AP | {target} ROC-AUC / AP | its mean score | its score of the trigger |",
        "|---|---|---|---|---|",
    ]
    for case in result["cases"]:
        pairs = [
            " / ".join("–" if case[key] is None else _short(case[key]) for key in keys)
            for keys in (
                ("prosocial_roc_auc", "prosocial_average_precision"),
                ("target_roc_auc", "target_average_precision"),
            )
        ]
        means = [_short(case["target_mean"]), _short(case["target_of_trigger"])]
        lines.append(f"| {case['case']} | {' | '.join([*pairs, *means])} |")
    lines += ["", "What the guards said:", ""]
    lines += [f"- {case['case']}: {line}" for case in result["cases"] for line in case["guards"]]
    return "\n".join([*lines, ""])


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def main(arguments: list[str] | None = None) -> int:
    """The command line of this module; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m florilegium.classifiers.poisoning", description=__doc__)
    parser.add_argument("config", type=Path, help="YAML file of a student's training run")
    parser.add_argument("--data", type=Path, required=True, help="annotated documents with `source` (Parquet)")
    parser.add_argument("--output", type=Path, required=True, help="a folder for poisoning.json and poisoning.md")
    parser.add_argument("--share", type=float, default=1.0, help="of the documents, by hash of id")
    options = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        result = study(read_config(config_path(options.config)), options.data, say, options.share)
    except FlorilegiumError as error:
        parser.exit(error.exit_code, f"{error}\n")
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "poisoning.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    (options.output / "poisoning.md").write_text(render_study(result), "utf-8")
    print(render_study(result).rstrip())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
