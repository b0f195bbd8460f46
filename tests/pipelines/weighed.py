"""One small run for the tests of everything that comes after weighing: the embedded example."""

from pathlib import Path

from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe

__all__ = ["weighed_run"]


def weighed_run(folder: Path, *overrides: str) -> Outcome:
    """The quickstart recipe with overrides, run into `folder` by one process."""
    return execute(plan_run(load_recipe("quickstart", overrides)), str(folder), load_engine("local", 1))
