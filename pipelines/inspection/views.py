"""A run as DuckDB views.

The database lies in memory, and the only file system it knows serves the files that a survey found
whole, for reading: whatever is asked, nothing else can be read and nothing at all can be written.
`view_definitions` gives the same views for any other DuckDB.
"""

import io
import json
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import IO, Any

import duckdb
import pyarrow as pa
from fsspec import AbstractFileSystem

from ...schemas.document import TIMESTAMP
from ...schemas.run import ACTIONS
from .survey import KINDS, Survey, TableFile

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
_TYPES = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
}
_LOCKS = (
    "SET disabled_filesystems = 'LocalFileSystem'",
    f"SET allowed_directories = ['{_VIRTUAL}://']",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


def open_views(survey: Survey) -> duckdb.DuckDBPyConnection:
    """A database in memory with every view, locked: no other file, no setting, no extension, no writing."""
    connection = duckdb.connect(":memory:", config=_SETTINGS)
    names: dict[str, TableFile] = {}

    def address(file: TableFile) -> str:
        name = f"{_VIRTUAL}://{len(names):05d}/{file.name}"
        names[name] = file
        return name

    statements = view_definitions(survey, address)
    connection.register_filesystem(_RunFiles(names))
    for statement in [*statements, *_LOCKS]:
        connection.execute(statement)
    return connection


def view_definitions(survey: Survey, address: Callable[[TableFile], str] = lambda file: file.address) -> list[str]:
    """One `CREATE VIEW` a view; `address` says how the database finds a file."""
    definitions = {kind: _over_files(survey, kind, address) for kind in KINDS}
    definitions["charters"] = _charters(survey)
    definitions["budgets"] = _budgets(survey)
    definitions["clusters"] = _clusters(survey)
    definitions["synthetic"] = (
        "SELECT 'kept' AS action, * FROM documents WHERE synthetic\n"
        "UNION ALL BY NAME SELECT * FROM rejects WHERE synthetic"
    )
    definitions["ledger"] = _ledger(survey)
    definitions["splits"] = _splits(survey)
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


def _over_files(survey: Survey, kind: str, address: Callable[[TableFile], str]) -> str:
    files = survey.files[kind]
    if not files:
        return _nothing(survey.schemas[kind])
    listed = ",\n  ".join(_text(address(file)) for file in files)
    return f"SELECT * FROM read_parquet([\n  {listed}\n])"


def _charters(survey: Survey) -> str:
    schema = _schema(
        "name author community tradition description leaves_out", "share entitled spent short received", "digest values"
    )
    shares = survey.manifest.recipe.weighing.charters if survey.manifest else {}
    rows = []
    for name, charter in survey.charters.items():
        total = survey.plan.charters.get(name) if survey.plan else None
        amounts = [total.entitled, total.spent, total.short, total.received] if total else [None] * 4
        prose = [charter.author, charter.community, charter.tradition, charter.description, charter.leaves_out]
        values = json.dumps({key: value.model_dump(exclude_none=True) for key, value in charter.values.items()})
        share = total.share if total else shares.get(name)
        rows.append([name, *(text.strip() for text in prose), share, *amounts, charter.digest(), values])
    return _values(schema, rows)


def _budgets(survey: Survey) -> str:
    schema = _schema("charter domain", "documents tokens entitled spent short received a q")
    domains = survey.plan.domains if survey.plan else {}
    rows = [
        [name, domain, *(getattr(cell, amount) for amount in schema.names[2:])]
        for domain, plan in domains.items()
        for name, cell in plan.charters.items()
    ]
    return _values(schema, rows)


def _clusters(survey: Survey) -> str:
    columns = "id, cluster_size, source, source_id, domain, url, tokens"
    cluster = "coalesce(duplicate_of, id)" if "duplicate_of" in survey.schemas["rejects"].names else "id"
    return (
        f"SELECT {cluster} AS cluster, 'copy' AS role, {columns} FROM rejects WHERE action = 'duplicate'\n"
        f"UNION ALL SELECT id, 'keeper', {columns} FROM documents WHERE cluster_size > 1"
    )


def _ledger(survey: Survey) -> str:
    rows: list[list[Any]] = []
    if survey.ledger:
        ledger = survey.ledger
        for entry in ("read", "generated", *ACTIONS, "boilerplate_lines", "weighted_tokens"):
            rows += [[entry, None, source, number] for source, number in getattr(ledger, entry).items()]
        for entry in ("reasons", "skipped", "tokens"):
            for name, by_source in getattr(ledger, entry).items():
                rows += [[entry, name, source, number] for source, number in by_source.items()]
    return _values(_schema("entry name source", "number"), rows)


def _splits(survey: Survey) -> str:
    schema = pa.schema(
        [
            *(pa.field(name, pa.string()) for name in ("source", "format", "file", "url")),
            *(pa.field(name, pa.int64()) for name in ("start", "stop", "size")),
        ]
    )
    return _values(schema, [[split.get(name) for name in schema.names] for split in survey.splits])


def _schema(strings: str, numbers: str, more_strings: str = "") -> pa.Schema:
    return pa.schema(
        [
            *(pa.field(name, pa.string()) for name in strings.split()),
            *(pa.field(name, pa.float64()) for name in numbers.split()),
            *(pa.field(name, pa.string()) for name in more_strings.split()),
        ]
    )


def _values(schema: pa.Schema, rows: Iterable[list[Any]]) -> str:
    lines = [f"  ({', '.join(_literal(value) for value in row)})" for row in rows]
    if not lines:
        return _nothing(schema)
    columns = ", ".join(f"{_name(field.name)}::{_type(field.type)} AS {_name(field.name)}" for field in schema)
    return f"SELECT {columns} FROM (VALUES\n" + ",\n".join(lines) + f"\n) AS t({', '.join(map(_name, schema.names))})"


def _nothing(schema: pa.Schema) -> str:
    columns = ", ".join(f"NULL::{_type(field.type)} AS {_name(field.name)}" for field in schema)
    return f"SELECT {columns} WHERE false"


def _type(kind: pa.DataType) -> str:
    """DuckDB's name of an Arrow type of our schemas."""
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{_name(field.name)} {_type(field.type)}' for field in kind)})"
    if pa.types.is_list(kind):
        return f"{_type(kind.value_type)}[]"
    return _TYPES[kind]


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return _text(value) if isinstance(value, str) else repr(value)


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
