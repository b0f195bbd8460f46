"""What a charter makes of a document's stored scores: its utility, or no, or a veto.

Integers only, so that every machine agrees to the bit. With p_d the stored thousandths of dimension
d and W_d the charter's weight in thousandths:

    t_d = 1000 p_d                                  linear          (millionths, 0..1,000,000)
          round(1,000,000 min(p_d, at) / at)        saturating
          1,000,000 where p_d >= at, else 0         threshold
    u   = round(Σ W_d t_d / (1000 Σ W_d))           thousandths, 0..1000

Both roundings take halves up. A charter without values gives 1000 to all that it accepts.

A charter *accepts* a document that has scores, in a language that it speaks for, with no harm above
its tolerance, with at least its floors of quality and utility. It *vetoes* one whose harm exceeds its
tolerance, in a language that it speaks for; to the others it is silent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.charter import Charter, Value
from ...schemas.document import GRID, to_thousandths
from ...schemas.taxonomy import HARMS, PROSOCIAL

__all__ = ["NOT_ACCEPTED", "Judgement", "ScoreTable", "bridge", "judge", "judge_all", "quorum_rejects", "shape_worth"]

Ints = np.ndarray[Any, np.dtype[np.int32]]
Thousandths = np.ndarray[Any, np.dtype[np.int16]] | Ints
Utilities = np.ndarray[Any, np.dtype[np.int16]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Worth = np.ndarray[Any, np.dtype[np.float64]]

NOT_ACCEPTED = -1
MILLION = 1_000_000


@dataclass(frozen=True)
class ScoreTable:
    """The scores of n documents in thousandths; rows without scores hold -1 and are not `scored`."""

    prosocial: Thousandths  # (n, 12), columns in the order of PROSOCIAL
    topical: Thousandths  # (n, 7), in the order of HARMS
    toxic: Thousandths  # (n, 7)
    quality: Thousandths  # (n,)
    language: pa.Array | np.ndarray[Any, Any] | Sequence[str | None]  # (n,)
    scored: Bools  # (n,), False where the language has no scores

    def __len__(self) -> int:
        return len(self.quality)

    @classmethod
    def from_batch(cls, batch: pa.RecordBatch | pa.Table) -> "ScoreTable":
        """The scores of a batch or table with the columns of `SCORED` or `SHARD`."""
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        quality = _thousandths(table["quality"])
        prosocial = [_thousandths(pc.struct_field(table["prosocial"], name)) for name in PROSOCIAL]
        topical = [_thousandths(pc.struct_field(table["harm"], [name, "topical"])) for name in HARMS]
        toxic = [_thousandths(pc.struct_field(table["harm"], [name, "toxic"])) for name in HARMS]
        absent = np.minimum.reduce([*prosocial, *topical, *toxic, quality]) < 0
        return cls(
            prosocial=np.stack(prosocial, axis=1),
            topical=np.stack(topical, axis=1),
            toxic=np.stack(toxic, axis=1),
            quality=quality,
            language=table["language"].combine_chunks(),
            scored=~absent,
        )


@dataclass(frozen=True)
class Judgement:
    """One charter's view of n documents."""

    utility: Utilities  # (n,), 0..1000, or NOT_ACCEPTED
    vetoes: Bools  # (n,), rejected for harm
    speaks: Bools  # (n,), scored and in a language that the charter speaks for


def judge(charter: Charter, table: ScoreTable) -> Judgement:
    """Apply one charter to every row of `table`; a row's result never depends on another row."""
    return _judge(charter, table, _utilities([charter], table)[0])


def _judge(charter: Charter, table: ScoreTable, utility: Utilities) -> Judgement:
    speaks = table.scored & _speaks_for(charter, table)
    vetoes = np.zeros(len(table), np.bool_)
    for harm, limits in charter.tolerance.harm.items():
        column = HARMS.index(harm)
        for scores, limit in ((table.topical, limits.topical), (table.toxic, limits.toxic)):
            if limit is not None:
                vetoes |= scores[:, column] > round(limit * GRID)
    vetoes &= speaks
    accepted = speaks & ~vetoes
    accepted &= table.quality >= round(charter.quality_floor * GRID)
    accepted &= utility >= round(charter.utility_floor * GRID)
    return Judgement(np.where(accepted, utility, np.int16(NOT_ACCEPTED)), vetoes, speaks)


def judge_all(charters: Mapping[str, Charter], table: ScoreTable, bridging: float = 0.0) -> tuple[Utilities, Bools]:
    """Every charter's utilities (bridged where asked) and vetoes, both (n, charters), charters sorted by name."""
    named = [charters[name] for name in sorted(charters)]
    views = [_judge(charter, table, utility) for charter, utility in zip(named, _utilities(named, table), strict=True)]
    utilities = np.stack([view.utility for view in views]).T
    if bridging > 0:
        speaks = np.stack([view.speaks for view in views], axis=1)
        utilities = bridge(np.ascontiguousarray(utilities), speaks, bridging)
    return utilities, np.stack([view.vetoes for view in views]).T


def bridge(utilities: Utilities, speaks: Bools, beta: float) -> Utilities:
    """u_c^(1 - β) B^β with B the geometric mean over the charters that speak for the document, both (n, C).

    A charter that speaks for the document's language and does not accept it counts as 0, so B is 0:
    what one loves and another rejects falls to the lowest utility, yet stays accepted where it was.
    Each charter counts once, whatever its share. The result is rounded to the grid; it never lies on
    the half between two grid points (no half-integer is a root of an integer), so the last bit of a
    logarithm does not show.
    """
    own = np.maximum(utilities, 0).astype(np.float64)
    with np.errstate(divide="ignore"):
        logarithm = np.log(np.arange(GRID + 1))  # of 0: minus infinity, whose exponential is 0 again
    total = np.where(speaks, logarithm[np.maximum(utilities, 0)], 0.0).sum(axis=1)
    common = np.exp(total / np.maximum(speaks.sum(axis=1), 1))
    bridged = own ** (1 - beta) * common[:, None] ** beta
    return np.where(utilities < 0, NOT_ACCEPTED, np.rint(bridged)).astype(np.int16)


def quorum_rejects(vetoes: Bools, shares: Sequence[float], quorum: float) -> tuple[Bools, Bools]:
    """Which documents leave the corpus because charters of at least `quorum` of all shares veto them.

    `vetoes` is (n, C), `shares` its C shares. Returns `rejected` (n,) and `keepers` (n, C): who would
    have kept a rejected document. Compared in whole millionths, with one millionth of slack for each
    charter, because thirds have no last decimal; a document without any veto is never rejected.
    """
    parts = np.array([round(share / sum(shares) * MILLION) for share in shares], np.int64)
    needed = max(1, round(quorum * MILLION) - len(parts))
    rejected = np.zeros(len(vetoes), np.bool_)
    some = np.flatnonzero(vetoes.any(axis=1))
    rejected[some] = vetoes[some] @ parts >= needed
    return rejected, rejected[:, None] & ~vetoes


def _speaks_for(charter: Charter, table: ScoreTable) -> Bools:
    if charter.languages is None:
        return np.ones(len(table), np.bool_)
    language = table.language if isinstance(table.language, pa.Array) else pa.array(table.language, pa.string())
    spoken = pa.array(charter.languages, pa.string())
    if isinstance(language, pa.DictionaryArray):
        known = np.append(pc.is_in(language.dictionary, value_set=spoken).to_numpy(zero_copy_only=False), False)
        return known[language.indices.fill_null(len(language.dictionary)).to_numpy()]
    return pc.is_in(language, value_set=spoken).to_numpy(zero_copy_only=False)


def _utilities(charters: Sequence[Charter], table: ScoreTable) -> list[Utilities]:
    """Each charter's utilities (n,), floors apart; rows without scores get some number.

    Whole numbers below 2^53 throughout, which float64 adds and multiplies without an error. The quotient lies at
    least 1 / (2000 Σ W_d) below the next whole number where it is none, further than it is ever rounded.
    """
    worth: dict[tuple[str, str, float], Worth] = {}  # by what a dimension's probability is worth, once for all charters
    scores: dict[str, Thousandths] = {}
    found = []
    for charter in charters:
        if not charter.values:
            found.append(np.full(len(table), GRID, np.int16))
            continue
        total, term = np.zeros(len(table)), np.empty(len(table))
        weights = 0
        for name, value in sorted(charter.values.items()):
            meaning = name, value.shape, value.turning_point
            if meaning not in worth:
                if name not in scores:
                    scores[name] = np.maximum(table.prosocial[:, PROSOCIAL.index(name)], 0)
                worth[meaning] = shape_worth(value).astype(np.float64)[scores[name]]
            weight = round(value.weight * GRID)
            weights += weight
            np.multiply(worth[meaning], weight, out=term)
            total += term
        total *= 2
        total += GRID * weights
        total /= 2 * GRID * weights
        found.append(np.floor(total, out=total).astype(np.int16))
    return found


def shape_worth(value: Value) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Millionths of worth for each of the 1001 probabilities."""
    p = np.arange(GRID + 1, dtype=np.int64)
    at = round(value.turning_point * GRID)
    if value.shape == "saturating":
        return (2 * MILLION * np.minimum(p, at) + at) // (2 * at)
    if value.shape == "threshold":
        return MILLION * (p >= at)
    return p * (MILLION // GRID)


def _thousandths(column: pa.ChunkedArray) -> Ints:
    return to_thousandths(column.to_numpy().astype(np.float64))
