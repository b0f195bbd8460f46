"""The commands that look into a run: query, shell, sql, report, export. They never change it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ...schemas.errors import RequestError

__all__ = ["register"]

RunArgument = Annotated[str, typer.Argument(help="A run's folder or URL.", show_default=False)]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the answer to this file.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(
        epilog="Example:  florilegium query runs/demo 'SELECT domain, sum(weight * tokens) FROM documents GROUP BY 1'"
    )(query)
    app.command(epilog="Example:  florilegium shell runs/demo")(shell)
    app.command(epilog="Example:  florilegium report runs/demo --against runs/demo-care")(report)
    app.command(
        epilog="Example:  florilegium export runs/demo --format tokens --tokenizer tokenizer.json -o runs/demo-tokens"
    )(export)
    app.command(epilog="Example:  florilegium sql runs/demo > views.sql && duckdb -init views.sql")(sql)


def query(
    run_folder: Annotated[str | None, typer.Argument(help="A run's folder or URL.", show_default=False)] = None,
    question: Annotated[
        str | None,
        typer.Argument(metavar="SQL", help="One SELECT; - reads standard input.", show_default=False),
    ] = None,
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv, json or parquet.")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: OutputOption = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows that a table shows; 0 for all.")] = 40,
    examples: Annotated[bool, typer.Option("--examples", help="Print ten useful questions with their SQL.")] = False,
    example: Annotated[
        int | None, typer.Option("--example", min=1, max=10, help="Ask one of them by its number.", show_default=False)
    ] = None,
) -> None:
    """Ask a run anything in SQL (DuckDB): documents, rejects, scores, weights, charters, ledger and more.

    Views: documents, rejects, scores, weights, charters, budgets, clusters, synthetic, ledger, splits;
    DESCRIBE documents shows the columns of one. A run is only read: nothing that is asked can change it.
    """
    from ..inspection.examples import EXAMPLES

    if examples:
        for number, (words, statement) in enumerate(EXAMPLES, 1):
            print(f"-- {number}. {words}\n{statement};\n")
        return
    if run_folder is None:
        raise RequestError("name a run, for example: florilegium query runs/demo 'SELECT count(*) FROM documents'")
    asked = EXAMPLES[example - 1][1] if example is not None else question
    if asked is None:
        raise RequestError("give a question in SQL, or --examples for ten of them")
    from ..inspection.query import answer

    statement = sys.stdin.read() if asked == "-" else asked
    rows = answer(run_folder, statement, "json" if as_json else form, output, limit, _say)
    if output is not None:
        print(f"{rows:,} rows: {output}")


def shell(run_folder: RunArgument) -> None:
    """Ask a run one question after the other, with line editing."""
    from ..inspection.shell import converse

    failures = converse(run_folder, say=_say)
    if failures and not sys.stdin.isatty():
        raise typer.Exit(RequestError.exit_code)


def sql(run_folder: RunArgument) -> None:
    """Print the views' definitions, for plain duckdb or any other tool that speaks its SQL."""
    from ..inspection.glance import glance
    from ..inspection.views import view_definitions

    found = glance(run_folder)
    for fault in found.faults:
        _say(fault)
    print("\n\n".join(view_definitions(found)))


def report(
    run_folder: RunArgument,
    against: Annotated[str | None, typer.Option(help="Another run to compare with.", show_default=False)] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="A folder or URL; default: the run's report/.", show_default=False),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="CSV of texts that ought to fare alike (kind, left, right); default: the shipped pairs."),
    ] = None,
) -> None:
    """Write the run's report: index.html to look at, README.md (a data set card), croissant.json."""
    from ..fairness import read_pairs
    from ..inspection.report.write import FILES, write_report

    folder, faults = write_report(run_folder, against, output, None if pairs is None else read_pairs(pairs))
    for fault in faults:
        _say(fault)
    print(" · ".join(folder.address(name) for name in FILES))


def export(
    run_folder: RunArgument,
    form: Annotated[str, typer.Option("--format", "-f", help="jsonl, materialized or tokens.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The export's folder or URL.", show_default=False)
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer.json or a name on the Hugging Face hub.", show_default=False)
    ] = None,
    end_of_text: Annotated[
        str | None, typer.Option(help="The token to put after each document.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write the corpus for trainers that cannot weigh: JSON lines, spread copies (Parquet), or tokens."""
    import json

    from ..console import listen
    from ..inspection.export import export as write_export

    place = output or f"{run_folder.rstrip('/')}-{form}"
    with listen() as listener:
        described = write_export(run_folder, form, place, tokenizer, end_of_text, listener)
    if as_json:
        print(json.dumps({"export": place, **described}, indent=2))
    else:
        rows = sum(file["rows"] for file in described["files"])
        print(f"{rows:,} documents in {len(described['files'])} files: {place}")


def _say(sentence: str) -> None:
    from ..inspection.harmless import visible

    print(f"florilegium: {visible(sentence)}", file=sys.stderr)
