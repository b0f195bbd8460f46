"""`florilegium why`: one document's way from its scores to its weight, in numbers that add up.

Everything is computed again from the scored document, the run's charters and `weights/plan.json`, then
held against the row in `weights/`; a difference is said, not hidden. Documents that were rejected, are
duplicates, failed or stay unweighted are explained as far as they came.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.charter import Charter
from ..schemas.document import GRID
from ..schemas.errors import InputError, ModelError, RunError
from ..schemas.hashing import hash64, id_words, uniform
from ..schemas.taxonomy import HARMS, PROSOCIAL
from .decide import REASONS
from .layout import RUN_INDEX, WEIGHT_PLAN
from .plan import Run, open_run
from .runs import KeyRange, RunSet
from .storage import Folder
from .weighing.plan import UNSCORED, WeightPlan
from .weighing.rehydration import factors, masses
from .weighing.utility import ScoreTable, bridge, judge, shape_worth

__all__ = ["CharterView", "Explanation", "Passage", "Row", "Term", "explain", "in_words", "locate", "model_evidence"]


COLUMNS = (
    "id", "source", "source_id", "url", "text", "language", "tokens", "quality", "harm", "prosocial", "scored_by",
    "error",
)  # fmt: skip
TEXT_SHOWN = 200
CLEAR = 0.5  # a reader more likely than not finds it there
PASSAGES, AROUND = 3, 30  # shown of each quality; characters on either side
LONGEST_EXPLAINED = 200_000  # characters: Python takes about a second for them


@dataclass(frozen=True)
class Passage:
    """A stretch of the text that speaks for a score."""

    before: str
    text: str
    after: str
    contribution: float  # to the logit of its window


Evidence = Callable[[str, str], list[Passage]]  # (text, quality or harm) → what speaks for it


@dataclass(frozen=True)
class Row:
    """One record with the document's id; twins share an id."""

    source: str
    source_id: str | None
    action: str
    reasons: list[str]


@dataclass(frozen=True)
class Term:
    """One dimension's part in a charter's utility: weight · worth / Σ weights."""

    dimension: str
    probability: float
    shape: str
    worth: float
    weight: float
    part: float


@dataclass(frozen=True)
class CharterView:
    """What one charter makes of the document."""

    share: float
    verdict: str  # accepts, or why not
    terms: list[Term]
    own_utility: float  # before floors and bridging
    utility: float | None  # of the bin; null where the charter does not accept
    bin_documents: int = 0
    bin_tokens: int = 0
    quantiles: tuple[float, float] | None = None  # of the accepted tokens in the domain, by utility
    spends: float = 0.0  # what its curve spends in the domain, before its share
    a: float | None = None
    q: float | None = None
    weight: float = 0.0  # w_c of the bin, times the rehydration factor
    contribution: float = 0.0  # share · weight


@dataclass(frozen=True)
class Explanation:
    """All of it; `weight` is what the row in `weights/` says, `total` what this page computes."""

    id: str
    action: str  # kept, unweighted, rejected, duplicate or failed
    reasons: dict[str, str]  # of the row that was decided first, each with its meaning
    rows: list[Row]
    domain: str
    language: str | None
    tokens: int
    text: str
    quality: float | None
    prosocial: dict[str, float]
    harm: dict[str, dict[str, float]]
    ranks: dict[str, float]  # harm → toxic, where a harm model knows nothing else of the document
    scored_by: str | None
    evidence: dict[str, list[Passage]]  # for every quality and harm that is clearly there
    rehydration: float
    charters: dict[str, CharterView]
    total: float
    weight: float | None  # null where there is no row
    repeats: int | None
    draw: float | None  # the hash in [0, 1) that decides the last repeat
    adds_up: bool
    remarks: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def explain(run_url: str, wanted: str, evidence: Evidence | None = None) -> Explanation:
    """The explanation of the document with this id (32 hex digits, or its first 6 and more), or input's own id.

    `evidence` finds the passages that speak for a score, as `model_evidence` does. Raises `InputError` where
    the run has no such document, or several.
    """
    run = open_run(run_url)
    if run.manifest.status != "complete":
        raise RunError(f"{run_url} is not finished; run the same command again to go on")
    runs = RunSet(Folder(run.scored_url), run.folder.read_json(RUN_INDEX))
    decisions = _find(run, runs, wanted)
    first = _leading(decisions)
    document = decisions.slice(first, 1)
    gathered = runs.gather(document, COLUMNS)
    row = gathered.to_pylist()[0]
    decision = document.to_pylist()[0]
    plan = WeightPlan.from_json(run.folder.read_bytes(WEIGHT_PLAN))
    scores = ScoreTable.from_batch(gathered)
    scored = bool(scores.scored[0])
    survives = decision["action"] == "survivor"
    mass = masses(document["tokens"].to_numpy(), document["cluster_size"].to_numpy(), ~scores.scored, plan.rehydration)
    factor = float(factors(mass, document["tokens"].to_numpy())[0])
    charters = _views(run, plan, scores, decision, survives, factor)
    total = 0.0
    for view in charters.values():
        total += view.contribution
    stored = _stored(run, decision) if survives else None
    weight = stored["weight"] if stored else None
    kept = survives and ((weight or 0) > 0 or run.recipe.output.keep_unweighted)
    action = ("kept" if kept else "unweighted") if survives else decision["action"]
    high, low = id_words(document["id"])
    return Explanation(
        id=row["id"],
        action=action,
        reasons={reason: _meaning(reason) for reason in decision["reasons"]},
        rows=_rows(runs, decisions),
        domain=decision["domain"],
        language=row["language"],
        tokens=row["tokens"],
        text=row["text"],
        quality=round(row["quality"], 3) if scored else None,
        prosocial=_rounded_all(row["prosocial"]) if scored else {},
        harm={name: _rounded_all(kinds) for name, kinds in row["harm"].items()} if scored else {},
        ranks={} if scored else _ranks(row["harm"]),
        scored_by=row["scored_by"],
        evidence=_evidence(evidence, row) if evidence and scored else {},
        rehydration=factor,
        charters=charters,
        total=total,
        weight=weight,
        repeats=stored["repeats"] if stored else None,
        draw=float(uniform(hash64(plan.seed, "repeats", high, low))[0]) if survives else None,
        adds_up=_same(stored, charters, total) if stored else total == 0,
        remarks=_remarks(run, plan, scored, row["harm"] is not None, survives, decision),
    )


def locate(run: Run, ids: Sequence[str]) -> list[dict[str, Any]]:
    """`id` and `text` of the documents with these ids that the run decided on, in their order."""
    runs = RunSet(Folder(run.scored_url), run.folder.read_json(RUN_INDEX))
    rows = []
    for full in ids:
        high, low = id_words(pa.array([full]))
        decisions = _decisions_at(run, full, int(hash64(run.recipe.seed, "key", high, low)[0]))
        rows += runs.gather(decisions.slice(_leading(decisions), 1), ["id", "text"]).to_pylist()
    return rows


def _find(run: Run, runs: RunSet, wanted: str) -> pa.Table:
    """The decisions on every row with the wanted id."""
    text = wanted.strip().lower()
    if re.fullmatch(r"[0-9a-f]{32}", text):
        high, low = id_words(pa.array([text]))
        found = _decisions_at(run, text, int(hash64(run.recipe.seed, "key", high, low)[0]))
        if found.num_rows:
            return found
    ids = _ids_like(run, runs, wanted.strip())
    if not ids:
        raise InputError(
            f"{run.folder.url}: no document with the id {wanted!r}; give an id of a shard, a reject or an input"
        )
    if len(ids) > 1:
        raise InputError(f"{wanted!r} fits {len(ids)} documents; give one of these ids: {', '.join(sorted(ids)[:5])}")
    full = ids.pop()
    high, low = id_words(pa.array([full]))
    return _decisions_at(run, full, int(hash64(run.recipe.seed, "key", high, low)[0]))


def _ids_like(run: Run, runs: RunSet, wanted: str) -> set[str]:
    ids: set[str] = set()
    prefix = wanted.lower() if re.fullmatch(r"[0-9a-fA-F]{6,32}", wanted) else None
    for name in run.folder.names("decisions/decisions-*.parquet") if prefix else ():
        with run.folder.open_parquet(name) as file:
            column = file.read(columns=["id"])["id"]
        ids.update(column.filter(pc.starts_with(column, prefix)).to_pylist())
    if not ids:
        table = runs.scan(KeyRange.part(0, 1), ["key", "id", "source_id"])
        ids.update(table.filter(pc.fill_null(pc.equal(table["source_id"], wanted), False))["id"].to_pylist())
    return ids


def _decisions_at(run: Run, full: str, key: int) -> pa.Table:
    index = _part_of(run, key)
    with run.folder.open_parquet(f"decisions/decisions-{index:05d}.parquet") as file:
        table = file.read()
    return table.filter(pc.equal(table["id"], full))


def _part_of(run: Run, key: int) -> int:
    parts = [KeyRange.part(payload["part"], payload["of"]) for payload in run.payloads("decide")]
    return next(index for index, part in enumerate(parts) if part.low <= key < part.high)


def _leading(decisions: pa.Table) -> int:
    """The row that stands for the document: the survivor, else a rejected one, a duplicate, a failed one."""
    order = ["survivor", "rejected", "duplicate", "failed"]
    actions = [order.index(action) for action in decisions["action"].to_pylist()]
    return actions.index(min(actions))


def _rows(runs: RunSet, decisions: pa.Table) -> list[Row]:
    ids = runs.gather(decisions, ["source", "source_id"]).to_pylist()
    return [
        Row(found["source"], found["source_id"], row["action"], row["reasons"])
        for found, row in zip(ids, decisions.select(["action", "reasons"]).to_pylist(), strict=True)
    ]


def _stored(run: Run, decision: Mapping[str, Any]) -> dict[str, Any] | None:
    """The document's row in `weights/`, whose parts are those of the decisions."""
    index = _part_of(run, decision["key"])
    names = [table.name for table in run.manifest.weights]
    with run.folder.open_parquet(names[index]) as file:
        table = file.read()
    rows = table.filter(pc.equal(table["id"], decision["id"])).to_pylist()
    return rows[0] if rows else None


def _views(
    run: Run, plan: WeightPlan, scores: ScoreTable, decision: Mapping[str, Any], survives: bool, factor: float
) -> dict[str, CharterView]:
    names = sorted(run.charters)
    judged = {name: judge(run.charters[name], scores) for name in names}
    utilities = np.stack([judged[name].utility for name in names], axis=1)
    if plan.bridging > 0:
        speaks = np.stack([judged[name].speaks for name in names], axis=1)
        utilities = bridge(utilities, speaks, plan.bridging)
    views = {}
    for column, name in enumerate(names):
        charter, utility = run.charters[name], int(utilities[0, column])
        terms = _terms(charter, scores) if scores.scored[0] else []
        own = sum(term.part for term in terms) if charter.values else float(scores.scored[0])
        given = {
            "share": plan.charters[name].share,
            "verdict": _verdict(charter, scores, judged[name].vetoes[0], judged[name].utility[0] >= 0, own),
            "terms": terms,
            "own_utility": round(own, 6),
            "utility": utility / GRID if utility >= 0 else None,
        }
        weighable = survives and (utility >= 0 or (plan.unscored == "neutral" and not scores.scored[0]))
        views[name] = CharterView(**given, **(_bin(plan, name, decision, utility, factor) if weighable else {}))
    return views


def _terms(charter: Charter, scores: ScoreTable) -> list[Term]:
    whole = sum(value.weight for value in charter.values.values())
    terms = []
    for name, value in sorted(charter.values.items()):
        p = int(scores.prosocial[0, PROSOCIAL.index(name)])
        worth = int(shape_worth(value)[p]) / 1e6
        terms.append(Term(name, p / GRID, value.shape, worth, value.weight, value.weight * worth / whole))
    return sorted(terms, key=lambda term: (-term.part, term.dimension))


def _verdict(charter: Charter, scores: ScoreTable, vetoes: bool, accepts: bool, own: float) -> str:
    if not scores.scored[0]:
        return "no scores in this language"
    if accepts:
        return "accepts"
    language = pa.array(scores.language)[0].as_py()
    if charter.languages is not None and language not in charter.languages:
        return f"does not speak for {language}"
    if vetoes:
        over = []
        for harm, limits in sorted(charter.tolerance.harm.items()):
            column = HARMS.index(harm)
            for kind, found, limit in (
                ("topical", int(scores.topical[0, column]), limits.topical),
                ("toxic", int(scores.toxic[0, column]), limits.toxic),
            ):
                if limit is not None and found > round(limit * GRID):
                    over.append(f"{kind} {harm} {found / GRID:.3f} is above its {limit:g}")
        return f"vetoes: {', '.join(over)}"
    quality = int(scores.quality[0])
    if quality < round(charter.quality_floor * GRID):
        return f"quality {quality / GRID:.3f} is below its floor of {charter.quality_floor:g}"
    return f"utility {own:.3f} is below its floor of {charter.utility_floor:g}"


def _bin(plan: WeightPlan, name: str, decision: Mapping[str, Any], utility: int, factor: float) -> dict[str, Any]:
    """The bin that a utility falls into in the document's domain, its place on the curve, its weight."""
    domain = UNSCORED if utility < 0 else decision["domain"]
    cell = plan.domains[domain].charters[name]
    place = cell.bins.utility.index(utility)
    below = sum(cell.bins.tokens[:place])
    total = max(cell.tokens, 1)
    weight = plan.charters[name].share * cell.bins.weight[place] * factor
    return {
        "bin_documents": cell.bins.documents[place],
        "bin_tokens": cell.bins.tokens[place],
        "quantiles": (below / total, (below + cell.bins.tokens[place]) / total),
        "spends": cell.budget,
        "a": cell.a,
        "q": cell.q,
        "weight": cell.bins.weight[place] * factor,
        "contribution": weight,
    }


def _same(stored: Mapping[str, Any], charters: Mapping[str, CharterView], total: float) -> bool:
    parts = {item["charter"]: item["weight"] for item in stored["contributions"]}
    alike = all(abs(parts.get(name, 0.0) - view.contribution) < 1e-9 for name, view in charters.items())
    return alike and abs(total - stored["weight"]) < 1e-9


def _meaning(reason: str) -> str:
    if reason.startswith("charters.kept_by."):
        return f"{reason.removeprefix('charters.kept_by.')} would have kept it"
    return REASONS.get(reason, "the record could not become a document")


def model_evidence(run_url: str) -> Evidence:
    """Evidence by the model that scored a run. Raises `ModelError` where it is not here, or is another by now."""
    from ..classifiers.evidence import explain as explain_score
    from ..classifiers.student import load

    run = open_run(run_url)
    options, digest = run.recipe.stages.classify, run.manifest.models.get("classify")
    if options is None:
        raise ModelError(f"{run_url}: its recipe has no stage `classify`, so there are no scores to find evidence for")
    model = load(options.model)
    if model.digest != digest:
        raise ModelError(f"{run_url} was scored by another model ({digest}) than {options.model!r} is now")

    def find(text: str, name: str) -> list[Passage]:
        found = explain_score(model, text[:LONGEST_EXPLAINED], name)
        read = found.text  # without its disguise, where it had one
        return [
            Passage(
                read[max(0, span.start - AROUND) : span.start],
                read[span.start : span.end],
                read[span.end : span.end + AROUND],
                round(span.contribution, 4),
            )
            for span in found.strongest(PASSAGES)
        ]

    return find


def _evidence(evidence: Evidence, row: Mapping[str, Any]) -> dict[str, list[Passage]]:
    """Passages for every dimension and harm that a reader more likely than not finds there."""
    clear = [name for name in PROSOCIAL if row["prosocial"][name] >= CLEAR]
    clear += [name for name in HARMS if row["harm"][name]["topical"] >= CLEAR]
    return {name: evidence(row["text"], name) for name in clear}


def _remarks(
    run: Run, plan: WeightPlan, scored: bool, ranked: bool, survives: bool, decision: Mapping[str, Any]
) -> list[str]:
    told = []
    if survives and not scored:
        weighed = "weighs at most 1 (`unscored: neutral`)" if plan.unscored == "neutral" else "is left unweighted"
        known = "ranks of a few harms and no scores" if ranked else "no scores"
        told.append(f"Its language has {known}, so no charter judges it; it {weighed}.")
    if decision["action"] == "duplicate":
        told.append("Another document stands for it; nothing is weighed twice.")
    if plan.bridging > 0:
        told.append(f"Utilities are bridged (β = {plan.bridging:g}): what other charters refuse counts less.")
    return told


def _ranks(harm: Mapping[str, Mapping[str, float | None]] | None) -> dict[str, float]:
    known = {name: kinds["toxic"] for name, kinds in (harm or {}).items()}
    return _rounded_all({name: value for name, value in known.items() if value is not None})


def _rounded_all(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def in_words(found: Explanation) -> list[str]:
    """The explanation as lines for a terminal."""
    text = " ".join(found.text.split())
    shown = text[:TEXT_SHOWN] + ("…" if len(text) > TEXT_SHOWN else "")
    lines = [f"Document  {found.id}  {found.domain} · {found.language or 'no language'} · {found.tokens:,} tokens"]
    lines += [f"          {shown}"] if shown else []
    lines.append(f"Decision  {found.action}")
    lines += [f"          {reason}: {meaning}" for reason, meaning in found.reasons.items()]
    lines += [f"          {remark}" for remark in found.remarks]
    if len(found.rows) > 1:
        lines.append(f"Copies    {len(found.rows)} records have this text:")
        lines += [f"          {row.action:<10} {row.source} {row.source_id or ''}".rstrip() for row in found.rows[:6]]
    if found.quality is not None:
        lines.append(f"Scores    quality {found.quality:.3f} · by {found.scored_by}")
        prosocial = sorted(found.prosocial.items(), key=lambda item: (-item[1], item[0]))
        lines += _wrapped([f"{name} {p:.3f}" for name, p in prosocial])
        harm = [f"{name} {k['topical']:.3f}/{k['toxic']:.3f}" for name, k in found.harm.items()]
        lines += ["Harm      topical/toxic", *_wrapped(harm)]
    elif found.ranks:
        ranks = [f"{name} {value:.3f}" for name, value in found.ranks.items()]
        lines.append(f"Ranks     toxic, uncalibrated: {' · '.join(ranks)} · by {found.scored_by}")
    for name, passages in found.evidence.items():
        lines += [f"Evidence  {name} {_shown(passage)}" for passage in passages]
    for name, view in found.charters.items():
        lines += _charter_lines(name, view)
    lines += _sum_lines(found)
    return lines


def _shown(passage: Passage) -> str:
    """The passage in brackets between what stands around it, on one line."""
    parts = (" ".join(part.split()) for part in (passage.before, passage.text, passage.after))
    before, text, after = parts
    return f"{passage.contribution:+.2f}: …{before} [{text}] {after}…"


def _charter_lines(name: str, view: CharterView) -> list[str]:
    lines = [f"Charter   {name} (share {view.share:.4g}): {view.verdict}"]
    if view.terms:
        whole = sum(term.weight for term in view.terms)
        terms = [f"{term.weight:g}·{term.worth:.3f} {term.dimension}" for term in view.terms]
        lines += _wrapped([f"utility {view.own_utility:.3f} =", f"({' + '.join(terms)}) / {whole:g}"], " ")
    if view.utility is not None and abs(view.utility - view.own_utility) > 0.0006:
        lines.append(f"          bridged to {view.utility:.3f}")
    if view.quantiles is not None:
        low, high = view.quantiles
        utility = "without scores" if view.utility is None else f"of utility {view.utility:.3f}"
        lines.append(
            f"          bin {utility}: {view.bin_documents:,} documents, {view.bin_tokens:,} tokens, "
            f"quantiles {low:.5f} to {high:.5f}"
        )
        curve = "nothing to spend here" if view.a is None else f"curve a = {view.a:.4f}, q = {view.q:.4f}"
        lines.append(
            f"          {curve}; spends {view.spends:,.1f}, so weighs {view.weight:.6f}; "
            f"contributes {view.share:.4g} · {view.weight:.6f} = {view.contribution:.9f}"
        )
    return lines


def _sum_lines(found: Explanation) -> list[str]:
    given = [f"{view.contribution:.6f}" for view in found.charters.values() if view.contribution]
    lines = []
    if found.rehydration != 1:
        lines.append(f"Copies    lift every weight by {found.rehydration:g} (rehydration)")
    if found.weight is None:
        return [*lines, "Weight    none: it is in no shard"]
    lines.append(f"Weight    {' + '.join(given) or '0'} = {found.total:.9f}; the row says {found.weight:.9f}")
    if not found.adds_up:
        lines.append("          THESE DIFFER: run `florilegium validate`")
    if found.draw is not None:
        rest = found.weight - int(found.weight)
        sign = "<" if found.draw < rest else "≥"
        lines.append(
            f"Repeats   {found.repeats}: {int(found.weight)}, and one more if {found.draw:.6f} {sign} {rest:.6f}"
        )
    return lines


def _wrapped(parts: list[str], joint: str = " · ", width: int = 108) -> list[str]:
    lines, line = [], ""
    for part in parts:
        if line and len(line) + len(joint) + len(part) > width:
            lines.append(f"          {line}")
            line = part
        else:
            line = f"{line}{joint}{part}" if line else part
    return [*lines, f"          {line}"] if line else lines
