"""Annotated documents that we wrote: every dimension has its word, so that a model can learn them all."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.classifiers.train import TrainConfig
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL

SENTENCE = "the day went on as days do and we walked to the shop for bread milk tea then home by the road"
CARD = dict.fromkeys(("summary", "data", "licences", "use", "limits"), "Written for a test.")


def write_gold(path: Path, rows: int = 240) -> Path:
    """Each document speaks of two dimensions, names them often (grade 2) or once (grade 1), at random."""
    names = [*PROSOCIAL, *HARMS]
    random = np.random.default_rng(5)
    records: list[dict[str, Any]] = []
    for index in range(rows):
        words = [str(random.choice(SENTENCE.split())) for _ in range(40)]
        grades = [0] * 20
        for dimension in random.choice(len(names), 2, replace=False):
            grades[dimension] = int(random.integers(1, 3))
            for _ in range(4 * grades[dimension] - 3):
                words.insert(int(random.integers(len(words))), names[dimension].replace("_", ""))
        grades[19] = int(random.integers(0, 6))
        words += ["splendid"] * grades[19] + ["zyzzyva"] * (9 if index < 4 else 0)
        records.append(
            {
                "id": f"{index:04d}",
                "text": " ".join(words),
                "sampling": "random" if index % 2 else "active:test",
                "ship": index % 12 != 0,
                "annotations": [grades],
            }
        )
    pq.write_table(pa.Table.from_pylist(records), path)
    return path


@pytest.fixture(scope="session")
def gold_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gold(tmp_path_factory.mktemp("gold") / "gold.parquet")


@pytest.fixture(scope="session")
def config() -> TrainConfig:
    values: dict[str, Any] = {"name": "small", "version": "1", "languages": ["en"], "buckets": 5000, "folds": 3}
    return TrainConfig(**values, card=CARD)  # type: ignore[arg-type]
