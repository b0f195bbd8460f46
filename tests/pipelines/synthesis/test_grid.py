"""Plans: every value of every axis, balanced, by seed alone."""

from collections import Counter

import pyarrow as pa
import pytest
from florilegium.pipelines.synthesis.grid import (
    cells_from,
    cells_table,
    lacking,
    load_compositions,
    load_grid,
    plan_cells,
)
from florilegium.schemas.errors import RecipeError
from florilegium.schemas.recipe import STRENGTHS, Synthesis
from florilegium.schemas.taxonomy import PROSOCIAL

MODEL = {"name": "m", "endpoint": "http://localhost:1/v1", "model": "x"}


def options(**values: object) -> Synthesis:
    return Synthesis.model_validate({"backends": [MODEL], **values})


def test_the_grid_is_as_large_as_promised() -> None:
    grid = load_grid()
    assert len(grid.situations) >= 60
    assert {entry.area for entry in grid.situations.values()} == {
        "everyday", "civic", "work", "family", "medical", "online", "ecological",
    }  # fmt: skip
    assert len(grid.relations) >= 25
    assert {entry["kind"] for entry in grid.relations.values()} == {"human-human", "human-assistant", "group"}
    assert set(grid.virtues) == {*PROSOCIAL, *STRENGTHS}
    assert len(STRENGTHS) == 24
    assert all(set(dimensions) <= set(PROSOCIAL) for _, dimensions in grid.virtues.values())
    for situation in grid.situations.values():
        assert any(situation.area in entry["areas"] for entry in grid.relations.values())


def test_compositions_fit_the_grid() -> None:
    grid, compositions = load_grid(), load_compositions()
    plans = [plan for entry in compositions.values() for plan in entry["plans"]]
    assert len(plans) >= 200
    assert set(compositions) == set(grid.situations)
    for entry in compositions.values():
        assert entry["relation"] in grid.relations
        assert len(entry["ask"]) == len(entry["tell"])
        for difficulty, dimensions, quiet, turn, reply in entry["plans"]:
            assert difficulty in grid.difficulties
            assert set(dimensions.split()) <= set(PROSOCIAL)
            assert quiet is None or quiet in grid.quiet
            assert turn
            assert reply
    assert {plan[2] for plan in plans} - {None} == set(grid.quiet)
    shown = {dimension for plan in plans for dimension in plan[1].split()}
    assert shown == set(PROSOCIAL)


def test_a_plan_covers_every_axis_evenly() -> None:
    grid = load_grid()
    cells = plan_cells(options(documents=720, quiet_share=0.25), 7)
    for axis, values in (
        ("virtue", grid.virtues), ("situation", grid.situations), ("setting", grid.settings), ("length", grid.lengths),
        ("register", grid.registers), ("difficulty", grid.difficulties),
    ):  # fmt: skip
        counts = Counter(getattr(cell, axis) for cell in cells)
        assert set(counts) == set(values), axis
        assert max(counts.values()) - min(counts.values()) <= 1, axis
    assert {cell.relation for cell in cells} == set(grid.relations)
    assert sum(cell.quiet is not None for cell in cells) == 180
    assert {cell.quiet for cell in cells} == {None, *grid.quiet}
    assert all((cell.falsehood is not None) == (cell.difficulty == "confident_error") for cell in cells)
    for cell in cells:
        assert grid.situations[cell.situation].area in grid.relations[cell.relation]["areas"]
    assert len({cell.id for cell in cells}) == 720


def test_a_longer_plan_begins_with_the_shorter_and_seeds_differ() -> None:
    short, long = plan_cells(options(documents=50), 7), plan_cells(options(documents=90), 7)
    assert long[:50] == short
    assert [cell.situation for cell in plan_cells(options(documents=50), 8)] != [cell.situation for cell in short]
    assert cells_from(cells_table(short)) == short


def test_the_composer_is_planned_for_what_it_has_plans_for() -> None:
    cells = plan_cells(Synthesis(documents=400), 7)
    compositions = load_compositions()
    for cell in cells:
        difficulty, dimensions, quiet, *_ = compositions[cell.situation]["plans"][cell.composition or 0]
        assert (cell.difficulty, cell.quiet) == (difficulty, quiet)
        assert set(dimensions.split()) & set(cell.dimensions)
    assert {cell.virtue for cell in cells} == set(load_grid().virtues)
    assert {cell.situation for cell in cells} == set(load_grid().situations)


def test_weights_decide_how_often_a_virtue_is_planned() -> None:
    weights = dict.fromkeys(load_grid().virtues, 1.0) | {"stewardship": 5.0}
    counts = Counter(cell.virtue for cell in plan_cells(options(documents=400), 7, weights=weights))
    assert counts["stewardship"] == 5 * counts["reasoning"]


def test_what_a_corpus_lacks() -> None:
    def row(weight: float, **scores: float) -> dict[str, object]:
        return {"prosocial": {name: scores.get(name, 0.0) for name in PROSOCIAL}, "tokens": 100, "weight": weight}

    table = pa.Table.from_pylist(
        [row(1.0, reasoning=0.9), row(3.0, reasoning=0.9, curiosity=0.6), row(0.0, nuance=1.0)]
    )
    wanted = lacking([table])
    assert wanted["reasoning"] < wanted["curiosity"] < wanted["nuance"]
    assert wanted["curiosity"] / wanted["reasoning"] == pytest.approx(2, rel=1e-4)
    assert wanted["nuance"] == wanted["stewardship"]
    assert sum(wanted.values()) / len(wanted) == pytest.approx(1, abs=1e-4)


def test_seeds_are_used_once_and_bounded() -> None:
    made = options(
        documents=30, kinds={"recontextualised": 1}, max_documents_per_seed_source=20,
        seeds=[{"name": "a", "paths": ["x"]}, {"name": "b", "paths": ["y"]}],
    )  # fmt: skip
    cells = plan_cells(made, 7, {"a": 100, "b": 100})
    used = [(cell.seed_source, cell.seed) for cell in cells]
    assert len(set(used)) == 30
    with pytest.raises(RecipeError, match="seeds give 25 documents"):
        plan_cells(made, 7, {"a": 100, "b": 5})
