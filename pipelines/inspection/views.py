"""A run as DuckDB views.

The database lies in memory, and the only file system it knows serves the files that a glance found
whole, for reading: whatever is asked, nothing else can be read and nothing at all can be written.
`view_definitions` gives the same views for any other DuckDB.
"""

import io
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from typing import IO, Any

import duckdb
from fsspec import AbstractFileSystem

from ...schemas.errors import RunError
from .glance import COLUMNS, KINDS, Glance, Row, TableFile

__all__ = ["VIEWS", "open_views", "view_definitions"]

VIEWS: dict[str, str] = {
    "documents": "what to train on: text, scores, weight, repeats, contributions (shards/)",
    "rejects": "what was left out: the same columns, with action and reasons",
    "scores": "everything that was measured, of every record that was read (scored/)",
    "weights": "id → domain, weight, repeats, contributions of all that survived, weight 0 too",
    "charters": "who decides: share of the budget, what was spent, and the charter in its own words",
    "budgets": "charter × domain: what it accepts there, was entitled to, spent, and its curve (a, q)",
    "clusters": "copies: one row for each copy and each keeper",
    "synthetic": "generated documents, kept or left out",
    "ledger": "what became of every record: entry, name, source, number",
    "splits": "the pieces of the inputs that were read",
}

_VIRTUAL = "run"
_SETTINGS: dict[str, Any] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "temp_directory": "",
}
_LOCKS = (
    "SET disabled_filesystems = 'LocalFileSystem'",
    f"SET allowed_directories = ['{_VIRTUAL}://']",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


def open_views(found: Glance) -> duckdb.DuckDBPyConnection:
    """A database in memory with every view, locked: no other file, no setting, no extension, no writing.

    Raises RunError where the first file of a kind is damaged.
    """
    connection = duckdb.connect(":memory:", config=_SETTINGS)
    names: dict[str, TableFile] = {}

    def address(file: TableFile) -> str:
        name = f"{_VIRTUAL}://{len(names):05d}/{file.name}"
        names[name] = file
        return name

    statements = view_definitions(found, address)
    connection.register_filesystem(_RunFiles(names))
    try:
        for statement in [*statements, *_LOCKS]:
            connection.execute(statement)
    except (duckdb.Error, OSError) as error:
        connection.close()
        raise RunError(f"the run cannot be read ({error}); `florilegium validate` says what is damaged") from error
    return connection


def view_definitions(found: Glance, address: Callable[[TableFile], str] = lambda file: file.address) -> list[str]:
    """One `CREATE VIEW` a view; `address` says how the database finds a file."""
    definitions = {kind: _over_files(found, kind, address) for kind in KINDS}
    definitions |= {name: _values(columns, found.rows[name]) for name, columns in COLUMNS.items()}
    definitions |= {"clusters": _CLUSTERS, "synthetic": _SYNTHETIC}
    return [f"CREATE VIEW {name} AS\n{definitions[name]};" for name in VIEWS]


class _RunFiles(AbstractFileSystem):
    """A file system of the named files; it cannot list, write, move or delete."""

    protocol = _VIRTUAL
    cachable = False

    def __init__(self, files: dict[str, TableFile]) -> None:
        super().__init__(skip_instance_cache=True)
        self._files = files

    def open(self, path: str, mode: str = "rb", **_: Any) -> IO[bytes]:  # type: ignore[override]
        if mode != "rb":
            raise PermissionError(f"{path}: a run is only read, never written")
        file = self._file(path)
        return _Shared(file.folder.open(file.name))  # type: ignore[return-value]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        file = self._file(path)
        return {"name": path, "type": "file", "size": file.folder.size(file.name)}

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(0, UTC)  # a run's files never change

    def exists(self, path: str, **_: Any) -> bool:
        return path in self._files

    def glob(self, path: str, **_: Any) -> list[str]:  # type: ignore[override]
        return [path] if path in self._files else []

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        return []

    def _file(self, path: str) -> TableFile:
        if path not in self._files:
            raise FileNotFoundError(f"{path}: not a file of this run")
        return self._files[path]


class _Shared(io.RawIOBase):
    """A file that several threads read, each from its own position: DuckDB seeks and reads in two steps."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._lock, self._own = file, threading.Lock(), threading.local()
        self._size = file.seek(0, io.SEEK_END)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return getattr(self._own, "position", 0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}[whence]
        self._own.position = start + offset
        return start + offset

    def read(self, size: int = -1) -> bytes:
        position = self.tell()
        with self._lock:
            self._file.seek(position)
            data = self._file.read(size)
        self._own.position = position + len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


def _over_files(found: Glance, kind: str, address: Callable[[TableFile], str]) -> str:
    files = found.files[kind]
    if not files:
        from .empty import typed_columns

        return _nothing(typed_columns(kind))
    listed = ",\n  ".join(_text(address(file)) for file in files)
    return f"SELECT * FROM read_parquet([\n  {listed}\n])"


# A run of an early version does not say which document a duplicate is of.
_CLUSTERS = """\
SELECT coalesce(duplicate_of, id) AS cluster, 'copy' AS role, {columns}
FROM (SELECT NULL::VARCHAR AS duplicate_of WHERE false UNION ALL BY NAME FROM rejects) WHERE action = 'duplicate'
UNION ALL SELECT id, 'keeper', {columns} FROM documents WHERE cluster_size > 1""".format(
    columns="id, cluster_size, source, source_id, domain, url, tokens"
)
_SYNTHETIC = """\
SELECT 'kept' AS action, * FROM documents WHERE synthetic
UNION ALL BY NAME SELECT * FROM rejects WHERE synthetic"""


def _values(columns: dict[str, str], rows: list[Row]) -> str:
    lines = [f"  ({', '.join(_literal(value) for value in row)})" for row in rows]
    if not lines:
        return _nothing(columns)
    typed = ", ".join(f"{_name(name)}::{kind} AS {_name(name)}" for name, kind in columns.items())
    return f"SELECT {typed} FROM (VALUES\n" + ",\n".join(lines) + f"\n) AS t({', '.join(map(_name, columns))})"


def _nothing(columns: dict[str, str]) -> str:
    return f"SELECT {', '.join(f'NULL::{kind} AS {_name(name)}' for name, kind in columns.items())} WHERE false"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str | float | None) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not isfinite(value):
        return f"'{value}'"
    return "NULL" if value is None else repr(value)


def _text(value: str) -> str:
    """A string literal of printable characters; the others by their numbers, so that it can be shown anywhere."""
    pieces, plain = [], ""
    for character in value:
        if character.isprintable():
            plain += character
        elif character != "\0":
            pieces += [plain, ord(character)] if plain else [ord(character)]
            plain = ""
    pieces += [plain] if plain or not pieces else []
    quoted = ["'" + piece.replace("'", "''") + "'" if isinstance(piece, str) else f"chr({piece})" for piece in pieces]
    return quoted[0] if len(quoted) == 1 else f"({' || '.join(quoted)})"
