"""A shipped model: load once, score whole batches, name itself by a digest.

A model is a folder: `model.ftz` (a fastText file), `model.json` (what it was trained on, what it outputs,
how its logits become probabilities) and `README.md` (its card). No pickles: nothing in it can run. Loading
checks every digest, so a damaged file is an error and never a silent shift of scores.

Long documents are scored window by window, every byte of them: quality and the prosocial dimensions are
means over windows (how much of the document is so), harms the worst window (one passage is enough). A sentence
that a document repeats is read once.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.arrays import string_buffers
from ..schemas.document import to_grid
from ..schemas.errors import ModelError
from ..schemas.hashing import digest
from ..schemas.taxonomy import HARMS, PROSOCIAL, TAXONOMY_VERSION
from .calibration import QUALITY_GRADES, Calibration
from .fasttext_file import FastTextModel, parse, window_logits
from .tokens import TOKENS_VERSION, tokenize, without_repeats

__all__ = ["FORMAT_VERSION", "Classifier", "Scores", "load"]

FORMAT_VERSION = 1
MODELS = Path(__file__).parent / "models"
Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Scores:
    """Scores of a batch on the grid of 1/1000, float32, in the taxonomy's order; 0 where not valid."""

    quality: Floats  # (rows,) expected grade / 5
    prosocial: Floats  # (rows, 12) probability of grade >= 2
    topical: Floats  # (rows, 7) probability of grade >= 1
    toxic: Floats  # (rows, 7) probability of grade 2, never above topical
    valid: np.ndarray[Any, np.dtype[np.bool_]]  # (rows,) False where the text holds no token


@dataclass(frozen=True)
class Classifier:
    """A loaded model."""

    name: str
    version: str
    digest: str
    languages: tuple[str, ...]
    header: dict[str, Any]
    window: int
    model: FastTextModel
    calibration: Calibration
    outputs: Floats  # (outputs, dim) what `model.outputs` is for fastText, with calibration in it

    def score(self, texts: pa.StringArray | pa.ChunkedArray | Sequence[str]) -> Scores:
        """Scores of every text; a row's scores depend on its text alone."""
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        if not isinstance(texts, pa.Array):
            texts = pa.array(texts, pa.string())
        data, offsets = string_buffers(without_repeats(tokenize(texts)))
        scored = window_logits(self.model, data, offsets, self.window, self.outputs, distinct=True)
        windows, counts = self.calibration.apply_projected(scored.logits, scored.sizes), scored.counts
        valid = counts > 0
        starts = (np.cumsum(counts, dtype=np.int64) - counts)[valid]
        first, last = QUALITY_GRADES, QUALITY_GRADES + len(PROSOCIAL)
        means = np.zeros((len(counts), last))
        worst = np.zeros((len(counts), windows.shape[1] - last))
        if len(starts):
            means[valid] = np.add.reduceat(windows[:, :last], starts, axis=0) / counts[valid, None]
            worst[valid] = np.maximum.reduceat(windows[:, last:], starts, axis=0)
        return Scores(
            quality=to_grid(means[:, :first].sum(axis=1) / QUALITY_GRADES),
            prosocial=to_grid(means[:, first:]),
            topical=to_grid(worst[:, : len(HARMS)]),
            toxic=to_grid(worst[:, len(HARMS) :]),
            valid=valid,
        )

    def table(self, texts: pa.StringArray | pa.ChunkedArray | Sequence[str]) -> pa.Table:
        """The same as a table, one row a text: `quality`, `harm` and `prosocial` as in a shard."""
        from .tables import scores_table

        return scores_table(self.score(texts))


def load(name_or_path: str | Path) -> Classifier:
    """A shipped model by name ("prosocial"), or a model's folder by path.

    Raises `ModelError` where the folder is missing, damaged, of another format, tokenizer or taxonomy.
    """
    folder = MODELS / name_or_path
    if not folder.is_dir():
        folder = Path(name_or_path)
    stats = [path.stat() for path in (folder / "model.json", folder / "model.ftz") if path.exists()]
    return _load(folder, tuple((stat.st_mtime_ns, stat.st_size) for stat in stats))


@lru_cache(maxsize=4)
def _load(folder: Path, _written: tuple[tuple[int, int], ...]) -> Classifier:
    """What the files of that time hold."""
    try:
        header = json.loads((folder / "model.json").read_text("utf-8"))
        stated = header.pop("digest", None)
        payload = (folder / "model.ftz").read_bytes()
    except FileNotFoundError as error:
        message = f"{folder}: no such model ({error.filename} is missing)"
        raise ModelError(f"{message}; name a shipped one or a folder that `florilegium train` wrote") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{folder / 'model.json'}: not a header in JSON ({error}); install it again") from error
    expected = {"format": FORMAT_VERSION, "taxonomy_version": TAXONOMY_VERSION, "tokens": TOKENS_VERSION}
    for key, value in expected.items():
        if header.get(key) != value:
            message = f"{folder / 'model.json'}: {key} is {header.get(key)!r}, this version reads {value!r}"
            raise ModelError(f"{message}; train the model again or install the version that made it")
    if stated != digest(header):
        raise ModelError(f"{folder / 'model.json'}: its content does not match its digest; install it again")
    if header["files"]["model.ftz"] != hashlib.sha256(payload).hexdigest():
        raise ModelError(f"{folder / 'model.ftz'}: does not match the digest in model.json; install the model again")
    try:
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
