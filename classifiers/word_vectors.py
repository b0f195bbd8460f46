"""Vectors of words, so that words of like meaning get like weights.

A few thousand documents show most words a handful of times, too seldom to learn a weight for each. A small
encoder has read far more: with its vectors as a prior (fit.py), "grateful" lends to "thankful", and the model
stays a linear one over words, as fast as before (figures in README.md beside this file).

The vectors travel as a file (Parquet; `word` and `vector`, a byte a number), so that training needs no
encoder. Each word was read alone by the encoder; vectors are centred on the mean over documents, turned to
their principal axes, cut and scaled to length 1. To make such a file from documents of your own, which needs
sentence-transformers:

    python -m florilegium.classifiers.word_vectors train.parquet more.parquet --output vectors.parquet
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.errors import FlorilegiumError, InputError, MissingExtraError
from .tokens import TOKENS_VERSION, tokenize

__all__ = ["VECTORS", "WordVectors", "main", "read_word_vectors", "word_vectors", "write_word_vectors"]

VECTORS = Path(__file__).parent / "vectors"
STEPS = 127  # a byte holds -127 to 127
Matrix = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors, int8 of shape (words, dim); 127 steps are 1."""

    words: tuple[str, ...]
    vectors: np.ndarray[Any, np.dtype[np.int8]]

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each word stands."""
        return {word: place for place, word in enumerate(self.words)}

    def lookup(self, words: Sequence[str]) -> Matrix:
        """The vectors of `words`, (words, dim); zero for a word that is not known."""
        found = np.zeros((len(words), self.vectors.shape[1]))
        for row, word in enumerate(words):
            place = self.places.get(word)
            if place is not None:
                found[row] = self.vectors[place] / STEPS
        return found


def read_word_vectors(name_or_path: str | Path) -> WordVectors:
    """Vectors by name ("minilm") or from a file of `write_word_vectors`. Raises `InputError`."""
    path = VECTORS / f"{name_or_path}.parquet"
    path = path if path.is_file() else Path(name_or_path)
    try:
        table = pq.read_table(path)
        if (table.schema.metadata or {}).get(b"tokens") != TOKENS_VERSION.encode():
            raise InputError(f"{path}: not word vectors over {TOKENS_VERSION}; make them again")
        column = table["vector"].combine_chunks()
        vectors = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
        return WordVectors(tuple(table["word"].to_pylist()), vectors)
    except (OSError, pa.ArrowInvalid, KeyError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read as word vectors ({error})") from error


def word_vectors(words: Sequence[str], documents: Sequence[int], encoder: str, dim: int) -> WordVectors:
    """Vectors of `words`, found in so many `documents`, by a sentence-transformers encoder (hub name or path)."""
    try:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]
    except ImportError as error:
        raise MissingExtraError("making word vectors needs packages: pip install sentence-transformers") from error
    model = SentenceTransformer(encoder)
    values = model.encode(list(words), batch_size=256, convert_to_numpy=True, normalize_embeddings=False)
    values = values.astype(np.float64)
    values -= np.average(values, axis=0, weights=documents)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    _, axes = np.linalg.eigh(values.T @ values)
    values = values @ axes[:, ::-1][:, :dim]
    values /= np.linalg.norm(values, axis=1, keepdims=True) + 1e-12
    return WordVectors(tuple(words), np.rint(values * STEPS).astype(np.int8))


def write_word_vectors(vectors: WordVectors, path: str | Path, description: dict[str, Any]) -> None:
    """Write vectors and where they come from."""
    flat = pa.array(vectors.vectors.ravel(), pa.int8())
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.vectors.shape[1])
    table = pa.table({"word": pa.array(vectors.words, pa.string()), "vector": column})
    metadata = {"tokens": TOKENS_VERSION, "description": json.dumps(description, sort_keys=True)}
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd", use_dictionary=False)


def _texts(paths: Sequence[Path]) -> Iterator[pa.StringArray]:
    for path in paths:
        try:
            for batch in pq.ParquetFile(path).iter_batches(columns=["text"]):
                yield pa.array(batch["text"].to_pylist(), pa.string())
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise InputError(f"{path}: cannot be read as documents with a column `text` ({error})") from error


def main(arguments: list[str] | None = None) -> int:
    """The command line of this module; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m florilegium.classifiers.word_vectors", description=__doc__)
    parser.add_argument("documents", type=Path, nargs="+", help="Parquet files with a column `text`")
    parser.add_argument("--encoder", default="sentence-transformers/all-MiniLM-L6-v2", help="hub name or folder")
    parser.add_argument("--called", help="what the file says of the encoder, if not its name")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--minimum-documents", type=int, default=20)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        counts: Counter[str] = Counter()
        for texts in _texts(options.documents):
            for line in tokenize(texts).to_pylist():
                counts.update(set(line.split(" ")))
        found = sorted((-count, word) for word, count in counts.items() if word and count >= options.minimum_documents)
        words, documents = [word for _, word in found], [-count for count, _ in found]
        vectors = word_vectors(words, documents, options.encoder, options.dim)
        write_word_vectors(vectors, options.output, {"encoder": options.called or options.encoder, "words": len(words)})
    except FlorilegiumError as error:
        parser.exit(error.exit_code, f"{error}\n")
    print(f"{len(words):,} words of {options.dim} dimensions in {options.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
