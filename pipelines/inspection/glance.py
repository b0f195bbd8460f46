"""A run at a glance: which of its files are there, and what its plain JSON says.

This is what a question needs. It imports no model, no Arrow and no NumPy, which together take longer to start
than most questions take to answer; `survey` looks closer.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from ...schemas.dimensions import check_dimensions
from ...schemas.errors import FlorilegiumError, InputError
from ..layout import MANIFEST, PHASE_NAMES, RUN_INDEX, SPLITS, WEIGHT_PLAN
from ..storage import Folder

__all__ = ["CHECKED_BYTES", "COLUMNS", "KINDS", "LEDGER", "Glance", "Row", "TableFile", "glance"]

LEDGER = "ledger.json"
CHECKED_BYTES = 32 << 20  # a tenth of a second

# kind → (the manifest's list, where files of an unfinished run lie)
KINDS: dict[str, tuple[str, str]] = {
    "documents": ("shards", "shards/*.parquet"),
    "rejects": ("rejects", "rejects/*.parquet"),
    "scores": ("scored", "scored/*.parquet"),
    "weights": ("weights", "weights/*.parquet"),
}

_PROSE = ("author", "community", "tradition", "description", "leaves_out")
_SPENT = ("entitled", "spent", "short", "received")
_CELL = ("documents", "tokens", *_SPENT, "a", "q")


def _columns(words: Iterable[str], numbers: Iterable[str], kind: str = "DOUBLE") -> dict[str, str]:
    return dict.fromkeys(words, "VARCHAR") | dict.fromkeys(numbers, kind)


# small table → column → its type
COLUMNS: dict[str, dict[str, str]] = {
    "charters": _columns(("name", *_PROSE), ("share", *_SPENT)) | _columns(("digest", "values"), ()),
    "budgets": _columns(("charter", "domain"), _CELL),
    "ledger": _columns(("entry", "name", "source"), ("number",)),
    "splits": _columns(("source", "format", "file", "url"), ("start", "stop", "size"), "BIGINT"),
}

Row = tuple[str | float | None, ...]
Parsed = TypeVar("Parsed")
_STRANGE = (ValueError, TypeError, KeyError, AttributeError)  # what JSON of another shape meets


@dataclass(frozen=True)
class TableFile:
    """One readable Parquet file: `name` in its `folder`, which is another run's for scores weighed anew."""

    folder: Folder
    name: str

    @property
    def address(self) -> str:
        return self.folder.address(self.name)


@dataclass
class Glance:
    """A run as far as it is whole; `faults` are sentences about the rest."""

    folder: Folder
    stored: dict[str, Any] = field(default_factory=dict)  # MANIFEST, LEDGER, WEIGHT_PLAN, SPLITS → their content
    files: dict[str, list[TableFile]] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)  # of COLUMNS
    faults: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True where the run is finished and nothing of it is missing or damaged."""
        return not self.faults


class _Listed(NamedTuple):
    """What the manifest says of a file."""

    bytes: int
    sha256: str


class _Contents(NamedTuple):
    """What the manifest says of all files."""

    status: str
    scored_in: str | None
    tables: dict[str, dict[str, _Listed]]  # kind → name → file


def glance(url: str, thorough: bool = False) -> Glance:
    """Look at every file of a run: is it there, and as large as the manifest says?

    Checksums are compared too where that takes no time, for local runs of up to CHECKED_BYTES, and for
    all where `thorough`. Raises InputError where there is no run at all.
    """
    found = Glance(Folder(url))
    if not found.folder.exists(MANIFEST):
        raise InputError(f"{url}: no run here (no {MANIFEST}); give the folder that `florilegium run` wrote")
    contents = _contents(found)
    if contents is not None and contents.status == "running":
        found.faults.append(f"the run is not finished ({_progress(found.folder)}); the same command again goes on")
    finished = contents is not None and contents.status == "complete"
    found.rows["ledger"] = _read(found, LEDGER, _ledger, finished) or []
    plan = _read(found, WEIGHT_PLAN, lambda plan: (_totals(plan), _budgets(plan)), finished)
    totals, found.rows["budgets"] = plan or ({}, [])
    found.rows["splits"] = _read(found, SPLITS, _splits, finished) or []
    found.rows["charters"] = _charters(found, totals)
    listed = contents.tables if contents else {kind: {} for kind in KINDS}
    if found.folder.is_local:
        thorough = thorough or sum(file.bytes for files in listed.values() for file in files.values()) <= CHECKED_BYTES
    for kind, (_, pattern) in KINDS.items():
        files = _scored_elsewhere(found, contents) if kind == "scores" else None
        if files is None:
            names = list(listed[kind]) if finished else found.folder.names(pattern)
            files = [_locate(found.folder, name) for name in names]
        found.files[kind] = []
        for file in files:
            fault = _fault(file, listed[kind].get(file.name) or listed[kind].get(file.address), thorough)
            if fault:
                found.faults.append(f"{fault}; its rows are left out of `{kind}`")
            else:
                found.files[kind].append(file)
    return found


def _contents(found: Glance) -> _Contents | None:
    try:
        manifest = found.stored[MANIFEST] = json.loads(found.folder.read_bytes(MANIFEST))
        check_dimensions(manifest["environment"], found.folder.url)
        tables = {
            kind: {str(table["name"]): _Listed(int(table["bytes"]), str(table["sha256"])) for table in manifest[listed]}
            for kind, (listed, _) in KINDS.items()
        }
        return _Contents(manifest["status"], manifest.get("scored_in"), tables)
    except (*_STRANGE, OSError):
        found.stored.pop(MANIFEST, None)
        found.faults.append(
            f"{found.folder.address(MANIFEST)} is damaged or of another version; files are taken as they lie there"
        )
        return None


def _read(found: Glance, name: str, parse: Callable[[Any], Parsed], expected: bool) -> Parsed | None:
    """A file's JSON as `parse` understands it; None, with a sentence where there ought to be one, where it cannot."""
    try:
        content = json.loads(found.folder.read_bytes(name))
        parsed = parse(content)
        found.stored[name] = content
        return parsed
    except FileNotFoundError:
        if expected:
            found.faults.append(f"{found.folder.address(name)} is missing")
    except (*_STRANGE, OSError, FlorilegiumError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        found.faults.append(f"{found.folder.address(name)} is damaged ({reason})")
    return None


def _row(table: str, *values: Any) -> Row:
    """A row of a small table. ValueError where a value is not of its column's type: SQL is made of it."""
    for (name, kind), value in zip(COLUMNS[table].items(), values, strict=True):
        fits = str if kind == "VARCHAR" else int if kind == "BIGINT" else int | float
        if value is not None and (isinstance(value, bool) or not isinstance(value, fits)):
            raise ValueError(f"{name} is {type(value).__name__}")
    return values


def _ledger(ledger: Any) -> list[Row]:
    rows = []
    for entry, counts in ledger.items():
        for name, count in counts.items():
            if isinstance(count, dict):
                rows += [_row("ledger", entry, name, source, number) for source, number in count.items()]
            else:
                rows.append(_row("ledger", entry, None, name, count))
    return rows


def _totals(plan: Any) -> dict[str, list[Any]]:
    """Charter → its digest, share and amounts over all domains."""
    return {name: [total[part] for part in ("digest", "share", *_SPENT)] for name, total in plan["charters"].items()}


def _budgets(plan: Any) -> list[Row]:
    return [
        _row("budgets", name, domain, *(cell[amount] for amount in _CELL))
        for domain, part in plan["domains"].items()
        for name, cell in part["charters"].items()
    ]


def _splits(splits: Any) -> list[Row]:
    if not isinstance(splits, list):
        raise ValueError("not a list")
    return [_row("splits", *map(split.get, COLUMNS["splits"])) for split in splits]


def _charters(found: Glance, totals: dict[str, list[Any]]) -> list[Row]:
    """A row a charter, sorted by name; none where the manifest does not say them."""
    try:
        manifest = found.stored.get(MANIFEST, {"charters": {}})
        rows = []
        for name, charter in sorted(manifest["charters"].items()):
            digest, share, *amounts = totals.get(name) or _unspent(manifest, name, charter)
            values = {
                dimension: {key: setting for key, setting in value.items() if setting is not None}
                for dimension, value in charter["values"].items()
            }
            prose = [charter[part].strip() for part in _PROSE]
            rows.append(_row("charters", name, *prose, share, *amounts, digest, json.dumps(values)))
        return rows
    except _STRANGE as error:
        found.faults.append(f"{found.folder.address(MANIFEST)} is damaged (charters: {error!r})")
        return []


def _unspent(manifest: Any, name: str, charter: Any) -> list[Any]:
    """The totals of a charter in a run that is not weighed yet."""
    from ...schemas.charter import Charter

    share = manifest["recipe"]["weighing"]["charters"].get(name)
    return [Charter.model_validate(charter).digest(), share, *[None] * len(_SPENT)]


def _scored_elsewhere(found: Glance, contents: _Contents | None) -> list[TableFile] | None:
    """The scored runs of a run that weighs another's documents anew; None for its own."""
    if contents is None or not contents.scored_in:
        return None
    there = Folder(contents.scored_in)
    try:
        names = found.folder.read_json(RUN_INDEX) if found.folder.exists(RUN_INDEX) else there.read_json(RUN_INDEX)
    except (FlorilegiumError, OSError):
        found.faults.append(f"the scored documents in {there.url} cannot be found; `scores` is empty")
        return []
    return [_locate(there, name) for name in names]


def _locate(folder: Folder, name: str) -> TableFile:
    """A name relative to the folder, or a full address elsewhere."""
    if "://" in name or name.startswith("/"):
        place, _, last = name.rpartition("/")
        return TableFile(Folder(place), last)
    return TableFile(folder, name)


def _fault(file: TableFile, listed: _Listed | None, thorough: bool) -> str:
    """What is wrong with a file, as far as its size, its last bytes and its checksum tell; empty where nothing is."""
    try:
        if not file.folder.exists(file.name):
            return f"{file.address} is missing"
        if listed is None:
            return "" if _is_whole(file) else f"{file.address} is damaged (it is not a whole Parquet file)"
        if file.folder.size(file.name) != listed.bytes:
            return f"{file.address} is damaged (its size differs from the manifest)"
        if thorough and file.folder.sha256(file.name) != listed.sha256:
            return f"{file.address} is damaged (its checksum differs from the manifest)"
    except OSError as error:
        return f"{file.address} cannot be read ({error.strerror or error})"
    return ""


def _is_whole(file: TableFile) -> bool:
    """True where a Parquet file begins and ends as one does."""
    size = file.folder.size(file.name)
    if size < 12:
        return False
    with file.folder.open(file.name) as handle:
        first = handle.read(4)
        handle.seek(size - 8)
        footer, last = int.from_bytes(handle.read(4), "little"), handle.read(4)
    return first == last == b"PAR1" and footer <= size - 12


def _progress(folder: Folder) -> str:
    """How far each phase came, as `score 3/5, decide 0/2`."""
    parts = []
    for phase in PHASE_NAMES:
        if folder.exists(f"tasks/{phase}/plan.json"):
            try:
                tasks = len(folder.read_json(f"tasks/{phase}/plan.json"))
            except FlorilegiumError:
                continue
            parts.append(f"{phase} {len(folder.names(f'tasks/{phase}/[0-9]*.json'))}/{tasks}")
    return ", ".join(parts) or "no task was planned yet"
