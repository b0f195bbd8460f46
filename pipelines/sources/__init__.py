"""Inputs of every format as record batches: plan splits, then read each of them anywhere.

    plan_splits(source, reading)   what there is to read, in parts that one task each reads
    RecordReader(split, …)         a part as batches of schema RECORD: a row a document or failed record

A document's (file, offset) is its place in its file, whatever the splitting; the splits of a file give
exactly the rows of the whole. A record that cannot become a document is a row with `error` set (see
`REASONS`); a record that is none (requests, images) is counted in `skipped` (see `SKIPPED`). Only a
wrong request (no such file) and a failing transport raise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from .reasons import REASONS, SKIPPED

if TYPE_CHECKING:
    import pyarrow as pa

    from ...schemas.recipe import ExtractionOptions, Input, Reading

__all__ = ["REASONS", "SKIPPED", "RecordReader", "Split", "plan_splits"]


@dataclass(frozen=True)
class Split:
    """A part of one input that one task reads."""

    source: str  # the input's name
    format: str  # warc, wet, jsonl, parquet or huggingface
    url: str  # where to open it: a local path, any fsspec URL, or the data set's name
    file: str  # its name in provenance, relative to the input's folder and so the same on every machine
    start: int  # byte offset, row group or row where the split begins
    stop: int  # where it ends, exclusive; -1: the file's end
    size: int  # bytes that the split covers in its file, for progress and ordering
    fingerprint: str  # identity of the file's content, never of its path or time


class _Reader(Protocol):
    skipped: dict[str, int]
    bytes_read: int

    def __iter__(self) -> "Iterator[pa.RecordBatch]": ...


def plan_splits(source: "Input", reading: "Reading") -> list[Split]:
    """All splits of an input, sorted by file and start.

    Raises InputError where nothing matches, something may not be read, a format is unknown, or the text
    column is missing; MissingExtraError where Hugging Face `datasets` is needed and not installed.
    """
    return import_module(".planning", __package__).plan(source, reading)


class RecordReader:
    """Iterates over a split's record batches, once; each has exactly the schema RECORD.

    Batches hold at most `reading.batch_rows` rows and, unless one document is larger, `reading.batch_bytes`
    of text. `skipped` (records that are no documents, by kind) is complete after the iteration;
    `bytes_read` counts the file's own bytes so far.
    """

    def __init__(self, split: Split, source: "Input", reading: "Reading", extraction: "ExtractionOptions") -> None:
        self._reader: _Reader
        if split.size == 0 and split.format != "huggingface":
            self._reader = _Empty()
        elif split.format in ("warc", "wet"):
            self._reader = import_module(".warc", __package__).WarcReader(split, source, reading, extraction)
        else:
            module = import_module(f".{split.format}", __package__)
            self._reader = getattr(module, f"{split.format.capitalize()}Reader")(split, source, reading)

    @property
    def skipped(self) -> dict[str, int]:
        """Records that are no documents, by kind."""
        return self._reader.skipped

    @property
    def bytes_read(self) -> int:
        """The file's own (compressed) bytes read so far."""
        return self._reader.bytes_read

    def __iter__(self) -> "Iterator[pa.RecordBatch]":
        return iter(self._reader)


class _Empty:
    """A file of 0 bytes."""

    def __init__(self) -> None:
        self.skipped = {"file.empty": 1}
        self.bytes_read = 0

    def __iter__(self) -> "Iterator[pa.RecordBatch]":
        return iter(())
