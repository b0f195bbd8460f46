"""From a recipe to accounted files, and into the shards of a run."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.synthesis.generate import plan_synthesis, synthesize, with_synthetic_inputs
from florilegium.pipelines.validation import validate
from florilegium.schemas.errors import InputError, OutputError, RecipeError, RunError, TaskError
from florilegium.schemas.recipe import Recipe


def made(documents: int = 60, **values: Any) -> Recipe:
    return Recipe.model_validate({"name": "made", "seed": 3, "synthesis": {"documents": documents}, **values})


def posts(folder: Path) -> list[dict[str, Any]]:
    words = [
        "the",
        "river",
        "rose",
        "in",
        "the",
        "night",
        "and",
        "we",
        "carried",
        "what",
        "we",
        "could",
        "to",
        "the",
        "upper",
        "floor",
        "while",
        "the",
        "neighbours",
        "called",
        "out",
        "to",
        "each",
        "other",
        "about",
        "boats",
        "bread",
        "lamps",
        "and",
        "the",
        "old",
        "dog",
        "that",
        "would",
        "not",
        "leave",
        "the",
        "yard",
        "until",
        "morning",
        "came",
    ]
    rows = [
        {"id": f"p{n}", "text": " ".join(words[(n * k + k) % len(words)] for k in range(1, 90)) + f" number {n}."}
        for n in range(120)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "posts.parquet")
    return [{"name": "posts", "paths": [str(folder / "posts.parquet")], "language": "en"}]


def run(recipe: Recipe, place: Path) -> Outcome:
    engine = load_engine("local", 1)
    whole = with_synthetic_inputs(recipe, str(place), engine)
    return execute(plan_run(whole), str(place), engine)


def policy() -> dict[str, Any]:
    return {"min_language_confidence": None, "max_duplicate_lines": None}


@pytest.mark.parametrize("lost", [("seeds.parquet",), ("plan.parquet", "ledger.json", "report.md")])
def test_bytes_do_not_depend_on_tasks_or_on_lost_files(lost: tuple[str, ...], tmp_path: Path) -> None:
    def files(place: Path) -> dict[str, bytes]:
        found = {}
        for status in ("accepted", "refused"):
            for path in sorted((place / "synthetic" / status).glob("*.parquet")):
                found[f"{status}/{path.name}"] = path.read_bytes()
        return found

    synthesize(plan_synthesis(made()), str(tmp_path / "one"), load_engine("local", 1))
    few = made().model_copy(update={"synthesis": made().synthesis.model_copy(update={"task_documents": 60})})  # type: ignore[union-attr]
    synthesize(plan_synthesis(few), str(tmp_path / "two"), load_engine("local", 1))
    first = files(tmp_path / "one")
    assert first.keys() >= {"accepted/synthetic.composer-00000.parquet"}
    assert files(tmp_path / "two") == first
    for path in [path for path in (tmp_path / "one/synthetic").rglob("*") if path.is_file()]:
        if path.parent.name in ("drafts", "accepted") or path.name in lost:
            path.unlink()
    synthesize(plan_synthesis(made()), str(tmp_path / "one"), load_engine("local", 1))
    assert files(tmp_path / "one") == first


def test_a_damaged_file_is_named_and_can_be_deleted(tmp_path: Path) -> None:
    synthesize(plan_synthesis(made(20)), str(tmp_path), load_engine("local", 1))
    before = (tmp_path / "synthetic/ledger.json").read_bytes()
    draft = tmp_path / "synthetic/drafts/00000.parquet"
    content = bytearray(draft.read_bytes())
    content[100:200] = bytes(100)
    draft.write_bytes(content)  # as long as it was
    with pytest.raises(RunError, match=r"drafts/00000\.parquet is damaged .*delete it"):
        synthesize(plan_synthesis(made(20)), str(tmp_path), load_engine("local", 1))
    draft.unlink()
    synthesize(plan_synthesis(made(20)), str(tmp_path), load_engine("local", 1))
    assert (tmp_path / "synthetic/ledger.json").read_bytes() == before


def test_the_report_says_what_claims_are_compared_with(tmp_path: Path) -> None:
    synthesize(plan_synthesis(made(20)), str(tmp_path), load_engine("local", 1))
    claims = json.loads((tmp_path / "synthetic/report.json").read_text())["claims"]
    assert sum(claim["documents"] for claim in claims.values()) == 20
    assert all(0 < claim["share_no_higher"] <= 1 for claim in claims.values())
    name, claim = next(iter(claims.items()))
    report = (tmp_path / "synthetic/report.md").read_text()
    assert "| of the composer's dialogues, that score no higher |" in report
    assert f"| {name} | {claim['documents']} | {claim['share_no_higher']:.0%} |" in report


def test_another_plan_is_refused(tmp_path: Path) -> None:
    synthesize(plan_synthesis(made(20)), str(tmp_path), load_engine("local", 1))
    with pytest.raises(OutputError, match="holds another run"):
        synthesize(plan_synthesis(made(21)), str(tmp_path), load_engine("local", 1))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_the_weighed_corpus_holds_the_share_asked_for(share: float, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(
        {
            "name": "mixed", "seed": 3, "inputs": posts(tmp_path), "policy": policy(),
            "synthesis": {"documents": 60, "allow_composer": True},
            "weighing": {"synthetic": {"share": share}, "charters": {"uniform": 0.6, "inquiry": 0.4}},
        }
    )  # fmt: skip
    outcome = run(recipe, tmp_path / "run")
    rows = pa.concat_tables(pq.read_table(path) for path in (tmp_path / "run/shards").glob("*.parquet")).to_pylist()
    mass = {
        kind: sum(row["weight"] * row["tokens"] for row in rows if row["synthetic"] is kind) for kind in (True, False)
    }
    assert mass[True] / (mass[True] + mass[False]) == pytest.approx(share, abs=0.001)
    assert {row["domain"] for row in rows if row["synthetic"]} == {"synthetic.composer"}
    assert outcome.ledger.generated == {"synthetic.composer": 60 - _left_out(tmp_path / "run")}
    assert not any(check.faults for check in validate(str(tmp_path / "run")))
    ids = {row["id"]: row for row in pq.read_table(tmp_path / "run/synthetic/accepted").to_pylist()}
    assert all(row["source_id"] in ids for row in rows if row["synthetic"])


def _left_out(place: Path) -> int:
    ledger = json.loads((place / "synthetic/ledger.json").read_text())
    return sum(ledger["refused"].values()) + sum(ledger["failed"].values())


def test_the_composer_stays_out_unless_it_is_allowed(tmp_path: Path) -> None:
    recipe = Recipe.model_validate(
        {"name": "mixed", "inputs": posts(tmp_path), "policy": policy(), "synthesis": {"documents": 20}}
    )
    outcome = run(recipe, tmp_path / "run")
    generated = outcome.ledger.generated["synthetic.composer"]
    assert outcome.ledger.reasons["synthesis.composer"] == {"synthetic.composer": generated}
    shards = [pq.read_table(path) for path in (tmp_path / "run/shards").glob("*.parquet")]
    assert not any(pa.concat_tables(shards)["synthetic"].to_pylist())


def test_synthetic_files_must_be_declared(tmp_path: Path) -> None:
    synthesize(plan_synthesis(made(10)), str(tmp_path), load_engine("local", 1))
    accepted = str(tmp_path / "synthetic/accepted/*.parquet")
    with pytest.raises(InputError, match="its documents are synthetic"):
        plan_run(Recipe.model_validate({"name": "x", "inputs": [{"name": "mine", "paths": [accepted]}]}))
    declared = {"name": "mine", "paths": [accepted], "synthetic": {"backend": "composer"}}
    with pytest.raises(RecipeError, match="inputs that are not synthetic"):
        plan_run(Recipe.model_validate({"name": "x", "inputs": [declared]}))


def test_a_synthetic_file_among_others_is_found_when_it_is_read(tmp_path: Path) -> None:
    synthesize(plan_synthesis(made(10)), str(tmp_path), load_engine("local", 1))
    (tmp_path / "posts.parquet").unlink(missing_ok=True)
    posts(tmp_path)
    (tmp_path / "synthetic/accepted/synthetic.composer-00000.parquet").rename(tmp_path / "zz.parquet")
    recipe = Recipe.model_validate({"name": "x", "inputs": [{"name": "mine", "paths": [f"{tmp_path}/*.parquet"]}]})
    plan = plan_run(recipe)
    with pytest.raises(TaskError, match="its documents are synthetic"):
        execute(plan, str(tmp_path / "run"), load_engine("local", 1))


def test_for_a_run_plans_what_it_lacks(tmp_path: Path) -> None:
    natural = Recipe.model_validate({"name": "n", "inputs": posts(tmp_path), "policy": policy()})
    execute(plan_run(natural), str(tmp_path / "run"), load_engine("local", 1))
    evenly, filling = plan_synthesis(made(200)), plan_synthesis(made(200), str(tmp_path / "run"))
    assert [cell.virtue for cell in evenly.cells] != [cell.virtue for cell in filling.cells]
    assert filling.corpus is not None
    assert len(filling.corpus.buckets) > 0


def test_the_shipped_recipe_has_constitutions() -> None:
    plan = plan_synthesis(load_recipe("dialogues", ["synthesis.documents=80"]))
    assert {cell.charter for cell in plan.cells} == set(plan.charters)
    assert len(plan.charters) == 8


@pytest.mark.parametrize(
    ("synthesis", "told"),
    [
        ({"kinds": {"recontextualised": 1}}, "needs `synthesis.seeds`"),
        ({"dimensions": ["kindnes"]}, "unknown 'kindnes'"),
        ({"backends": [{"name": "x"}]}, "give the others `endpoint`"),
        ({"backends": [{"name": "x", "endpoint": "http://localhost/v1"}]}, "give `model`"),
        ({"documents": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_recipes_are_told(synthesis: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(json.dumps({"name": "wrong", "synthesis": synthesis}))
    with pytest.raises(RecipeError, match=told):
        load_recipe(str(path))
