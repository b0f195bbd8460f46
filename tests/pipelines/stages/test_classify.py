import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from florilegium.classifiers import load
from florilegium.classifiers.student import MODELS
from florilegium.pipelines.stages.classify import Classify
from florilegium.schemas.document import HARM, PROSOCIAL_SCORES
from florilegium.schemas.errors import ModelError
from florilegium.schemas.hashing import digest
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
    stage = Classify(ClassifyOptions(harm=[]))
    stage.setup()
    return stage


@pytest.fixture(scope="module")
def tongues() -> Classify:
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
        "version": "classify.v4",
        "options": '{"model":"prosocial","harm":[]}',
        "model": load("prosocial").digest,
        "harm": "",
    }
    both = f"{load('harm-de').digest} {load('harm-zh').digest}"
    assert Classify(ClassifyOptions()).identity()["harm"] == both


TONGUES: list[dict[str, Any]] = [
    *ROWS,
    {"text": "Diese Leute sind Abschaum und gehören alle abgeschoben, das Pack!", "language": "de", "error": None},
    {"text": " \n", "language": "de", "error": None},
    {"text": "面团要放在温暖的地方发酵一个小时。", "language": "zh", "error": None},
    {"text": "Un jour de pluie.", "language": "fr", "error": None},
    {"text": "Später gescheitert.", "language": "de", "error": "normalize.failed"},
]


def known(harm: dict[str, dict[str, float | None]]) -> set[str]:
    return {f"{name}.{kind}" for name, kinds in harm.items() for kind, value in kinds.items() if value is not None}


def test_other_languages_get_the_ranks_that_their_models_know(stage: Classify, tongues: Classify) -> None:
    alone, result = stage.apply(batch(TONGUES)).to_pylist(), tongues.apply(batch(TONGUES))
    result.validate(full=True)
    rows = result.to_pylist()
    for row, name, leaves in (
        (1, "harm-de", {"hate.toxic", "harassment.toxic"}),
        (7, "harm-de", {"hate.toxic", "harassment.toxic"}),
        (9, "harm-zh", {"hate.toxic"}),
    ):
        model = load(name)
        assert rows[row]["scored_by"] == f"{name}@{model.digest[:8]}"
        assert rows[row]["quality"] is None
        assert rows[row]["prosocial"] is None
        assert known(rows[row]["harm"]) == leaves
        toxic = model.score([TONGUES[row]["text"]]).toxic[0]
        for harm in (leaf.split(".")[0] for leaf in leaves):
            assert rows[row]["harm"][harm]["toxic"] == toxic[HARMS.index(harm)]
    assert rows[7]["harm"]["hate"]["toxic"] > 0.5 > 0.3 > rows[1]["harm"]["hate"]["toxic"]
    for row in (0, 2, 3, 4, 5, 6, 8, 10, 11):  # English, failed, empty, without a language, French
        assert rows[row] == alone[row]


def test_neighbours_do_not_matter_to_ranks(tongues: Classify) -> None:
    whole = tongues.apply(batch(TONGUES))
    for row in range(len(TONGUES)):
        assert tongues.apply(batch(TONGUES[row : row + 1])).to_pylist() == whole.slice(row, 1).to_pylist()
    assert tongues.apply(whole).equals(whole)
    assert tongues.apply(batch([])).schema == whole.schema


def test_a_model_of_two_tongues_or_of_the_wrong_kind_is_refused() -> None:
    for options, message in (
        (ClassifyOptions(harm=["harm-de", "harm-de"]), "harm-de and harm-de both read 'de'; leave harm-de out"),
        (ClassifyOptions(harm=["prosocial"]), "prosocial: is no harm model"),
        (ClassifyOptions(model="harm-de", harm=[]), "harm-de: knows harms alone"),
        (ClassifyOptions(harm=["harm-fr"]), "harm-fr: no such model"),
    ):
        for ask in (Classify(options).identity, Classify(options).setup):
            with pytest.raises(ModelError, match=message):
                ask()


def rewritten(name: str, folder: Path, **values: object) -> Path:
    """A copy of a shipped model whose header says something else."""
    shutil.copytree(MODELS / name, folder)
    header = {**json.loads((folder / "model.json").read_text()), **values}
    header.pop("digest")
    (folder / "model.json").write_text(json.dumps({**header, "digest": digest(header)}))
    return folder


def test_a_model_that_reads_the_language_itself_goes_first(tmp_path: Path) -> None:
    model = rewritten("prosocial", tmp_path / "both", languages=["en", "de"])
    stage = Classify(ClassifyOptions(model=str(model), harm=["harm-de", "harm-zh"]))
    rows = stage.apply(batch(TONGUES)).to_pylist()
    assert {row["scored_by"].split("@")[0] for row in rows if row["language"] == "de" and row["scored_by"]} == {
        "prosocial"
    }
    assert "harm-zh" in {(row["scored_by"] or "@").split("@")[0] for row in rows}


def test_a_harm_model_needs_no_more_of_a_taxonomy_than_its_harms(tmp_path: Path) -> None:
    other = rewritten("harm-de", tmp_path / "other", taxonomy_version="thirteen")
    text = TONGUES[7]["text"]
    assert (load(other).score([text]).toxic == load("harm-de").score([text]).toxic).all()
    with pytest.raises(ModelError, match="taxonomy_version is 'thirteen'"):
        load(rewritten("prosocial", tmp_path / "student", taxonomy_version="thirteen"))
