from typing import Any

import pyarrow as pa
import pytest
from florilegium.classifiers import load
from florilegium.pipelines.stages.classify import Classify
from florilegium.schemas.document import HARM, PROSOCIAL_SCORES
from florilegium.schemas.recipe import ClassifyOptions
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL

ROWS: list[dict[str, Any]] = [
    {"text": "I was wrong, thank you for explaining it so kindly.", "language": "en", "error": None},
    {"text": "Danke für die Geduld.", "language": "de", "error": None},
    {"text": "", "language": None, "error": "extract:empty"},
    {"text": "A line that failed later.", "language": "en", "error": "normalize:too_long"},
    {"text": " \n", "language": "en", "error": None},
    {"text": "No language was found.", "language": None, "error": None},
    {"text": "What do you make of it, and why?", "language": "en", "error": None},
]
COLUMNS = ("quality", "harm", "prosocial", "scored_by")
SCHEMA = pa.schema([(name, pa.string()) for name in ("text", "language", "error")])


@pytest.fixture(scope="module")
def stage() -> Classify:
    stage = Classify(ClassifyOptions())
    stage.setup()
    return stage


def batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


def test_scored_rows_hold_the_models_scores(stage: Classify) -> None:
    result = stage.apply(batch(ROWS))
    assert result.schema.names == ["text", "language", "error", *COLUMNS]
    assert result["harm"].type == HARM
    assert result["prosocial"].type == PROSOCIAL_SCORES
    assert result["quality"].type == pa.float32()
    result.validate(full=True)
    classifier = load("prosocial")
    for row in (0, 6):
        expected, found = classifier.score([ROWS[row]["text"]]), result.slice(row, 1).to_pylist()[0]
        assert found["quality"] == expected.quality[0]
        assert found["prosocial"] == dict(zip(PROSOCIAL, expected.prosocial[0].tolist(), strict=True))
        assert found["harm"] == {
            name: {"topical": expected.topical[0, index].item(), "toxic": expected.toxic[0, index].item()}
            for index, name in enumerate(HARMS)
        }
        assert found["scored_by"] == f"prosocial@{classifier.digest[:8]}"


def test_other_rows_are_null_as_a_whole(stage: Classify) -> None:
    result = stage.apply(batch(ROWS)).select(COLUMNS)
    absent = [row for row, values in enumerate(result.to_pylist()) if all(value is None for value in values.values())]
    assert absent == [1, 2, 3, 4, 5]
    assert all(result[name].null_count == 5 for name in COLUMNS)


def test_neighbours_do_not_matter(stage: Classify) -> None:
    whole = stage.apply(batch(ROWS))
    for row in range(len(ROWS)):
        assert stage.apply(batch(ROWS[row : row + 1])).to_pylist() == whole.slice(row, 1).to_pylist()
    assert stage.apply(batch(ROWS).slice(2, 5)).to_pylist() == whole.slice(2, 5).to_pylist()


def test_a_batch_without_rows_or_without_scores(stage: Classify) -> None:
    assert stage.apply(batch([])).schema == stage.apply(batch(ROWS)).schema
    assert stage.apply(batch(ROWS[1:3]))["scored_by"].to_pylist() == [None, None]


def test_applied_twice_it_is_the_same(stage: Classify) -> None:
    once = stage.apply(batch(ROWS))
    assert stage.apply(once).equals(once)


def test_identity_names_version_options_and_model(stage: Classify) -> None:
    assert stage.identity() == {
        "version": "classify.v3",
        "options": '{"model":"prosocial"}',
        "model": load("prosocial").digest,
    }
