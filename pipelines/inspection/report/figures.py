"""Every number of the report.

All are sums over domains, languages and bins, so memory does not grow with the corpus; the few
documents whose words are shown are chosen by weight or score and then by id, never at random, and never among
those whose takedown or licence forbids it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....schemas.run import ACTIONS
from ....schemas.taxonomy import HARMS, PROSOCIAL
from ..survey import Survey
from ..views import open_views

__all__ = ["HARM_KINDS", "Example", "Figures", "Group", "collect"]

HARM_KINDS = ("topical", "toxic")
WEIGHT_STEP = 0.25
EXAMPLE_CHARACTERS = 900
MOST_GROUPS = 12

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Group:
    """Surviving documents of one domain, language or the whole corpus; sums are in tokens."""

    documents: int = 0
    tokens: float = 0.0
    weighted: float = 0.0
    scored: float = 0.0  # tokens of documents that have scores
    scored_weighted: float = 0.0
    sums: Floats = field(default_factory=lambda: np.zeros(len(PROSOCIAL) + 2 * len(HARMS)))
    weighted_sums: Floats = field(default_factory=lambda: np.zeros(len(PROSOCIAL) + 2 * len(HARMS)))

    def add(self, other: "Group") -> None:
        self.documents += other.documents
        for name in ("tokens", "weighted", "scored", "scored_weighted", "sums", "weighted_sums"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def before(self) -> Floats:
        """Mean scores of a token when every document counts once: 12 prosocial, then 7 harms topical and toxic."""
        return self.sums / max(self.scored, 1.0)

    @property
    def after(self) -> Floats:
        """The same when every document counts as often as it weighs."""
        return self.weighted_sums / max(self.scored_weighted, 1e-9)


@dataclass(frozen=True)
class Example:
    """A document that is shown: why, its words, and whether they are veiled until asked for."""

    why: str
    text: str
    notes: tuple[str, ...]
    veiled: str = ""  # the harm that it may enact or speak of, with its probability


@dataclass
class Figures:
    """What the report says, apart from its words."""

    flow: dict[str, int] = field(default_factory=dict)  # read, generated and what became of them
    reasons: dict[str, int] = field(default_factory=dict)  # most frequent first
    skipped: dict[str, int] = field(default_factory=dict)
    whole: Group = field(default_factory=Group)
    domains: dict[str, Group] = field(default_factory=dict)  # most tokens first
    languages: dict[str, Group] = field(default_factory=dict)
    weights: dict[float, tuple[int, int]] = field(default_factory=dict)  # lower end of a bin → documents, tokens
    upweighted: int = 0
    clusters: dict[int, int] = field(default_factory=dict)  # size → clusters
    synthetic: tuple[int, int] = (0, 0)  # documents, tokens
    licenses: dict[str, int] = field(default_factory=dict)
    created: tuple[str, str] | None = None
    personal_data: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # what could not be counted


_MOST_TOXIC = "greatest(" + ", ".join(f"harm.{name}.toxic" for name in HARMS) + ")"
_FOR_HARM = "reason LIKE 'classify.toxic.%' OR reason LIKE 'charters.%'"
_NOT_TO_SHOW = "reason LIKE 'takedown.%' OR reason LIKE 'license.%'"
_MOST_TOPICAL = "greatest(" + ", ".join(f"harm.{name}.topical" for name in HARMS) + ")"


def collect(found: Survey) -> Figures:
    """All figures of a run as far as it is whole; what cannot be read becomes a sentence in `faults`."""
    figures = Figures()
    if found.ledger:
        figures.flow = {name: found.ledger.total(name) for name in ("read", "generated", *ACTIONS)}
        figures.reasons = _by_size({name: sum(parts.values()) for name, parts in found.ledger.reasons.items()})
        figures.skipped = _by_size({name: sum(parts.values()) for name, parts in found.ledger.skipped.items()})
        figures.sources = _by_size(found.ledger.read)
    with open_views(found) as connection:

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(sql).fetchall()

        parts: list[tuple[str, Callable[[Figures, Survey, Any], None]]] = [
            ("scores before and after weighing", _groups),
            ("the spread of weights", _weights),
            ("copies", _clusters),
            ("synthetic documents, licences and dates", _contents),
            ("personal data", _personal_data),
            ("examples", _examples),
        ]
        for name, part in parts:
            try:
                part(figures, found, rows)
            except Exception as error:  # DuckDB, Arrow and the storage each have their own
                figures.faults.append(f"{name} could not be counted: {str(error).splitlines()[0][:200]}")
    return figures


def _by_size(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _groups(figures: Figures, found: Survey, rows: Any) -> None:
    measures = [f"prosocial.{name}" for name in PROSOCIAL]
    measures += [f"harm.{name}.{kind}" for name in HARMS for kind in HARM_KINDS]
    scored = "FILTER (prosocial IS NOT NULL)"  # ranks of harm models are on no scale with these
    sums = ", ".join(f"coalesce(sum(tokens * {measure}) {scored}, 0)" for measure in measures)
    weighted = ", ".join(f"coalesce(sum(tokens * weight * {measure}) {scored}, 0)" for measure in measures)
    columns = "domain, language, weight, tokens, prosocial, harm"
    survivors = f"(SELECT {columns} FROM documents)"
    if found.files["scores"] and found.ledger and found.ledger.total("unweighted"):  # these are in no shard
        survivors = (
            f"(SELECT {columns} FROM documents UNION ALL BY NAME SELECT {columns} FROM "
            "(SELECT id, domain, weight FROM weights WHERE weight = 0 AND id NOT IN (SELECT id FROM documents)) JOIN "
            "(SELECT DISTINCT ON (id) * FROM (SELECT id, language, tokens, prosocial, harm FROM scores)) USING (id))"
        )
    found_rows = rows(
        "SELECT domain, coalesce(language, 'unknown'), count(*), sum(tokens), sum(tokens * weight), "
        f"coalesce(sum(tokens) {scored}, 0), "
        f"coalesce(sum(tokens * weight) {scored}, 0), {sums}, {weighted} "
        f"FROM {survivors} GROUP BY ALL ORDER BY ALL"
    )
    width = len(measures)
    for domain, language, documents, tokens, weight, scored, scored_weight, *amounts in found_rows:
        group = Group(
            documents,
            float(tokens),
            float(weight),
            float(scored),
            float(scored_weight),
            np.array(amounts[:width], np.float64),
            np.array(amounts[width:], np.float64),
        )
        for target in (
            figures.whole,
            figures.domains.setdefault(domain, Group()),
            figures.languages.setdefault(language, Group()),
        ):
            target.add(group)
    for groups in (figures.domains, figures.languages):
        ordered = sorted(groups.items(), key=lambda item: (-item[1].tokens, item[0]))
        groups.clear()
        groups.update(ordered)


def _weights(figures: Figures, found: Survey, rows: Any) -> None:
    found_rows = rows(
        f"SELECT CASE WHEN weight <= 0 THEN -1 ELSE ceil(weight / {WEIGHT_STEP}) - 1 END AS bin, "
        "count(*), sum(tokens) FROM documents GROUP BY 1 ORDER BY 1"
    )
    figures.weights = {max(int(bin_), 0) * WEIGHT_STEP: (count, int(tokens)) for bin_, count, tokens in found_rows}
    figures.upweighted = rows("SELECT count(*) FROM documents WHERE weight > 1")[0][0]


def _clusters(figures: Figures, found: Survey, rows: Any) -> None:
    sql = "SELECT cluster_size, count(*) FROM documents WHERE cluster_size > 1 GROUP BY 1 ORDER BY 1"
    figures.clusters = {int(size): count for size, count in rows(sql)}


def _contents(figures: Figures, found: Survey, rows: Any) -> None:
    documents, tokens = rows("SELECT count(*), coalesce(sum(tokens), 0) FROM documents WHERE synthetic")[0]
    figures.synthetic = documents, int(tokens)
    sql = "SELECT coalesce(license, 'not stated'), count(*) FROM documents GROUP BY 1 ORDER BY 2 DESC, 1"
    figures.licenses = dict(rows(f"{sql} LIMIT {MOST_GROUPS}"))
    first, last = rows("SELECT min(created)::DATE::VARCHAR, max(created)::DATE::VARCHAR FROM documents")[0]
    figures.created = (first, last) if first else None


def _personal_data(figures: Figures, found: Survey, rows: Any) -> None:
    kinds = [name for name, _ in rows("SELECT unnest(struct_keys(any_value(personal_data))), 1 FROM scores")]
    if kinds:
        sums = ", ".join(f"coalesce(sum(personal_data.{kind}), 0)" for kind in kinds)
        counted = dict(zip(kinds, map(int, rows(f"SELECT {sums} FROM scores")[0]), strict=True))
        figures.personal_data = {kind: number for kind, number in _by_size(counted).items() if number}


def _examples(figures: Figures, found: Survey, rows: Any) -> None:
    columns = f"left(text, {EXAMPLE_CHARACTERS}), domain, weight, contributions, prosocial, harm"

    def show(why: str, sql: str) -> None:
        for text, domain, weight, contributions, prosocial, harm, *reasons in rows(sql):
            notes = [f"domain {domain}"]
            if reasons:
                notes.append("left out: " + ", ".join(reasons[0][:4]))
            else:
                notes.append(f"weight {weight:.2f}")
                notes += [f"{part['charter']} {part['weight']:.2f}" for part in contributions]
            best = sorted((prosocial or {}).items(), key=lambda item: -item[1])[:3]
            notes += [f"{name.replace('_', ' ')} {value:.2f}" for name, value in best if value >= 0.3]
            figures.examples.append(Example(why, text, tuple(notes), _veil(harm, bool(reasons))))

    heaviest = "SELECT id FROM weights ORDER BY weight DESC, id LIMIT 4"
    show("What weighs most", f"SELECT {columns} FROM documents WHERE id IN ({heaviest}) ORDER BY weight DESC, id")
    for charter in list(found.charters)[:6]:
        # The largest distance between what this charter gives and what the others give on average.
        alone = (
            "SELECT id FROM (SELECT id, weight, unnest(contributions) AS part FROM weights) "
            f"WHERE part.charter = '{charter}' ORDER BY 2 * part.weight - weight DESC, part.weight DESC, id LIMIT 1"
        )
        if len(found.charters) > 1:
            show(f"What {charter} asks for more than others", f"SELECT {columns} FROM documents WHERE id IN ({alone})")
    show(
        "Near the threshold: kept, though it speaks of harm",
        f"SELECT {columns} FROM documents WHERE prosocial IS NOT NULL ORDER BY {_MOST_TOPICAL} DESC, id LIMIT 2",
    )
    for why, harmful in (("Left out for harm", "> 0"), ("Left out for other reasons", "= 0")):
        show(
            why,
            f"SELECT {columns}, reasons FROM rejects WHERE action = 'rejected' AND {_count(_FOR_HARM)} {harmful} "
            f"AND {_count(_NOT_TO_SHOW)} = 0 ORDER BY {_MOST_TOXIC} * {int(harmful == '> 0')} DESC NULLS LAST, "
            "len(reasons) DESC, id LIMIT 2",
        )


def _count(condition: str) -> str:
    return f"len(list_filter(reasons, lambda reason: {condition}))"


def _veil(harm: dict[str, dict[str, float | None]] | None, left_out: bool) -> str:
    """What a reader should know before the words are shown; empty where they can be shown at once."""
    if not harm:
        return "not scored for harm" if left_out else ""
    toxic, topical = ({name: values[kind] or 0.0 for name, values in harm.items()} for kind in ("toxic", "topical"))
    name = max(harm, key=lambda name: (toxic[name], topical[name]))
    if toxic[name] >= 0.1:
        return f"may enact {name.replace('_', ' ')} ({toxic[name]:.2f})"
    name = max(harm, key=lambda name: topical[name])
    if topical[name] >= 0.3:
        return f"speaks of {name.replace('_', ' ')} ({topical[name]:.2f})"
    return "left out of the corpus" if left_out else ""
