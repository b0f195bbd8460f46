"""Evaluation sets become an index of hashes, once, in the driver.

Each text field of each row of a set is a passage of its own, so that no n-gram runs from a question into its
answer; the same passage in several rows of a set counts once, under the first of them. What a run keeps
under `decontamination/` is hashes and ids, never the sets' text.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.errors import InputError
from ..schemas.hashing import digest
from ..schemas.recipe import Decontamination, ExtractionOptions, Input, NormalizeOptions, Reading
from .runs import write_parquet
from .sources import RecordReader, plan_splits
from .stages.decontaminate import NGRAMS, PASSAGES, SHORT, Decontaminate, EvaluationIndex, cut
from .stages.normalize import Normalize
from .storage import Folder

__all__ = ["build_index", "index_digest", "load_stage", "store_index"]

FOLDER = "decontamination"
NO_TEXT = ("read.no_text", "read.empty", "normalize.empty")


def build_index(options: Decontamination, extraction: ExtractionOptions) -> EvaluationIndex:
    """Read the sets and hash their n-grams, without those of `options.ignore`.

    Raises InputError where a record is damaged or a field holds no passage that can be looked for: a hole in an
    evaluation set would pass for a clean corpus.
    """
    rows: list[dict[str, Any]] = []
    ngrams = [NGRAMS.empty_table()]
    short = [SHORT.empty_table()]
    for source in sorted(options.sets, key=lambda item: item.name):
        seen: set[tuple[int, int]] = set()
        for field in _fields(source):
            before = len(rows)
            for batch in _records(source, field, extraction):
                number, keys, passages = cut(batch["text"], options.ngram_words, options.min_words)
                taken = np.full(batch.num_rows, -1)
                for index, (item, place) in enumerate(
                    zip(batch["source_id"].to_pylist(), batch["provenance"].to_pylist(), strict=True)
                ):
                    known = (int(passages.hashes[index]), int(passages.tokens[index]))
                    if passages.half_words[index] >= 2 * options.min_words and known not in seen:
                        seen.add(known)
                        taken[index] = len(rows)
                        name = item if item is not None else f"{place['file']}:{place['offset']}"
                        rows.append({"set": source.name, "item": name, "field": field})
                inside = taken[number] >= 0
                ngrams.append(pa.table([keys[inside], taken[number][inside].astype(np.int32)], schema=NGRAMS))
                whole = (taken >= 0) & (passages.half_words < 2 * options.ngram_words)
                hashes = passages.hashes[whole]
                ngrams.append(pa.table([hashes, taken[whole].astype(np.int32)], schema=NGRAMS))
                tokens = passages.tokens[whole].astype(np.int32)
                short.append(pa.table([passages.suffixes[whole], tokens], schema=SHORT))
            if len(rows) == before:
                raise InputError(
                    f"decontamination.sets: {field!r} of {source.name!r} holds no new passage of at least "
                    f"{options.min_words} words; check `fields.text`, or lower `decontamination.min_words`"
                )
    index = EvaluationIndex(
        _distinct(pa.concat_tables(ngrams)),
        pa.Table.from_pylist([row | {"ngrams": 0} for row in rows], schema=PASSAGES),
        _distinct(pa.concat_tables(short)),
        options.ngram_words,
        options.min_words,
    )
    return _counted(index, _found_in(index, options.ignore, extraction))


def _counted(index: EvaluationIndex, ignored: np.ndarray[Any, np.dtype[np.uint64]]) -> EvaluationIndex:
    """The index without the ignored hashes, with the number of n-grams of each passage."""
    ngrams = index.ngrams.filter(pa.array(~np.isin(index.ngrams["hash"].to_numpy(), ignored)))
    numbers = np.bincount(ngrams["passage"].to_numpy(), minlength=index.passages.num_rows).astype(np.int32)
    passages = index.passages.set_column(3, PASSAGES.field("ngrams"), pa.array(numbers))
    return EvaluationIndex(ngrams, passages, index.short, index.ngram_words, index.min_words)


def _found_in(
    index: EvaluationIndex, ignore: list[Input], extraction: ExtractionOptions
) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Hashes of the index that texts to be ignored hold."""
    found = [np.zeros(0, np.uint64)]
    for source in ignore:
        for field in _fields(source):
            for batch in _records(source, field, extraction):
                found.append(index.find(batch["text"])["hash"].to_numpy())
    return np.unique(np.concatenate(found))


def _fields(source: Input) -> list[str]:
    return [source.fields.text] if isinstance(source.fields.text, str) else source.fields.text


def _records(source: Input, field: str, extraction: ExtractionOptions) -> Iterator[pa.RecordBatch]:
    """Clean batches of one text field of a set. Rows without it have empty text; damaged ones raise InputError."""
    one = source.model_copy(update={"fields": source.fields.model_copy(update={"text": field})})
    normalize, reading = Normalize(NormalizeOptions()), Reading()
    for split in plan_splits(one, reading):
        for batch in RecordReader(split, one, reading, extraction):
            for error, place in zip(batch["error"].to_pylist(), batch["provenance"].to_pylist(), strict=True):
                if error is not None and error not in NO_TEXT:
                    raise InputError(
                        f"{split.url}: the record at {place['offset']} of {source.name!r} cannot be read ({error}); "
                        "an evaluation set must be whole, so mend or remove it"
                    )
            yield normalize.apply(batch)


def _distinct(table: pa.Table) -> pa.Table:
    """The different rows, sorted by all columns."""
    columns = [(name, "ascending") for name in table.schema.names]
    return table.group_by(table.schema.names, use_threads=False).aggregate([]).sort_by(columns).combine_chunks()


def index_digest(index: EvaluationIndex) -> dict[str, str]:
    """What an index means: of each set its passages, and of all of them their hashes."""
    hashes = hashlib.blake2b(digest_size=8)
    for table in (index.ngrams, index.short):
        for column in table.columns:
            hashes.update(column.to_numpy().tobytes())
    passages = index.passages.to_pylist()
    names = sorted({row["set"] for row in passages})
    return {
        "hashes": hashes.hexdigest(),
        **{f"set.{name}": digest([list(row.values()) for row in passages if row["set"] == name]) for name in names},
    }


def store_index(folder: Folder, index: EvaluationIndex) -> None:
    """Write an index into a run's folder, where score tasks find it."""
    for name, table in (("ngrams", index.ngrams), ("passages", index.passages), ("short", index.short)):
        if not folder.exists(f"{FOLDER}/{name}.parquet"):
            write_parquet(folder, f"{FOLDER}/{name}.parquet", table, row_group_bytes=64 << 20)


def load_stage(folder: Folder, options: Decontamination, identity: str) -> Decontaminate:
    """The stage of a run, set up; one a process. `identity` tells runs in one folder apart."""
    return _load_stage(folder.absolute_url(), options.model_dump_json(), identity)


@lru_cache(maxsize=2)
def _load_stage(url: str, options: str, identity: str) -> Decontaminate:
    folder, parsed = Folder(url), Decontamination.model_validate_json(options)
    tables = []
    for name in ("ngrams", "passages", "short"):
        with folder.open_parquet(f"{FOLDER}/{name}.parquet") as file:
            tables.append(file.read())
    ngrams, passages, short = tables
    stage = Decontaminate(parsed, EvaluationIndex(ngrams, passages, short, parsed.ngram_words, parsed.min_words))
    stage.setup()
    return stage
