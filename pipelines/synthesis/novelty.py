"""Gates of a whole set: near-duplicates of each other and of a corpus, and monotony of openings and endings.

Documents are looked at in the order of the plan, so that what stays does not depend on who wrote first. A document is
a twin of an accepted one where they share a MinHash bucket and the Jaccard similarity of their 5-word shingles is above
the limit; of a corpus where a bucket of it is met. It is monotonous where enough accepted documents of its situation
begin, or end, with the same words.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ...schemas.document import BUCKETS, RECORD
from ...schemas.hashing import raw_hash
from ...schemas.recipe import MinhashOptions, SyntheticGates
from ..stages.minhash import Minhash
from ..storage import Folder
from .gates import SPEAKER
from .phrases import WORD

__all__ = ["SET_REASONS", "Corpus", "set_reasons"]

SET_REASONS = {
    "novelty.twin": "a near-duplicate of an accepted document",
    "novelty.corpus": "a near-duplicate of a document of the corpus",
    "monotony.opening": "begins like enough others of its situation",
    "monotony.ending": "ends like enough others of its situation",
}
SHINGLE, EDGE = 5, 6  # words


def set_reasons(
    texts: Sequence[str], groups: Sequence[str], limits: SyntheticGates, corpus: "Corpus | None" = None
) -> list[list[str]]:
    """Why each document is left out beside those before it; `groups` names what openings are compared within."""
    buckets = _buckets([SPEAKER.sub("", text) for text in texts], MinhashOptions(bands=28, rows=4))
    known = [False] * len(texts) if corpus is None else corpus.holds(texts)
    holders: dict[int, list[int]] = defaultdict(list)
    shingles: dict[int, set[int]] = {}
    openings: Counter[tuple[str, str]] = Counter()
    endings: Counter[tuple[str, str]] = Counter()
    reasons: list[list[str]] = []
    for at, (text, group) in enumerate(zip(texts, groups, strict=True)):
        plain = SPEAKER.sub("", text).lower()  # other names make no other document
        words = WORD.findall(plain)
        mine = {hash_words(words[start : start + SHINGLE]) for start in range(max(len(words) - SHINGLE + 1, 1))}
        found = []
        near = {other for bucket in buckets[at] for other in holders[bucket]}
        if any(_jaccard(mine, shingles[other]) > limits.max_overlap for other in near):
            found.append("novelty.twin")
        if known[at]:
            found.append("novelty.corpus")
        opening, ending = (group, " ".join(words[:EDGE])), (group, " ".join(words[-EDGE:]))
        if openings[opening] >= limits.max_same_opening:
            found.append("monotony.opening")
        if endings[ending] >= limits.max_same_opening:
            found.append("monotony.ending")
        reasons.append(found)
        if not found:
            shingles[at] = mine
            openings[opening] += 1
            endings[ending] += 1
            for bucket in buckets[at]:
                holders[bucket].append(at)
    return reasons


@dataclass(frozen=True)
class Corpus:
    """The buckets of a run's documents, sorted, and the options that they were made with."""

    buckets: np.ndarray
    options: MinhashOptions

    @classmethod
    def of_run(cls, folder: Folder, names: Sequence[str], options: MinhashOptions) -> "Corpus":
        """From a run's side files `bands/`."""
        parts = [np.zeros(0, np.uint64)]
        for name in names:
            with folder.open_parquet(name) as file:
                parts.append(file.read(columns=["bucket"])["bucket"].to_numpy())
        return cls(np.unique(np.concatenate(parts)), options)

    def holds(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text meets a document of the corpus in a bucket."""
        return [bool(np.isin(found, self.buckets).any()) for found in _buckets(texts, self.options)]


def hash_words(words: Sequence[str]) -> int:
    """A shingle's number."""
    return raw_hash(" ".join(words).encode())


def _jaccard(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0


def _buckets(texts: Sequence[str], options: MinhashOptions) -> list[list[int]]:
    """The MinHash buckets of each text, as a run's stage has them."""
    stage = Minhash(options)
    stage.setup()
    rows = [
        {"source": "synthetic", "provenance": {"file": "", "offset": at}, "text": text, "flags": []}
        for at, text in enumerate(texts)
    ]
    return stage.apply(pa.RecordBatch.from_pylist(rows, schema=RECORD))[BUCKETS].to_pylist()
