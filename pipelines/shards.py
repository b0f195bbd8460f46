"""Decisions, weights and shards: the tasks that own a range of keys.

    rank     judges the range's members of clusters of near-duplicates, so that the best can stay
    decide   reads every run's scores in the range; one decision a document, histograms by charter
    weigh    applies the plan to the range's survivors: the side table id → weight
    shard    fetches the texts of one shard's documents, whole and in order
    reject   the same for what was left out, with its reasons

Each is a pure function of files to files. A document's text is read in `shard` and `reject` only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.arrays import with_flag
from ..schemas.document import (
    CONTAMINATION,
    CONTRIBUTIONS,
    REJECT,
    SCHEMA_VERSION,
    SCORED,
    SHARD,
    WEIGHT,
    scored_schema,
    to_thousandths,
)
from ..schemas.hashing import id_words
from ..schemas.run import Counts
from .candidates import candidates, write_candidates
from .decide import (
    POLICY_COLUMNS,
    Reasons,
    assign_domains,
    composer_reasons,
    contamination_reasons,
    content_reasons,
    provenance_reasons,
)
from .dedup import KEEPER_COLUMNS, exact_duplicates
from .near_duplicates import CLUSTERS, MEMBERS, RANKED
from .plan import Run
from .runs import LOCATOR, KeyRange, RunSet, read_range, sort_by_key, write_parquet
from .weighing.histogram import Histogram
from .weighing.plan import UNSCORED, WeightPlan
from .weighing.pool import contribution_lists, repeats, total
from .weighing.rehydration import factors, masses
from .weighing.utility import ScoreTable, judge_all, quorum_rejects

__all__ = [
    "DECISION",
    "KEPT",
    "UNWEIGHTED",
    "decide_range",
    "rank_range",
    "reject_range",
    "shard_range",
    "weigh_range",
]

SURVIVOR, REJECTED, DUPLICATE, FAILED = "survivor", "rejected", "duplicate", "failed"
KEPT, UNWEIGHTED = "kept", "unweighted"

DECISION = pa.schema(
    [
        SCORED.field("key"),
        SCORED.field("id"),
        *LOCATOR,
        pa.field("action", pa.string(), nullable=False),
        pa.field("reasons", pa.list_(pa.string()), nullable=False),
        REJECT.field("duplicate_of"),
        pa.field("domain", pa.string(), nullable=False),
        SHARD.field("cluster_size"),
        pa.field("utilities", pa.list_(pa.int16()), nullable=False),  # thousandths by charter; -1 = not accepted
        pa.field("unscored", pa.bool_(), nullable=False),  # in a language that the model does not cover
        SCORED.field("tokens"),
        SCORED.field("bytes"),
        SCORED.field("source"),
    ]
)
DECIDED = ("id", "key", "domain", "cluster_size")  # what a row of shards and rejects takes from its decision
SHARD_DICTIONARY = ("source", "domain", "language", "license", "scored_by", "host")


DECIDE_COLUMNS = [*{*POLICY_COLUMNS, *KEEPER_COLUMNS, "key", "source_id", "prosocial", "tokens", "bytes"}]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass
class _Judged:
    """What the policy says of rows on their own and of their exact twins; arrays of shape (rows,)."""

    reasons: Reasons
    usable: Mask  # nothing in where they come from forbids their use
    duplicate: Mask  # exact twins of a better row
    candidate: Mask  # may be kept, whatever charters say
    cluster_size: np.ndarray[Any, np.dtype[np.int32]]
    utilities: np.ndarray[Any, np.dtype[np.int16]]  # by charter
    scores: ScoreTable


def _judge(run: Run, table: pa.Table) -> _Judged:
    """Judge whole groups of exact twins by the policy and the charters' quorum."""
    recipe = run.recipe
    reasons = provenance_reasons(table, recipe.policy)
    usable = ~reasons.any()
    duplicate, cluster_size = exact_duplicates(table, eligible=usable)
    reasons.extend(content_reasons(table, recipe.policy))
    reasons.extend(composer_reasons(table, recipe))
    if CONTAMINATION.name in table.column_names and recipe.decontamination is not None:
        reasons.extend(contamination_reasons(table, recipe.decontamination))
    scores = ScoreTable.from_batch(table)
    utilities, vetoes = judge_all(run.charters, scores, recipe.weighing.bridging)
    rejected_by_quorum, keepers = quorum_rejects(vetoes, list(run.shares.values()), recipe.weighing.quorum)
    candidate = usable & ~duplicate & ~reasons.any()
    reasons.add("charters.quorum", rejected_by_quorum)
    for name, keeps in zip(run.charters, keepers.T, strict=True):
        reasons.add(f"charters.kept_by.{name}", keeps)
    return _Judged(reasons, usable, duplicate, candidate, cluster_size, utilities, scores)


def _scan_scores(run: Run, runs: RunSet, keys: KeyRange) -> pa.Table:
    """What decisions rest on, of every row in the range, sorted by key."""
    decontamination = run.recipe.decontamination
    rejects = decontamination is not None and decontamination.action == "reject"
    return sort_by_key(runs.scan(keys, [*DECIDE_COLUMNS, *([CONTAMINATION.name] if rejects else ())]))


def rank_range(run: Run, runs: RunSet, keys: KeyRange, index: int) -> dict[str, Any]:
    """Judge the documents of the range that have near-duplicates; writes `dedup/ranked-INDEX.parquet`."""
    clusters = read_range(run.folder, "dedup/clusters.parquet", keys, "key", CLUSTERS.names)
    ranked = RANKED.empty_table()
    if clusters.num_rows:
        table = _scan_scores(run, runs, keys)
        table = table.filter(pc.is_in(table["key"], value_set=clusters["key"]))
        judged = _judge(run, table)
        columns = {
            "cluster": clusters["cluster"].take(pc.index_in(table["key"], value_set=clusters["key"])),
            "key": table["key"],
            "id": table["id"],
            "survives": pa.array(judged.candidate),
            "quality": pa.array(to_thousandths(table["quality"].to_numpy())),
            "size": pa.array(judged.cluster_size),
        }
        ranked = pa.table([columns[name] for name in RANKED.names], schema=RANKED)
        ranked = ranked.filter(pa.array(judged.usable & ~judged.duplicate))
        ranked = ranked.take(pa.array(np.lexsort((ranked["key"].to_numpy(), ranked["cluster"].to_numpy()))))
    return {"output": write_parquet(run.folder, f"dedup/ranked-{index:05d}.parquet", ranked, row_group_bytes=4 << 20)}


def decide_range(run: Run, runs: RunSet, members: Sequence[str], keys: KeyRange, index: int) -> dict[str, Any]:
    """Decide every document in the range; writes `decisions/` and the range's histogram.

    `members` are the files of schema MEMBERS that may hold some of its documents.
    """
    table = _scan_scores(run, runs, keys)
    recipe = run.recipe
    judged = _judge(run, table)
    reasons, scores, utilities = judged.reasons, judged.scores, judged.utilities
    failed, rejected = pc.is_valid(table["error"]).to_numpy(), reasons.any()
    keeper, cluster_size = _keepers(run, members, keys, table, judged)
    near = judged.candidate & _mask(pc.not_equal(keeper, table["id"]))
    duplicate = judged.duplicate | (near & ~rejected)
    reasons.add("dedup.exact", judged.duplicate)
    reasons.add("dedup.near", near & ~rejected)
    action = np.select([failed, duplicate, rejected], [FAILED, DUPLICATE, REJECTED], SURVIVOR)
    survives = action == SURVIVOR
    domain = assign_domains(table, recipe.weighing)
    write_candidates(run.folder, index, candidates(table, judged.candidate & ~near, domain, cluster_size, scores))
    if recipe.weighing.unscored == "neutral":
        domain = pc.if_else(pa.array(scores.scored), domain, UNSCORED)
    codes = domain.filter(pa.array(survives)).dictionary_encode()
    histogram = Histogram.empty(run.charters, codes.dictionary.to_pylist())
    unscored = ~scores.scored
    mass = masses(table["tokens"].to_numpy(), cluster_size, unscored, recipe.weighing.rehydration)
    histogram.add(utilities[survives], codes.indices.to_numpy(), mass[survives], unscored[survives])
    decisions = pa.table(
        {
            "action": pa.array(action.astype(object), pa.string()),
            "reasons": reasons.to_array(),
            "duplicate_of": pc.if_else(pa.array(action == DUPLICATE), keeper, pa.scalar(None, pa.string())),
            "domain": domain,
            "cluster_size": pa.array(cluster_size),
            "utilities": _int16_lists(utilities),
            "unscored": pa.array(unscored),
            **{name: table[name] for name in DECISION.names if name in table.column_names},
        }
    )
    write_parquet(
        run.folder,
        f"decisions/decisions-{index:05d}.parquet",
        decisions.select(DECISION.names).cast(DECISION),
        row_group_bytes=8 << 20,
        sizes=np.full(table.num_rows, 128),
        dictionary=("action", "domain", "source"),
    )
    write_parquet(run.folder, f"decisions/histogram-{index:05d}.parquet", histogram.to_table(), row_group_bytes=8 << 20)
    left_out = ~survives
    return {
        "rows": table.num_rows,
        "rejected": _count(table["source"], action == REJECTED),
        "duplicates": _count(table["source"], action == DUPLICATE),
        "failed": _count(table["source"], action == FAILED),
        "reasons": _count_reasons(table["source"], reasons),
        "left_out_rows": int(left_out.sum()),
        "left_out_bytes": int(table["bytes"].to_numpy()[left_out].sum()),
    }


def _keepers(
    run: Run, names: Sequence[str], keys: KeyRange, table: pa.Table, judged: _Judged
) -> tuple[pa.ChunkedArray, np.ndarray[Any, np.dtype[np.int32]]]:
    """Of each row: id of the document that stands for its cluster, its own where none does; the cluster's size."""
    if not run.recipe.dedup.near:
        return table["id"], judged.cluster_size
    members = pa.concat_tables(read_range(run.folder, name, keys, "key", MEMBERS.names) for name in names)
    place = pc.index_in(table["key"], value_set=members["key"])
    found = judged.usable & _mask(pc.is_valid(place))
    keeper = pc.coalesce(members["keeper"].take(place), table["id"])
    size = pc.fill_null(members["cluster_size"].take(place), 0).to_numpy()
    return keeper, np.where(found, size, judged.cluster_size).astype(np.int32)


def weigh_range(run: Run, weights: WeightPlan, keys: KeyRange, index: int, count: int) -> dict[str, Any]:
    """Weigh the range's survivors; writes `weights/weights-INDEX-of-COUNT.parquet`, sorted by key."""
    decisions = _read_decisions(run, keys, [SURVIVOR])
    contributions, weight = weigh_decisions(weights, decisions)
    high, low = id_words(decisions["id"])
    table = pa.table(
        {
            "id": decisions["id"],
            "key": decisions["key"],
            "domain": decisions["domain"],
            "weight": pa.array(weight),
            "repeats": pa.array(repeats(weight, high, low, run.recipe.seed)),
            "contributions": contribution_lists(contributions, weights.charter_names),
        }
    ).cast(WEIGHT)
    stored = write_parquet(
        run.folder,
        f"weights/weights-{index:05d}-of-{count:05d}.parquet",
        table,
        row_group_bytes=8 << 20,
        sizes=np.full(table.num_rows, 128),
        dictionary=("domain",),
    )
    in_shards = (weight > 0) | run.recipe.output.keep_unweighted
    tokens, source = decisions["tokens"].to_numpy(), decisions["source"]
    return {
        "output": stored,
        "kept": _count(source, in_shards),
        "unweighted": _count(source, ~in_shards),
        "tokens": {
            KEPT: _count(source, in_shards, tokens),
            UNWEIGHTED: _count(source, ~in_shards, tokens),
        },
        "weighted_tokens": {
            name: float((tokens * weight)[_equal(source, name)].sum()) for name in sorted(pc.unique(source).to_pylist())
        },
        "upweighted": int((weight > 1).sum()),
        "kept_rows": int(in_shards.sum()),
        "kept_bytes": int(decisions["bytes"].to_numpy()[in_shards].sum()),
    }


def weigh_decisions(
    weights: WeightPlan, decisions: pa.Table
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Contributions of shape (rows, charters) and their sum for decisions of survivors."""
    utilities = decisions["utilities"].combine_chunks().flatten().to_numpy()
    codes = pc.index_in(decisions["domain"], pa.array(weights.domain_names, pa.string())).fill_null(0).to_numpy()
    unscored = decisions["unscored"].to_numpy()
    contributions = weights.weights(utilities.reshape(decisions.num_rows, len(weights.charter_names)), codes, unscored)
    if weights.rehydration:
        tokens = decisions["tokens"].to_numpy()
        mass = masses(tokens, decisions["cluster_size"].to_numpy(), unscored, weights.rehydration)
        contributions *= factors(mass, tokens)[:, None]
    return contributions, total(contributions)


def shard_range(run: Run, runs: RunSet, keys: KeyRange, index: int, count: int) -> dict[str, Any]:
    """Write `shards/train-INDEX-of-COUNT.parquet`: the kept documents of the range, sorted by key."""
    decisions = _read_decisions(run, keys, [SURVIVOR])
    weights = _read_parts(run, "weigh", "weights/weights-{part:05d}-of-{of:05d}.parquet", keys, WEIGHT)
    if not decisions["id"].equals(weights["id"]):
        decisions, weights = decisions.combine_chunks(), weights.combine_chunks()
        if not decisions["id"].equals(weights["id"]):
            raise RuntimeError("weights and decisions name different documents; remove the run's folder and start anew")
    if not run.recipe.output.keep_unweighted:
        positive = pc.greater(weights["weight"], 0)
        decisions, weights = decisions.filter(positive), weights.filter(positive)
    texts = runs.gather(decisions, _shared_columns(SHARD))
    flags = with_flag(texts["flags"].combine_chunks(), decisions["unscored"].to_numpy(), "weighing.unscored")
    for harm, limit in sorted(run.recipe.output.harm_tags.items()):
        toxic = to_thousandths(pc.struct_field(texts["harm"], [harm, "toxic"]).to_numpy())
        flags = with_flag(flags, toxic > round(limit * 1000), f"harm.{harm}")
    columns = {
        **{name: texts[name] for name in texts.column_names},
        "flags": flags,
        **{name: decisions[name] for name in DECIDED},
        **{name: weights[name] for name in ("weight", "repeats", "contributions")},
    }
    table = pa.table({name: columns[name] for name in SHARD.names}).cast(SHARD)
    return {"output": _write_shard(run, f"shards/train-{index:05d}-of-{count:05d}.parquet", table)}


def reject_range(run: Run, runs: RunSet, keys: KeyRange, index: int, count: int) -> dict[str, Any]:
    """Write `rejects/rejects-INDEX-of-COUNT.parquet`: what was left out in the range, with its reasons."""
    decisions = _read_decisions(run, keys, [REJECTED, DUPLICATE, FAILED])
    schema = REJECT if run.recipe.decontamination is None else REJECT.append(CONTAMINATION)
    texts = runs.gather(decisions, _shared_columns(schema))
    rows = decisions.num_rows
    columns = {
        **{name: texts[name] for name in texts.column_names},
        **{name: decisions[name] for name in (*DECIDED, "action", "reasons", "duplicate_of")},
        "weight": pa.array(np.zeros(rows)),
        "repeats": pa.array(np.zeros(rows, np.int32)),
        "contributions": pa.array([[]] * rows, CONTRIBUTIONS),
    }
    table = pa.table({name: columns[name] for name in schema.names}).cast(schema)
    return {"output": _write_shard(run, f"rejects/rejects-{index:05d}-of-{count:05d}.parquet", table)}


def _write_shard(run: Run, name: str, table: pa.Table) -> dict[str, Any]:
    output = run.recipe.output
    stored = write_parquet(
        run.folder,
        name,
        table,
        row_group_bytes=output.row_group_bytes,
        compression_level=output.compression_level,
        metadata={"florilegium.schema_version": str(SCHEMA_VERSION), "florilegium.recipe": run.manifest.recipe_digest},
        sizes=pc.binary_length(table["text"]).to_numpy().astype(np.int64) + 256,
        dictionary=SHARD_DICTIONARY,
    )
    return {**stored, "tokens": pc.sum(table["tokens"]).as_py() or 0}


def _shared_columns(schema: pa.Schema) -> list[str]:
    """Columns that a shard takes from the scored runs as they are."""
    names = scored_schema(schema.names).names
    return [name for name in schema.names if name in names and name not in ("id", "key")]


def _read_decisions(run: Run, keys: KeyRange, actions: Sequence[str]) -> pa.Table:
    table = _read_parts(run, "decide", "decisions/decisions-{part:05d}.parquet", keys, DECISION)
    return table.filter(pc.is_in(table["action"], value_set=pa.array(actions)))


def _read_parts(run: Run, phase: str, name: str, keys: KeyRange, schema: pa.Schema) -> pa.Table:
    """Rows of the range out of a phase's parts, whose key ranges ascend with their number; `name` is a format."""
    tables = []
    for payload in run.payloads(phase):
        part = KeyRange.part(payload["part"], payload["of"])
        if part.low < keys.high and keys.low < part.high:
            with run.folder.open_parquet(name.format_map(payload)) as file:
                table = file.read()
            bounds = keys.slice(table["key"].to_numpy())
            tables.append(table.slice(bounds.start, bounds.stop - bounds.start))
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _mask(values: pa.ChunkedArray) -> Mask:
    return pc.fill_null(values, False).to_numpy()


def _equal(values: pa.ChunkedArray, wanted: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return pc.equal(values, wanted).to_numpy()


def _count(
    sources: pa.ChunkedArray, mask: np.ndarray[Any, Any], amounts: np.ndarray[Any, Any] | None = None
) -> dict[str, int]:
    """Source → number of rows in `mask` (or the sum of their amounts), sources without any left out."""
    encoded = sources.combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()[mask]
    totals = np.bincount(codes, None if amounts is None else amounts[mask], minlength=len(encoded.dictionary))
    names = encoded.dictionary.to_pylist()
    return {name: int(number) for name, number in sorted(zip(names, totals, strict=True)) if number}


def _count_reasons(sources: pa.ChunkedArray, reasons: Reasons) -> Counts:
    return {reason: _count(sources, mask) for reason, mask in sorted(reasons.masks.items())}


def _int16_lists(values: np.ndarray[Any, np.dtype[np.int16]]) -> pa.ListArray:
    rows, width = values.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values, np.int16).reshape(-1)))
