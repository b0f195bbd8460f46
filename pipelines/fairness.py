"""Do texts that ought to fare alike weigh alike? Matched pairs through a run's model, charters and plan.

A pair is one meaning said twice: in two dialects, or of two identities. Pairs of a kind fare alike where
the mean weights of their two sides have a ratio in [.9, 1.11]. The same ratio stands for each charter, and
the charters and thresholds that part most pairs are named, so that a community can mend its charter and a
model's maker the model. One charter's ratio needs many pairs to mean much: a pair at a floor, of which one
side passes, is a ratio of infinity.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..classifiers.audit import about, dialect_pairs, load_suite
from ..schemas.charter import Charter
from ..schemas.document import GRID
from ..schemas.errors import InputError
from ..schemas.taxonomy import HARMS
from .layout import WEIGHT_PLAN
from .plan import Run, open_run
from .stages.classify import Classify
from .weighing.plan import UNSCORED, WeightPlan
from .weighing.utility import ScoreTable, judge, judge_all, quorum_rejects

__all__ = ["ALIKE", "Fared", "Pair", "audit_pairs", "read_pairs", "shipped_pairs"]

ALIKE = (0.9, 1.11)
JOINED = 4  # sentences
SOMEBODY = ("a neighbour", "neighbours")  # whom a sentence about no group in particular names

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Pair:
    """Two texts that ought to fare alike."""

    kind: str
    left: str
    right: str


@dataclass(frozen=True)
class Fared:
    """How the pairs of one kind fare."""

    pairs: int
    left: float  # mean weight
    right: float
    ratio: float | None  # left / right; null where neither side weighs anything
    by_charter: dict[str, float | None]  # the ratio of each charter's mean contributions
    alike: bool
    breaks: dict[str, int]  # charter and threshold → pairs that it parts, most first


def read_pairs(path: str | Path) -> list[Pair]:
    """Pairs out of a CSV file with the columns kind, left, right. Raises `InputError` where it is none."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"kind", "left", "right"} - set(reader.fieldnames or [])
            if missing:
                raise InputError(f"{path}: no column {min(missing)!r}; pairs have the columns kind, left, right")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV table in UTF-8 ({error})") from error
    for number, row in enumerate(rows, start=2):
        if not all((row[name] or "").strip() for name in ("kind", "left", "right")):
            raise InputError(f"{path}: row {number}: kind, left and right must all hold something")
    if not rows:
        raise InputError(f"{path}: holds no pair")
    return [Pair(row["kind"].strip(), row["left"], row["right"]) for row in rows]


def shipped_pairs() -> list[Pair]:
    """The classifiers' matched sentences: a dialect and the standard; a group of people and neighbours.

    Single sentences are not what a run weighs, most lie below its floors: JOINED of them make a text.
    """
    dialects: dict[str, list[tuple[str, str]]] = {}
    for name, left, right in dialect_pairs():
        dialects.setdefault(name, []).append((left, right))
    groups = [
        list(zip(about(*named), about(*SOMEBODY), strict=True))
        for named in load_suite("identities")["identities"].values()
    ]
    pairs = [Pair(f"dialect {name}", *texts) for name, sides in dialects.items() for texts in _joined(sides)]
    return pairs + [Pair("identity", *texts) for sides in groups for texts in _joined(sides)]


def _joined(sides: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Both sides of JOINED sentences after the other; the last text takes what is left over."""
    starts = range(0, max(len(sides) - JOINED, 0) + 1, JOINED)
    parts = [sides[start : len(sides) if start == starts[-1] else start + JOINED] for start in starts]
    return [(" ".join(left for left, _ in part), " ".join(right for _, right in part)) for part in parts]


def audit_pairs(
    run_url: str, pairs: Sequence[Pair], domain: str | None = None, language: str = "en"
) -> dict[str, Fared]:
    """Kind → how its pairs fare in a domain of a finished run (default: the one with most tokens)."""
    run = open_run(run_url)
    plan = WeightPlan.from_json(run.folder.read_bytes(WEIGHT_PLAN))
    named = {name: item for name, item in plan.domains.items() if name != UNSCORED and item.tokens}
    if not named or (domain is not None and domain not in named):
        raise InputError(f"{run_url}: no domain {domain or 'with documents'!r}; it has {', '.join(named) or 'none'}")
    chosen = domain or max(named, key=lambda name: (named[name].tokens, name))
    texts = [text for pair in pairs for text in (pair.left, pair.right)]
    scores = ScoreTable.from_batch(_scored(texts, run, language))
    contributions, against = _weigh(run, plan, chosen, scores)
    kinds = sorted({pair.kind for pair in pairs})
    rows = {kind: np.array([index for index, pair in enumerate(pairs) if pair.kind == kind]) for kind in kinds}
    return {kind: _fared(plan, contributions, against, rows[kind]) for kind in kinds}


def _scored(texts: Sequence[str], run: Run, language: str) -> pa.Table:
    """The texts with the run's model's scores, as if they were documents of a language."""
    stage = Classify(run.recipe.stages.classify)
    batch = pa.RecordBatch.from_pydict(
        {
            "text": pa.array(texts, pa.string()),
            "language": pa.array([language] * len(texts), pa.string()),
            "error": pa.nulls(len(texts), pa.string()),
        }
    )
    return pa.Table.from_batches([stage.apply(batch)])


def _weigh(run: Run, plan: WeightPlan, domain: str, scores: ScoreTable) -> tuple[Floats, list[set[str]]]:
    """Contributions (texts, charters), and for each text the thresholds that count against it."""
    utilities, vetoes = judge_all(run.charters, scores, plan.bridging)
    rejected, _ = quorum_rejects(vetoes, list(run.shares.values()), plan.quorum)
    against: list[set[str]] = [set() for _ in range(len(scores))]
    for harm, limit in sorted(run.recipe.policy.max_toxic.items()):
        over = scores.toxic[:, HARMS.index(harm)] > round(limit * GRID)
        rejected |= over
        for row in np.flatnonzero(over):
            against[row].add(f"policy: max_toxic.{harm} {limit:g}")
    if run.recipe.policy.min_quality is not None:
        low = scores.quality < round(run.recipe.policy.min_quality * GRID)
        rejected |= low
        for row in np.flatnonzero(low):
            against[row].add(f"policy: min_quality {run.recipe.policy.min_quality:g}")
    contributions = np.zeros(utilities.shape)
    for column, (name, charter) in enumerate(sorted(run.charters.items())):
        cell = plan.domains[domain].charters[name]
        steps = np.array([0.0, *cell.bins.weight])  # a utility that no document has weighs what the next lower one does
        place = np.searchsorted(cell.bins.utility, utilities[:, column], side="right")
        contributions[:, column] = np.where(utilities[:, column] < 0, 0.0, plan.charters[name].share * steps[place])
        for row, sentences in enumerate(_against(name, charter, scores)):
            against[row] |= sentences
    contributions[rejected] = 0.0
    return contributions, against


def _against(name: str, charter: Charter, scores: ScoreTable) -> list[set[str]]:
    """For each text, the charter's thresholds that it does not meet."""
    found: list[set[str]] = [set() for _ in range(len(scores))]
    for harm, limits in charter.tolerance.harm.items():
        column = HARMS.index(harm)
        for kind, values, limit in (("topical", scores.topical, limits.topical), ("toxic", scores.toxic, limits.toxic)):
            if limit is not None:
                for row in np.flatnonzero(values[:, column] > round(limit * GRID)):
                    found[row].add(f"{name}: {kind} {harm} {limit:g}")
    judged = judge(charter, scores)
    for row in np.flatnonzero((judged.utility < 0) & ~judged.vetoes):
        low = scores.quality[row] < round(charter.quality_floor * GRID)
        floor = f"quality_floor {charter.quality_floor:g}" if low else f"utility_floor {charter.utility_floor:g}"
        found[row].add(f"{name}: {floor}")
    return found


def _fared(plan: WeightPlan, contributions: Floats, against: list[set[str]], pairs: np.ndarray[Any, Any]) -> Fared:
    left, right = contributions[2 * pairs], contributions[2 * pairs + 1]
    by_charter = {
        name: _ratio(float(left[:, column].mean()), float(right[:, column].mean()))
        for column, name in enumerate(plan.charter_names)
    }
    whole = float(left.sum(axis=1).mean()), float(right.sum(axis=1).mean())
    ratio = _ratio(*whole)
    breaks: Counter[str] = Counter()
    for pair in pairs.tolist():
        parted = against[2 * pair] ^ against[2 * pair + 1]
        breaks.update(parted)
        for column, name in enumerate(plan.charter_names):
            sides = contributions[2 * pair, column], contributions[2 * pair + 1, column]
            found = _ratio(*sides)
            if found is not None and not _alike(found) and not any(text.startswith(f"{name}:") for text in parted):
                breaks[f"{name}: scores of what it values, no threshold"] += 1
    ordered = sorted(breaks.items(), key=lambda item: (-item[1], item[0]))
    return Fared(
        pairs=len(pairs),
        left=whole[0],
        right=whole[1],
        ratio=ratio,
        by_charter=by_charter,
        alike=ratio is None or _alike(ratio),
        breaks=dict(ordered),
    )


def _ratio(left: float, right: float) -> float | None:
    if left == right == 0:
        return None
    return left / right if right else float("inf")


def _alike(ratio: float) -> bool:
    return ALIKE[0] <= ratio <= ALIKE[1]
