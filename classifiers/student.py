"""A shipped model: load once, score whole batches, name itself by a digest.

A model is a folder: `model.ftz` (a fastText file), `model.json` (what it was trained on, what it outputs,
how its logits become probabilities) and `README.md` (its card). No pickles: nothing in it can run. Loading
checks every digest, so a damaged file is an error and never a silent shift of scores.

Long documents are scored window by window, every byte of them: quality and the prosocial dimensions are
means over windows (how much of the document is so), harms the worst window (one passage is enough). A sentence
that a document repeats is read once. Where words are disguised (unmask.py), harms are the worst window of the
document and of a copy without the disguise.
"""

import hashlib
import json
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..schemas.arrays import string_buffers
from ..schemas.document import to_grid
from ..schemas.errors import ModelError
from ..schemas.hashing import digest
from ..schemas.taxonomy import HARMS, PROSOCIAL, TAXONOMY_VARIABLE, TAXONOMY_VERSION
from .calibration import OUTPUTS, QUALITY_GRADES, Calibration
from .fasttext_file import FastTextModel, parse, window_logits
from .tokens import TOKENS_VERSION, tokenize, without_repeats
from .unmask import Unmasker

if TYPE_CHECKING:
    from .cascade import Cascade
    from .harm_model import HarmModel

__all__ = [
    "FORMAT_VERSION",
    "MODELS",
    "Classifier",
    "Model",
    "Scores",
    "Texts",
    "as_strings",
    "load",
    "raise_harms",
    "read_header",
    "rounded_scores",
    "stated_digest",
    "write_model",
]

FORMAT_VERSION = 1
MODELS = Path(__file__).parent / "models"
Floats = np.ndarray[Any, np.dtype[np.float32]]
Probabilities = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Scores:
    """Scores of a batch on the grid of 1/1000, float32, in the taxonomy's order; 0 where not valid."""

    quality: Floats  # (rows,) expected grade / 5
    prosocial: Floats  # (rows, 12) probability of grade >= 2
    topical: Floats  # (rows, 7) probability of grade >= 1
    toxic: Floats  # (rows, 7) probability of grade 2, never above topical
    valid: np.ndarray[Any, np.dtype[np.bool_]]  # (rows,) False where the text holds no token
    seen: np.ndarray[Any, np.dtype[np.bool_]] | None = None  # (rows,) of a cascade: which rows its encoder read
    known: tuple[str, ...] | None = None  # of a harm model: outputs such as "hate>=2" that it gives; None: all


Texts = pa.StringArray | pa.ChunkedArray | Sequence[str]


@dataclass(frozen=True)
class Model(ABC):
    """What every loaded model tells and does."""

    name: str
    version: str
    digest: str
    languages: tuple[str, ...]
    header: dict[str, Any]

    @abstractmethod
    def score(self, texts: Texts) -> Scores:
        """Scores of every text; a row's scores depend on its text alone."""

    @abstractmethod
    def prepare(self) -> None:
        """Do now what the first call of `score` would have to do."""

    def table(self, texts: Texts) -> pa.Table:
        """The same as a table, one row a text: `quality`, `harm` and `prosocial` as in a shard."""
        from .tables import scores_table

        return scores_table(self.score(texts))


@dataclass(frozen=True)
class Classifier(Model):
    """A loaded student."""

    window: int
    model: FastTextModel
    calibration: Calibration
    outputs: Floats  # (outputs, dim) what `model.outputs` is for fastText, with calibration in it

    def score(self, texts: Texts) -> Scores:
        return rounded_scores(*self.probabilities(texts))

    def prepare(self) -> None:
        self.score(["A first text."])

    @cached_property
    def unmasker(self) -> Unmasker:
        """What reads disguised words as those that the model has weights for."""
        return Unmasker.of(self.model.vocabulary.words)

    def probabilities(self, texts: Texts) -> tuple[Probabilities, np.ndarray[Any, np.dtype[np.bool_]]]:
        """Unrounded probabilities of every document, (rows, outputs), and which rows hold a token.

        Harms are the greater of the text and of its copy without disguise, where it has one.
        """
        texts = as_strings(texts)
        documents, valid = self.as_written(texts)
        rows, copies = self.unmasker.copies(texts)
        if copies:
            raise_harms(documents, rows, self.as_written(copies)[0])
        return documents, valid

    def as_written(self, texts: Texts) -> tuple[Probabilities, np.ndarray[Any, np.dtype[np.bool_]]]:
        """The same of the texts as they are, disguised or not."""
        texts = as_strings(texts)
        data, offsets = string_buffers(without_repeats(tokenize(texts)))
        scored = window_logits(self.model, data, offsets, self.window, self.outputs, distinct=True)
        counts = scored.counts
        windows = self.calibration.apply_projected(scored.logits, scored.types)
        valid = counts > 0
        starts = (np.cumsum(counts, dtype=np.int64) - counts)[valid]
        last = QUALITY_GRADES + len(PROSOCIAL)
        documents = np.zeros((len(counts), windows.shape[1]))
        if len(starts):
            documents[valid, :last] = np.add.reduceat(windows[:, :last], starts, axis=0) / counts[valid, None]
            documents[valid, last:] = np.maximum.reduceat(windows[:, last:], starts, axis=0)
        return documents, valid


def raise_harms(documents: Probabilities, rows: np.ndarray[Any, Any], copies: Probabilities) -> None:
    """Set the harms of these rows of `documents` to those of their copies where the copies' are greater."""
    first = QUALITY_GRADES + len(PROSOCIAL)
    documents[rows, first:] = np.maximum(documents[rows, first:], copies[:, first:])


def as_strings(texts: Texts) -> pa.StringArray:
    """The texts as one Arrow array."""
    if isinstance(texts, pa.ChunkedArray):
        return texts.combine_chunks()
    return texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())


def rounded_scores(
    probabilities: np.ndarray[Any, Any], valid: np.ndarray[Any, Any], seen: np.ndarray[Any, Any] | None = None
) -> Scores:
    """Scores from probabilities of documents, (rows, outputs)."""
    first, last, harms = QUALITY_GRADES, QUALITY_GRADES + len(PROSOCIAL), len(HARMS)
    return Scores(
        quality=to_grid(probabilities[:, :first].sum(axis=1) / QUALITY_GRADES),
        prosocial=to_grid(probabilities[:, first:last]),
        topical=to_grid(probabilities[:, last : last + harms]),
        toxic=to_grid(probabilities[:, last + harms :]),
        valid=valid,
        seen=seen,
    )


def load(name_or_path: str | Path) -> "Classifier | Cascade | HarmModel":
    """A shipped model by name ("prosocial"), or a model's folder by path; a cascade or a harm model where it is one.

    Raises `ModelError` where the folder is missing, damaged, of another format, tokenizer or taxonomy, and
    `MissingExtraError` for a cascade without the extra `semantic`.
    """
    folder = _folder(name_or_path)
    stats = [path.stat() for path in sorted(folder.glob("*")) if path.is_file()]
    return _load(folder, tuple((stat.st_mtime_ns, stat.st_size) for stat in stats))


def stated_digest(name_or_path: str | Path) -> str:
    """The digest of a model that `load` would load; its files are checked as there, and only a cascade is loaded.

    Who plans a run but does not score need not wait for a model.
    """
    header, stated, _ = _read(_folder(name_or_path))
    return load(name_or_path).digest if _is_cascade(header) else stated


def read_header(name_or_path: str | Path) -> tuple[dict[str, Any], str]:
    """Header and digest of a model, its files checked as `load` checks them and not read further."""
    header, stated, _ = _read(_folder(name_or_path))
    return header, stated


def write_model(folder: Path, header: dict[str, Any], payloads: Mapping[str, bytes], card: str) -> None:
    """Write a model's folder: its files, the header with its digest, and the card."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, payload in payloads.items():
        (folder / name).write_bytes(payload)
    (folder / "model.json").write_text(json.dumps(header, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (folder / "README.md").write_text(card, "utf-8")


def _folder(name_or_path: str | Path) -> Path:
    shipped = MODELS / name_or_path
    return shipped if shipped.is_dir() else Path(name_or_path)


def _is_cascade(header: dict[str, Any]) -> bool:
    return header.get("kind") == "cascade"


def _is_harm(header: dict[str, Any]) -> bool:
    return header.get("kind") == "harm"


def _read(folder: Path) -> tuple[dict[str, Any], str, bytes]:
    """Header, digest and payload of a model (of a cascade an empty one), as far as they are what they say."""
    try:
        header = json.loads((folder / "model.json").read_text("utf-8"))
        stated = header.pop("digest", None)
        payload = b"" if _is_cascade(header) else (folder / "model.ftz").read_bytes()
    except FileNotFoundError as error:
        message = f"{folder}: no such model ({error.filename} is missing)"
        raise ModelError(f"{message}; name a shipped one or a folder that `florilegium train` wrote") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{folder / 'model.json'}: not a header in JSON ({error}); install it again") from error
    expected = {"format": FORMAT_VERSION, "tokens": TOKENS_VERSION}
    if not _is_harm(header):  # which needs no more of a taxonomy than its harms
        expected["taxonomy_version"] = TAXONOMY_VERSION
    for key, value in expected.items():
        if header.get(key) != value:
            message = f"{folder / 'model.json'}: {key} is {header.get(key)!r}, this version reads {value!r}"
            raise ModelError(f"{message}; train the model again or install the version that made it")
    if header.get("outputs") != list(OUTPUTS) and not _is_harm(header):
        other = sorted(set(OUTPUTS) ^ set(header.get("outputs") or ()))
        message = f"{folder / 'model.json'}: its outputs are not the taxonomy's"
        message += f" ({', '.join(other[:3])} on one side alone)" if other else " (another order)"
        raise ModelError(
            f"{message}; train the model again, or set {TAXONOMY_VARIABLE} to the one that it was made for"
        )
    if stated != digest(header):
        raise ModelError(f"{folder / 'model.json'}: its content does not match its digest; install it again")
    if not _is_cascade(header) and header["files"]["model.ftz"] != hashlib.sha256(payload).hexdigest():
        raise ModelError(f"{folder / 'model.ftz'}: does not match the digest in model.json; install the model again")
    return header, stated, payload


@lru_cache(maxsize=8)
def _load(folder: Path, _written: tuple[tuple[int, int], ...]) -> "Classifier | Cascade | HarmModel":
    """What the files of that time hold."""
    header, stated, payload = _read(folder)
    if _is_cascade(header):
        from .cascade import load_cascade

        return load_cascade(folder, header, stated)
    try:
        if _is_harm(header):
            from .harm_model import load_harm

            return load_harm(header, stated, payload)
        model = parse(payload)
        calibration = Calibration.from_json(header["calibration"], model.labels)
    except (ValueError, LookupError, struct.error) as error:
        raise ModelError(f"{folder}: cannot be used ({error}); train the model again") from error
    return Classifier(
        name=header["name"],
        version=header["version"],
        digest=stated,
        languages=tuple(header["languages"]),
        header=header,
        window=header["window"],
        model=model,
        calibration=calibration,
        outputs=calibration.projection(model.inputs.shape[1]),
    )
