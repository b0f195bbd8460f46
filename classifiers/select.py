"""What to label next, so that the next hour of labelling teaches most.

    random      a fair sample: calibration is only ever fitted on these
    rare        likely positives of each dimension, in turn, the rarest first
    uncertain   where the model is least sure over all outputs
    diverse     far from what is chosen already, by words and by scores (farthest-first, Gonzalez 1985)

Random goes first and looks at no score, so that it stays fair. Ties and chances follow from hash(seed, id): the same
pool gives the same choice in any order. The column `sampling` says how a row was drawn, as `train` reads it.
"""

import zlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.errors import InputError
from ..schemas.hashing import document_id, hash64, id_words, uniform
from ..schemas.taxonomy import HARMS, PROSOCIAL
from .evaluate import Scorer

__all__ = ["STRATEGIES", "select"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

STRATEGIES = ("random", "rare", "uncertain", "diverse")
SKETCH = 64  # dimensions that a document's words are hashed to


def select(
    table: pa.Table,
    model: Scorer,
    count: int,
    *,
    shares: Mapping[str, float] | None = None,
    known: Collection[str] = (),
    seed: int = 7,
) -> pa.Table:
    """At most `count` documents of a table with `id` and `text`, in the order of choice, with `sampling` first.

    `shares` are parts of `count` by strategy, equal where None. `known` are texts that have labels; they and twins of
    another row (whatever their case and spaces) are left out. Raises `InputError` for an unknown strategy.
    """
    shares = dict.fromkeys(STRATEGIES, 1.0) if shares is None else dict(shares)
    for name in shares:
        if name not in STRATEGIES:
            raise InputError(f"unknown strategy {name!r}; known are {', '.join(STRATEGIES)}")
    if count < 1 or sum(shares.values()) <= 0 or min(shares.values()) < 0:
        raise InputError("select needs a count of at least 1 and shares that are not all 0")
    table = _distinct(table, known)
    if not table.num_rows:
        raise InputError("no document is left to choose from: all are empty, twins or labelled already")
    texts = table["text"].combine_chunks().cast(pa.string())
    scores = model.score(texts)
    high, low = id_words(pa.array([document_id(str(value).encode()) for value in table["id"].to_pylist()], pa.string()))
    chance = uniform(hash64(seed, "select", high, low))
    outputs = np.column_stack([scores.prosocial, scores.topical]).astype(np.float64)
    chosen: dict[int, str] = {}
    wanted = _counts(shares, min(count, table.num_rows))
    _take(chosen, np.argsort(chance, kind="stable"), wanted["random"], "random")
    _rare(chosen, outputs, chance, wanted["rare"])
    entropy = -(_xlogx(outputs) + _xlogx(1 - outputs)).sum(axis=1)
    _take(chosen, np.lexsort((chance, -entropy)), wanted["uncertain"], "active:uncertain")
    _diverse(chosen, texts.to_pylist(), outputs, chance, wanted["diverse"])
    rows = list(chosen)
    result = table.take(pa.array(rows, pa.int64()))
    if "sampling" in result.column_names:
        result = result.drop_columns(["sampling"])
    return result.add_column(0, "sampling", pa.array([chosen[row] for row in rows], pa.string()))


def _distinct(table: pa.Table, known: Collection[str]) -> pa.Table:
    """Rows with text that is nobody's twin, in the order of their ids."""
    seen = {_folded(text) for text in known} | {""}
    kept = []
    ids = [str(value) for value in table["id"].to_pylist()]
    texts = table["text"].to_pylist()
    for row in sorted(range(len(ids)), key=lambda row: (ids[row], texts[row] or "")):
        folded = _folded(texts[row] or "")
        if folded not in seen:
            seen.add(folded)
            kept.append(row)
    return table.take(pa.array(kept, pa.int64()))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _counts(shares: Mapping[str, float], count: int) -> dict[str, int]:
    """Whole numbers that sum to `count`, by cumulated shares."""
    total, before, counts = sum(shares.values()), 0.0, {}
    for name in STRATEGIES:
        after = before + shares.get(name, 0.0) / total
        counts[name] = round(after * count) - round(before * count)
        before = after
    return counts


def _take(chosen: dict[int, str], order: np.ndarray[Any, Any], count: int, sampling: str) -> None:
    fresh = (row for row in order.tolist() if row not in chosen)
    for _, row in zip(range(count), fresh, strict=False):
        chosen[row] = sampling


def _rare(chosen: dict[int, str], outputs: Floats, chance: Floats, count: int) -> None:
    """One likely positive of each dimension in turn, from the rarest on."""
    names = (*PROSOCIAL, *HARMS)
    queues = {
        column: iter(np.lexsort((chance, -outputs[:, column])).tolist())
        for column in np.argsort(outputs.mean(axis=0), kind="stable").tolist()
    }
    while count > 0 and len(chosen) < len(outputs):
        for column, queue in queues.items():
            row = next((row for row in queue if row not in chosen), None)
            if row is not None and count > 0:
                chosen[row] = f"active:{names[column]}"
                count -= 1


def _diverse(chosen: dict[int, str], texts: list[str], outputs: Floats, chance: Floats, count: int) -> None:
    """Farthest-first from all that is chosen: each time the document whose nearest chosen one is farthest."""
    if count <= 0:
        return
    places = np.column_stack([_sketch(texts), outputs])
    nearest = np.full(len(texts), np.inf)
    for row in chosen:
        nearest = np.minimum(nearest, ((places - places[row]) ** 2).sum(axis=1))
    if not chosen:
        nearest = 1 - chance
    for _ in range(min(count, len(texts) - len(chosen))):
        nearest[list(chosen)] = -1
        row = int(np.lexsort((chance, -np.round(nearest, 9)))[0])
        chosen[row] = "active:diverse"
        nearest = np.minimum(nearest, ((places - places[row]) ** 2).sum(axis=1))


def _sketch(texts: list[str]) -> Floats:
    """Distinct words hashed to a few signed dimensions, each document of length 1 (Weinberger et al. 2009)."""
    sketch = np.zeros((len(texts), SKETCH))
    for row, text in enumerate(texts):
        for word in set(text.casefold().split()):
            value = zlib.crc32(word.encode())
            sketch[row, value % SKETCH] += 1 if value & (1 << 31) else -1
    return sketch / np.maximum(np.sqrt((sketch**2).sum(axis=1, keepdims=True)), 1e-9)


def _xlogx(values: Floats) -> Floats:
    return values * np.log(np.maximum(values, 1e-12))
