"""The command line. Results go to standard output (`--json` for machines), progress to standard error.

Exit codes: 0 done, 1 the run failed or does not balance, 2 the request was wrong. Heavy imports wait
until a command needs them, so that `florilegium --help` answers at once.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..schemas.errors import FlorilegiumError, RequestError
from .commands import charters as charter_commands
from .commands import classifiers, inspection
from .commands import estimate as estimate_command
from .commands import synthesis as synthesis_commands

__all__ = ["app", "main"]

INTERRUPTED = 130  # exit code

app = typer.Typer(
    name="florilegium",
    help="Gather, score and weigh what language models should read more of.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


RecipeArgument = Annotated[str, typer.Argument(help="A shipped recipe's name or a YAML file.", show_default=False)]
RunArgument = Annotated[str, typer.Argument(help="A run's folder or URL.", show_default=False)]
SetOption = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the recipe.")]
OutputOption = Annotated[
    str | None, typer.Option("--output", "-o", help="The run's folder or URL.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", "-w", min=1, help="Tasks at once; default: all cores, or what the cluster has."),
]
EngineOption = Annotated[
    str, typer.Option("--engine", "-e", help="Who runs the tasks: local, beam, ray, slurm or dataflow.")
]
EngineOptions = Annotated[
    list[str],
    typer.Argument(metavar="[-- OPTION]...", help="Options of the engine's own.", show_default=False),
]


DataflowOption = Annotated[
    str | None, typer.Option(help="For --engine dataflow.", rich_help_panel="Dataflow", show_default=False)
]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("florilegium"))
        raise typer.Exit


@app.command(
    epilog="Example:  florilegium run forum --set 'inputs.posts.paths=\\[posts/*.parquet]' -o runs/may   and, when "
    "more files have come:  florilegium run forum --set 'inputs.posts.paths=\\[posts/*.parquet]' --since runs/may "
    "-o runs/june   On a cluster:  florilegium run forum -o /shared/may --engine slurm --workers 200 -- "
    "--partition=cpu --mem=4G   or  florilegium run forum -o /shared/may --engine ray -- --address=auto"
)
def run(
    recipe: RecipeArgument,
    engine_options: EngineOptions = [],  # noqa: B006
    output: OutputOption = None,
    engine: EngineOption = "local",
    workers: WorkersOption = None,
    overrides: SetOption = [],  # noqa: B006 (Typer copies it)
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="RUN", help="Add new inputs to this run: what it scored is not scored again."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved plan with its splits and stop.")
    ] = False,
    as_json: JsonOption = False,
    project: DataflowOption = None,
    region: DataflowOption = None,
    temp_location: DataflowOption = None,
    sdk_container_image: DataflowOption = None,
) -> None:
    """Run a recipe: read, score, decide, weigh and write shards. The same command again goes on after a kill."""
    from .plan import plan_run
    from .recipes import load_recipe

    loaded = load_recipe(recipe, overrides)
    plan = plan_run(loaded, since)
    if dry_run:
        _print_plan(plan, as_json)
        return
    from .console import listen
    from .engines import CLUSTERS, load_engine
    from .phases import execute
    from .summary import summarize

    place = output or loaded.output.path or f"runs/{loaded.name}"
    cloud = [
        f"--{name}={value}"
        for name, value in {
            "project": project,
            "region": region,
            "temp_location": temp_location,
            "sdk_container_image": sdk_container_image,
        }.items()
        if value is not None
    ]
    with listen() as listener:
        number = workers or (None if engine in CLUSTERS else _cores(place))
        team = load_engine(engine, number, [*engine_options, *cloud])
        if loaded.synthesis is not None:
            from .synthesis.generate import with_synthetic_inputs

            plan = plan_run(with_synthetic_inputs(loaded, place, team, listener), since)
        outcome = execute(plan, place, team, listener)
    summarize(outcome, as_json)


@app.command(epilog="Example:  florilegium score posts.parquet --text-field body --output scores.parquet")
def score(
    inputs: Annotated[list[str], typer.Argument(help="Files, globs or URLs of documents.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The Parquet file to write.", show_default=False)],
    text_field: Annotated[str, typer.Option(help="The column or key that holds the text.")] = "text",
    id_field: Annotated[str, typer.Option(help="The column or key that holds the document's own id.")] = "id",
    model: Annotated[str, typer.Option(help="A shipped model's name or a folder.")] = "prosocial",
    harm: Annotated[
        str, typer.Option(metavar="NAME,…", help="Models that rank harms in other languages; '' for none.")
    ] = "harm-de,harm-zh",
    language: Annotated[str | None, typer.Option(help="Take this language instead of identifying it.")] = None,
) -> None:
    """Score documents: every input row comes back in its order, nothing is dropped."""
    from .console import listen
    from .score_files import score_files

    with listen() as listener:
        further = [name.strip() for name in harm.split(",") if name.strip()]
        rows = score_files(inputs, output, text_field, id_field, model, further, language, listener)
    print(f"{rows:,} documents scored: {output}")


@app.command()
def weigh(
    run_folder: RunArgument,
    charters: Annotated[
        str | None,
        typer.Option("--charters", help="A folder of charters, or NAME=SHARE,NAME=SHARE; default: the same."),
    ] = None,
    output: OutputOption = None,
    shards: Annotated[bool, typer.Option("--shards", help="Decide anew and write new shards and rejects too.")] = False,
    what_if: Annotated[
        list[str], typer.Option("--what-if", metavar="KEY=VALUE", help="Only print what this would change.")
    ] = [],  # noqa: B006
    workers: WorkersOption = None,
    overrides: SetOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Weigh a run's scored documents anew by other charters; nothing is scored again.

    Writes plan and side table id → weight; with --shards a whole run, where policy and domains may
    differ too. `--what-if share.care=0.5` prints who would get more and less, and writes nothing.
    """
    if what_if and (output is not None or shards):
        raise RequestError("--what-if writes nothing; leave out --output and --shards, or --what-if")
    place = output or f"{run_folder.rstrip('/')}-reweighed"
    if not shards or what_if:
        charter_commands.weigh_lightly(run_folder, charters, place, overrides, what_if, as_json)
        return
    from .console import listen
    from .engines import load_engine
    from .reweigh import reweigh
    from .summary import summarize

    with listen() as listener:
        engine = load_engine("local", workers or _cores(place))
        outcome = reweigh(run_folder, charters, place, overrides, engine, listener)
    summarize(outcome, as_json)


@app.command()
def validate(run_folder: RunArgument, as_json: JsonOption = False) -> None:
    """Check a run: schemas, checksums, order, ledger, and every weight against the plan."""
    from .validation import validate as check_run

    checks = check_run(run_folder)
    good = not any(check.faults for check in checks)
    if as_json:
        print(json.dumps({"valid": good, "checks": [vars(check) for check in checks]}, indent=2))
    else:
        for check in checks:
            print(f"{'ok ' if not check.faults else 'BAD'}  {check.name:<10} {check.looked_at:>12,} looked at")
            for fault in check.faults:
                print(f"     {fault}")
        print("The run is valid." if good else "The run is not valid.")
    if not good:
        raise typer.Exit(1)


charter_commands.register(app)
classifiers.register(app)
inspection.register(app)
synthesis_commands.register(app)
estimate_command.register(app)


def _print_plan(plan: Any, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        splits = [asdict(split) for split in plan.splits]
        print(json.dumps({**plan.manifest().model_dump(mode="json"), "splits": splits}, indent=2))
        return
    import yaml

    print(yaml.safe_dump(plan.recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True).rstrip())
    print(f"\n# {len(plan.splits)} splits, {sum(split.size for split in plan.splits) / 1e6:,.1f} MB")
    for split in plan.splits:
        end = split.stop if split.stop >= 0 else "end"
        print(f"#   {split.source}  {split.format:<8} {split.file} [{split.start}:{end}]  {split.size / 1e6:,.2f} MB")
    print(
        f"# charters: {', '.join(f'{name} {share:g}' for name, share in sorted(plan.recipe.weighing.charters.items()))}"
    )
    if plan.evaluation is not None:
        for entry in plan.evaluation.passages["set"].value_counts().to_pylist():
            print(f"# evaluation set {entry['values']}: {entry['counts']:,} passages to look for")
    for name, model in plan.models.items():
        print(f"# model of {name}: {model}")


def _cores(place: str) -> int:
    import os

    return 1 if place.startswith("memory:") else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def main() -> None:
    """Entry point: turns errors into a sentence and an exit code."""
    try:
        app()
    except FlorilegiumError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        from .storage import explain_os_error

        told = explain_os_error(error)
        _fail(str(told), told.exit_code)
    except SystemExit as ended:  # which Typer makes of KeyboardInterrupt
        if ended.code != INTERRUPTED:
            raise
        _fail("stopped; run the same command again to go on where it stopped", INTERRUPTED)


def _fail(sentence: str, code: int) -> None:
    kind = "request" if code == RequestError.exit_code else "run"
    print(f"florilegium: {kind} failed: {sentence}" if code == 1 else f"florilegium: {sentence}", file=sys.stderr)
    sys.exit(code)
