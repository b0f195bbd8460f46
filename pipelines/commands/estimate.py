"""The command `estimate`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ...schemas.errors import RequestError

__all__ = ["register"]

PRICES = ("vcpu_hour", "thousand_reads", "thousand_writes", "gigabyte_month")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog="Example:  florilegium estimate common_crawl --vcpu-hour 0.05 --thousand-reads 0.0004 --json")(
        estimate
    )


def estimate(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name or a YAML file.", show_default=False)],
    sample_mb: Annotated[float, typer.Option(min=0.001, help="About so much of the input is run for real.")] = 32.0,
    vcpu_hour: Annotated[float | None, typer.Option(min=0, help="Price of a vCPU for an hour.")] = None,
    thousand_reads: Annotated[float | None, typer.Option(min=0, help="Price of 1,000 reads of a store.")] = None,
    thousand_writes: Annotated[float | None, typer.Option(min=0, help="Price of 1,000 writes and listings.")] = None,
    gigabyte_month: Annotated[float | None, typer.Option(min=0, help="Price of a stored GB for a month.")] = None,
    prices: Annotated[Path | None, typer.Option(help="A YAML file with these prices by name.")] = None,
    overrides: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe.")] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a sample of a recipe's input and print what a terabyte would take: vCPU hours, tasks, requests, bytes."""
    from ..estimate import Prices
    from ..estimate import estimate as measure
    from ..plan import plan_run
    from ..recipes import load_recipe

    given = dict(zip(PRICES, (vcpu_hour, thousand_reads, thousand_writes, gigabyte_month), strict=True))
    values = _from_file(prices) | {name: value for name, value in given.items() if value is not None}
    found = measure(plan_run(load_recipe(recipe, overrides)), int(sample_mb * 1e6), Prices(**values))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    _print(found, bool(values))


def _from_file(path: Path | None) -> dict[str, float]:
    if path is None:
        return {}
    import yaml

    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise RequestError(f"--prices {path}: cannot be read ({error})") from error
    if not isinstance(values, dict) or not set(values) <= set(PRICES):
        raise RequestError(f"--prices {path}: give numbers by these names: {', '.join(PRICES)}")
    wrong = [name for name, value in values.items() if not isinstance(value, int | float) or value < 0]
    if wrong:
        raise RequestError(f"--prices {path}: {wrong[0]} is no price; give a number of 0 or more")
    return values


def _print(found: dict[str, Any], priced: bool) -> None:
    measured, rates = found["measured"], found["rates"]
    print(
        f"{found['recipe']}: {measured['input_bytes'] / 1e6:,.2f} MB in {measured['splits']} splits were run; "
        f"{rates['cpu_seconds_per_mb']:,.2f} CPU seconds and {sum(rates['written_per_input'].values()):,.2f} MB "
        "written for each MB read"
    )
    for title, scaled in (("1 TB of it", found["per_terabyte"]), ("the whole input", found["input"])):
        print(f"\n{title}: {scaled['input_bytes'] / 1e9:,.2f} GB")
        print(f"  {scaled['vcpu_hours']:>18,.1f}  vCPU hours")
        print(f"  {scaled['tasks']['score']:>18,}  splits to score, {scaled['tasks']['ranges']:,} ranges of keys")
        if scaled["merge_levels"]:
            print(f"  {scaled['tasks']['merge']:>18,}  tasks that merge, {scaled['merge_levels']} levels")
        print(f"  {scaled['files']:>18,}  files, {scaled['written_bytes'] / 1e9:,.1f} GB")
        print(f"  {scaled['reads']:>18,}  reads and {scaled['writes']:,} writes of a store, as modelled")
        if priced:
            costs = scaled["costs"]
            print("  " + ", ".join(f"{name.replace('_', ' a ')} {cost:,.2f}" for name, cost in costs.items()))
