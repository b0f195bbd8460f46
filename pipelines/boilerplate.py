"""Boilerplate across a site: lines that many pages of one host repeat, such as menus and notices.

A page alone cannot tell its menu from its text; its host can. The optional phase `boilerplate` reads
every page once and notes (host, line, page) as hashes; lines found on at least `min_pages` different
pages and on `min_share` of the pages of their host are removed before anything is scored. Copies of
one page count once, and documents without a host are left alone. The price is a second extraction.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import duckdb
import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..schemas.arrays import append_flag, replace_column, string_buffers
from ..schemas.recipe import BoilerplateOptions
from .stages.normalize import hosts_of

__all__ = ["LINES", "digest_of_repeated", "note_lines", "remove_lines", "repeated_lines"]

LINES = pa.schema([pa.field("host", pa.uint64()), pa.field("line", pa.uint64()), pa.field("page", pa.uint64())])
Hashes = np.ndarray[Any, np.dtype[np.uint64]]


def note_lines(batch: pa.RecordBatch) -> pa.Table:
    """One row of LINES for each different line of each page that has a host."""
    hosts, lines, rows, _ = _lines(batch)
    pages = _hash_strings(batch["text"])
    noted = lines != 0
    table = pa.table([hosts[rows][noted], lines[noted], pages[rows][noted]], schema=LINES)
    return table.group_by(LINES.names, use_threads=False).aggregate([])


def repeated_lines(files: Sequence[str], options: BoilerplateOptions) -> Hashes:
    """Hashes of the lines to remove, ascending, out of Parquet files of schema LINES.

    DuckDB aggregates and spills to disk where memory is short.
    """
    query = """
        with lines as (select distinct * from read_parquet($files)),
             hosts as (select host, count(distinct page) as pages from lines group by host)
        select line from lines join hosts using (host) group by line, host, pages
        having count(*) >= $least and count(*) >= $share * hosts.pages order by line
        """
    values = {"files": list(files), "least": options.min_pages, "share": options.min_share}
    found = duckdb.connect().execute(query, values).fetchnumpy()
    return np.unique(np.asarray(found["line"], np.uint64))


def digest_of_repeated(file: str, repeated: Hashes) -> str:
    """What `repeated` means to one split: a digest of those that it holds, out of its file of schema LINES."""
    lines = pq.read_table(file, columns=["line"])["line"].to_numpy()
    return hashlib.blake2b(np.intersect1d(lines, repeated).tobytes(), digest_size=8).hexdigest()


def remove_lines(batch: pa.RecordBatch, repeated: Hashes) -> tuple[pa.RecordBatch, int]:
    """The batch without repeated lines, flagged `boilerplate.removed` where one went, and their number."""
    _, lines, rows, texts = _lines(batch)
    place = np.minimum(np.searchsorted(repeated, lines), max(len(repeated) - 1, 0))
    drop = (repeated[place] == lines) if len(repeated) else np.zeros(len(lines), bool)
    if not drop.any():
        return batch, 0
    touched = np.zeros(batch.num_rows, bool)
    touched[rows[drop]] = True
    kept = ~drop
    ends = np.cumsum(np.bincount(rows[kept], minlength=batch.num_rows))
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, texts.filter(pa.array(kept))), "\n")
    text = pc.if_else(pa.array(touched), joined, batch["text"])
    return append_flag(replace_column(batch, "text", text), touched, "boilerplate.removed"), int(drop.sum())


def _lines(batch: pa.RecordBatch) -> tuple[Hashes, Hashes, np.ndarray[Any, np.dtype[np.int64]], pa.StringArray]:
    """Of a batch: hash of each row's host; then of each line its hash with its host, its row, and itself.

    Lines of rows without a host and blank lines hash to 0, which is never removed.
    """
    hosts = hosts_of(batch["url"])
    host_hashes = np.where(hosts.is_valid().to_numpy(zero_copy_only=False), _hash_strings(hosts.fill_null("")), 0)
    split = pc.split_pattern(batch["text"], "\n")
    rows = split.value_parent_indices().to_numpy()
    texts = split.flatten()
    stripped = pc.utf8_trim_whitespace(texts)
    line_hashes = _hash_strings(stripped)
    line_hashes ^= host_hashes[rows] * np.uint64(0x9E3779B97F4A7C15)
    blank = pc.equal(pc.binary_length(stripped), 0).to_numpy(zero_copy_only=False)
    line_hashes[blank | (host_hashes[rows] == 0)] = 0
    return host_hashes.astype(np.uint64), line_hashes, rows.astype(np.int64), texts


def _hash_strings(strings: pa.StringArray) -> Hashes:
    data, offsets = string_buffers(strings)
    hashes = np.empty(len(strings), np.uint64)
    _fnv1a(data, offsets, hashes)
    return hashes


@numba.njit(cache=True, nogil=True)
def _fnv1a(data, offsets, hashes):  # type: ignore[no-untyped-def]
    """64-bit FNV-1a of each string, mixed once more because short strings leave its upper bits alike."""
    for row in range(len(offsets) - 1):
        value = np.uint64(14695981039346656037)
        for position in range(offsets[row], offsets[row + 1]):
            value = (value ^ np.uint64(data[position])) * np.uint64(1099511628211)
        value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        hashes[row] = value ^ (value >> np.uint64(33))
