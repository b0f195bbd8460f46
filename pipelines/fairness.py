"""Do texts that ought to fare alike weigh alike? Matched pairs through a run's model, charters and plan.

A pair is one meaning said twice: in two dialects, or of two identities. Pairs of a kind fare alike where
the mean weights of their two sides have a ratio in [.9, 1.11]; the interval of that ratio, over resampled
pairs, says whether more pairs could turn the verdict. The same ratio stands for each charter. What parts
pairs is named by undoing it: the ratio that stands without a charter's threshold, with a score that does not
differ between the sides, or with weights in proportion to utility instead of the curve's.

A text weighs what a document of its scores would: in each domain by its share of the tokens, since nobody
says which one a dialect is written in, and between the utilities of two documents of the pool in proportion,
since otherwise a small pool turns its few documents into steps that a larger one does not have.
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..classifiers.alike import capitalised
from ..classifiers.audit import about, dialect_pairs, load_suite
from ..classifiers.configs import CONFIGS
from ..classifiers.measures import interval, resample
from ..classifiers.spellings import read_spellings
from ..classifiers.tokens import tokenize
from ..classifiers.voices import READ, changed, read_voices
from ..schemas.charter import Charter
from ..schemas.document import GRID
from ..schemas.errors import InputError
from ..schemas.recipe import Policy
from ..schemas.taxonomy import HARMS, PROSOCIAL
from .layout import WEIGHT_PLAN
from .plan import Run, open_run
from .stages.classify import Classify
from .weighing.plan import UNSCORED, WeightPlan
from .weighing.utility import ScoreTable, judge_all, quorum_rejects

__all__ = ["ALIKE", "Fared", "Pair", "audit_pairs", "read_pairs", "rewritten_pairs", "shipped_pairs"]

ALIKE = (0.9, 1.11)
JOINED = 4  # sentences
RESAMPLES = 1000
SOMEBODY = ("a neighbour", "neighbours")  # whom a text about no group in particular names
STANDARD, ANYBODY = "standard", "somebody"  # of a passage: what its varieties are compared with; the one of people
CURVE = "the curve, with weights in proportion to utility"
LONGEST = 4000  # bytes of a document that is rewritten
LEAST_REWRITTEN = 0.05  # of its different words
LEAST_GAIN = 0.1  # of the way from a ratio to 1 that undoing something must go to be named

Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Rows = np.ndarray[Any, np.dtype[np.int64]]
Verdict = Literal["alike", "alike, not surely", "apart, not surely", "apart"]


@dataclass(frozen=True)
class Pair:
    """Two texts that ought to fare alike."""

    kind: str
    left: str
    right: str
    group: str = ""  # of people, whom the left one is about


@dataclass(frozen=True)
class Fared:
    """How the pairs of one kind fare."""

    pairs: int
    left: float  # mean weight
    right: float
    ratio: float | None  # left / right; null where neither side weighs anything
    interval: tuple[float, float] | None  # the middle 95 % of ratios of resampled pairs; those of one right side stay
    alike: bool  # the ratio is within the bounds
    verdict: Verdict  # "surely" where the whole interval is on the same side of the bounds
    by_charter: dict[str, float | None]  # the ratio of each charter's mean contributions
    by_group: dict[str, float | None]  # the ratio of the pairs about each group of people
    breaks: dict[str, int]  # charter and threshold → pairs of which one side alone meets it, most first
    without: dict[str, float]  # threshold, score or the curve → the ratio that stands without it, nearest to 1 first


@dataclass(frozen=True)
class _Rules:
    """What decides weights: the policy's floor and the charters."""

    policy: Policy
    charters: Mapping[str, Charter]


@dataclass(frozen=True)
class _Threshold:
    """One threshold: the texts that do not meet it, and the rules without it."""

    name: str
    fails: Bools
    rules: _Rules


def read_pairs(path: str | Path) -> list[Pair]:
    """Pairs out of a CSV file with the columns kind, left, right, and group where it likes.

    Raises `InputError` where it is none.
    """
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
    return [Pair(row["kind"].strip(), row["left"], row["right"], (row.get("group") or "").strip()) for row in rows]


def shipped_pairs() -> list[Pair]:
    """The classifiers' matched passages and sentences: a dialect and the standard; a group of people and neighbours.

    Single sentences are not what a run weighs, most lie below its floors: JOINED of them make a text.
    """
    passages = load_suite("passages")
    dialects = {
        name: [(passage[name], passage[STANDARD]) for passage in passages]
        for name in passages[0]
        if name not in (STANDARD, ANYBODY)
    }
    sentences: dict[str, list[tuple[str, str]]] = {name: [] for name in dialects}
    for name, left, right in dialect_pairs():
        sentences[name].append((left, right))
    pairs = [
        Pair(f"dialect {name}", *texts) for name in dialects for texts in [*dialects[name], *_joined(sentences[name])]
    ]
    other = _people(passages, *SOMEBODY)
    for group, named in load_suite("identities")["identities"].items():
        texts = [
            *zip(_people(passages, *named), other, strict=True),
            *_joined(list(zip(about(*named), about(*SOMEBODY), strict=True))),
        ]
        pairs += [Pair("identity", left, right, group) for left, right in texts]
    return pairs


def rewritten_pairs(run_url: str, number: int, language: str = "en") -> list[Pair]:
    """A run's own documents as other varieties of English might have them, and as they are (classifiers/voices.py).

    `number` of each variety at most: those that it changes, in the order of keys, which is none of content. Both sides
    are tokenised text. Raises `InputError` where the run has no document for it.
    """
    run = open_run(run_url)
    lines: list[str] = []
    for table in run.manifest.shards:
        with run.folder.open_parquet(table.name) as file:
            for batch in file.iter_batches(columns=["text", "language"]):
                size = pc.binary_length(batch["text"])
                fits = pc.and_(pc.equal(batch["language"], language), pc.less_equal(size, LONGEST))
                lines += tokenize(batch["text"].filter(fits)).to_pylist()
                if len(lines) >= READ * number:
                    break
        if len(lines) >= READ * number:
            break
    lines = lines[: READ * number]
    voices, spellings = read_voices(CONFIGS / "voices.yaml"), read_spellings(CONFIGS / "spellings.yaml")
    pairs: list[Pair] = []
    for variety in voices.varieties:
        spelled = voices.spelled.get(variety)
        written = (
            Pair(f"rewritten {variety}", left if spelled is None else spellings.spell(left, spelled), right)
            for left, right in zip(voices.rewrite(lines, variety), lines, strict=True)
        )
        pairs += islice((pair for pair in written if changed(pair.right, pair.left) >= LEAST_REWRITTEN), number)
    if not pairs:
        raise InputError(f"{run_url}: no document in {language!r} of at most {LONGEST} bytes that can be rewritten")
    return pairs


def _people(passages: Sequence[Mapping[str, str]], person: str, people: str) -> list[str]:
    return [capitalised(passage[ANYBODY].format(person=person, people=people)) for passage in passages]


def _joined(sides: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Both sides of JOINED sentences after the other; the last text takes what is left over."""
    starts = range(0, max(len(sides) - JOINED, 0) + 1, JOINED)
    parts = [sides[start : len(sides) if start == starts[-1] else start + JOINED] for start in starts]
    return [(" ".join(left for left, _ in part), " ".join(right for _, right in part)) for part in parts]


def audit_pairs(
    run_url: str, pairs: Sequence[Pair], domain: str | None = None, language: str = "en"
) -> dict[str, Fared]:
    """Kind → how its pairs fare in a domain of a finished run (default: in all, each by its tokens)."""
    run = open_run(run_url)
    plan = WeightPlan.from_json(run.folder.read_bytes(WEIGHT_PLAN))
    pools = {name: item.tokens for name, item in plan.domains.items() if name != UNSCORED and item.tokens}
    if not pools or (domain is not None and domain not in pools):
        raise InputError(f"{run_url}: no domain {domain or 'with documents'!r}; it has {', '.join(pools) or 'none'}")
    chosen = pools if domain is None else {domain: pools[domain]}
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.left, pair.right)))
    place = {text: row for row, text in enumerate(texts)}
    sides = np.array([[place[pair.left], place[pair.right]] for pair in pairs])
    scores = ScoreTable.from_batch(_scored(texts, run, language))
    rules = _Rules(run.recipe.policy, run.charters)
    audit = _Audit(run, plan, chosen, pairs, sides, scores, rules, list(_thresholds(rules, scores)))
    kinds = sorted({pair.kind for pair in pairs})
    return {kind: audit.fared(np.array([row for row, pair in enumerate(pairs) if pair.kind == kind])) for kind in kinds}


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


@dataclass(frozen=True)
class _Audit:
    """Pairs, their scores and what is undone of a run to learn what parts them."""

    run: Run
    plan: WeightPlan
    domains: Mapping[str, int]  # name → tokens
    pairs: Sequence[Pair]
    sides: Rows  # (pairs, 2) rows of `scores`
    scores: ScoreTable
    rules: _Rules
    thresholds: Sequence[_Threshold]
    cache: dict[str, Floats] = field(default_factory=dict)  # weights of both sides with something undone

    def fared(self, rows: Rows) -> Fared:
        """How the pairs of these rows fare."""
        contributions = self.contributions()[self.sides[rows]]  # (pairs, 2, charters)
        weights = contributions.sum(axis=2)
        left, right = weights.mean(axis=0).tolist()
        ratio = _ratio(left, right)
        names = self.plan.charter_names
        means = contributions.mean(axis=0).tolist()
        groups: dict[str, list[int]] = {}
        for index, row in enumerate(rows.tolist()):
            if self.pairs[row].group:
                groups.setdefault(self.pairs[row].group, []).append(index)
        between = _interval(weights, [self.pairs[row].right for row in rows.tolist()], self.run.recipe.seed)
        return Fared(
            pairs=len(rows),
            left=left,
            right=right,
            ratio=ratio,
            interval=between,
            alike=ratio is None or _alike(ratio),
            verdict=_verdict(ratio, between),
            by_charter={name: _ratio(*sides) for name, *sides in zip(names, *means, strict=True)},
            by_group={name: _ratio(*weights[inside].mean(axis=0).tolist()) for name, inside in groups.items()},
            breaks=self.breaks(rows),
            without=self.without(rows, ratio),
        )

    def contributions(self, scores: ScoreTable | None = None, rules: _Rules | None = None) -> Floats:
        """Contributions, (texts, charters): the means over the domains."""
        scores, rules = scores or self.scores, rules or self.rules
        utilities, vetoes = judge_all(rules.charters, scores, self.plan.bridging)
        rejected, _ = quorum_rejects(vetoes, [self.run.shares[name] for name in self.run.charters], self.plan.quorum)
        for harm, limit in rules.policy.max_toxic.items():
            rejected |= scores.toxic[:, HARMS.index(harm)] > round(limit * GRID)
        if rules.policy.min_quality is not None:
            rejected |= scores.quality < round(rules.policy.min_quality * GRID)
        total = sum(self.domains.values())
        shares = [self.plan.charters[name].share for name in self.plan.charter_names]
        contributions = np.zeros(utilities.shape)
        for column, name in enumerate(self.plan.charter_names):
            for domain, tokens in self.domains.items():
                bins = self.plan.domains[domain].charters[name].bins
                weights = np.interp(utilities[:, column], (-1, *bins.utility), (0.0, *bins.weight))
                contributions[:, column] += shares[column] * tokens / total * weights
        return np.where((utilities < 0) | rejected[:, None], 0.0, contributions)

    def breaks(self, rows: Rows) -> dict[str, int]:
        parted = {item.name: int(self.parts(item)[rows].sum()) for item in self.thresholds}
        return {name: number for name, number in sorted(parted.items(), key=lambda item: (-item[1], item[0])) if number}

    def parts(self, threshold: _Threshold) -> Bools:
        """(pairs,) of which one side alone does not meet it."""
        left, right = threshold.fails[self.sides].T
        return left ^ right

    def without(self, rows: Rows, ratio: float | None) -> dict[str, float]:
        if ratio is None or _alike(ratio):
            return {}
        found = {CURVE: _alike_where_nothing_weighs(self.without_curve(rows))}
        for threshold in self.thresholds:
            if self.parts(threshold)[rows].any():
                weights = self.undone(threshold.name, self.scores, threshold.rules)
                found[threshold.name] = _alike_where_nothing_weighs(_ratio(*weights[rows].mean(axis=0).tolist()))
        for name in (*PROSOCIAL, "quality"):
            weights = self.undone(f"differing scores of {name}", self.equal(name), self.rules)
            found[f"differing scores of {name}"] = _alike_where_nothing_weighs(
                _ratio(*weights[rows].mean(axis=0).tolist())
            )
        away = {name: _away(value) for name, value in found.items()}
        named = [name for name in found if away[name] < (1 - LEAST_GAIN) * _away(ratio)]
        return {name: found[name] for name in sorted(named, key=lambda name: (away[name], name))}

    def without_curve(self, rows: Rows) -> float | None:
        """The ratio where each charter gives as much to the pairs as it does, in proportion to utility."""
        utilities, _ = judge_all(self.rules.charters, self.scores, self.plan.bridging)
        utilities = np.maximum(utilities, 0)[self.sides[rows]].mean(axis=0)  # (sides, charters)
        given = self.contributions()[self.sides[rows]].mean(axis=(0, 1)) * 2
        parts = utilities / np.maximum(utilities.sum(axis=0), 1e-9) * given
        return _ratio(*parts.sum(axis=1).tolist())

    def undone(self, name: str, scores: ScoreTable, rules: _Rules) -> Floats:
        """Weights, (pairs, 2), of texts with other scores or under other rules."""
        if name not in self.cache:
            weights = self.contributions(scores, rules).sum(axis=1)
            paired = len(scores) != len(self.scores)  # then each pair has a text of its own for either side
            self.cache[name] = weights.reshape(-1, 2) if paired else weights[self.sides]
        return self.cache[name]

    def equal(self, name: str) -> ScoreTable:
        """Scores of (2 pairs,) texts, both sides of each pair, the left with the right's score of `name`."""
        order = self.sides.reshape(-1)
        scores = ScoreTable(
            prosocial=self.scores.prosocial[order],
            topical=self.scores.topical[order],
            toxic=self.scores.toxic[order],
            quality=self.scores.quality[order],
            language=pa.array(self.scores.language, pa.string()).take(pa.array(order)),
            scored=self.scores.scored[order],
        )
        if name == "quality":
            scores.quality[0::2] = scores.quality[1::2]
        else:
            column = scores.prosocial[:, PROSOCIAL.index(name)]
            column[0::2] = column[1::2]
        return scores


def _thresholds(rules: _Rules, scores: ScoreTable) -> Iterator[_Threshold]:
    """Every threshold of the policy and the charters."""
    policy = rules.policy
    for harm, limit in sorted(policy.max_toxic.items()):
        fails = scores.toxic[:, HARMS.index(harm)] > round(limit * GRID)
        others = {name: value for name, value in policy.max_toxic.items() if name != harm}
        relaxed = replace(rules, policy=policy.model_copy(update={"max_toxic": others}))
        yield _Threshold(f"policy: max_toxic.{harm} {limit:g}", fails, relaxed)
    if policy.min_quality is not None:
        relaxed = replace(rules, policy=policy.model_copy(update={"min_quality": None}))
        fails = scores.quality < round(policy.min_quality * GRID)
        yield _Threshold(f"policy: min_quality {policy.min_quality:g}", fails, relaxed)
    for name, charter in sorted(rules.charters.items()):
        for threshold, fails, other in _of_charter(charter, scores):
            yield _Threshold(f"{name}: {threshold}", fails, replace(rules, charters={**rules.charters, name: other}))


def _of_charter(charter: Charter, scores: ScoreTable) -> Iterator[tuple[str, Bools, Charter]]:
    """A charter's thresholds, the texts that do not meet each, and the charter without it."""
    for harm, limits in charter.tolerance.harm.items():
        column = HARMS.index(harm)
        for kind, values, limit in (("topical", scores.topical, limits.topical), ("toxic", scores.toxic, limits.toxic)):
            if limit is not None:
                harms = {**charter.tolerance.harm, harm: limits.model_copy(update={kind: None})}
                tolerance = charter.tolerance.model_copy(update={"harm": harms})
                fails = values[:, column] > round(limit * GRID)
                yield f"{kind} {harm} {limit:g}", fails, charter.model_copy(update={"tolerance": tolerance})
    if charter.quality_floor > 0:
        fails = scores.quality < round(charter.quality_floor * GRID)
        other = charter.model_copy(update={"quality_floor": 0.0})
        yield f"quality_floor {charter.quality_floor:g}", fails, other
    if charter.utility_floor > 0:
        other = charter.model_copy(
            update={"utility_floor": 0.0, "quality_floor": 0.0, "tolerance": type(charter.tolerance)()}
        )
        utilities, _ = judge_all({charter.name: other}, scores)
        fails = utilities[:, 0] < round(charter.utility_floor * GRID)
        yield f"utility_floor {charter.utility_floor:g}", fails, charter.model_copy(update={"utility_floor": 0.0})
    for dimension, value in charter.values.items():
        if value.shape == "threshold":
            linear = value.model_copy(update={"shape": "linear", "at": None})
            fails = scores.prosocial[:, PROSOCIAL.index(dimension)] < round(value.turning_point * GRID)
            values = {**charter.values, dimension: linear}
            yield f"{dimension} from {value.turning_point:g}", fails, charter.model_copy(update={"values": values})


def _interval(weights: Floats, right: Sequence[str], seed: int) -> tuple[float, float] | None:
    """Of the ratio of both sides' sums, (pairs, 2); pairs that share a right side are one draw."""
    counts = resample(right, RESAMPLES, seed).astype(np.float64)
    sums = counts @ weights
    ratios = np.full(RESAMPLES, np.nan)
    np.divide(sums[:, 0], sums[:, 1], out=ratios, where=sums[:, 1] > 0)
    return interval(ratios)


def _verdict(ratio: float | None, between: tuple[float, float] | None) -> Verdict:
    if ratio is None:
        return "alike"
    if _alike(ratio):
        sure = between is not None and _alike(between[0]) and _alike(between[1])
        return "alike" if sure else "alike, not surely"
    sure = between is not None and (between[1] < ALIKE[0] or between[0] > ALIKE[1])
    return "apart" if sure else "apart, not surely"


def _ratio(left: float, right: float) -> float | None:
    if left == right == 0:
        return None
    return left / right if right else math.inf


def _alike_where_nothing_weighs(ratio: float | None) -> float:
    return 1.0 if ratio is None else ratio


def _away(ratio: float) -> float:
    """How far a ratio is from 1; twice and half are as far."""
    return abs(math.log(ratio)) if ratio > 0 else math.inf


def _alike(ratio: float) -> bool:
    return ALIKE[0] <= ratio <= ALIKE[1]
