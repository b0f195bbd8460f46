"""What weighing promises, held against a finished run: `python -m tests.pipelines.weighing.proofs RUN`.

Meant for runs over real data with 50,000 documents and more. Prints each promise with what was measured;
exits 1 where one does not hold.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from florilegium.pipelines.loading import WeightedDocuments
from florilegium.pipelines.weighing.plan import WeightPlan

PLAN_TOLERANCE = 0.001
STANDARD_ERRORS = 4
COLUMNS = ["id", "domain", "tokens", "weight", "repeats", "contributions"]


def main(run: str) -> None:
    plan = WeightPlan.from_json(Path(run, "weights/plan.json").read_bytes())
    table = pa.concat_tables(
        pq.read_table(path, columns=COLUMNS) for path in sorted(Path(run).glob("shards/*.parquet"))
    )
    checks = [_cap, _sums, _spent, _integers, _charters, _loader]
    results = [check(run, plan, table) for check in checks]
    print(f"{table.num_rows:,} documents, {plan.pool_tokens:,} tokens, {len(plan.charters)} charters")
    for holds, sentence in results:
        print(f"{'ok ' if holds else 'BAD'}  {sentence}")
    if not all(holds for holds, _ in results):
        sys.exit(1)


def _cap(run: str, plan: WeightPlan, table: pa.Table) -> tuple[bool, str]:
    largest = pc.max(table["weight"]).as_py()
    return largest <= plan.epoch_cap * (1 + 1e-15), f"the largest weight is {largest:.6f}, the cap {plan.epoch_cap:g}"


def _sums(run: str, plan: WeightPlan, table: pa.Table) -> tuple[bool, str]:
    lists = table["contributions"].combine_chunks()
    parts = lists.flatten().field("weight").to_numpy()
    sums = np.bincount(lists.value_parent_indices().to_numpy(), parts, minlength=table.num_rows)
    worst = float(np.abs(sums - table["weight"].to_numpy()).max())
    return worst < 1e-9, f"contributions sum to the weight within {worst:.1e}"


def _spent(run: str, plan: WeightPlan, table: pa.Table) -> tuple[bool, str]:
    """By domain, and by charter in each domain, against what the plan says."""
    tokens, domain = table["tokens"].to_numpy().astype(np.float64), np.array(table["domain"].to_pylist())
    lists = table["contributions"].combine_chunks()
    parent = lists.value_parent_indices().to_numpy()
    charter = np.array(lists.flatten().field("charter").to_pylist())
    part = lists.flatten().field("weight").to_numpy()
    worst = 0.0
    for g, planned in plan.domains.items():
        inside = domain == g
        worst = max(worst, _off(float(tokens[inside] @ table["weight"].to_numpy()[inside]), planned.spent))
        for name, cell in planned.charters.items():
            mine = inside[parent] & (charter == name)
            worst = max(worst, _off(float(tokens[parent[mine]] @ part[mine]), cell.spent))
    return worst < PLAN_TOLERANCE, f"tokens by domain, and by charter in each, meet the plan within {worst:.1e}"


def _integers(run: str, plan: WeightPlan, table: pa.Table) -> tuple[bool, str]:
    """Repeats against weights in tokens; the standard error is that of independent draws."""
    tokens, weight = table["tokens"].to_numpy().astype(np.float64), table["weight"].to_numpy()
    rest = weight - np.floor(weight)
    domain = np.array(table["domain"].to_pylist())
    told = {}
    for g in sorted(set(domain.tolist())):
        inside = domain == g
        error = float(tokens[inside] @ (table["repeats"].to_numpy() - weight)[inside])
        spread = float(np.sqrt((tokens**2 * rest * (1 - rest))[inside].sum()))
        told[g] = error / spread if spread else 0.0
    worst = max(map(abs, told.values()))
    by = ", ".join(f"{g} {value:+.2f}" for g, value in told.items())
    return worst < STANDARD_ERRORS, f"repeats miss the plan by standard errors of {by}"


def _charters(run: str, plan: WeightPlan, table: pa.Table) -> tuple[bool, str]:
    worst = 0.0
    for total in plan.charters.values():
        said = total.entitled - total.short + total.received
        worst = max(worst, abs(total.spent - said) / max(plan.budget_tokens, 1))
    short = {name: round(total.short) for name, total in plan.charters.items() if total.short > 0.5}
    return worst < 1e-9, f"each charter spends its share, but for what the plan says: {short or 'nothing'}"


def _loader(run: str, plan: WeightPlan, table: pa.Table) -> tuple[bool, str]:
    """An epoch by two ranks, the first stopped in the middle and resumed; every repeat exact."""
    seen: Counter[str] = Counter()
    for rank in (0, 1):
        documents = WeightedDocuments(run, ["id"], rank=rank, world=2)
        given = iter(documents)
        ids = [next(given)["id"] for _ in range(len(documents) // 2)]
        state = documents.state_dict()
        resumed = WeightedDocuments(run, ["id"], rank=rank, world=2)
        resumed.load_state_dict(state)
        ids += [document["id"] for document in resumed]
        if ids != [document["id"] for document in WeightedDocuments(run, ["id"], rank=rank, world=2)]:
            return False, f"rank {rank}: the loader gave another sequence after it was resumed"
        seen.update(ids)
    wanted = Counter(dict(zip(table["id"].to_pylist(), table["repeats"].to_pylist(), strict=True)))
    return (
        seen == +wanted,
        f"two ranks, stopped and resumed in the middle, give {seen.total():,} samples, repeats exact",
    )


def _off(found: float, planned: float) -> float:
    return abs(found - planned) / max(planned, 1.0)


def _run(arguments: list[str]) -> Any:
    return main(arguments[0]) if arguments else print(__doc__)


if __name__ == "__main__":
    _run(sys.argv[1:])
