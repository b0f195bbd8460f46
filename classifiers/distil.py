"""Pseudo-labels for a student: what a teacher says of documents that nobody annotated.

    python -m florilegium.classifiers.distil prosocial --data train.parquet --sets labelled --documents pool.parquet \\
        --cache cache --output pseudo.parquet

The teacher is what a cascade is made of: one or several sentence-transformers encoders, each with heads (semantic.py)
or fine-tuned (finetune.py), averaged with a student trained on annotated documents alone. Held out it beats the
student, which is the condition for learning from it. For each fold of the student a teacher of the other folds labels
all documents, so that no figure of the student has seen its own documents by way of the teacher. Needs the extra
`semantic`; reading takes most of the time (a core reads about 7 documents a second, 25 where half precision is fast)
and is kept in `cache`.

`documents` are Parquet files with `id` and `text`, in the configuration's languages and in an order that is no order of
content: the first `distillation.rows` are taken, each up to `distillation.window` characters, without those that are
annotated too. Their licence must allow what the student is for. The result holds their words, so it stays out of the
repository; a student's dictionary takes only words found in at least `minimum_documents` of all documents.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.errors import FlorilegiumError, InputError, RecipeError
from .encoder import load_encoder, passages
from .finetune import Lesson, Tuning, fine_tune_cached
from .pseudo_labels import PseudoLabels, Teacher, write_pseudo_labels
from .semantic import expected, fit_heads, score_documents
from .tokens import tokenize
from .train import LABELS, PlainStudents, TrainConfig, config_path, data_digest, plain_students, read_config
from .train_cascade import read_cached

__all__ = ["distil", "main", "read_pool"]

Matrix = np.ndarray[Any, np.dtype[np.float64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
Say = Callable[[str], None]


def read_pool(
    paths: Sequence[str | Path], rows: int, window: int, ids: set[str], lines: set[str]
) -> list[tuple[str, str, str]]:
    """The first `rows` documents as (id, text of at most `window` characters, line), none twice.

    Documents whose id is among `ids` or whose tokenised line is among `lines` are left out. Raises `InputError`.
    """
    found: list[tuple[str, str, str]] = []
    taken = set(lines)
    for name, text in _documents(paths):
        cut = text[:window].strip()
        line = str(tokenize(pa.array([cut], pa.string()))[0])
        if name not in ids and line and line not in taken:
            taken.add(line)
            found.append((name, cut, line))
            if len(found) == rows:
                return found
    if not found:
        raise InputError(f"{', '.join(map(str, paths))}: no document left that is not annotated already")
    return found


def _documents(paths: Sequence[str | Path]) -> Iterator[tuple[str, str]]:
    for path in paths:
        try:
            for batch in pq.ParquetFile(path).iter_batches(columns=["id", "text"]):
                yield from (
                    (str(name), text)
                    for name, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True)
                    if text
                )
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise InputError(f"{path}: cannot be read as documents with `id` and `text` ({error})") from error


def distil(
    config: TrainConfig,
    data: str | Path,
    documents: Sequence[str | Path],
    output: str | Path,
    sets: str | Path = ".",
    say: Say = lambda _: None,
    cache: str | Path | None = None,
) -> PseudoLabels:
    """Label documents by the teachers of all folds and write the file."""
    settings = config.distillation
    if settings is None:
        raise RecipeError(f"{config.name}: has no `distillation` that says how its teacher is made")
    for teacher in settings.teachers:  # one that cannot be loaded is named before hours of work
        load_encoder(teacher.encoder, teacher.tokens, teacher.layers, teacher.depth)
    known = plain_students(config, data, sets)
    pool = read_pool(documents, settings.rows, settings.window, set(known.gold.ids), set(known.lines))
    ids, texts, lines = (list(column) for column in zip(*pool, strict=True))
    firsts = [passages(text, settings.window, 1)[0] for text in (*known.gold.texts.to_pylist(), *known.further.texts)]
    reading = _Reading(known, firsts, texts, settings.window, say, cache)
    targets = np.zeros((config.folds + 1, len(lines), len(LABELS)), np.float32)
    weights = sum(teacher.weight for teacher in settings.teachers)
    for teacher in settings.teachers:
        label = _heads_of(teacher, reading) if teacher.tuning is None else _tuned(teacher, teacher.tuning, reading)
        for fold in range(config.folds + 1):
            say(f"{teacher.encoder}: teacher {fold + 1} of {config.folds + 1}, over {len(lines):,} documents")
            targets[fold] += (1 - settings.student) * teacher.weight / weights * label(fold)
    for fold in range(config.folds + 1) if settings.student else ():
        say(f"student {fold + 1} of {config.folds + 1}")
        targets[fold] += settings.student * known.student(fold, lines)
    labels = PseudoLabels(ids, texts, lines, targets)
    description = {
        "data_sha256": data_digest(data),
        "folds": config.folds,
        "seed": config.seed,
        "labels": list(LABELS),
        "distillation": settings.model_dump(mode="json"),
    }
    write_pseudo_labels(labels, Path(output), description)
    return labels


@dataclass(frozen=True)
class _Reading:
    """What teachers read."""

    known: PlainStudents
    firsts: list[str]  # passages of the annotated documents and of the sets' rows
    texts: list[str]  # to be labelled
    window: int
    say: Say
    cache: str | Path | None


def _heads_of(teacher: Teacher, reading: _Reading) -> Callable[[int], Matrix]:
    """What heads that leave a fold out say of the texts, (texts, labels)."""
    known, window, say, cache = reading.known, reading.window, reading.say, reading.cache
    encoder = load_encoder(teacher.encoder, teacher.tokens, teacher.layers, teacher.depth).halved()
    features, _ = read_cached(encoder, reading.firsts, window, 1, say, cache)
    read, counts = read_cached(encoder, reading.texts, window, 1, say, cache)

    def label(fold: int) -> Matrix:
        rows = known.rows_without(fold)
        heads = fit_heads(features[rows], known.targets[rows], LABELS, known.importance[rows], teacher.ridge)
        return expected(score_documents(heads, read, counts), LABELS)

    return label


def _tuned(teacher: Teacher, tuning: Tuning, reading: _Reading) -> Callable[[int], Matrix]:
    """What an encoder that was fine-tuned without a fold says of the texts, (texts, labels)."""
    known, firsts, window, say, cache = reading.known, reading.firsts, reading.window, reading.say, reading.cache

    @functools.cache
    def features() -> Floats:
        plain = load_encoder(teacher.encoder, teacher.tokens, True, teacher.depth).halved()
        return read_cached(plain, firsts, window, 1, say, cache)[0]

    def label(fold: int) -> Matrix:
        rows = known.rows_without(fold)
        encoder = load_encoder(teacher.encoder, teacher.tokens, True, teacher.depth)
        texts = [firsts[row] for row in rows]
        lesson = Lesson(texts, known.targets[rows], LABELS, known.importance[rows], lambda: features()[rows])
        tuned = fine_tune_cached(encoder, lesson, tuning, say, cache)
        read, counts = read_cached(tuned.adapter.apply(encoder).halved(), reading.texts, window, 1, say, cache)
        return expected(score_documents(tuned.heads, read, counts), LABELS)

    return label


def main(arguments: list[str] | None = None) -> int:
    """The command line of this module; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m florilegium.classifiers.distil",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="a shipped configuration's name or the YAML file of a student")
    parser.add_argument("--data", type=Path, required=True, help="annotated documents (Parquet)")
    parser.add_argument("--documents", type=Path, nargs="+", required=True, help="Parquet files with `id` and `text`")
    parser.add_argument("--sets", type=Path, default=Path(), help="folder that the files of `harm_sets` lie in")
    parser.add_argument("--cache", type=Path, help="folder that keeps what the encoder read")
    parser.add_argument("--output", type=Path, required=True, help="the file of pseudo-labels")
    options = parser.parse_args(arguments)
    try:
        labels = distil(
            read_config(config_path(options.config)),
            options.data,
            options.documents,
            options.output,
            options.sets,
            lambda line: print(line, file=sys.stderr, flush=True),
            options.cache,
        )
    except FlorilegiumError as error:
        parser.exit(error.exit_code, f"{error}\n")
    print(f"{len(labels.lines):,} pseudo-labelled documents in {options.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
