"""Pass one: integer counts of tokens and documents per charter, domain and utility.

Addition of integers is exact in any order, so any sharding and any engine gives one histogram, hence
one plan. The size is fixed (charters × domains × 1001 bins, twice 8 bytes), whatever the corpus.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.document import GRID
from ...schemas.errors import RecipeError
from ...schemas.recipe import MAX_DOMAINS

__all__ = ["BINS", "HISTOGRAM", "Histogram"]

Counts = np.ndarray[Any, np.dtype[np.int64]]

BINS = GRID + 1

HISTOGRAM = pa.schema(
    [
        pa.field("charter", pa.string()),  # null: all surviving documents, whoever accepts them
        pa.field("domain", pa.string()),  # null: documents in languages without scores
        pa.field("utility", pa.int16()),  # thousandths; null where no charter judged
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts over surviving documents. The arrays are filled in place by `add`.

    `accepted` is (2, C, G, 1001), `pool` (2, G) and `unscored` (2,); index 0 counts documents, 1
    tokens. Documents in languages without scores are in `unscored` and nowhere else.
    """

    charters: tuple[str, ...]  # sorted
    domains: tuple[str, ...]  # what the codes given to `add` stand for
    accepted: Counts
    pool: Counts
    unscored: Counts

    @classmethod
    def empty(cls, charters: Iterable[str], domains: Iterable[str]) -> "Histogram":
        """No documents yet. Charters are sorted here; domains keep their order."""
        names, groups = tuple(sorted(charters)), tuple(domains)
        if len(groups) > MAX_DOMAINS:
            raise RecipeError(
                f"weighing: {len(groups)} domains, at most {MAX_DOMAINS}; group them in `weighing.domains`"
            )
        shape = (2, len(names), len(groups), BINS)
        return cls(names, groups, np.zeros(shape, np.int64), np.zeros(shape[::2], np.int64), np.zeros(2, np.int64))

    def add(
        self,
        utilities: np.ndarray[Any, Any],
        domain: np.ndarray[Any, Any],
        tokens: np.ndarray[Any, Any],
        unscored: np.ndarray[Any, Any] | None = None,
    ) -> None:
        """Count n surviving documents.

        `utilities` is (n, C), 0..1000 or -1 where a charter does not accept; `domain` (n,) indexes
        `domains`; `tokens` (n,); `unscored` (n,) marks languages without scores, whose other values
        are not read. Sums stay exact below 2^53 tokens a call.
        """
        if unscored is not None and unscored.any():
            self.unscored[:] += (int(unscored.sum()), int(tokens[unscored].sum(dtype=np.int64)))
            kept = ~unscored
            utilities, domain, tokens = utilities[kept], domain[kept], tokens[kept]
        groups, masses = len(self.domains), tokens.astype(np.float64)
        codes = domain.astype(np.int64)
        self.pool[0] += np.bincount(codes, minlength=groups)
        self.pool[1] += np.bincount(codes, masses, minlength=groups).astype(np.int64)
        # One bin in front of each domain's 1001 takes the -1 of documents that are not accepted.
        first = codes * (BINS + 1) + 1
        for charter in range(len(self.charters)):
            cells = first + utilities[:, charter]
            for kind, weights in enumerate((None, masses)):
                counts = np.bincount(cells, weights, minlength=groups * (BINS + 1)).astype(np.int64)
                self.accepted[kind, charter] += counts.reshape(groups, BINS + 1)[:, 1:]

    def include(self, part: "Histogram") -> None:
        """Add what another histogram of the same charters and domains counted."""
        self.accepted[:] += part.accepted
        self.pool[:] += part.pool
        self.unscored[:] += part.unscored

    def only(self, domains: np.ndarray[Any, np.dtype[np.bool_]]) -> "Histogram":
        """The histogram without the domains outside a mask of shape (domains,), which must be empty ones."""
        names = tuple(name for name, stays in zip(self.domains, domains, strict=True) if stays)
        return Histogram(self.charters, names, self.accepted[:, :, domains], self.pool[:, domains], self.unscored)

    @classmethod
    def merged(cls, parts: Sequence["Histogram"]) -> "Histogram":
        """The histogram of all documents that went into `parts`; its domains are the sorted union."""
        charters = {part.charters for part in parts}
        if len(charters) != 1:
            raise ValueError(f"histograms to merge must be of the same charters, not {sorted(charters)}")
        whole = cls.empty(charters.pop(), sorted({name for part in parts for name in part.domains}))
        for part in parts:
            place = [whole.domains.index(name) for name in part.domains]
            whole.accepted[:, :, place] += part.accepted
            whole.pool[:, place] += part.pool
            whole.unscored[:] += part.unscored
        return whole

    def to_table(self) -> pa.Table:
        """Non-empty bins, then one pool row a domain, then the unscored; for a task's side file."""
        charter, group, utility = np.nonzero(self.accepted[0])
        names = np.array([*self.charters, None], object)
        groups = np.array([*self.domains, None], object)
        pooled = len(self.domains) + 1
        documents, tokens = (
            np.concatenate([self.accepted[kind][charter, group, utility], self.pool[kind], self.unscored[[kind]]])
            for kind in (0, 1)
        )
        columns = [
            pa.array(names[np.concatenate([charter, np.full(pooled, -1)])], pa.string()),
            pa.array(groups[np.concatenate([group, np.arange(pooled)])], pa.string()),
            pa.array([*utility.tolist(), *[None] * pooled], pa.int16()),
            pa.array(documents, pa.int64()),
            pa.array(tokens, pa.int64()),
        ]
        return pa.Table.from_arrays(columns, schema=HISTOGRAM.with_metadata({"charters": "\n".join(self.charters)}))

    @classmethod
    def from_table(cls, table: pa.Table) -> "Histogram":
        """The histogram that `to_table` wrote."""
        rows = table.to_pydict()
        pool = [name for name, charter in zip(rows["domain"], rows["charter"], strict=True) if charter is None]
        names = (table.schema.metadata or {}).get(b"charters", b"").decode()
        whole = cls.empty(names.split("\n") if names else (), [name for name in pool if name is not None])
        charters = {name: code for code, name in enumerate(whole.charters)}
        domains = {name: code for code, name in enumerate(whole.domains)}
        for charter, domain, utility, *counts in zip(*rows.values(), strict=True):
            if charter is not None:
                whole.accepted[:, charters[charter], domains[domain], utility] = counts
            elif domain is not None:
                whole.pool[:, domains[domain]] = counts
            else:
                whole.unscored[:] = counts
        return whole
