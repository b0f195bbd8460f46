"""`florilegium validate`: is a run whole, and do its weights follow from its plan?

Checks, in this order: status, every file's checksum and rows, schemas, global order and ranges of the
shards, the ledger's balance, that a document stands for every near-duplicate, and every weight, repeat and
contribution recomputed from the decisions and `weights/plan.json`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.document import CONTAMINATION, REJECT, SCORED, SHARD, WEIGHT
from ..schemas.errors import BalanceError, FlorilegiumError
from ..schemas.hashing import id_words
from ..schemas.run import Ledger, StoredTable
from .layout import WEIGHT_PLAN
from .ledger import check_balance
from .plan import Run, open_run
from .runs import BANDS
from .shards import DECISION, weigh_decisions
from .weighing.plan import WeightPlan
from .weighing.pool import repeats

__all__ = ["Check", "validate"]


@dataclass
class Check:
    """One check's outcome: how much was looked at, and what is wrong."""

    name: str
    looked_at: int = 0
    faults: list[str] = field(default_factory=list)


def validate(url: str) -> list[Check]:
    """Every check of a run; RunError when the folder holds none."""
    run = open_run(url)
    checks: list[tuple[str, Callable[[Run, Check], None]]] = [
        ("status", _status),
        ("checksums", _checksums),
        ("schemas", _schemas),
        ("order", _order),
        ("ledger", _ledger),
        ("duplicates", _duplicates),
        ("weights", _weights),
    ]
    results = []
    for name, look in checks:
        check = Check(name)
        try:
            look(run, check)
        except (FlorilegiumError, OSError, pa.ArrowException) as error:
            check.faults.append(str(error))
        results.append(check)
        if name == "status" and check.faults:
            break
    return results


def _tables(run: Run) -> Iterator[tuple[StoredTable, pa.Schema]]:
    manifest = run.manifest
    more = [] if run.recipe.decontamination is None else [CONTAMINATION]
    for tables, schema in (
        (manifest.scored, pa.schema([*SCORED, *more])),
        (manifest.bands, BANDS),
        (manifest.weights, WEIGHT),
        (manifest.shards, SHARD),
        (manifest.rejects, pa.schema([*REJECT, *more])),
    ):
        for table in tables:
            yield table, schema


def _status(run: Run, check: Check) -> None:
    check.looked_at = 1
    if run.manifest.status != "complete":
        check.faults.append("the run is not finished; run the same command again to go on")


def _checksums(run: Run, check: Check) -> None:
    for table, _ in _tables(run):
        check.looked_at += 1
        if not run.folder.exists(table.name):
            check.faults.append(f"{table.name} is missing")
        elif run.folder.size(table.name) != table.bytes or run.folder.sha256(table.name) != table.sha256:
            check.faults.append(f"{table.name} differs from its checksum in the manifest")


def _schemas(run: Run, check: Check) -> None:
    for table, schema in _tables(run):
        check.looked_at += 1
        with run.folder.open_parquet(table.name) as file:
            if not file.schema_arrow.remove_metadata().equals(schema):
                check.faults.append(f"{table.name} has another schema")
            elif file.metadata.num_rows != table.rows:
                check.faults.append(f"{table.name} holds {file.metadata.num_rows} rows, the manifest says {table.rows}")


def _order(run: Run, check: Check) -> None:
    """Keys ascend through each kind of file, one file after the other, and no id stands in two shards rows."""
    for tables, unique in ((run.manifest.shards, True), (run.manifest.weights, True), (run.manifest.rejects, False)):
        last: tuple[int, str] | None = None
        for table in tables:
            check.looked_at += 1
            with run.folder.open_parquet(table.name) as file:
                rows = file.read(columns=["key", "id"])
            keys, ids = rows["key"].to_numpy(), rows["id"].to_pylist()
            if not len(keys):
                continue
            ascending = keys[1:] > keys[:-1]
            ties = np.flatnonzero(keys[1:] == keys[:-1])
            ascending[ties] = [ids[row] < ids[row + 1] or (not unique and ids[row] == ids[row + 1]) for row in ties]
            if not ascending.all() or (last is not None and (int(keys[0]), ids[0]) <= last and unique):
                check.faults.append(f"{table.name} is not sorted by key and id")
            last = (int(keys[-1]), ids[-1])


def _ledger(run: Run, check: Check) -> None:
    ledger = Ledger.model_validate(run.folder.read_json("ledger.json"))
    check.looked_at = ledger.total("read") + ledger.total("generated")
    shard_rows = sum(table.rows for table in run.manifest.shards)
    check_balance(ledger, shard_rows, sum(table.rows for table in run.manifest.rejects))
    if ledger.total("read") + ledger.total("generated") != sum(table.rows for table in run.manifest.scored):
        raise BalanceError("the scored files do not hold as many rows as the ledger counts as read and generated")


def _duplicates(run: Run, check: Check) -> None:
    """What the policy keeps stands for every near-duplicate; a cluster is as large as the duplicates that name it."""
    columns = ["id", "action", "reasons", "duplicate_of", "cluster_size"]
    parts = [pa.schema([DECISION.field(name) for name in columns]).empty_table()]
    for index in range(len(run.manifest.weights)):
        with run.folder.open_parquet(f"decisions/decisions-{index:05d}.parquet") as file:
            parts.append(file.read(columns=columns))
    decisions = pa.concat_tables(parts)
    vetoed = np.zeros(decisions.num_rows, bool)  # by charters, which have no say in what stands for a cluster
    reasons = decisions["reasons"].combine_chunks()
    vetoed[pc.list_parent_indices(reasons).filter(pc.equal(pc.list_flatten(reasons), "charters.quorum"))] = True
    survivors = decisions.filter(pc.or_(pc.equal(decisions["action"], "survivor"), pa.array(vetoed)))
    copies = decisions.filter(pc.equal(decisions["action"], "duplicate"))
    check.looked_at = copies.num_rows
    place = pc.index_in(copies["duplicate_of"], value_set=survivors["id"])
    lost = pc.and_(pc.is_null(place), pc.not_equal(copies["duplicate_of"], copies["id"]))
    if pc.any(lost).as_py():
        check.faults.append(f"{pc.sum(lost).as_py()} near-duplicates name a document that the policy does not keep")
    named = np.bincount(place.drop_null().to_numpy(), minlength=survivors.num_rows)
    small = survivors["cluster_size"].to_numpy() < 1 + named
    if small.any():
        check.faults.append(f"{small.sum()} documents stand for more duplicates than their cluster_size says")


def _weights(run: Run, check: Check) -> None:
    """Recompute every weight from its decision and the plan; then compare the shards with the side table."""
    plan = WeightPlan.from_json(run.folder.read_bytes(WEIGHT_PLAN))
    for index, stored in enumerate(run.manifest.weights):
        with run.folder.open_parquet(f"decisions/decisions-{index:05d}.parquet") as file:
            decisions = file.read().cast(DECISION)
        decisions = decisions.filter(pc.equal(decisions["action"], "survivor"))
        with run.folder.open_parquet(stored.name) as file:
            table = file.read()
        check.looked_at += table.num_rows
        if not decisions["id"].combine_chunks().equals(table["id"].combine_chunks()):
            check.faults.append(f"{stored.name} names other documents than its decisions")
            continue
        _, expected = weigh_decisions(plan, decisions)
        weight = table["weight"].to_numpy()
        if not np.array_equal(weight, expected):
            check.faults.append(f"{stored.name}: {int((weight != expected).sum())} weights do not follow from the plan")
        if (weight > run.recipe.weighing.epoch_cap + 1e-9).any():
            check.faults.append(f"{stored.name}: a weight exceeds the epoch cap")
        if not np.array_equal(table["repeats"].to_numpy(), repeats(expected, *id_words(table["id"]), run.recipe.seed)):
            check.faults.append(f"{stored.name}: repeats do not follow from the weights")
        sums = _contribution_sums(table["contributions"].combine_chunks(), table.num_rows)
        if not np.allclose(sums, weight, rtol=0, atol=1e-9):
            check.faults.append(f"{stored.name}: contributions do not sum to the weight")
    _compare_shards(run, check)


def _contribution_sums(contributions: pa.ListArray, rows: int) -> np.ndarray:
    parent = contributions.value_parent_indices().to_numpy()
    return np.bincount(parent, contributions.flatten().field("weight").to_numpy(), minlength=rows)


def _compare_shards(run: Run, check: Check) -> None:
    shards, weights = (_weight_columns(run, tables) for tables in (run.manifest.shards, run.manifest.weights))
    if not run.recipe.output.keep_unweighted:
        weights = weights.filter(pc.greater(weights["weight"], 0))
    if not shards.combine_chunks().equals(weights.combine_chunks()):
        check.faults.append("the shards' weights differ from the side table in weights/")


def _weight_columns(run: Run, tables: list[StoredTable]) -> pa.Table:
    columns = ["id", "weight", "repeats"]
    schema = pa.schema([SHARD.field(name) for name in columns])
    parts = [schema.empty_table()]
    for table in tables:
        with run.folder.open_parquet(table.name) as file:
            parts.append(file.read(columns=columns).cast(schema))
    return pa.concat_tables(parts)
