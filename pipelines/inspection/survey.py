"""What of a run is whole.

A run may be unfinished, or damaged on its way here. A survey names every file that can be read and
says a sentence for everything that cannot, so that what is whole can still be looked at.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from ...schemas.charter import Charter
from ...schemas.document import REJECT, SCORED, SHARD, WEIGHT
from ...schemas.errors import FlorilegiumError, InputError
from ...schemas.run import Ledger, Manifest, StoredTable, check_dimensions
from ..layout import MANIFEST, PHASE_NAMES, RUN_INDEX, SPLITS, WEIGHT_PLAN
from ..storage import Folder
from ..weighing.plan import WeightPlan

__all__ = ["KINDS", "Survey", "TableFile", "survey"]

# kind → (the schema where no file tells, the manifest's list, where files of an unfinished run lie)
KINDS: dict[str, tuple[pa.Schema, str, str]] = {
    "documents": (SHARD, "shards", "shards/*.parquet"),
    "rejects": (REJECT, "rejects", "rejects/*.parquet"),
    "scores": (SCORED, "scored", "scored/*.parquet"),
    "weights": (WEIGHT, "weights", "weights/*.parquet"),
}


@dataclass(frozen=True)
class TableFile:
    """One readable Parquet file: `name` in its `folder`, which is another run's for scores weighed anew."""

    folder: Folder
    name: str

    @property
    def address(self) -> str:
        return self.folder.address(self.name)


@dataclass
class Survey:
    """A run as far as it is whole; `faults` are sentences about the rest."""

    folder: Folder
    manifest: Manifest | None = None
    ledger: Ledger | None = None
    plan: WeightPlan | None = None
    splits: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, list[TableFile]] = field(default_factory=dict)
    schemas: dict[str, pa.Schema] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True where the run is finished and nothing of it is missing or damaged."""
        return not self.faults

    @cached_property
    def charters(self) -> dict[str, Charter]:
        """The charters by name, sorted; empty where the manifest cannot be read."""
        stored = self.manifest.charters if self.manifest else {}
        return {name: Charter.model_validate(values) for name, values in sorted(stored.items())}


CHECKED_BYTES = 32 << 20  # a tenth of a second


def survey(url: str, thorough: bool = False) -> Survey:
    """Look at every file of a run: is it there, as large as the manifest says, with a whole footer?

    Checksums are compared too where that takes no time, for local runs of up to CHECKED_BYTES, and for
    all where `thorough`. Raises InputError where there is no run at all.
    """
    found = Survey(Folder(url))
    if not found.folder.exists(MANIFEST):
        raise InputError(f"{url}: no run here (no {MANIFEST}); give the folder that `florilegium run` wrote")
    found.manifest = _manifest(found)
    if found.manifest and found.manifest.status == "running":
        found.faults.append(f"the run is not finished ({_progress(found.folder)}); the same command again goes on")
    finished = found.manifest is not None and found.manifest.status == "complete"
    found.ledger = _read(found, "ledger.json", Ledger.model_validate_json, finished)
    found.plan = _read(found, WEIGHT_PLAN, WeightPlan.from_json, finished)
    found.splits = _read(found, SPLITS, _list, finished) or []
    if found.manifest and found.folder.is_local:
        listed_bytes = sum(table.bytes for _, listed, _ in KINDS.values() for table in getattr(found.manifest, listed))
        thorough = thorough or listed_bytes <= CHECKED_BYTES
    for kind, (schema, listed, pattern) in KINDS.items():
        stored = {table.name: table for table in getattr(found.manifest, listed)} if found.manifest else {}
        files = _scored_files(found) if kind == "scores" else None
        if files is None:
            names = list(stored) if finished else found.folder.names(pattern)
            files = [_locate(found.folder, name) for name in names]
        found.files[kind] = []
        found.schemas[kind] = schema
        for file in files:
            fault = _fault(file, stored.get(file.name) or stored.get(file.address), thorough)
            if isinstance(fault, str):
                found.faults.append(f"{fault}; its rows are left out of `{kind}`")
                continue
            found.files[kind].append(file)
            found.schemas[kind] = fault
    return found


def _manifest(found: Survey) -> Manifest | None:
    try:
        manifest = Manifest.model_validate_json(found.folder.read_bytes(MANIFEST))
        check_dimensions(manifest, found.folder.url)
        return manifest
    except (ValidationError, ValueError, OSError):
        found.faults.append(
            f"{found.folder.address(MANIFEST)} is damaged or of another version; files are taken as they lie there"
        )
        return None


def _read(found: Survey, name: str, parse: Any, expected: bool) -> Any:
    try:
        return parse(found.folder.read_bytes(name))
    except FileNotFoundError:
        if expected:
            found.faults.append(f"{found.folder.address(name)} is missing")
    except (ValidationError, ValueError, OSError, FlorilegiumError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        found.faults.append(f"{found.folder.address(name)} is damaged ({reason})")
    return None


def _list(text: bytes) -> list[dict[str, Any]]:
    value = json.loads(text)
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value


def _scored_files(found: Survey) -> list[TableFile] | None:
    """The scored runs of a run that weighs another's documents anew; None for its own."""
    if found.manifest is None or not found.manifest.scored_in:
        return None
    there = Folder(found.manifest.scored_in)
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


def _fault(file: TableFile, stored: StoredTable | None, thorough: bool) -> str | pa.Schema:
    """The schema of a readable file, or what is wrong with it."""
    try:
        if not file.folder.exists(file.name):
            return f"{file.address} is missing"
        if stored and file.folder.size(file.name) != stored.bytes:
            return f"{file.address} is damaged (its size differs from the manifest)"
        if stored and thorough and file.folder.sha256(file.name) != stored.sha256:
            return f"{file.address} is damaged (its checksum differs from the manifest)"
        with file.folder.open_parquet(file.name) as parquet:
            return parquet.schema_arrow.remove_metadata()
    except (OSError, pa.ArrowException):
        return f"{file.address} is damaged (it is not a whole Parquet file)"


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
