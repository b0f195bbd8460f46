"""The command `synthesize`."""

import json
from typing import Annotated, Any

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add `synthesize` to the command line."""
    app.command(
        epilog="Example:  florilegium synthesize dialogues -o runs/dialogues   and, by a model:  florilegium "
        "synthesize dialogues --set 'synthesis.backends=[{name: mine, endpoint: \"https://host/v1\", model: NAME}]'"
    )(synthesize)


def synthesize(
    recipe: Annotated[
        str, typer.Argument(help="A shipped recipe's name or a YAML file with `synthesis`.", show_default=False)
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The run's folder or URL.", show_default=False)
    ] = None,
    for_run: Annotated[
        str | None,
        typer.Option("--for", metavar="RUN", help="Favour what this run's weighed corpus lacks; avoid what it holds."),
    ] = None,
    engine: Annotated[str, typer.Option("--engine", "-e", help="Who runs the tasks.")] = "local",
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes.")] = 1,
    overrides: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the recipe.")
    ] = [],  # noqa: B006 (Typer copies it)
    samples: Annotated[int, typer.Option(min=0, help="Print so many accepted documents, chosen by hash.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is planned, and ask no model.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Generate synthetic documents, gate them, and account for each. The same command again goes on after a kill.

    Keys come from the environment alone (FLORILEGIUM_API_KEY, or a backend's `key_variable`).
    """
    from ..console import listen
    from ..engines import load_engine
    from ..recipes import load_recipe
    from ..synthesis.generate import plan_synthesis
    from ..synthesis.generate import synthesize as generate

    loaded = load_recipe(recipe, overrides)
    plan = plan_synthesis(loaded, for_run)
    if dry_run:
        _print_plan(plan, as_json)
        return
    place = output or loaded.output.path or f"runs/{loaded.name}"
    with listen() as listener:
        account = generate(plan, place, load_engine(engine, workers), listener)
    _print_account(account, samples, as_json)


def _print_plan(plan: Any, as_json: bool) -> None:
    from collections import Counter
    from dataclasses import asdict

    if as_json:
        print(json.dumps([asdict(cell) for cell in plan.cells], indent=1, ensure_ascii=False))
        return
    print(f"{len(plan.cells):,} documents")
    for axis in ("backend", "kind", "virtue", "situation", "relation", "difficulty", "quiet", "length", "charter"):
        counts = Counter(str(getattr(cell, axis) or "–") for cell in plan.cells)
        few = ", ".join(f"{name} {count}" for name, count in counts.most_common(4))
        print(f"{axis:<12}{len(counts):>4} values: {few}{' …' if len(counts) > 4 else ''}")


def _print_account(account: Any, samples: int, as_json: bool) -> None:
    totals = {name: account.total(name) for name in ("accepted", "refused", "failed")}
    if as_json:
        figures = {"folder": account.folder.url, "planned": sum(account.planned.values()), **totals}
        figures |= {"reasons": {reason: sum(counts.values()) for reason, counts in account.reasons.items()}}
        figures |= {name: getattr(account, name) for name in ("requests", "prompt_tokens", "completion_tokens", "cost")}
        print(json.dumps(figures | {"report": account.report}, indent=1, ensure_ascii=False))
        return
    print(f"Planned     {sum(account.planned.values()):>10,} documents")
    for name, count in totals.items():
        print(f"{name.capitalize():<12}{count:>10,}")
    for reason, counts in sorted(account.reasons.items(), key=lambda item: -sum(item[1].values())):
        print(f"            {sum(counts.values()):>10,} {reason}")
    figures = account.report["synthetic"]
    print(f"Vendi       {figures['vendi']:>10} of {figures['vendi_of']}, distinct-2 {figures['distinct_2']}, ", end="")
    print(f"self-BLEU {figures['self_bleu']}")
    reached = account.report["grid"]
    print("Grid        " + ", ".join(f"{axis} {entry['reached']}/{entry['values']}" for axis, entry in reached.items()))
    if account.requests:
        cost = "" if account.cost is None else f", cost {account.cost:,.2f}"
        print(f"Asked       {account.requests:>10,} times, {account.completion_tokens:,} tokens written{cost}")
    print(f"Look at     {account.folder.address('accepted')} · {account.folder.address('refused')} · report.md")
    _print_samples(account, samples)


def _print_samples(account: Any, samples: int) -> None:
    if not samples:
        return
    from ...schemas.hashing import raw_hash

    rows = []
    for name in account.folder.names("accepted/*.parquet"):
        with account.folder.open_parquet(name) as file:
            rows += file.read(columns=["id", "text", "cell", "backend"]).to_pylist()
    for row in sorted(rows, key=lambda row: raw_hash(row["id"].encode()))[:samples]:
        cell = row["cell"]
        print(f"\n— {cell['virtue']}, {cell['situation']}, {cell['difficulty']} ({row['backend']})\n\n{row['text']}")
