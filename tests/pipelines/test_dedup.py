"""The keeper among exact twins is the best row, whatever order they come in."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from florilegium.pipelines.dedup import exact_duplicates
from florilegium.schemas.hashing import document_id

from tests.builders import scored_row, scored_table

TWIN = document_id(b"twin")


def twin(name: str, offset: int = 0, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"id": TWIN, "raw_hash": 5, "quality": 0.5}
    return scored_row(name, provenance={"file": "f", "offset": offset}, **(values | changes))


@pytest.mark.parametrize(
    ("best", "other"),
    [
        ({"quality": 0.501}, {"quality": 0.5, "raw_hash": 1}),
        ({"raw_hash": 4}, {"raw_hash": 5, "source": "a"}),
        ({"source": "a", "offset": 9}, {"source": "b", "offset": 1}),
        ({"offset": 1}, {"offset": 2}),
        ({"quality": 0.001}, {"quality": None}),
    ],
)
def test_keeper_rule(best: dict[str, Any], other: dict[str, Any]) -> None:
    for rows in permutations([twin("best", **best), twin("other", **other), scored_row("alone")]):
        table = scored_table(*rows)
        duplicate, size = exact_duplicates(table, np.ones(3, bool))
        outcome = dict(zip(table["text"].to_pylist(), zip(duplicate.tolist(), size.tolist(), strict=True), strict=True))
        assert outcome == {"best": (False, 2), "other": (True, 2), "alone": (False, 1)}


def test_rows_that_may_not_be_used_stand_for_nobody() -> None:
    table = scored_table(twin("taken down", quality=0.9), twin("fine", offset=1), twin("fine too", offset=2))
    duplicate, size = exact_duplicates(table, np.array([False, True, True]))
    assert duplicate.tolist() == [False, False, True]
    assert size.tolist() == [1, 2, 2]


def test_no_rows_at_all() -> None:
    duplicate, size = exact_duplicates(scored_table(), np.zeros(0, bool))
    assert len(duplicate) == len(size) == 0
