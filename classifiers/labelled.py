"""Documents with labels, from the three kinds of file that `evaluate` takes, as targets by output.

    annotated     Parquet with `annotations`: lists of grades in the taxonomy's order (the rubric's own labels)
    labelled set  Parquet with `labels` (name → number), `set` and `split`; suites/labelled.yaml says what they mean
    suite         YAML, or Parquet with `test`, `positive` and `output`: sentences that try one ability each

An output is named as in a model's header: "compassion>=2", "hate>=1" (topical or worse), "hate>=2" (toxic),
"quality>=3", and "any>=1", "any>=2" for the highest harm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ..schemas.errors import InputError, RecipeError
from ..schemas.taxonomy import HARMS, PROSOCIAL, load_taxonomy
from .student import Scores

__all__ = [
    "DIMENSIONS",
    "HIGHEST",
    "TARGETS",
    "Labelled",
    "mean_grades",
    "output_scores",
    "read_grades",
    "read_labelled",
]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

POSITIVE = load_taxonomy().positive_grade
DIMENSIONS = (*PROSOCIAL, *HARMS, "quality")
TARGETS: tuple[str, ...] = (
    *(f"{name}>={POSITIVE}" for name in PROSOCIAL),
    *(f"{name}>=1" for name in HARMS),
    *(f"{name}>=2" for name in HARMS),
    "quality>=3",
)
HIGHEST = {**dict.fromkeys(PROSOCIAL, max(load_taxonomy().prosocial_grades)), **dict.fromkeys(HARMS, 2), "quality": 5}
OUTPUTS = (*TARGETS, "any>=1", "any>=2")


@dataclass(frozen=True)
class Labelled:
    """Rows of one file with what is known of them."""

    name: str
    kind: str  # annotated, labelled or suite
    language: str
    ids: list[str]
    documents: list[str]  # rows of one document move together in a bootstrap
    texts: pa.StringArray
    sources: list[str]
    natural: Mask  # (rows,) drawn at random from the natural pool: calibration is measured on these
    targets: dict[str, Floats] = field(default_factory=dict)  # output → 1, 0 or NaN where unknown, (rows,)
    tests: list[str] = field(default_factory=list)  # of a suite

    def __len__(self) -> int:
        return len(self.ids)


def output_scores(scores: Scores) -> dict[str, np.ndarray[Any, Any]]:
    """Output → its score, (rows,); quality as it is, a share of 5. Of a harm model what it knows, and its "any>=2"."""
    values = {
        **{f"{name}>={POSITIVE}": scores.prosocial[:, column] for column, name in enumerate(PROSOCIAL)},
        **{f"{name}>=1": scores.topical[:, column] for column, name in enumerate(HARMS)},
        **{f"{name}>=2": scores.toxic[:, column] for column, name in enumerate(HARMS)},
        "quality>=3": scores.quality,
        "any>=1": scores.topical.max(axis=1, initial=0),
        "any>=2": scores.toxic.max(axis=1, initial=0),
    }
    return values if scores.known is None else {name: values[name] for name in (*scores.known, "any>=2")}


def read_labelled(path: str | Path, split: str = "test") -> Labelled:
    """Any of the three kinds of file; `split` chooses rows of a labelled set. Raises `InputError`."""
    if str(path).endswith((".yaml", ".yml")):
        return _read_suite(Path(path))
    table = _read_table(path)
    columns = set(table.column_names)
    missing = sorted({"id", "text"} - columns)
    if missing:
        raise InputError(f"{path}: has no column {missing[0]!r}; it needs id and text")
    if "annotations" in columns:
        return _annotated(path, table)
    if {"labels", "set"} <= columns:
        return _labelled_set(path, table, split)
    if {"test", "positive", "output"} <= columns:
        rows = [
            (row["test"], row["output"], bool(row["positive"]), row["text"])
            for row in table.select(["test", "output", "positive", "text"]).to_pylist()
        ]
        return _suite(Path(path).stem, str(path), rows)
    raise InputError(
        f"{path}: has no labels; it needs `annotations`, or `labels` and `set`, or `test`, `positive` and `output`"
    )


def read_grades(path: str | Path, table: pa.Table) -> Floats:
    """Mean grades of annotated rows, (rows, dimensions), NaN where none is given.

    Raises `InputError` that names the row and its fault.
    """
    means = np.zeros((table.num_rows, len(DIMENSIONS)))
    highest = np.array([HIGHEST[name] for name in DIMENSIONS])
    for row, (name, annotations) in enumerate(
        zip(table["id"].to_pylist(), table["annotations"].to_pylist(), strict=True)
    ):
        if not annotations or any(grades is None or len(grades) != len(DIMENSIONS) for grades in annotations):
            raise InputError(f"{path}: row {name!r}: needs annotations of {len(DIMENSIONS)} grades each")
        grades = np.array([[np.nan if grade is None else grade for grade in grades] for grades in annotations], float)
        if np.isnan(grades).all():
            raise InputError(f"{path}: row {name!r}: holds no grade; null stands for one dimension not judged")
        wrong = (grades < 0) | (grades > highest)
        if wrong.any():
            reader, column = np.argwhere(wrong)[0]
            raise InputError(
                f"{path}: row {name!r}: {DIMENSIONS[column]} is {annotations[reader][column]}, off the scale "
                f"0–{highest[column]}; mend or remove the row"
            )
        means[row] = mean_grades(annotations)
    return means


def mean_grades(annotations: Sequence[Sequence[float | None]]) -> Floats:
    """The mean of each dimension's grades over annotations, (dimensions,); NaN where none gives it one."""
    grades = np.array([[np.nan if grade is None else grade for grade in row] for row in annotations], np.float64)
    known = np.isfinite(grades)
    if known.all():
        return grades.mean(axis=0)
    counts = known.sum(axis=0)
    return np.where(counts > 0, np.where(known, grades, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _read_table(path: str | Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({error})") from error


def _texts(path: str | Path, table: pa.Table) -> pa.StringArray:
    if table["text"].null_count or table["id"].null_count:
        raise InputError(f"{path}: holds rows without id or text; remove them")
    return pa.array(table["text"].to_pylist(), pa.string())


def _annotated(path: str | Path, table: pa.Table) -> Labelled:
    means = read_grades(path, table)
    targets = {}
    for output in TARGETS:
        name, grade = output.split(">=")
        values = means[:, DIMENSIONS.index(name)]
        targets[output] = np.where(np.isnan(values), np.nan, values >= int(grade) - 0.5)
    ids = [str(value) for value in table["id"].to_pylist()]
    names = set(table.column_names)
    sampling = table["sampling"].to_pylist() if "sampling" in names else ["random"] * len(ids)
    sources = table["source"].to_pylist() if "source" in names else ["unknown"] * len(ids)
    return Labelled(
        name=Path(path).stem,
        kind="annotated",
        language="en",
        ids=ids,
        documents=ids,
        texts=_texts(path, table),
        sources=[str(source).split("/")[0] for source in sources],
        natural=np.array([value == "random" for value in sampling], np.bool_),
        targets=targets,
    )


@cache
def _meanings() -> dict[str, Any]:
    return yaml.safe_load(files("florilegium.classifiers.suites").joinpath("labelled.yaml").read_text("utf-8"))


def _labelled_set(path: str | Path, table: pa.Table, split: str) -> Labelled:
    name = str(table["set"][0].as_py()) if table.num_rows else Path(path).stem
    meaning = _meanings().get(name)
    if meaning is None:
        known = ", ".join(sorted(_meanings()))
        raise InputError(f"{path}: nothing says what the labels of the set {name!r} mean; known are {known}")
    if "split" in table.column_names and split != "all":
        table = table.filter(pa.compute.equal(table["split"], split))
    if not table.num_rows:
        raise InputError(f"{path}: no row of the split {split!r}; choose another with --split")
    labels = [dict(row or ()) for row in table["labels"].to_pylist()]
    ids = [str(value) for value in table["id"].to_pylist()]
    separator = meaning.get("documents")
    return Labelled(
        name=name,
        kind="labelled",
        language=meaning.get("language", "en"),
        ids=ids,
        documents=[value.rpartition(separator)[0] or value for value in ids] if separator else ids,
        texts=_texts(path, table),
        sources=[name] * len(ids),
        natural=np.zeros(len(ids), np.bool_),
        targets={output: _target(labels, rule) for output, rule in meaning["outputs"].items()},
    )


def _target(labels: list[dict[str, float]], rule: Mapping[str, Any]) -> Floats:
    values = np.array([row.get(rule["label"], rule.get("absent", np.nan)) for row in labels], np.float64)
    reached = values <= rule["at"] if rule.get("below") else values >= rule["at"]
    return np.where(np.isnan(values), np.nan, reached.astype(np.float64))


def _read_suite(path: Path) -> Labelled:
    """A suite in YAML: a name, an output, and tests, each positive or not, with its cases."""
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
        rows = [
            (test, entry.get("output", content.get("output")), bool(entry["positive"]), str(case))
            for test, entry in content["tests"].items()
            for case in entry["cases"]
        ]
        name, language = str(content["name"]), str(content.get("language", "en"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    except (yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"{path}: not a suite ({error}); it needs name, output and tests, each with positive and cases"
        ) from error
    return _suite(name, str(path), rows, language)


def _suite(name: str, where: str, rows: Sequence[tuple[str, str, bool, str]], language: str = "en") -> Labelled:
    targets: dict[str, Floats] = {}
    for index, (test, output, positive, _) in enumerate(rows):
        if output not in OUTPUTS:
            raise RecipeError(f"{where}: test {test!r}: unknown output {output!r}; name one such as hate>=1")
        targets.setdefault(output, np.full(len(rows), np.nan))[index] = float(positive)
    if not rows:
        raise RecipeError(f"{where}: holds no case")
    ids = [f"{test}/{index}" for index, (test, *_) in enumerate(rows)]
    return Labelled(
        name=name,
        kind="suite",
        language=language,
        ids=ids,
        documents=ids,
        texts=pa.array([text for *_, text in rows], pa.string()),
        sources=[name] * len(rows),
        natural=np.zeros(len(rows), np.bool_),
        targets=targets,
        tests=[test for test, *_ in rows],
    )
