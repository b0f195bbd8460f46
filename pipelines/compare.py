"""`florilegium compare`: what another model would change in a run.

The run's documents, as they are stored, are scored by either model; then the run's own recipe and charters decide and
weigh them, through the same phases as any run, in a scratch folder that is removed at the end. So what is compared is
what would happen, deduplication and budgets included. The scratch folder takes about twice the space of the scored
documents. A run that was scored by one of the models is not scored by it again.
"""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..classifiers.student import load
from ..schemas.errors import RunError
from ..schemas.taxonomy import HARMS, PROSOCIAL
from .engines import Engine
from .layout import MANIFEST, RUN_INDEX, SPLITS
from .phases import execute
from .plan import Run, open_run, plan_reweighing
from .progress import SILENT, Listener
from .runs import ROW_GROUPS_PER_RUN, KeyRange, RunSet, write_parquet
from .stages.classify import Classify
from .storage import Folder

__all__ = ["compare"]

SCORE_COLUMNS = ("quality", "harm", "prosocial")
MOST_MOVED = 5
BATCH = 4096
DECIDED = ("run", "row", "id", "action", "reasons", "domain", "tokens")


def compare(run_url: str, old: str, new: str, engine: Engine, listener: Listener = SILENT) -> dict[str, Any]:
    """Decisions and weights of a run under two models, and what differs, JSON-like.

    Models are named as for `load`. Raises `RunError` where the run's scoring is not finished.
    """
    run = open_run(run_url)
    if not run.folder.exists(RUN_INDEX):
        raise RunError(f"{run_url} is not scored to the end; finish it with the command that began it")
    with tempfile.TemporaryDirectory(prefix="florilegium-compare-") as scratch:
        sides = [
            _side(run, model, Path(scratch) / name, engine, listener) for name, model in (("old", old), ("new", new))
        ]
        return {
            "run": run_url,
            "old": {"model": old, "digest": load(old).digest},
            "new": {"model": new, "digest": load(new).digest},
            **_difference(*sides),
        }


def _side(run: Run, model: str, scratch: Path, engine: Engine, listener: Listener) -> pa.Table:
    """Every document of the run with its scores, decision and weight under one model, in the order of the runs."""
    scored = open_run(run.scored_url)
    if load(model).digest != run.manifest.models.get("classify"):
        scored = _rescore(scored, model, str(scratch / "scored"), listener)
    outcome = execute(plan_reweighing(scored, run.recipe, run.charters), str(scratch / "run"), engine, listener)
    weighed = outcome.run
    decisions = _concatenated(weighed.folder, "decisions/decisions-*.parquet", DECIDED).sort_by(
        [("run", "ascending"), ("row", "ascending")]
    )
    weights = _concatenated(weighed.folder, "weights/weights-*.parquet", ("id", "weight"))
    place = pc.index_in(decisions["id"], weights["id"].combine_chunks())
    weight = pc.fill_null(weights["weight"].take(place), 0.0).to_numpy()
    action = decisions["action"].to_numpy(zero_copy_only=False).astype(object)
    survives = action == "survivor"
    weight = np.where(survives, weight, 0.0)
    kept = (weight > 0) | run.recipe.output.keep_unweighted
    action[survives] = np.where(kept, "kept", "unweighted")[survives]
    names = weighed.folder.read_json(RUN_INDEX)
    scores = RunSet(Folder(scored.folder.url), names).scan(KeyRange.part(0, 1), ("key", "source_id", *SCORE_COLUMNS))
    scores = scores.sort_by([("run", "ascending"), ("row", "ascending")])
    table = decisions.set_column(decisions.schema.get_field_index("action"), "action", pa.array(action, pa.string()))
    table = table.append_column("weight", pa.array(weight))
    for name in ("source_id", *SCORE_COLUMNS):
        table = table.append_column(name, scores[name])
    return table.combine_chunks()


def _rescore(run: Run, model: str, target: str, listener: Listener) -> Run:
    """A folder that looks like the run after scoring, with the model's scores."""
    source, folder = run.folder, Folder(target)
    names = source.read_json(RUN_INDEX)
    options = run.recipe.stages.classify
    stage = Classify(options.model_copy(update={"model": model}))
    stage.setup()
    listener.phase("score", len(names), 0)
    documents = 0
    stored: dict[str, dict[str, Any]] = {}  # by the name of the file that it stands for
    for index, name in enumerate(names):
        with source.open_parquet(name) as file:
            parts = [stage.apply(batch) for batch in file.iter_batches(BATCH)]
            table = pa.Table.from_batches(parts, parts[0].schema if parts else file.schema_arrow)
        stored[name] = write_parquet(
            folder,
            f"scored/{index:05d}.parquet",
            table,
            row_group_bytes=max(run.recipe.output.run_bytes // ROW_GROUPS_PER_RUN, 64 << 10),
            sizes=table["bytes"].to_numpy().astype(np.int64) + 256,
        )
        documents += table.num_rows
        listener.update(index + 1, documents, 0, 0)
    for name in ("tasks/score/plan.json", SPLITS):
        folder.write_bytes(name, source.read_bytes(name))
    for name in source.names("tasks/score/[0-9]*.json"):
        marker = source.read_json(name)
        marker["outputs"] = [stored[output["name"]] for output in marker["outputs"]]
        marker["bands"] = [band | {"name": source.absolute(band["name"])} for band in marker["bands"]]
        folder.write_json(name, marker)
    models = {**run.manifest.models, "classify": stage.classifier.digest}
    manifest = run.manifest.model_copy(update={"models": models})
    folder.write_json(MANIFEST, manifest.model_dump(mode="json"))
    return open_run(target)


def _concatenated(folder: Folder, pattern: str, columns: tuple[str, ...]) -> pa.Table:
    tables = []
    for name in folder.names(pattern):
        with folder.open_parquet(name) as file:
            tables.append(file.read(columns=list(columns)))
    return pa.concat_tables(tables).combine_chunks()


def _difference(old: pa.Table, new: pa.Table) -> dict[str, Any]:
    weights_by_row = [table["weight"].to_numpy() * table["tokens"].to_numpy() for table in (old, new)]
    scores = _scores(old, new, weights_by_row)
    old, new = _aligned(old), _aligned(new)
    before, after = (table["action"].to_pylist() for table in (old, new))
    weights = [table["weight"].to_numpy() for table in (old, new)]
    tokens = old["tokens"].to_numpy().astype(np.float64)
    masses = [tokens * weight for weight in weights]
    flips = Counter((one, other) for one, other in zip(before, after, strict=True) if one != other)
    reasons = [Counter(reason for row in table["reasons"].to_pylist() for reason in row) for table in (old, new)]
    return {
        "documents": old.num_rows,
        "decisions": {
            "old": dict(sorted(Counter(before).items())),
            "new": dict(sorted(Counter(after).items())),
            "flipped": sum(flips.values()),
            "flips": [{"from": one, "to": other, "documents": n} for (one, other), n in sorted(flips.items())],
        },
        "reasons": {
            reason: {"old": reasons[0][reason], "new": reasons[1][reason]}
            for reason in sorted(reasons[0].keys() | reasons[1].keys())
            if reasons[0][reason] != reasons[1][reason]
        },
        "weights": _moved(masses[0], masses[1]),
        "domains": {
            domain: _moved(masses[0][rows], masses[1][rows])
            for domain in sorted(set(old["domain"].to_pylist()))
            if (rows := pc.equal(old["domain"], domain).to_numpy(zero_copy_only=False)).any()
        },
        "scores": scores,
        "most_moved": _most_moved(new, weights),
    }


def _aligned(table: pa.Table) -> pa.Table:
    """Rows by id, then by action: where another of several twins is kept, nothing has changed."""
    return table.sort_by([(name, "ascending") for name in ("id", "action", "run", "row")]).combine_chunks()


def _moved(before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> dict[str, float]:
    """Weighted tokens, and the share of them that lies elsewhere afterwards."""
    both = before.sum() + after.sum()
    return {
        "old": round(float(before.sum()), 1),
        "new": round(float(after.sum()), 1),
        "moved": round(float(np.abs(after - before).sum() / both), 4) if both else 0.0,
    }


def _scores(old: pa.Table, new: pa.Table, masses: list[np.ndarray[Any, Any]]) -> dict[str, Any]:
    """By output: how far the models differ, and what training would see of it under either model's weights.

    Both means of the latter are by the new model's scores, so that they differ by the weights alone.
    """
    paths: dict[str, tuple[str, ...]] = {name: ("prosocial", name) for name in PROSOCIAL}
    paths |= {f"{name}.{kind}": ("harm", name, kind) for name in HARMS for kind in ("topical", "toxic")}
    paths["quality"] = ("quality",)
    scored = [~np.isnan(_column(table, ("quality",))) for table in (old, new)]  # ranks of harm models are no scores
    found = {}
    for output, path in paths.items():
        one, other = (
            np.where(rows, _column(table, path), np.nan) for table, rows in zip((old, new), scored, strict=True)
        )
        known = ~np.isnan(one) & ~np.isnan(other)
        seen = [float((mass * np.nan_to_num(other)).sum() / mass.sum()) if mass.sum() else None for mass in masses]
        found[output] = {
            "mean_change": round(float((other - one)[known].mean()), 4) if known.any() else None,
            "mean_distance": round(float(np.abs(other - one)[known].mean()), 4) if known.any() else None,
            "seen_with_old_weights": None if seen[0] is None else round(seen[0], 4),
            "seen_with_new_weights": None if seen[1] is None else round(seen[1], 4),
        }
    return found


def _column(table: pa.Table, path: tuple[str, ...]) -> np.ndarray[Any, Any]:
    column = table[path[0]]
    values = pc.struct_field(column, list(path[1:])) if len(path) > 1 else column
    return values.to_numpy().astype(np.float64)


def _most_moved(table: pa.Table, weights: list[np.ndarray[Any, Any]]) -> list[dict[str, Any]]:
    """The documents whose weight changes most, by id where it changes alike."""
    change = weights[1] - weights[0]
    ids = table["id"].to_numpy(zero_copy_only=False).astype(str)
    order = np.lexsort((ids, -np.abs(change)))[:MOST_MOVED]
    return [
        {
            "id": str(ids[row]),
            "source_id": table["source_id"][int(row)].as_py(),
            "old": round(float(weights[0][row]), 4),
            "new": round(float(weights[1][row]), 4),
        }
        for row in order.tolist()
        if change[row]
    ]


def render_comparison(result: dict[str, Any]) -> str:
    """The comparison in lines, for people."""
    decisions, weights = result["decisions"], result["weights"]
    lines = [
        f"Documents    {result['documents']:>12,}",
        f"Flipped      {decisions['flipped']:>12,} decisions",
        *(f"             {flip['documents']:>12,} {flip['from']} → {flip['to']}" for flip in decisions["flips"]),
    ]
    if result["reasons"]:
        lines.append("Reasons               old          new")
        lines += [f"     {entry['old']:>12,} {entry['new']:>12,} {name}" for name, entry in result["reasons"].items()]
    lines.append(f"Weight moved {weights['moved']:>12.1%} of {weights['old']:,.0f} weighted tokens")
    lines += [
        f"             {entry['moved']:>12.1%} {name}: {entry['old']:,.0f} → {entry['new']:,.0f}"
        for name, entry in result["domains"].items()
    ]
    lines.append("Seen in training, by the new model's scores, with old → new weights")
    lines += [
        f"             {entry['seen_with_old_weights']:>6.3f} → {entry['seen_with_new_weights']:.3f} {name}"
        for name, entry in result["scores"].items()
        if entry["seen_with_old_weights"] is not None and entry["seen_with_new_weights"] is not None
    ]
    if result["most_moved"]:
        lines.append("Moved most")
        lines += [
            f"             {entry['old']:>6.2f} → {entry['new']:.2f} {entry['source_id'] or entry['id']}"
            for entry in result["most_moved"]
        ]
    return "\n".join(lines)
