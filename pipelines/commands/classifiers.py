"""Commands about models: train, evaluate, audit, annotate, select, compare."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["register"]

ModelArgument = Annotated[str, typer.Argument(help="A shipped model's name or a folder.", show_default=False)]
DocumentsArgument = Annotated[list[str], typer.Argument(help="Files, globs or URLs of documents.", show_default=False)]
TextField = Annotated[str, typer.Option(help="The column or key that holds the text.")]
IdField = Annotated[str, typer.Option(help="The column or key that holds the document's own id.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SeedOption = Annotated[int, typer.Option(help="Of everything that is drawn by hash.")]
ResamplesOption = Annotated[int, typer.Option(min=20, help="Resamples of documents for the intervals.")]


def register(app: typer.Typer) -> None:
    """Add the commands, in the order in which somebody uses them."""
    app.command(epilog="Example:  florilegium train mine.yaml --data gold.parquet --output models/mine")(train)
    app.command(
        epilog="Example:  florilegium evaluate models/mine dev.parquet hate.yaml --baseline train.parquet -o report"
    )(evaluate)
    app.command(epilog="Example:  florilegium audit prosocial --output report")(audit)
    app.command(
        epilog="Example:  florilegium annotate posts.parquet --endpoint https://host/v1 --model NAME -o labels.parquet"
    )(annotate)
    app.command(
        epilog="Example:  florilegium select posts.parquet --count 200 --labelled gold.parquet -o next.parquet"
    )(select)
    app.command(epilog="Example:  florilegium compare prosocial models/mine --run runs/forum")(compare)


def train(
    config: Annotated[str, typer.Argument(help="A shipped configuration's name or a YAML file.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model's folder.", show_default=False)],
    data: Annotated[
        Path | None, typer.Option("--data", help="Annotated documents (Parquet); of a harm model, ordinary ones.")
    ] = None,
    sets: Annotated[Path, typer.Option("--sets", help="Folder of the configuration's `harm_sets`.")] = Path(),
    cache: Annotated[Path | None, typer.Option("--cache", help="A folder that keeps what an encoder read.")] = None,
    curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve",
            help="Train on a quarter, half and all instead, and write learning_curve.json and .md, no model.",
        ),
    ] = False,
    pseudo: Annotated[
        Path | None, typer.Option("--pseudo", help="Pseudo-labels of the configuration's `distillation` (Parquet).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model from annotated documents: same data and configuration, same bytes."""
    from ...classifiers.train import config_path, read_config, train_any
    from ...schemas.errors import InputError

    path = config_path(config)
    if curve:
        if data is None:
            raise InputError(f"{path}: a learning curve needs annotated documents; name their file with --data")
        from ...classifiers.learning_curve import learning_curve, render_learning_curve

        with _busy() as say:
            result = learning_curve(read_config(path), data, sets, lambda line: say(line[:1].upper() + line[1:]))
        _report(result, render_learning_curve(result), "learning_curve", output, as_json)
        return
    with _busy() as say:
        header = train_any(path, data, output, sets, lambda line: say(line[:1].upper() + line[1:]), cache, pseudo)
    if as_json:
        print(json.dumps(header["metrics"], indent=1))
        return
    print(f"{output}: {header['name']} {header['version']}, digest {header['digest']}")
    if header.get("kind") == "harm":
        print("ROC-AUC on the test split of the sets:")
        figures = {
            name.replace(">=", " ≥ "): measured["roc_auc"]["value"] for name, measured in header["metrics"].items()
        }
    else:
        natural = header["metrics"]["natural"]
        print(f"Held out, {natural['rows']:,} rows of the natural pool:")
        figures = {name.replace("_", " "): value for name, value in natural.items() if name not in ("rows", "outputs")}
    for name, value in figures.items():
        print(f"  {name:<32}{'–' if value is None else f'{value:.3f}'}")
    print(f"Its card: {output / 'README.md'}")


def evaluate(
    model: ModelArgument,
    data: Annotated[
        list[Path], typer.Argument(help="Annotated documents, labelled sets or suites.", show_default=False)
    ],
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="The rows that the model was trained on: TF-IDF with ridge, trained on them, runs beside it."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Rows of labelled sets: train, dev, test or all.")] = "test",
    resamples: ResamplesOption = 500,
    seed: SeedOption = 7,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder for evaluation.json and evaluation.md.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a model: ranks, calibration, intervals, by source and by functional test."""
    from ...classifiers import load
    from ...classifiers.evaluate import evaluate as measure
    from ...classifiers.evaluate import render_evaluation

    with _busy() as say:
        result = measure(load(model), data, baseline, split=split, resamples=resamples, seed=seed, say=say)
    _report(result, render_evaluation(result), "evaluation", output, as_json)


def audit(
    model: ModelArgument,
    resamples: ResamplesOption = 500,
    seed: SeedOption = 7,
    raw: Annotated[bool, typer.Option("--raw", help="Score texts as they are, not normalised as in a run.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A folder for audit.json and audit.md.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Who pays for a model's mistakes: dialects, identities, innocent mentions; and who can play it."""
    from ...classifiers.audit import audit as examine
    from ...classifiers.audit import render_audit
    from ...classifiers.harm_model import load_scorer

    with _busy() as say:
        say(f"Audit {model}")
        result = examine(load_scorer(model), None if raw else _normalised, resamples=resamples, seed=seed)
    _report(result, render_audit(result), "audit", output, as_json)


def annotate(
    documents: DocumentsArgument,
    endpoint: Annotated[
        str, typer.Option(help="An OpenAI-compatible endpoint, such as https://host/v1.", show_default=False)
    ],
    model: Annotated[str, typer.Option(help="The model as the endpoint calls it.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The Parquet file of labels.", show_default=False)],
    double: Annotated[float, typer.Option(min=0, max=1, help="The share of documents that is read twice.")] = 0.1,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Requests at a time.")] = 4,
    attempts: Annotated[int, typer.Option(min=1, help="Tries before a document is given up.")] = 6,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 60.0,
    price_in: Annotated[float | None, typer.Option(min=0, help="Price of a million prompt tokens.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Price of a million answered tokens.")] = None,
    ship: Annotated[bool, typer.Option("--ship", help="These texts may train weights that are released.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and ask nothing.")] = False,
    text_field: TextField = "text",
    id_field: IdField = "id",
    seed: SeedOption = 7,
    as_json: JsonOption = False,
) -> None:
    """Label documents with the rubric by a large language model. The key comes from FLORILEGIUM_API_KEY alone.

    The same command again goes on where it stopped.
    """
    from dataclasses import asdict

    from ...classifiers.annotate import annotate as label
    from ...classifiers.annotate import estimate
    from ...classifiers.chat import Chat
    from .documents import read_documents

    chat = Chat(endpoint, model, timeout=timeout, attempts=attempts, seed=seed)
    table = read_documents(documents, text_field, id_field)
    if dry_run:
        prices = None if price_in is None and price_out is None else (price_in or 0.0, price_out or 0.0)
        _print_figures(estimate(table, double, seed, prices), as_json)
        return
    with _counting("Label") as advance:
        done = label(table, chat, output, double=double, seed=seed, parallel=parallel, ship=ship, advance=advance)
    _print_figures(asdict(done), as_json)
    if done.failed:
        raise typer.Exit(1)


def select(
    documents: DocumentsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The Parquet file to write.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, help="How many documents.")] = 100,
    model: Annotated[str, typer.Option(help="A shipped model's name or a folder.")] = "prosocial",
    strategies: Annotated[
        str, typer.Option(metavar="NAME=SHARE,…", help="Parts drawn at random, as rare, uncertain and diverse.")
    ] = "random=1,rare=1,uncertain=1,diverse=1",
    labelled: Annotated[list[Path], typer.Option(help="Parquet files whose texts have labels already.")] = [],  # noqa: B006 (Typer copies it)
    text_field: TextField = "text",
    id_field: IdField = "id",
    seed: SeedOption = 7,
    as_json: JsonOption = False,
) -> None:
    """Choose what to label next: a fair sample, likely positives of what is rare, doubtful ones, unlike ones."""
    from collections import Counter

    import pyarrow.parquet as pq

    from ...classifiers.harm_model import load_scorer
    from ...classifiers.select import select as choose
    from ..reweigh import parse_charters
    from .documents import read_documents

    with _busy() as say:
        table = read_documents(documents, text_field, id_field)
        say(f"Choose {count} of {table.num_rows:,} documents")
        known = [text for path in labelled for text in _texts(path)]
        chosen = choose(table, load_scorer(model), count, shares=parse_charters(strategies), known=known, seed=seed)
        pq.write_table(chosen, output, compression="zstd")
    drawn = Counter(chosen["sampling"].to_pylist())
    _print_figures({"documents": chosen.num_rows, "output": str(output), "sampling": dict(drawn)}, as_json)


def compare(
    old: Annotated[str, typer.Argument(help="A shipped model's name or a folder.", show_default=False)],
    new: Annotated[str, typer.Argument(help="A shipped model's name or a folder.", show_default=False)],
    run: Annotated[str, typer.Option("--run", help="A scored run's folder or URL.", show_default=False)],
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """What a new model would change in a run: decisions flipped, reasons, weight moved by domain and dimension."""
    from ..compare import compare as examine
    from ..compare import render_comparison
    from ..console import listen
    from ..engines import load_engine

    with listen() as listener:
        result = examine(run, old, new, load_engine("local", workers), listener)
    print(json.dumps(result, indent=2) if as_json else render_comparison(result))


def _normalised(texts: Any) -> list[str]:
    """Texts as a run scores them: the stage `normalize` over records."""
    import pyarrow as pa

    from ...schemas.document import RECORD
    from ...schemas.recipe import NormalizeOptions
    from ..stages.normalize import Normalize

    rows = [
        {"source": "audit", "provenance": {"file": "", "offset": row}, "text": text, "flags": []}
        for row, text in enumerate(texts)
    ]
    stage = Normalize(NormalizeOptions())
    return stage.apply(pa.RecordBatch.from_pylist(rows, schema=RECORD))["text"].to_pylist()


def _texts(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    from ...schemas.errors import InputError

    try:
        return pq.read_table(path, columns=["text"])["text"].to_pylist()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as Parquet with a column `text` ({error})") from error


def _report(result: dict[str, Any], text: str, name: str, folder: Path | None, as_json: bool) -> None:
    """Print a result, and write it as JSON and Markdown where a folder is given."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
        (folder / f"{name}.md").write_text(text, "utf-8")
    print(json.dumps(result, indent=1, ensure_ascii=False) if as_json else text.rstrip())


def _print_figures(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures, indent=1, ensure_ascii=False))
        return
    for name, value in figures.items():
        title = name.replace("_", " ").capitalize()
        if isinstance(value, dict):
            print(title)
            for key, entry in value.items():
                print(
                    f"  {key}: {', '.join(f'{k} {v}' for k, v in entry.items()) if isinstance(entry, dict) else entry}"
                )
        else:
            print(f"{title:<20}{value:,}" if isinstance(value, int | float) else f"{title:<20}{value}")


@contextmanager
def _busy() -> Iterator[Callable[[str], None]]:
    """Says on standard error what goes on: a spinner with the seconds on a terminal, a line elsewhere."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda sentence: console.print(sentence, highlight=False, soft_wrap=True)
        return
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("")
        yield lambda sentence: progress.update(task, description=sentence)


@contextmanager
def _counting(what: str) -> Iterator[Callable[[int, int, int], None]]:
    """Shows done / wanted on standard error: a bar on a terminal, a line now and then elsewhere."""
    import time

    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(console=console) as progress:
            bar = progress.add_task(what, total=None)
            yield lambda done, wanted, failed: progress.update(
                bar, completed=done, total=wanted, description=f"{what} ({failed} failed)" if failed else what
            )
        return
    spoken = [time.monotonic()]

    def advance(done: int, wanted: int, failed: int) -> None:
        if done == wanted or time.monotonic() - spoken[0] > 10:
            spoken[0] = time.monotonic()
            console.print(f"{what}: {done}/{wanted}" + (f", {failed} failed" if failed else ""), highlight=False)

    yield advance
