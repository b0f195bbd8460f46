"""A cascade: a student reads everything, an encoder the documents that a gate lets through.

An encoder is a thousand times slower than the student and knows more, above all of harm. The gate asks the student
alone: are toxic harms likely enough, or is enough left open of the prosocial qualities? Its thresholds are fixed when
the cascade is trained and belong to the model. They know no charter, so that weighing anew never asks for scores that
were not taken.

Where the encoder read a document, each probability is a logistic function of what the student and the heads say
together, calibrated on held-out rows of both; elsewhere it is the student's. `scored_by` says which.

A cascade's folder holds `heads.safetensors`, `model.json` and `README.md`, and `adapter.safetensors` where the encoder
was fine-tuned: low-rank changes of its layers. The student is named with its digest, or
lies in `student/` where it is no shipped one; the encoder is named with the digest of its tensors and not included.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.errors import ModelError
from ..schemas.taxonomy import HARMS, PROSOCIAL
from .calibration import OUTPUTS, QUALITY_GRADES, Calibration
from .encoder import Encoder, check_installed, load_encoder
from .finetune import Adapter
from .semantic import Heads, read_documents, score_documents
from .student import Classifier, Model, Scores, Texts, as_strings, load, raise_harms, rounded_scores, write_model

__all__ = ["KIND", "LOGIT_EDGE", "Cascade", "Gate", "composite_labels", "load_cascade", "logits", "write_cascade"]

KIND = "cascade"
HEADS = "heads.safetensors"
LOGIT_EDGE = 1e-5  # how close to 0 and 1 a probability of the student is taken
Matrix = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Gate:
    """Which documents the encoder reads, from the student's probabilities of shape (rows, outputs)."""

    harm: float  # least value of `harms` that lets a document through
    prosocial: float  # least value of `qualities`

    def passes(self, probabilities: Matrix) -> Mask:
        """Which documents go on to the encoder, (rows,)."""
        return (self.harms(probabilities) >= self.harm) | (self.qualities(probabilities) >= self.prosocial)

    @staticmethod
    def harms(probabilities: Matrix) -> Matrix:
        """The expected number of toxic harms, (rows,)."""
        return np.sum(probabilities[:, -len(HARMS) :], axis=1)

    @staticmethod
    def qualities(probabilities: Matrix) -> Matrix:
        """How much the student leaves open: p (1 - p) summed over the prosocial dimensions, (rows,)."""
        values = probabilities[:, QUALITY_GRADES : QUALITY_GRADES + len(PROSOCIAL)]
        return np.sum(values * (1 - values), axis=1)


def composite_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """What the composite's calibration takes: the student's outputs, then the heads' labels."""
    return (*(f"{output} by the student" for output in OUTPUTS), *(f"{label} by the encoder" for label in labels))


def logits(probabilities: Matrix) -> Matrix:
    """Logits of the student's probabilities, kept finite."""
    clipped = np.clip(probabilities, LOGIT_EDGE, 1 - LOGIT_EDGE)
    return np.log(clipped / (1 - clipped))


@dataclass(frozen=True)
class Cascade(Model):
    """A loaded cascade."""

    student: Classifier
    gate: Gate
    heads: Heads
    adapter: Adapter | None  # changes of the encoder, where it was fine-tuned
    calibration: Calibration  # of the composite

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, loaded on first use. Raises `ModelError` where it is another than the heads were made for."""
        stated = self.header["encoder"]
        encoder = load_encoder(stated["name"], stated["tokens"], stated["layers"])
        if encoder.digest != stated["digest"]:
            message = f"{self.name}: the encoder {stated['name']!r} has the digest {encoder.digest[:12]}…"
            raise ModelError(f"{message}, trained with {stated['digest'][:12]}…; install that one or train again")
        return encoder if self.adapter is None else self.adapter.apply(encoder)

    def prepare(self) -> None:
        self.student.prepare()
        self.composite(["A first text."], self.student.probabilities(["A first text."])[0])

    def score(self, texts: Texts) -> Scores:
        texts = as_strings(texts)
        probabilities, valid, seen = self._as_written(texts)
        rows, copies = self.student.unmasker.copies(texts)
        if copies:
            others, _, seen_too = self._as_written(as_strings(copies))
            raise_harms(probabilities, rows, others)
            seen[rows] |= seen_too
        return rounded_scores(probabilities, valid, seen)

    def _as_written(self, texts: pa.StringArray) -> tuple[Matrix, Mask, Mask]:
        """Probabilities of texts, disguised or not, which of them hold a token, and which the encoder read."""
        probabilities, valid = self.student.as_written(texts)
        seen = valid & self.gate.passes(probabilities)
        if seen.any():
            rows = np.flatnonzero(seen)
            probabilities[rows] = self.composite(texts.take(pa.array(rows)).to_pylist(), probabilities[rows])
        return probabilities, valid, seen

    def composite(self, texts: Sequence[str], probabilities: Matrix) -> Matrix:
        """Probabilities of texts that the encoder reads, (rows, outputs), given the student's."""
        reading = self.header["reading"]
        features, counts = read_documents(self.encoder, texts, reading["window"], reading["passages"])
        heads = score_documents(self.heads, features, counts)
        return self.calibration.apply_rows(np.column_stack([logits(probabilities), heads, np.zeros(len(heads))]))


def load_cascade(folder: Path, header: dict[str, Any], stated: str) -> Cascade:
    """A cascade from its folder, whose header matched its digest; `load` calls this.

    Raises `MissingExtraError` without the extra `semantic`, `ModelError` for a damaged or foreign part.
    """
    check_installed()
    payloads = {name: _payload(folder, name, stated_digest) for name, stated_digest in header["files"].items()}
    if HEADS not in payloads:
        raise ModelError(f"{folder / 'model.json'}: lists no {HEADS} among its files; install the model again")
    own = folder / "student"
    student = load(own if own.is_dir() else header["student"]["name"])
    if not isinstance(student, Classifier) or student.digest != header["student"]["digest"]:
        message = f"{folder}: made for the student {header['student']['digest'][:12]}…, found {student.digest[:12]}…"
        raise ModelError(f"{message}; train the cascade again or install the version that made it")
    labels = tuple(header["labels"])
    try:
        calibration = Calibration.from_json(header["calibration"], composite_labels(labels))
        gate = Gate(float(header["gate"]["harm"]), float(header["gate"]["prosocial"]))
    except (ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{folder}: cannot be used ({error}); train the model again") from error
    return Cascade(
        name=header["name"],
        version=header["version"],
        digest=stated,
        languages=tuple(header["languages"]),
        header=header,
        student=student,
        gate=gate,
        heads=Heads.parse(payloads[HEADS], labels, header["encoder"]["dim"]),
        adapter=Adapter.parse(payloads["adapter.safetensors"]) if "adapter.safetensors" in payloads else None,
        calibration=calibration,
    )


def _payload(folder: Path, name: str, stated: str) -> bytes:
    try:
        payload = (folder / name).read_bytes()
    except OSError as error:
        raise ModelError(f"{folder / name}: cannot be read ({error}); install the model again") from error
    if stated != hashlib.sha256(payload).hexdigest():
        raise ModelError(f"{folder / name}: does not match the digest in model.json; install it again")
    return payload


def write_cascade(
    folder: Path, header: dict[str, Any], payloads: dict[str, bytes], card: str, student: Path | None
) -> None:
    """Write a cascade's folder; `student` is a folder to be copied into it where the student is no shipped one."""
    write_model(folder, header, payloads, card)
    if student is not None:
        (folder / "student").mkdir(exist_ok=True)
        for name in ("model.ftz", "model.json", "README.md"):
            shutil.copyfile(student / name, folder / "student" / name)
