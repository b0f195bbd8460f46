"""Merge levels between sorted files and the tasks that own ranges of them: requests follow the run, not its square.

A range opens every file that may hold some of its keys. N runs and R ranges are N × R files opened, and N and R both
grow with the corpus. A level of merging takes FAN_IN files at a time and cuts what they hold into narrower parts of
the key space, one file a part, no larger than a run was:

    N files, each over all keys ─▶ N / 64 files a part ─▶ N / 64² files a narrower part ─▶ … at most 64 a part

So every file is opened a bounded number of times at each of log N levels, and by its ranges. What a level costs is to
read and write everything once; it comes only where there are many pairs of file and range (PAIRS), which no small run
has. Four tables are read so:

    scored    sorted runs, by key; for `rank`, `decide`, `shard` and `reject`
    bands     their side files, by bucket; for `pair`
    ranked    members of clusters, by cluster; for `keep`
    members   the same with their keepers, by key; for `decide`

Nothing that a run promises depends on it: rows keep the locators of the runs they came from, and their order.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.document import scored_schema
from .runs import (
    BAND_ROW_GROUP_BYTES,
    LOCATOR,
    KeyRange,
    RunSet,
    read_range,
    sort_by_key,
    touched_groups,
    write_parquet,
    write_run,
)
from .storage import Folder

__all__ = ["Layout", "MergedRuns", "merge_part", "merge_tasks", "plan_levels"]

FAN_IN = 64  # files that a task of a level opens at the most
PAIRS = 1 << 16  # of file and range, up to which merging costs more than it saves
ORDER = {"scored": ("key",), "bands": ("bucket", "key"), "ranked": ("cluster", "key"), "members": ("key",)}


@dataclass(frozen=True)
class Layout:
    """How a table lies after a level: `files` sorted files for each of `parts` of the key space."""

    table: str
    level: int
    parts: int
    files: int

    def name(self, part: int, file: int) -> str:
        return f"merged/{self.table}-{self.level}/{part:06d}-{file:05d}.parquet"

    def names(self, keys: KeyRange) -> list[str]:
        """The files that may hold rows of the range, by key and then in the order of what they were merged from."""
        around = range(keys.low * self.parts >> 64, min((keys.high * self.parts >> 64) + 1, self.parts))
        parts = [(number, KeyRange.part(number, self.parts)) for number in around]
        touched = [number for number, part in parts if part.low < keys.high and keys.low < part.high]
        return [self.name(number, file) for number in touched for file in range(self.files)]


def plan_levels(table: str, files: int, ranges: int, size: float, part_size: float) -> list[Layout]:
    """The levels that a table of `size` bytes in `files` needs before `ranges` read it; none for a small one.

    A file of a level holds about `part_size` bytes, more where FAN_IN of those before it hold more.
    """
    levels: list[Layout] = []
    parts = 1
    while files > FAN_IN and files * ranges > PAIRS:
        files = -(-files // FAN_IN)
        parts *= max(1, min(FAN_IN, round(size / (parts * files * part_size))))
        levels.append(Layout(table, len(levels) + 1, parts, files))
    return levels


def merge_tasks(folder: Folder, names: Sequence[str], levels: Sequence[Layout]) -> list[dict[str, Any]]:
    """What each task of all levels is to do, level after level; stores the names that those of the first one read."""
    tasks: list[dict[str, Any]] = []
    parts, files = 1, len(names)
    for level in levels:
        for file in range(level.files):
            group = {"file": file, "first": files * file // level.files, "last": files * (file + 1) // level.files}
            tasks += [asdict(level) | group | {"part": part, "within": parts} for part in range(level.parts)]
        parts, files = level.parts, level.files
    groups = {task["file"]: names[task["first"] : task["last"]] for task in tasks if task["level"] == 1}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda file: folder.write_json(_list_name(levels[0].table, file), groups[file]), groups))
    return tasks


def _list_name(table: str, file: int) -> str:
    """Names of one group of files alone: the list of all would be read once a task."""
    return f"merged/{table}-0/{file:05d}.json"


def merge_part(folder: Folder, task: dict[str, Any], run_bytes: int) -> dict[str, Any]:
    """Write one file of a level: what a group of files of the level before holds of a part of the key space."""
    level = Layout(*(task[name] for name in ("table", "level", "parts", "files")))
    keys, by = KeyRange.part(task["part"], level.parts), ORDER[level.table]
    name = level.name(task["part"], task["file"])
    if level.level == 1:
        names = folder.read_json(_list_name(level.table, task["file"]))
    else:
        before = Layout(level.table, level.level - 1, task["within"], task["last"])
        part = task["part"] * before.parts // level.parts
        names = [before.name(part, file) for file in range(task["first"], task["last"])]
    if level.table == "scored":
        with folder.open_parquet(names[0]) as file:
            schema = scored_schema(file.schema_arrow.names)
        table = sort_by_key(RunSet(folder, names, first=task["first"]).scan(keys, schema.names))
        schema = pa.schema([*schema, *LOCATOR])
        return write_run(folder, name, table.select(schema.names).cast(schema), run_bytes)
    table = pa.concat_tables(read_range(folder, name, keys, by[0]) for name in names)
    order = np.lexsort([table[column].to_numpy() for column in reversed(by)])
    return write_parquet(folder, name, table.take(pa.array(order)), BAND_ROW_GROUP_BYTES)


class MergedRuns(RunSet):
    """Sorted runs as a level left them: every row tells the run that it came from, and its place there."""

    def __init__(self, folder: Folder, layout: Layout) -> None:
        super().__init__(folder, [])
        self._layout = layout

    def scan(self, keys: KeyRange, columns: Sequence[str]) -> pa.Table:
        """As `RunSet.scan`."""
        return RunSet(self._folder, self._layout.names(keys)).scan(keys, columns)

    def gather(self, locators: pa.Table, columns: Sequence[str]) -> pa.Table:
        """As `RunSet.gather`; `locators` have the column key as well."""
        if not locators.num_rows:
            return super().gather(locators, columns)
        sought = locators["key"].to_numpy()
        keys = KeyRange(int(sought.min()), int(sought.max()) + 1)
        wanted = _places(locators)
        order = np.argsort(wanted)
        tables, found = [], []
        for name in self._layout.names(keys):
            with self._folder.open_parquet(name) as file:
                for _, group in touched_groups(file, keys):
                    places = _places(file.read_row_group(group, columns=LOCATOR.names))
                    rows = np.flatnonzero(np.isin(places, wanted))
                    if len(rows):
                        table = file.read_row_group(group, columns=list(columns)).select(list(columns))
                        tables.append(table.take(pa.array(rows)))
                        found.append(places[rows])
        places = np.argsort(np.concatenate(found))
        inverse = np.empty(len(order), np.int64)
        inverse[order] = places
        return pa.concat_tables(tables).take(pa.array(inverse))


def _places(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Run and row as one number; a run has fewer than 2^32 rows."""
    return (table["run"].to_numpy().astype(np.int64) << 32) | table["row"].to_numpy()
