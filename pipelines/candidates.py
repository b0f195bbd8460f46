"""What charters choose from: every score of the documents that the policy leaves in, without their texts.

`decisions/` holds what one set of charters decided. Its candidates files hold, beside it, what any other
set would need: documents that are no duplicates, failures or rejects of the policy, whatever charters
say, with their scores in thousandths (-1 where the language has none). About 35 bytes a document on
disk and 90 in memory, so that a million are read and weighed again in a second.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.errors import RunError
from ..schemas.hashing import id_words
from ..schemas.taxonomy import HARMS, PROSOCIAL
from .runs import write_parquet
from .storage import Folder
from .weighing.utility import ScoreTable

__all__ = ["CANDIDATE", "Candidates", "available_cores", "candidates", "read_candidates", "write_candidates"]

_PROSOCIAL = [f"prosocial.{name}" for name in PROSOCIAL]
_TOPICAL = [f"harm.{name}.topical" for name in HARMS]
_TOXIC = [f"harm.{name}.toxic" for name in HARMS]
_SCORES = ["quality", *_PROSOCIAL, *_TOPICAL, *_TOXIC]

CANDIDATE = pa.schema(
    [
        pa.field("id", pa.binary(16), nullable=False),  # sorted as decisions are, by key and id
        pa.field("domain", pa.string(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("cluster_size", pa.int32(), nullable=False),
        *(pa.field(name, pa.int16(), nullable=False) for name in _SCORES),
    ]
)

Words = np.ndarray[Any, np.dtype[np.uint64]]
Codes = np.ndarray[Any, np.dtype[np.int32]]
Ints = np.ndarray[Any, np.dtype[np.int32]]


def candidates(
    table: pa.Table,
    candidate: np.ndarray[Any, np.dtype[np.bool_]],
    domain: pa.Array,
    cluster_size: np.ndarray[Any, np.dtype[np.int32]],
    scores: ScoreTable,
) -> pa.Table:
    """The rows in the mask `candidate` (rows,) as CANDIDATE; `table` has the columns id, language and tokens."""
    high, low = id_words(table["id"])
    ids = np.stack([high, low], axis=1).astype(">u8").tobytes()
    columns = {
        "id": pa.Array.from_buffers(pa.binary(16), table.num_rows, [None, pa.py_buffer(ids)]),
        "domain": domain,
        "language": table["language"],
        "tokens": table["tokens"],
        "cluster_size": pa.array(cluster_size),
        "quality": pa.array(scores.quality, pa.int16()),
    }
    for names, values in ((_PROSOCIAL, scores.prosocial), (_TOPICAL, scores.topical), (_TOXIC, scores.toxic)):
        columns |= {name: pa.array(values[:, column], pa.int16()) for column, name in enumerate(names)}
    chosen = pa.table(columns).filter(pa.array(candidate))
    return chosen.select(CANDIDATE.names).cast(CANDIDATE)


def write_candidates(folder: Folder, index: int, table: pa.Table) -> None:
    """Store the candidates of one range of keys."""
    write_parquet(
        folder,
        f"decisions/candidates-{index:05d}.parquet",
        table,
        row_group_bytes=32 << 20,
        sizes=np.full(table.num_rows, 128, np.int64),
        dictionary=[name for name in CANDIDATE.names if name not in ("id", "tokens")],
    )


@dataclass(frozen=True, eq=False)
class Candidates:
    """All candidates of a run, in the order of their keys."""

    words: tuple[Words, Words]  # (n,) each: the high and low halves of the ids
    domain: Codes  # (n,), codes of `domains`
    domains: tuple[str, ...]  # sorted
    language: Codes  # (n,), codes of `languages`; -1 where none is identified
    languages: tuple[str, ...]  # sorted
    tokens: Ints  # (n,)
    cluster_size: Ints  # (n,)
    scores: ScoreTable  # int16, column after column

    def __len__(self) -> int:
        return len(self.tokens)

    def id(self, row: int) -> str:
        """The id of a row, as 32 hex digits."""
        return f"{int(self.words[0][row]):016x}{int(self.words[1][row]):016x}"


def available_cores() -> int:
    """How many threads can work at once here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_candidates(folder: Folder) -> Candidates:
    """Every candidate of the run in `folder`. Raises `RunError` where its decisions are missing or older."""
    names = folder.names("decisions/candidates-*.parquet")
    if not names:
        raise RunError(
            f"{folder.url} holds no candidates to weigh (decisions/candidates-*.parquet): finish the run, or begin "
            "it anew if an older version wrote it"
        )
    counts = []
    for name in names:
        with folder.open_parquet(name) as file:
            counts.append(file.metadata.num_rows)
    rows = sum(counts)
    values = np.empty((len(_SCORES), rows), np.int16)
    tokens, cluster_size = np.empty(rows, np.int32), np.empty(rows, np.int32)
    words = np.empty((2, rows), np.uint64)
    domain, language = _Vocabulary(rows), _Vocabulary(rows)

    def fill(name: str, start: int) -> None:
        with folder.open_parquet(name, dictionary=("domain", "language")) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, use_threads=len(names) == 1)
                part = slice(start, start + table.num_rows)
                for column, score in enumerate(_SCORES):
                    values[column, part] = table[score].to_numpy()
                tokens[part] = table["tokens"].to_numpy()
                cluster_size[part] = table["cluster_size"].to_numpy()
                words[:, part] = _id_words(table["id"])
                domain.add(part, table["domain"])
                language.add(part, table["language"])
                start = part.stop

    with ThreadPoolExecutor(available_cores()) as pool:
        list(pool.map(fill, names, np.cumsum([0, *counts[:-1]]).tolist()))
    pa.default_memory_pool().release_unused()
    domain_codes, domains = domain.sorted()
    language_codes, languages = language.sorted()
    scores = ScoreTable(
        prosocial=values[1 : 1 + len(PROSOCIAL)].T,
        topical=values[1 + len(PROSOCIAL) : -len(HARMS)].T,
        toxic=values[-len(HARMS) :].T,
        quality=values[0],
        language=pa.DictionaryArray.from_arrays(
            pa.array(language_codes, mask=language_codes < 0), pa.array(languages, pa.string())
        ),
        scored=values.min(axis=0) >= 0,
    )
    return Candidates(
        (words[0], words[1]), domain_codes, domains, language_codes, languages, tokens, cluster_size, scores
    )


def _id_words(column: pa.ChunkedArray) -> Words:
    parts = [
        np.frombuffer(chunk.buffers()[1], ">u8", 2 * len(chunk), 16 * chunk.offset).reshape(-1, 2)
        for chunk in column.chunks
        if len(chunk)
    ]
    return np.concatenate(parts).T if parts else np.empty((2, 0), np.uint64)


class _Vocabulary:
    """Strings as codes of the sorted list of distinct ones, -1 for null, filled part by part, by several threads."""

    def __init__(self, rows: int) -> None:
        self._codes = np.empty(rows, np.int32)
        self._places: dict[str, int] = {}
        self._adding = Lock()

    def add(self, part: slice, column: pa.ChunkedArray) -> None:
        encoded = column.combine_chunks().dictionary_encode()
        with self._adding:
            local = [self._places.setdefault(name, len(self._places)) for name in encoded.dictionary.to_pylist()]
        table = np.array([*local, -1], np.int32)
        self._codes[part] = table[encoded.indices.fill_null(len(local)).to_numpy()]

    def sorted(self) -> tuple[Codes, tuple[str, ...]]:
        names = sorted(self._places)
        place = np.empty(len(names) + 1, np.int32)
        place[[self._places[name] for name in names]] = np.arange(len(names))
        place[-1] = -1
        return place[self._codes], tuple(names)
