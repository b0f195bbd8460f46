"""`florilegium shell`: questions about a run, one after the other, until `.quit` or the end of input.

Nothing is remembered on disk, neither questions nor answers.
"""

import contextlib
import sys
from collections.abc import Callable
from typing import Any, TextIO

import duckdb

from ...schemas.errors import FlorilegiumError, RunError
from .examples import EXAMPLES
from .glance import Glance, glance
from .query import ask, print_table
from .views import VIEWS, open_views

__all__ = ["converse"]

HELP = "End a question with ; · .views lists the views · .examples shows ten questions · .1 … .10 ask them · .quit"
_KINDS = duckdb.StatementType
_ALLOWED = (_KINDS.SELECT, _KINDS.EXPLAIN, _KINDS.CREATE, _KINDS.DROP)  # views of one's own live in memory


def converse(
    url: str, source: TextIO = sys.stdin, target: TextIO = sys.stdout, say: Callable[[str], None] = print
) -> int:
    """Ask and answer until the input ends; returns how many questions failed."""
    found, connection = _opened(url)
    for fault in found.faults:
        say(fault)
    interactive = source.isatty()
    if interactive:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 (gives `input` its line editing)
        target.write(f"{url}: {', '.join(VIEWS)}\n{HELP}\n")
    failures = 0
    with connection:
        waiting = ""
        while (typed := _read(source, interactive, "run> " if not waiting else " …   ")) is not None:
            if not waiting and typed.strip().startswith("."):
                if typed.strip() in (".quit", ".exit"):
                    break
                failures += _command(connection, typed.strip(), target, say)
                continue
            waiting += typed + "\n"
            if waiting.rstrip().endswith(";"):
                failures += _question(connection, waiting, target, say)
                waiting = ""
        if waiting.strip():
            failures += _question(connection, waiting, target, say)
    return failures


def _opened(url: str) -> tuple[Glance, Any]:
    """What is whole of the run, and its views."""
    found = glance(url)
    try:
        return found, open_views(found)
    except RunError:
        from .survey import survey

        found = survey(url, thorough=True)
        return found, open_views(found)


def _read(source: TextIO, interactive: bool, prompt: str) -> str | None:
    if interactive:
        try:
            return input(prompt)
        except EOFError:
            return None
    read = source.readline()
    return read.rstrip("\n") if read else None


def _command(connection: Any, command: str, target: TextIO, say: Callable[[str], None]) -> int:
    name = command[1:]
    if name in ("views", "tables"):
        target.writelines(f"{view:<10} {about}\n" for view, about in VIEWS.items())
    elif name == "examples":
        target.writelines(f".{number:<3} {question}\n" for number, (question, _) in enumerate(EXAMPLES, 1))
    elif name.isdecimal() and 1 <= int(name) <= len(EXAMPLES):
        question, sql = EXAMPLES[int(name) - 1]
        target.write(f"-- {question}\n{sql};\n")
        return _question(connection, sql, target, say)
    elif name == "help":
        target.write(f"{HELP}\n")
    else:
        say(f"no such command: {command!r}. {HELP}")
        return 1
    return 0


def _question(connection: Any, sql: str, target: TextIO, say: Callable[[str], None]) -> int:
    try:
        statement = sql.strip().rstrip(";")
        if statement:
            print_table(ask(connection, statement, _ALLOWED), target)
    except FlorilegiumError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        connection.interrupt()
        say("stopped")
        return 1
    return 0
