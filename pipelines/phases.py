"""What happens in which order: the one place that knows.

    boilerplate ─▶ score ─▶ pair ─▶ cluster ─▶ rank ─▶ keep ─▶ decide ─▶ (plan) ─▶ weigh ─▶ shard ─▶ reject
                                                                                          ─▶ (ledger, manifest)
    synthesize, before all others, in a folder of its own (`synthesis/generate.py`)

A phase is a list of tasks over files; an engine runs them anywhere. The steps in parentheses are
small and run in the driver, as does the index of evaluation sets, which score tasks look up. `boilerplate`
runs where the recipe asks for it, `pair` to `keep` where near-duplicates are to be left out. Markers say
what is done, so a killed run goes on where it stopped; another run's can be taken over (`--since`).

Tables of many files that many ranges read are merged first, level by level (`merging.py`): `scored` after `score`,
`bands` before `pair`, `ranked` before `keep`, `members` before `decide`. No small run has these phases.
"""

import contextlib
import errno
import math
import platform
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..schemas.errors import FlorilegiumError, InputError, OutputError, StoreError, TaskError
from ..schemas.hashing import digest
from ..schemas.run import Ledger, StoredTable
from .boilerplate import LINES, digest_of_repeated, note_lines, repeated_lines
from .contamination import store_index
from .engines import Engine
from .layout import BAND_INDEX, CLUSTER_TABLE, MANIFEST, REPEATED_LINES, RUN_INDEX, SPLITS, WEIGHT_PLAN
from .ledger import build_ledger, check_balance
from .merging import Layout, MergedRuns, merge_part, merge_tasks, plan_levels
from .near_duplicates import RANKED, choose_keepers, cluster_links, link_buckets
from .plan import SPLIT_PHASES, Run, RunPlan, open_run, start_run
from .progress import SILENT, Listener, Progress
from .runs import KeyRange, RunSet, read_range, write_parquet
from .scoring import Scoring, score_split
from .shards import decide_range, rank_range, reject_range, shard_range, weigh_range
from .sources import RecordReader, Split
from .storage import Folder, explain_os_error
from .weighing.histogram import Histogram
from .weighing.plan import WeightPlan, build_plan

__all__ = [
    "PHASES",
    "Outcome",
    "execute",
    "execute_phase",
    "note_of",
    "only_one",
    "remove_note",
    "run_task",
    "scoring_of",
    "store_marker",
    "store_note",
]

ATTEMPTS = 3
PAIR_ROWS = 1 << 23  # rows of bands/ that a task of `pair` owns
KEEP_ROWS = 1 << 22  # members of clusters that a task of `keep` owns
DEDUP_ROW_GROUP = 4 << 20
MERGED_ROWS = 1 << 21  # of a file that is merged out of others without texts

Payload = dict[str, Any]
Marker = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    run: Run
    ledger: Ledger
    plan: WeightPlan
    upweighted: int
    tasks: int
    resumed: int  # tasks that an earlier attempt had finished, or another run


def _boilerplate(run: Run, index: int, payload: Payload, progress: Progress) -> Marker:
    split = Split(**payload["split"])
    source = next(item for item in run.recipe.inputs if item.name == split.source)
    parts = [LINES.empty_table()]
    for batch in RecordReader(split, source, run.recipe.reading, run.recipe.extraction):
        parts.append(note_lines(batch))
        progress.advance(batch.num_rows, batch["text"].nbytes)
    stored = write_parquet(run.folder, f"boilerplate/lines-{index:05d}.parquet", pa.concat_tables(parts), 64 << 20)
    return {"output": stored}


def scoring_of(run: Run, index: int, payload: Payload) -> Scoring:
    """What reading and writing the split of a task needs."""
    repeated = REPEATED_LINES if "boilerplate" in payload else None
    evaluation = digest(run.manifest.identity.get("decontamination"))
    return Scoring(run.folder, f"scored/{index:05d}", Split(**payload["split"]), run.recipe, repeated, evaluation)


def _score(run: Run, index: int, payload: Payload, progress: Progress) -> Marker:
    return score_split(scoring_of(run, index, payload), progress)


def _merge(run: Run, index: int, payload: Payload, progress: Progress) -> Marker:
    stored = merge_part(run.folder, payload, run.recipe.output.run_bytes)
    progress.advance(stored["rows"], stored["bytes"])
    return {"output": stored}


def _pair(run: Run, index: int, payload: Payload, progress: Progress) -> Marker:
    names = _merged_names(payload, "bands") or run.folder.read_json(BAND_INDEX)
    links = link_buckets(run.folder, names, _keys(payload))
    stored = write_parquet(run.folder, f"dedup/links-{index:05d}.parquet", links, DEDUP_ROW_GROUP)
    progress.advance(stored["rows"], stored["bytes"])
    return {"output": stored}


def _cluster(run: Run, index: int, payload: Payload, progress: Progress) -> Marker:
    def links() -> Iterator[pa.Table]:
        for part in range(payload["parts"]):
            with run.folder.open_parquet(f"dedup/links-{part:05d}.parquet") as file:
                yield file.read()

    stored = write_parquet(run.folder, CLUSTER_TABLE, cluster_links(links(), links()), DEDUP_ROW_GROUP)
    progress.advance(stored["rows"], stored["bytes"])
    return {"output": stored}


def _rank(run: Run, index: int, payload: Payload, progress: Progress) -> Marker:
    marker = rank_range(run, _runs(run, payload), _keys(payload), index)
    progress.advance(marker["output"]["rows"])
    return marker


def _keep(run: Run, index: int, payload: Payload, progress: Progress) -> Marker:
    names = _merged_names(payload, "ranked") or _ranked_names(payload["parts"])
    parts = [read_range(run.folder, name, _keys(payload), "cluster", RANKED.names) for name in names]
    members = choose_keepers(pa.concat_tables(parts))
    stored = write_parquet(run.folder, f"dedup/members-{index:05d}.parquet", members, DEDUP_ROW_GROUP)
    progress.advance(stored["rows"], stored["bytes"])
    return {"output": stored}


def _decide(run: Run, index: int, payload: Payload, progress: Progress) -> Marker:
    members = _merged_names(payload, "members") or _member_names(_kept_parts(run))
    marker = decide_range(run, _runs(run, payload), members, _keys(payload), index)
    progress.advance(marker["rows"], rejects=marker["left_out_rows"])
    return marker


def _weigh(run: Run, index: int, payload: Payload, progress: Progress) -> Marker:
    weights = WeightPlan.from_json(run.folder.read_bytes(WEIGHT_PLAN))
    marker = weigh_range(run, weights, _keys(payload), index, payload["of"])
    progress.advance(marker["output"]["rows"])
    return marker


def _shard(run: Run, index: int, payload: Payload, progress: Progress) -> Marker:
    marker = shard_range(run, _runs(run, payload), _keys(payload), index, payload["of"])
    progress.advance(marker["output"]["rows"], marker["output"]["bytes"])
    return marker


def _reject(run: Run, index: int, payload: Payload, progress: Progress) -> Marker:
    marker = reject_range(run, _runs(run, payload), _keys(payload), index, payload["of"])
    progress.advance(marker["output"]["rows"], marker["output"]["bytes"])
    return marker


def _synthesize(run: Run, index: int, payload: Payload, progress: Progress) -> Marker:
    from .synthesis.generate import synthesize_part

    return synthesize_part(run, index, payload, progress)


PHASES: dict[str, Callable[[Run, int, Payload, Progress], Marker]] = {
    "boilerplate": _boilerplate,
    "score": _score,
    "merge-scored": _merge,
    "merge-bands": _merge,
    "pair": _pair,
    "cluster": _cluster,
    "rank": _rank,
    "merge-ranked": _merge,
    "keep": _keep,
    "merge-members": _merge,
    "decide": _decide,
    "weigh": _weigh,
    "shard": _shard,
    "reject": _reject,
    "synthesize": _synthesize,
}


def run_task(url: str, phase: str, index: int, progress: Progress = SILENT) -> bool:
    """Run one task of a run unless its marker is there; True when it is done.

    Whatever goes wrong becomes a note beside the markers, so that one bad task never ends its
    neighbours; the driver reads the notes, tries again and reports.
    """
    try:
        run = open_run(url)
        payload = run.payloads(phase)[index]
        if not run.folder.exists(run.marker_name(phase, index)):
            store_marker(run, phase, index, payload, PHASES[phase](run, index, payload, progress))
    except Exception as error:
        store_note(url, phase, index, error)
        return False
    return True


def store_marker(run: Run, phase: str, index: int, payload: Payload, marker: Marker) -> None:
    """Say that a task is done; everything that it names is stored already."""
    run.folder.write_json(run.marker_name(phase, index), {"key": run.task_key(phase, payload), **marker})
    run.folder.remove(_note_name(phase, index))


def remove_note(run: Run, phase: str, index: int) -> None:
    """Forget why a task failed before: it is tried again."""
    run.folder.remove(_note_name(phase, index))


def note_of(run: Run, phase: str, index: int) -> dict[str, Any]:
    """Why a task failed; empty where nothing says so."""
    name = _note_name(phase, index)
    return run.folder.read_json(name) if run.folder.exists(name) else {}


def store_note(url: str, phase: str, index: int, error: Exception) -> None:
    """Say why a task failed, for the driver."""
    told = explain_os_error(error, url) if isinstance(error, OSError) else error
    final = isinstance(told, FlorilegiumError) and not isinstance(error, OSError | TaskError | StoreError)
    note = {
        "error": str(told) if isinstance(told, FlorilegiumError) else f"{type(error).__name__}: {error}",
        "host": platform.node(),
        "final": final or (isinstance(error, OSError) and error.errno == errno.ENOSPC),
        "traceback": "".join(traceback.format_exception(error)),
    }
    # A full disk or a store that is away takes no note either; the driver looks at the space.
    with contextlib.suppress(OSError, FlorilegiumError):
        Folder(url).write_json(_note_name(phase, index), note)


def execute(plan: RunPlan, url: str, engine: Engine, listener: Listener = SILENT) -> Outcome:
    """Run a plan into a folder, or continue it there, and return the balanced result.

    Raises OutputError when the folder holds another run, TaskError when tasks fail again and again,
    BalanceError when documents are unaccounted for.
    """
    folder = Folder(url)
    if folder.is_in_memory and not engine.shares_memory:
        raise OutputError(f"{url}: only one process can see this memory; use --workers 1 or a folder on disk")
    engine.check(url, plan.splits)
    with only_one(folder):
        if plan.since == folder.absolute_url():
            raise OutputError(f"--since {url} is the output itself; the same command goes on there without it")
        run = start_run(plan, url)
        if plan.evaluation is not None:
            store_index(run.folder, plan.evaluation)
        return _Driver(run, engine, listener, plan.scored_in or plan.since).drive()


def execute_phase(run: Run, engine: Engine, listener: Listener, phase: str, payloads: list[Payload]) -> list[Marker]:
    """One phase alone, with retries and resume; the markers of its tasks, in their order."""
    return _Driver(run, engine, listener)._phase(phase, payloads)


class _Driver:
    """Takes a run through its phases; `earlier` is the folder of a run whose finished splits are taken over."""

    def __init__(self, run: Run, engine: Engine, listener: Listener, earlier: str | None = None) -> None:
        self.run, self.engine, self.listener, self.earlier = run, engine, listener, earlier
        self.tasks = self.resumed = 0

    def drive(self) -> Outcome:
        run, output = self.run, self.run.recipe.output
        score = self._phase("score", self._score_tasks())
        runs = [stored["name"] for marker in score for stored in marker["outputs"]]
        run.store_once(RUN_INDEX, runs)

        text_bytes = sum(marker["text_bytes"] for marker in score)
        ranges = _parts(text_bytes, output.shard_bytes)
        merged = self._merged("scored", runs, ranges, text_bytes, output.run_bytes)
        members = self._near_duplicates(score, ranges, merged) if run.recipe.dedup.near else {}
        decide = self._phase("decide", _told(ranges, merged | members))

        weights = self._plan_weights(len(ranges))
        plan = {"plan": digest(weights.to_json())}
        weigh = self._phase("weigh", [payload | plan for payload in ranges])

        kept = [marker["kept_bytes"] for marker in weigh if marker["kept_rows"]]
        parts = [task | plan for task in _parts(sum(kept), output.shard_bytes, some=bool(kept))]
        shard = self._phase("shard", _told(parts, merged))
        left = [marker["left_out_bytes"] for marker in decide if marker["left_out_rows"]]
        parts = [task | plan for task in _parts(sum(left), output.shard_bytes, some=bool(left))]
        reject = self._phase("reject", _told(parts, merged))

        ledger = build_ledger(score, decide, weigh)
        run.folder.write_json("ledger.json", ledger.model_dump())
        check_balance(ledger, _rows(shard), _rows(reject))
        run.manifest.status = "complete"
        run.manifest.scored = [StoredTable(**stored) for marker in score for stored in marker["outputs"]]
        run.manifest.bands = [StoredTable(**stored) for marker in score for stored in marker["bands"]]
        run.manifest.weights = [StoredTable(**marker["output"]) for marker in weigh]
        run.manifest.shards = [StoredTable(**marker["output"]) for marker in shard]
        run.manifest.rejects = [StoredTable(**marker["output"]) for marker in reject]
        run.folder.write_json(MANIFEST, run.manifest.model_dump(mode="json"))
        upweighted = sum(marker["upweighted"] for marker in weigh)
        return Outcome(run, ledger, weights, upweighted, self.tasks, self.resumed)

    def _score_tasks(self) -> list[Payload]:
        run, options = self.run, self.run.recipe.boilerplate
        if run.manifest.scored_in:
            return Run(Folder(run.scored_url), run.manifest).payloads("score")
        tasks = [{"split": values} for values in run.folder.read_json(SPLITS)]
        if options is None:
            return tasks
        names = [marker["output"]["name"] for marker in self._phase("boilerplate", tasks)]
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(run.folder.as_local(name)) for name in names]
            repeated = repeated_lines(files, options)
            held = [digest_of_repeated(file, repeated) for file in files]
        write_parquet(run.folder, REPEATED_LINES, pa.table({"line": repeated}), row_group_bytes=64 << 20)
        return [task | {"boilerplate": lines} for task, lines in zip(tasks, held, strict=True)]

    def _near_duplicates(self, score: list[Marker], ranges: list[Payload], merged: Payload) -> Payload:
        """Find clusters and who stays of each; how the table of their members was merged."""
        bands = [stored for marker in score for stored in marker["bands"]]
        names, rows = [stored["name"] for stored in bands], sum(stored["rows"] for stored in bands)
        self.run.store_once(BAND_INDEX, names)
        buckets = _parts(rows, PAIR_ROWS)
        pair = self._phase("pair", _told(buckets, self._merged("bands", names, buckets, rows)))
        self._phase("cluster", [{"parts": len(pair)}])
        ranked = _rows(self._phase("rank", _told(ranges, merged)))
        clusters = [part | {"parts": len(ranges)} for part in _parts(ranked, KEEP_ROWS)]
        sorted_by_cluster = self._merged("ranked", _ranked_names(len(ranges)), clusters, ranked)
        self._phase("keep", _told(clusters, sorted_by_cluster))
        return self._merged("members", _member_names(len(clusters)), ranges, ranked)

    def _merged(
        self, table: str, names: list[str], ranges: list[Payload], size: int, part_size: int = MERGED_ROWS
    ) -> Payload:
        """Merge a table of `size` bytes or rows that too many ranges read; how it lies then, empty where it stays."""
        levels = plan_levels(table, len(names), len(ranges), size, part_size)
        if not levels:
            return {}
        self._phase(f"merge-{table}", merge_tasks(self.run.folder, names, levels))
        last = levels[-1]
        return {table: {"level": last.level, "parts": last.parts, "files": last.files}}

    def _phase(self, phase: str, payloads: list[Payload]) -> list[Marker]:
        """Run what is not done of a phase, with retries; its markers in the order of its tasks."""
        run = self.run
        run.plan_tasks(phase, payloads)
        if phase in SPLIT_PHASES and self.earlier:
            self._adopt(phase, self.earlier)
        finished = run.finished(phase, len(payloads))
        if phase in SPLIT_PHASES:
            _check_adopted(run, finished)
        self.tasks += len(payloads)
        self.resumed += len(finished)
        self.listener.phase(phase, len(payloads), len(finished))
        for level in sorted({payload.get("level", 0) for payload in payloads}):
            tasks = [index for index, payload in enumerate(payloads) if payload.get("level", 0) == level]
            if level > 1:
                self.listener.phase(phase, len(payloads), len(finished))  # an engine counts from there on
            for attempt in range(ATTEMPTS):
                pending = [index for index in tasks if index not in finished]
                if attempt:
                    pending = [index for index in pending if not self._note(phase, index).get("final")]
                if not pending:
                    break
                self.engine.run(run.folder.url, phase, pending, self.listener)
                finished |= run.finished(phase, len(payloads), pending)
            failed = [index for index in tasks if index not in finished]
            if failed:
                raise self._failure(phase, payloads, failed)
        return [finished[index] for index in range(len(payloads))]

    def _adopt(self, phase: str, earlier: str) -> None:
        adopted = self.run.adopt(phase, earlier)
        if adopted:
            self.listener.say(f"{phase}: {adopted:,} splits are taken from {earlier}")

    def _note(self, phase: str, index: int) -> dict[str, Any]:
        return note_of(self.run, phase, index)

    def _failure(self, phase: str, payloads: list[Payload], failed: list[int]) -> TaskError:
        lines = []
        for index in failed[:5]:
            split = payloads[index].get("split")
            place = f"{split['url']} [{split['start']}:{split['stop']}]" if split else f"task {index}"
            note = self._note(phase, index)
            host = note.get("host", platform.node())
            elsewhere = "" if host == platform.node() else f" (on {host})"
            lines.append(f"{place}: {note.get('error') or self._without_note()}{elsewhere}")
        if len(failed) > 5:
            lines.append(f"… and {len(failed) - 5} more; see {self.run.folder.address(f'tasks/{phase}/failed-*.json')}")
        return TaskError(
            f"{len(failed)} of {len(payloads)} tasks of phase {phase} failed:\n  "
            + "\n  ".join(lines)
            + "\nThe others' work is kept. Mend the cause and run the same command again to go on"
        )

    def _without_note(self) -> str:
        free = self.run.folder.free_bytes()
        if free is not None and free < 1 << 20:
            return "the disk is full; free some space"
        return "its process died without a word; was it killed, or out of memory?"

    def _plan_weights(self, parts: int) -> WeightPlan:
        run = self.run
        histograms = []
        for index in range(parts):
            with run.folder.open_parquet(f"decisions/histogram-{index:05d}.parquet") as file:
                histograms.append(Histogram.from_table(file.read()))
        weights = build_plan(Histogram.merged(histograms), run.charters, run.recipe.weighing, run.recipe.seed)
        text = weights.to_json().encode()
        if not run.folder.exists(WEIGHT_PLAN) or run.folder.read_bytes(WEIGHT_PLAN) != text:
            run.folder.write_bytes(WEIGHT_PLAN, text)
        return weights


def _parts(size: int, part_size: int, some: bool = True) -> list[Payload]:
    """One task for each of the key ranges that hold about `part_size` of `size` bytes or rows."""
    count = max(1, math.ceil(size / part_size)) if some else 0
    return [{"part": index, "of": count} for index in range(count)]


def _told(payloads: list[Payload], merged: Payload) -> list[Payload]:
    """The tasks, which are told how tables lie that were merged for them."""
    return [payload | {"merged": merged} for payload in payloads] if merged else payloads


def _keys(payload: Payload) -> KeyRange:
    return KeyRange.part(payload["part"], payload["of"])


def _rows(markers: list[Marker]) -> int:
    return sum(marker["output"]["rows"] for marker in markers)


def _runs(run: Run, payload: Payload) -> RunSet:
    layout = _layout(payload, "scored")
    return MergedRuns(run.folder, layout) if layout else RunSet(run.folder, run.folder.read_json(RUN_INDEX))


def _layout(payload: Payload, table: str) -> Layout | None:
    """How a table was merged for a task; None where it was not."""
    told = payload.get("merged", {}).get(table)
    return Layout(table, **told) if told else None


def _merged_names(payload: Payload, table: str) -> list[str]:
    """The files of a merged table that a task reads; none where it was not merged."""
    layout = _layout(payload, table)
    return layout.names(_keys(payload)) if layout else []


def _kept_parts(run: Run) -> int:
    """How many tasks `keep` has, if there is one."""
    return len(run.payloads("keep")) if run.recipe.dedup.near else 0


def _ranked_names(parts: int) -> list[str]:
    return [f"dedup/ranked-{part:05d}.parquet" for part in range(parts)]


def _member_names(parts: int) -> list[str]:
    return [f"dedup/members-{part:05d}.parquet" for part in range(parts)]


def _check_adopted(run: Run, finished: Mapping[int, Marker]) -> None:
    """InputError where a file of another run, on which this one is built, is gone."""
    for marker in finished.values():
        for stored in [*marker.get("outputs", ()), *([marker["output"]] if "output" in marker else ())]:
            if run.folder.absolute(stored["name"]) == stored["name"] and not run.folder.exists(stored["name"]):
                raise InputError(
                    f"{stored['name']}: this run is built on that file of another run, and it is gone; was the run "
                    "moved or deleted? Put it back, or start anew in another --output without --since"
                )


def _note_name(phase: str, index: int) -> str:
    return f"tasks/{phase}/failed-{index:06d}.json"


@contextlib.contextmanager
def only_one(folder: Folder) -> Iterator[None]:
    """Hold a local run's folder; the lock ends with the process, however it ends."""
    if not folder.is_local:
        yield
        return
    import fcntl
    import os
    from pathlib import Path

    Path(folder.root).mkdir(parents=True, exist_ok=True)
    with Path(folder.root, "run.lock").open("a+") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not inherited by forks
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise OutputError(
                f"{folder.url} is being written by {holder}; wait for it or choose another --output"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {os.uname().nodename}")
        lock.flush()
        yield
