"""`florilegium weigh`: other charters over documents that are scored already."""

from collections.abc import Sequence
from pathlib import Path

from ..schemas.errors import RecipeError, RunError
from .engines import Engine
from .phases import RUN_INDEX, Outcome, execute
from .plan import open_run, plan_reweighing
from .progress import SILENT, Listener
from .recipes import override_recipe
from .weighing.charters import resolve_charters

__all__ = ["parse_charters", "reweigh"]


def reweigh(
    run_url: str,
    charters: str | None,
    output: str,
    overrides: Sequence[str],
    engine: Engine,
    listener: Listener = SILENT,
) -> Outcome:
    """Decide, weigh and write shards anew from a run's scored documents, into a folder of its own.

    `charters` is as in `parse_charters`, None for the run's own. The run's scoring must be finished.
    """
    run = open_run(run_url)
    if not run.folder.exists(RUN_INDEX):
        raise RunError(f"{run_url} is not scored to the end; finish it with the command that began it")
    recipe = override_recipe(run.recipe, overrides)
    if charters is None:
        return execute(plan_reweighing(run, recipe, run.charters), output, engine, listener)
    weighing, loaded = resolve_charters(recipe.weighing.model_copy(update={"charters": parse_charters(charters)}))
    recipe = override_recipe(recipe.model_copy(update={"weighing": weighing}), [])
    return execute(plan_reweighing(run, recipe, loaded), output, engine, listener)


def parse_charters(text: str) -> dict[str, float]:
    """`NAME=SHARE,NAME=SHARE`, or a folder whose charters (*.yaml) get equal shares."""
    folder = Path(text)
    if folder.is_dir():
        files = sorted(str(path) for path in folder.glob("*.yaml"))
        if not files:
            raise RecipeError(f"--charters {text}: no .yaml files in this folder")
        return {file: 1 / len(files) for file in files}
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, _, share = item.partition("=")
        try:
            shares[name.strip()] = float(share) if share else 1.0
        except ValueError:
            raise RecipeError(f"--charters {item!r}: write NAME=SHARE with a number, for example care=0.5") from None
    return shares
