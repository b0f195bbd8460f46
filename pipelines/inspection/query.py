"""`florilegium query`: one question about a run, answered as a table, CSV, JSON or Parquet.

Rows stream from the database to the output; a table shows the first of them. What documents hold is
made harmless for where it goes (see `harmless`), apart from Parquet, which keeps values as they are.
"""

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

import duckdb
from rich.cells import cell_len, set_cell_size

from ...schemas.errors import FlorilegiumError, RequestError, RunError
from ..storage import Folder
from .glance import Glance, glance
from .harmless import cell, line, visible
from .views import open_views

__all__ = ["FORMATS", "Question", "answer", "ask", "print_table"]

FORMATS = ("table", "csv", "json", "parquet")
BATCH_ROWS = 2048
CELL_CHARACTERS = 400

_NUMBERS = (
    {"FLOAT", "DOUBLE", "DECIMAL"}
    | {f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")}
    | {"INTEGER", "UINTEGER", "BIGNUM"}
)
_QUESTIONS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


class Question:
    """An answered question: names of its columns, DuckDB's names of their types, and its rows, once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, has_rows: bool) -> None:
        described = connection.description or [] if has_rows else []
        self.names = [str(column[0]) for column in described]
        self.types = [str(column[1]) for column in described]
        self._connection = connection

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Rows as Python values, some at a time."""
        while self.names:
            try:
                rows = self._connection.fetchmany(BATCH_ROWS)
            except (duckdb.Error, OSError) as error:
                raise _complaint(error) from None
            if not rows:
                return
            yield from rows


def ask(connection: duckdb.DuckDBPyConnection, sql: str, allowed: tuple[Any, ...] = _QUESTIONS) -> Question:
    """Run one statement. RequestError where it is no question or wrong SQL, RunError where data is damaged."""
    statement = _statement(connection, sql, allowed)
    try:
        return Question(
            connection.execute(statement), statement.expected_result_type == [duckdb.ExpectedResultType.QUERY_RESULT]
        )
    except (duckdb.Error, OSError) as error:
        raise _complaint(error) from None


def _statement(connection: duckdb.DuckDBPyConnection, sql: str, allowed: tuple[Any, ...] = _QUESTIONS) -> Any:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise RequestError(_sentence(error)) from None
    if len(statements) != 1:
        raise RequestError(f"one question at a time; this holds {len(statements)}")
    if statements[0].type not in allowed:
        raise RequestError(
            "a run is only looked at, never changed: ask with SELECT, FROM, WITH, DESCRIBE, SUMMARIZE or EXPLAIN"
        )
    return statements[0]


def _complaint(error: Exception) -> FlorilegiumError:
    """A wrong question (RequestError), or a run that cannot be read (RunError)."""
    sentence = _sentence(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return RequestError(f"the answer needs more memory than there is; ask for less, or add a LIMIT ({sentence})")
    if isinstance(error, duckdb.PermissionException) or "PermissionError" in str(error) or "No files found" in sentence:
        return RequestError(f"only the run's own files can be read, and none be written ({sentence})")
    wrong = duckdb.ProgrammingError | duckdb.DataError | duckdb.NotSupportedError
    if isinstance(error, wrong) and not isinstance(error, duckdb.InvalidInputException):
        return RequestError(sentence)
    return RunError(f"the run cannot be read to the end ({sentence}); `florilegium validate` says what is damaged")


def answer(
    url: str,
    sql: str,
    form: str = "table",
    output: Path | None = None,
    limit: int = 40,
    say: Callable[[str], None] = lambda sentence: None,
) -> int:
    """Answer a question about the run at `url`, on standard output or in a file; returns the number of rows.

    What is damaged is left out, with a sentence to `say`; damage that only reading finds is looked for
    by checksum, and the question is asked once more without it, unless rows were shown already.
    """
    if form not in FORMATS:
        raise RequestError(f"--format {form}: choose one of {', '.join(FORMATS)}")
    if form == "parquet" and output is None:
        raise RequestError("--format parquet needs --output FILE")
    if output is not None:
        _refuse_inside(output, url)
    first = glance(url)
    try:
        return _answer(first, sql, form, output, limit, say)
    except RunError:
        from .survey import survey  # which takes longer to import than most questions to answer

        again = survey(url, thorough=True)
        again.faults = [fault for fault in again.faults if fault not in first.faults]
        if not again.faults or (output is None and form != "table"):
            for fault in again.faults:
                say(fault)
            raise
        return _answer(again, sql, form, output, limit, say)


def _answer(found: Glance, sql: str, form: str, output: Path | None, limit: int, say: Callable[[str], None]) -> int:
    for fault in found.faults:
        say(fault)
    with open_views(found) as connection:
        if form == "parquet":
            assert output is not None
            return _to_parquet(connection, sql, output)
        question = ask(connection, sql)
        with _text_output(output) as stream:
            return {"table": print_table, "csv": _to_csv, "json": _to_json}[form](question, stream, limit)


def print_table(question: Question, stream: TextIO, limit: int = 40) -> int:
    """A table of at most `limit` rows (0: all), each on one line, as wide as the terminal."""
    shown: list[tuple[Any, ...]] = []
    total = 0
    for row in question.rows():
        if not limit or total < limit:
            shown.append(row)
        elif total > limit * 1000:
            break
        total += 1
    columns = [[line(name), *(_shown(row[index]) for row in shown)] for index, name in enumerate(question.names)]
    room = shutil.get_terminal_size().columns if stream.isatty() else 160
    widths = _widths([max(map(cell_len, column)) for column in columns], room)
    numeric = [kind.split("(")[0] in _NUMBERS for kind in question.types]
    for row in zip(*columns, strict=True):
        cells = [_fitted(text, width, right) for text, width, right in zip(row, widths, numeric, strict=True)]
        stream.write("  ".join(cells).rstrip() + "\n")
    if total > len(shown):
        more = "more than " if total > limit * 1000 else ""
        stream.write(f"… {more}{total - len(shown):,} rows more; --limit 0 shows all, --format csv writes them\n")
    return total


def _widths(natural: list[int], room: int) -> list[int]:
    """Widths of columns that fit the room where they can: the widest ones give way, none below 8."""
    widths = list(natural)
    while sum(widths) + 2 * (len(widths) - 1) > room and max(widths, default=0) > 8:
        widths[widths.index(max(widths))] -= 1
    return widths


def _fitted(text: str, width: int, right: bool) -> str:
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1) + "…"
    padding = " " * (width - cell_len(text))
    return padding + text if right else text + padding


def _to_csv(question: Question, stream: TextIO, limit: int) -> int:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([cell(name) for name in question.names])
    count = 0
    for row in question.rows():
        writer.writerow([_csv_value(value) for value in row])
        count += 1
    return count


def _to_json(question: Question, stream: TextIO, limit: int) -> int:
    """An array with one line a row; every character outside ASCII and every control is escaped."""
    count = 0
    stream.write("[")
    for row in question.rows():
        values = dict(zip(question.names, row, strict=True))
        stream.write(",\n" if count else "\n")
        stream.write(json.dumps(values, default=_plain).replace("\x7f", "\\u007f"))
        count += 1
    stream.write("\n]\n" if count else "]\n")
    return count


def _to_parquet(connection: duckdb.DuckDBPyConnection, sql: str, output: Path) -> int:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetWriter

    statement = _statement(connection, sql)
    target = output.absolute()
    count = 0
    try:
        with (
            connection.sql(statement.query).to_arrow_reader(BATCH_ROWS) as batches,
            Folder(str(target.parent)).create(target.name) as stored,
            ParquetWriter(stored.path, batches.schema, compression="zstd") as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
                count += batch.num_rows
    except (duckdb.Error, ArrowException) as error:
        raise _complaint(error) from None
    return count


@contextmanager
def _text_output(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    target = output.absolute()
    with (
        Folder(str(target.parent)).create(target.name) as stored,
        stored.path.open("w", encoding="utf-8", newline="") as stream,
    ):
        yield stream


def _refuse_inside(output: Path, url: str) -> None:
    run = Folder(url)
    if run.is_local and output.resolve().is_relative_to(Path(run.root).resolve()):
        raise RequestError(f"--output {output} lies inside the run, which is never changed; choose another place")


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return line(value, CELL_CHARACTERS)
    if isinstance(value, list | tuple | dict):
        return line(_compact(value)[:CELL_CHARACTERS])
    return line(str(value), CELL_CHARACTERS)


def _compact(value: Any) -> str:
    """Nested values as people write them: {charter: care, weight: 1.2}."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_compact(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_compact(item) for item in value[:50]) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _csv_value(value: Any) -> Any:
    if isinstance(value, str):
        return cell(value)
    if isinstance(value, list | tuple | dict):
        return visible(json.dumps(value, default=_plain, ensure_ascii=False))
    return value if isinstance(value, int | float | Decimal) or value is None else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return float(value) if isinstance(value, Decimal) else str(value) if isinstance(value, timedelta) else repr(value)


def _sentence(error: Exception) -> str:
    """What the database says, without its own address of the file and without what a reader cannot see."""
    told = str(error).split("Stack Trace")[0].strip() or type(error).__name__
    return visible(told.splitlines()[-1] if told.startswith("Traceback") else told[:2000])
