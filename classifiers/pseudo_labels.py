"""Documents that a teacher labelled, as further rows of a student's training (distil.py makes the file).

A Parquet file outside the repository: `id`, `text`, the tokenised `line`, and `targets`, what a teacher says of each
label of training: one list for each fold of the student, by a teacher that has not seen that fold's documents, and a
last one by the teacher of all documents. So a student's held-out figures stay held out, though its pseudo-labels were
learned too.
The file's metadata names the annotated documents, folds and labels that the teachers had.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from ..schemas.errors import InputError
from .finetune import Tuning

__all__ = ["Distillation", "PseudoLabels", "Teacher", "read_pseudo_labels", "write_pseudo_labels"]

MOST_ROWS = 20_000
KEY = b"pseudo_labels"
Floats = np.ndarray[Any, np.dtype[np.float32]]


class Teacher(BaseModel):
    """An encoder that labels documents: heads on it as it is, or with `tuning` fine-tuned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str = "minilm"  # or a name on the hub, or a folder
    tokens: int = Field(default=384, ge=16, le=512)  # of a passage
    layers: bool = True  # features of every layer
    # Only so many of its layers, from below; None: all.
    depth: int | None = Field(default=None, ge=1, exclude_if=lambda value: value is None)
    ridge: float = Field(default=3.0, gt=0)  # of heads on an encoder that is not fine-tuned
    tuning: Tuning | None = None
    weight: float = Field(default=1.0, gt=0, exclude_if=lambda value: value == 1)  # beside those of other teachers


class Distillation(BaseModel):
    """What teachers there are, and how much their labels count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    teachers: list[Teacher] = Field(min_length=1)  # their labels are averaged by weight
    student: float = Field(default=0.5, ge=0, lt=1)  # share of a student's labels in the teachers'
    window: int = Field(default=1600, ge=200)  # characters of a passage, and of a pseudo-labelled document
    rows: int = Field(default=MOST_ROWS, ge=1, le=MOST_ROWS)  # pseudo-labelled documents at most
    importance: float = Field(default=0.5, gt=0, le=1)  # of a row, beside 1 of an annotated document


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo-labelled documents."""

    ids: list[str]
    texts: list[str]
    lines: list[str]
    targets: Floats  # (folds + 1, rows, labels)
    digest: str = ""  # SHA-256 of the file


def write_pseudo_labels(labels: PseudoLabels, path: Path, description: dict[str, Any]) -> None:
    """Write the file; `description` says what the teachers had (read_pseudo_labels compares)."""
    by_row = np.ascontiguousarray(labels.targets.transpose(1, 0, 2))
    inner = pa.FixedSizeListArray.from_arrays(pa.array(by_row.ravel(), pa.float32()), by_row.shape[2])
    table = pa.table(
        {
            "id": pa.array(labels.ids, pa.string()),
            "text": pa.array(labels.texts, pa.string()),
            "line": pa.array(labels.lines, pa.string()),
            "targets": pa.FixedSizeListArray.from_arrays(inner, by_row.shape[1]),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(description, sort_keys=True)}), path)


def read_pseudo_labels(path: str | Path, expected: dict[str, Any]) -> PseudoLabels:
    """The file's rows. Raises `InputError` where it is none, or made for other documents, folds or labels."""
    try:
        payload = Path(path).read_bytes()
        table = pq.read_table(pa.BufferReader(payload))
        described = json.loads((table.schema.metadata or {})[KEY])
        shape = (len(table), expected["folds"] + 1, len(expected["labels"]))
        flat = table["targets"].combine_chunks().flatten().flatten()
        ids, texts, lines = (table[name].to_pylist() for name in ("id", "text", "line"))
    except (OSError, pa.ArrowException, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: cannot be read as pseudo-labels ({error}); make them with "
            "`python -m florilegium.classifiers.distil`"
        ) from error
    other = [name for name, value in expected.items() if described.get(name) != value]
    if other or len(flat) != np.prod(shape):
        raise InputError(
            f"{path}: pseudo-labels made for other {other[0] if other else 'labels'}; make them again with the "
            "configuration and the annotated documents of this training"
        )
    targets = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(shape).transpose(1, 0, 2)
    return PseudoLabels(ids, texts, lines, targets, hashlib.sha256(payload).hexdigest())
