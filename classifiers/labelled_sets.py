"""Documents that others labelled for harm, read by rules as further rows of training.

A published set knows one or two of the harms and says nothing of the rest: rules name the labels that are
known, all others stay unknown. Every set is capped, each rule gets an equal share of the cap, and a row
counts for less than an annotated document, so that no source can outvote the rubric and no rule shifts what
is common. A text that is also among the annotated documents is left out.

`contrasts` are short sentences that we wrote (configs/contrasts.yaml), expanded from templates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..schemas.errors import InputError, RecipeError
from ..schemas.hashing import digest
from .tokens import tokenize

__all__ = ["Contrasts", "LabelledRows", "LabelledSet", "Rule", "read_contrasts", "read_labelled_sets", "read_templates"]

Matrix = np.ndarray[Any, np.dtype[np.float64]]
Kind = TypeVar("Kind", bound=BaseModel)


class Rule(BaseModel):
    """Rows whose labels lie in these ranges, and what is then known of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: dict[str, tuple[float, float]]  # label of the set: least and most, ends included
    known: dict[str, float] = Field(min_length=1)  # our label, such as "hate>=2": 1 if reached, 0 if not


class LabelledSet(BaseModel):
    """One set: a Parquet file with `id`, `text`, `split` and `labels` (a map from label to number)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    rows: int = Field(ge=1)  # at most
    importance: float = Field(default=0.5, gt=0, le=1)  # of a row, beside 1 of an annotated document
    id_prefix: str = ""  # where one file holds several languages
    rules: list[Rule] = Field(min_length=1)  # the first that holds decides


class Templates(BaseModel):
    """Sentences of which the same is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    known: dict[str, float] = Field(min_length=1)
    texts: list[str]  # a name in braces stands for one of its fillers


class Contrasts(BaseModel):
    """Sentences from templates."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fillers: dict[str, list[str]]
    each: int = Field(ge=1)  # sentences of a template at most
    importance: float = Field(default=0.5, gt=0, le=1)
    templates: list[Templates]

    def sentences(self) -> list[tuple[str, dict[str, float]]]:
        """Every sentence with what is known of it; the fillers of a template are chosen by hash."""
        found: list[tuple[str, dict[str, float]]] = []
        for group in self.templates:
            for text in group.texts:
                name = next((name for name in self.fillers if f"{{{name}}}" in text), None)
                words = [""] if name is None else sorted(self.fillers[name], key=lambda word: digest([text, word]))
                found += [(text.replace(f"{{{name}}}", word), group.known) for word in words[: self.each]]
        return found


def read_contrasts(path: Path) -> Contrasts:
    """Templates from a YAML file. Raises `RecipeError`."""
    return read_templates(Contrasts, path, "sentences")


def read_templates(kind: type[Kind], path: Path, of: str) -> Kind:
    """Templates of some kind from a YAML file; `of` says in errors what they are of. Raises `RecipeError`."""
    try:
        return kind.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise RecipeError(f"{path}: not templates of {of} ({error})") from error


@dataclass(frozen=True)
class LabelledRows:
    """Documents, tokenised and as they are, with what is known of them."""

    lines: list[str]
    texts: list[str]  # the same documents as they are
    targets: Matrix  # (rows, labels), NaN where unknown
    importance: Matrix  # (rows,)
    sources: list[str]


def read_labelled_sets(
    sets: Sequence[LabelledSet],
    folder: Path,
    labels: tuple[str, ...],
    present: set[str],
    contrasts: Contrasts | None = None,
    split: str = "train",
) -> LabelledRows:
    """Rows of a split of each set, the training split by default, the same whatever the order; none of `present`.

    Raises `RecipeError` for a rule about a label that is not ours, `InputError` for a file that cannot be read.
    """
    lines: list[str] = []
    texts: list[str] = []
    targets: list[dict[str, float]] = []
    importance: list[float] = []
    sources: list[str] = []
    taken = set(present)
    for item in sets:
        for rule in item.rules:
            _check_labels(f"harm_sets: {item.file}", rule.known, labels)
        rows = _rows(item, folder / item.file, split)
        share = max(item.rows // len(item.rules), 1)
        for rule, found in zip(item.rules, _by_rule(item, rows), strict=True):
            tokenized = tokenize(pa.array([text for _, text in found], pa.string())).to_pylist()
            places = [place for place, line in enumerate(tokenized) if line and line not in taken][:share]
            chosen = [tokenized[place] for place in places]
            taken.update(chosen)
            lines += chosen
            texts += [found[place][1] for place in places]
            targets += [rule.known] * len(chosen)
            importance += [item.importance] * len(chosen)
            sources += [Path(item.file).stem] * len(chosen)
    if contrasts is not None:
        for group in contrasts.templates:
            _check_labels("contrasts", group.known, labels)
        sentences = contrasts.sentences()
        lines += tokenize(pa.array([text for text, _ in sentences], pa.string())).to_pylist()
        texts += [text for text, _ in sentences]
        targets += [known for _, known in sentences]
        importance += [contrasts.importance] * len(sentences)
        sources += ["contrasts"] * len(sentences)
    matrix = np.full((len(lines), len(labels)), np.nan)
    for row, known in enumerate(targets):
        for label, value in known.items():
            matrix[row, labels.index(label)] = value
    return LabelledRows(lines, texts, matrix, np.array(importance), sources)


def _check_labels(place: str, known: dict[str, float], labels: tuple[str, ...]) -> None:
    unknown = sorted(set(known) - set(labels))
    if unknown:
        raise RecipeError(f"{place}: {unknown[0]!r} is not a label; labels are {', '.join(labels)}")


def _rows(item: LabelledSet, path: Path, split: str) -> list[dict[str, Any]]:
    try:
        table = pq.read_table(path, columns=["id", "text", "split", "labels"])
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise InputError(f"{path}: cannot be read as a labelled set ({error}); name its folder with --sets") from error
    rows = table.filter(pc.equal(table["split"], split)).to_pylist()
    return [row for row in rows if row["id"].startswith(item.id_prefix)]


def _by_rule(item: LabelledSet, rows: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    """For each rule its rows as (hash of id, text), in the order of the hash."""
    found: list[list[tuple[str, str]]] = [[] for _ in item.rules]
    for row in rows:
        labels = dict(row["labels"])
        for place, rule in enumerate(item.rules):
            if all(low <= labels.get(name, -1.0) <= high for name, (low, high) in rule.when.items()):
                found[place].append((digest(["labelled set", row["id"]]), row["text"]))
                break
    return [sorted(rows) for rows in found]
