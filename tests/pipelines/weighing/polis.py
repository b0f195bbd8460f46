"""Bridging on votes of real communities: `python -m tests.pipelines.weighing.polis [SPLITS]`.

Opinion groups of a conversation are charters (share: members; utility of a statement: its rate of agreement
in the group, with one vote of each kind added) and statements are documents of one token. Participants
are split in two by hash. From one half come the weights, with and without bridging, and the majority's
average (agreement over all votes); from the other the consensus that a ranking should foresee: the
lowest agreement among groups. Prints Spearman's correlation, means over splits, for each conversation.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from florilegium.pipelines.weighing.histogram import Histogram
from florilegium.pipelines.weighing.plan import build_plan
from florilegium.pipelines.weighing.pool import total
from florilegium.pipelines.weighing.utility import bridge
from florilegium.schemas.charter import Charter
from florilegium.schemas.recipe import Weighing
from scipy.stats import spearmanr

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "community" / "polis"
SPLITS = 20
LEAST_MEMBERS = 10
LEAST_VOTES = 5  # in each group and half, for a statement to count

Floats = np.ndarray[Any, np.dtype[np.float64]]


def agreement(votes: Floats) -> Floats:
    """Rate of agreement by statement, (statements,), for votes (participants, statements) of 1, -1, 0 and NaN."""
    return ((votes == 1).sum(axis=0) + 1) / ((~np.isnan(votes)).sum(axis=0) + 2)


def weights(utilities: Floats, members: Floats, beta: float) -> tuple[Floats, Floats]:
    """Pooled weight and pooled bridged utility of statements, from utilities (statements, groups) in 0..1."""
    names = [f"group-{number:02d}" for number in range(utilities.shape[1])]
    grid = np.rint(utilities * 1000).astype(np.int16)
    grid = bridge(grid, np.ones(grid.shape, np.bool_), beta) if beta else grid
    shares = dict(zip(names, (members / members.sum()).tolist(), strict=True))
    histogram = Histogram.empty(names, ["statements"])
    codes = np.zeros(len(grid), np.int64)
    histogram.add(grid, codes, np.ones(len(grid), np.int64))
    charters = {name: Charter(version=1, name=name) for name in names}
    plan = build_plan(histogram, charters, Weighing(charters=shares, bridging=beta), seed=0)
    return total(plan.weights(grid, codes)), grid @ (members / members.sum())


def study(votes: Floats, groups: Floats, splits: int) -> dict[str, float] | None:
    """Mean correlation with the held-out consensus by ranking, or None where too few statements have votes."""
    present = [g for g in np.unique(groups[~np.isnan(groups)]) if (groups == g).sum() >= 2 * LEAST_MEMBERS]
    if len(present) < 2:
        return None
    found: dict[str, list[float]] = {}
    for split in range(splits):
        half = np.random.default_rng(split).permutation(len(votes)) % 2 == 0
        counts = [(~np.isnan(votes[(groups == g) & side])).sum(axis=0) for g in present for side in (half, ~half)]
        enough = np.min(counts, axis=0) >= LEAST_VOTES
        if enough.sum() < 10:
            continue
        known, later = votes[half][:, enough], votes[~half][:, enough]
        inside = [groups[half] == g for g in present]
        utilities = np.stack([agreement(known[members]) for members in inside], axis=1)
        consensus = np.min([agreement(later[groups[~half] == g]) for g in present], axis=0)
        members = np.array([mask.sum() for mask in inside], np.float64)
        rankings = {"statements": float(enough.sum()), "majority": spearmanr(agreement(known), consensus)[0]}
        for beta in (0.0, 0.5, 1.0):
            weight, pooled = weights(utilities, members, beta)
            rankings[f"weight β={beta:g}"] = spearmanr(weight, consensus)[0]
            rankings[f"utility β={beta:g}"] = spearmanr(pooled, consensus)[0]
        for name, value in rankings.items():
            found.setdefault(name, []).append(float(value))
    return (
        {"groups": len(present), **{name: float(np.mean(values)) for name, values in found.items()}} if found else None
    )


def read(path: Path) -> tuple[Floats, Floats]:
    table = pq.read_table(path)
    statements = [name for name in table.column_names if name.isdigit()]
    votes = np.stack([table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in statements], axis=1)
    return votes, table["group-id"].to_numpy(zero_copy_only=False).astype(np.float64)


def main() -> None:
    splits = int(sys.argv[1]) if len(sys.argv) > 1 else SPLITS
    columns = ["majority", "weight β=0", "weight β=0.5", "weight β=1", "utility β=0", "utility β=0.5", "utility β=1"]
    print(f"{'conversation':<44} {'groups':>6} {'stmts':>6} " + " ".join(f"{name:>13}" for name in columns))
    for path in sorted(DATA.glob("*.parquet")):
        found = study(*read(path), splits)
        if found is None:
            print(f"{path.stem:<44} too few votes in its groups")
            continue
        figures = " ".join(f"{found[name]:>13.3f}" for name in columns)
        print(f"{path.stem:<44} {found['groups']:>6.0f} {found['statements']:>6.0f} {figures}")


if __name__ == "__main__":
    main()
