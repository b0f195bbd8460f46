"""The late, small dose as it ships: it runs on the embedded example and spends what it is given."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.progress import SILENT
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.synthesis.generate import with_synthetic_inputs
from florilegium.pipelines.validation import validate
from florilegium.schemas.errors import RecipeError
from florilegium.schemas.taxonomy import HARMS


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    recipe = load_recipe("midtraining", ["output.harm_tags.manipulation=0.02"])  # the example is gentle
    return execute(plan_run(recipe), str(tmp_path_factory.mktemp("runs") / "run"), load_engine("local", 1))


def test_it_spends_its_budget_between_natural_and_synthetic(finished: Outcome) -> None:
    assert finished.plan.spent == pytest.approx(finished.run.recipe.weighing.budget_tokens, rel=1e-9)
    assert list(finished.plan.domains) == ["natural", "synthetic"]
    assert all(domain.spent > 0 for domain in finished.plan.domains.values())
    assert not [fault for check in validate(finished.run.folder.url) for fault in check.faults]


def test_borderline_text_carries_its_tag(finished: Outcome) -> None:
    rows = pq.read_table(Path(finished.run.folder.url) / "shards").select(["harm", "flags"]).to_pylist()
    limits = finished.run.recipe.output.harm_tags
    tagged = 0
    for row in rows:
        over = {f"harm.{name}" for name in HARMS if round(row["harm"][name]["toxic"], 3) > limits[name]}
        assert over == {flag for flag in row["flags"] if flag.startswith("harm.")}
        tagged += bool(over)
    assert 0 < tagged < len(rows)


@pytest.mark.parametrize("change", ["weighing.budget_tokens=0", "weighing.charters.care=0", "weighing.epoch_cap=0"])
def test_budgets_of_zero_are_refused(change: str) -> None:
    with pytest.raises(RecipeError, match="greater than"):
        load_recipe("midtraining", [change])


def test_generated_documents_are_three_tenths_of_the_dose(tmp_path: Path) -> None:
    recipe = load_recipe("midtraining", ["synthesis={documents: 40, allow_composer: true}"])
    place, engine = str(tmp_path / "run"), load_engine("local", 1)
    plan = plan_run(with_synthetic_inputs(recipe, place, engine, SILENT))
    done = execute(plan, place, engine)
    assert done.plan.domains["synthetic.composer"].spent == pytest.approx(0.3 * recipe.weighing.budget_tokens, rel=1e-6)
    assert done.plan.spent == pytest.approx(recipe.weighing.budget_tokens, rel=1e-6)
