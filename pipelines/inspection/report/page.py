"""index.html: the report as one page, without a script and without anything from the net.

Every word of a document, a charter or a recipe passes the template's escaping, and before it `visible`, so that
neither markup nor an override of the writing direction acts; a strict Content-Security-Policy stands behind that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from ....schemas.errors import MissingExtraError
from ....schemas.taxonomy import HARMS, PROSOCIAL
from ..harmless import visible
from ..survey import Survey
from . import charts
from .figures import EXAMPLE_CHARACTERS, HARM_KINDS, MOST_GROUPS, Figures, Group
from .words import charter_sentences, definitions, explain_reason, limits, model_cards, plain, reproduce

__all__ = ["render_page"]

MOST_CURVES = 6
MOST_INPUTS = 200


@dataclass(frozen=True)
class _Titled:
    title: str
    svg: Any
    note: str = ""


@dataclass(frozen=True)
class _Section:
    id: str
    title: str


def render_page(
    found: Survey,
    figures: Figures,
    other: tuple[Survey, Figures] | None = None,
    fairness: Mapping[str, Any] | None = None,
) -> str:
    """The whole page. `fairness` maps kinds of matched pairs to how they fared (pairs, left, right, ratio …)."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtraError("the report needs: pip install 'florilegium[report]'") from error

    def draw(svg: str) -> Any:
        return Markup(svg)

    environment = Environment(
        loader=PackageLoader("florilegium.pipelines.inspection.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    manifest = found.manifest
    context: dict[str, Any] = {
        "name": manifest.recipe.name if manifest else found.folder.url.rsplit("/", 1)[-1],
        "description": manifest.recipe.description if manifest else "",
        "version": manifest.florilegium if manifest else "",
        "faults": found.faults,
        "numbers": _numbers(found, figures),
        "flow": _flow(figures, draw) if any(figures.flow.values()) else None,
        "sides": _sides(figures, draw) if figures.whole.scored else None,
        "groups": _groups(figures, draw) if figures.domains else None,
        "weights": _weights(found, figures, draw) if found.plan else None,
        "charters": _charters(found),
        "fairness": [_fared(kind, fared) for kind, fared in sorted((fairness or {}).items())],
        "copies": _copies(figures, draw),
        "against": _against(found, figures, *other, draw) if other else None,
        "examples": figures.examples,
        "example_characters": EXAMPLE_CHARACTERS,
        "models": [{"name": "", "figures": {}, "card": "", **card} for card in model_cards(found)],
        "limits": limits(found, figures),
        "definitions": [(plain(name), words) for name, words in definitions().items()],
        "commands": reproduce(manifest.recipe) if manifest else [],
        "identity": _identity(found),
        "recipe": _yaml(manifest.recipe.model_dump(mode="json", exclude_none=True)) if manifest else "",
        "inputs": _inputs(found),
    }
    titles = {
        "flow": "From read to shard",
        "sides": "Helps and harms",
        "groups": "Domains, languages",
        "weights": "Who got what",
        "charters": "Charters",
        "fairness": "Fairness",
        "copies": "Copies",
        "against": "Comparison",
        "examples": "Examples",
        "models": "Models",
        "limits": "Limits",
        "reproduce": "Making it again",
    }
    always = ("fairness", "copies", "models", "limits", "reproduce")
    context["sections"] = [_Section(name, title) for name, title in titles.items() if name in always or context[name]]
    return environment.get_template("page.html").render(context)


def _numbers(found: Survey, figures: Figures) -> list[tuple[str, str]]:
    kept = figures.flow.get("kept", 0)
    numbers = [(f"{kept:,}", f"documents of {figures.flow.get('read', 0):,} read")] if figures.flow else []
    if figures.whole.documents:
        numbers.append((_short(figures.whole.tokens), "tokens that survive"))
        numbers.append((_short(figures.whole.weighted), "tokens, weighted"))
        numbers.append((f"{figures.upweighted:,}", "documents weigh more than 1"))
    if found.charters:
        numbers.append((str(len(found.charters)), "charters" if len(found.charters) > 1 else "charter"))
    return numbers


def _flow(figures: Figures, draw: Any) -> dict[str, Any]:
    flow = figures.flow
    read = flow["read"] + flow["generated"]
    left_out = flow["rejected"] + flow["duplicates"] + flow["failed"]
    sentence = (
        f"Of {read:,} documents {flow['kept']:,} are in the shards. {left_out:,} were left out, each with its reasons, "
        "and can be read in rejects/."
    )
    if flow["unweighted"]:
        sentence += f" {flow['unweighted']:,} more survived, but no charter asks for them."
    return {
        "sentence": sentence,
        "wide": draw(charts.flow(flow)),
        "narrow": draw(charts.flow(flow, wide=False)),
        "reasons": [(explain_reason(name), f"{number:,}") for name, number in figures.reasons.items()],
        "skipped": [(name, f"{number:,}") for name, number in figures.skipped.items()],
    }


def _sides(figures: Figures, draw: Any) -> dict[str, Any]:
    before, after = figures.whole.before, figures.whole.after
    prosocial, harm = _rows(before, after)
    risen = sum(second > first for _, first, second in prosocial)
    fallen = sum(second < first for _, first, second in harm[1])
    return {
        "sentence": (
            f"Each number is the mean probability over tokens. Weighing raises {risen} of 12 prosocial dimensions and "
            f"lowers {fallen} of {len(HARMS)} toxic harms. Open dots show the corpus before weighing, full dots after."
        ),
        "charts": [
            _Titled("What helps people flourish", draw(charts.dumbbells(prosocial, "Prosocial dimensions"))),
            _Titled(
                "What may enact harm",
                draw(charts.dumbbells(harm[1], "Toxic harms", "harm")),
                "toxic: the text itself does it",
            ),
            _Titled(
                "What speaks of harm",
                draw(charts.dumbbells(harm[0], "Topical harms", "harm")),
                "topical: reported, discussed, condemned or suffered; no ground for refusal by itself",
            ),
        ],
    }


def _rows(before: Any, after: Any) -> tuple[list[Any], list[list[Any]]]:
    """(name, before, after) of the prosocial dimensions, largest first, and of topical and toxic harms."""
    prosocial = [(plain(name), float(before[i]), float(after[i])) for i, name in enumerate(PROSOCIAL)]
    harm = [
        [
            (plain(name), float(before[place]), float(after[place]))
            for i, name in enumerate(HARMS)
            for place in [len(PROSOCIAL) + 2 * i + kind]
        ]
        for kind in range(len(HARM_KINDS))
    ]
    return sorted(prosocial, key=lambda row: -row[2]), [sorted(rows, key=lambda row: -row[2]) for rows in harm]


def _groups(figures: Figures, draw: Any) -> dict[str, Any]:
    pictures, heats, tables = [], [], []
    whole = figures.whole
    for title, groups in (("domain", figures.domains), ("language", figures.languages)):
        most = dict(list(groups.items())[:MOST_GROUPS])
        rows = [
            (name, group.tokens / max(whole.tokens, 1), group.weighted / max(whole.weighted, 1e-9))
            for name, group in most.items()
        ]
        note = "share of tokens; grey before weighing, blue after"
        if len(groups) > len(most):
            note += f"; the largest {len(most)} of {len(groups)}"
        pictures.append(_Titled(f"By {title}", draw(charts.shares(rows, f"Shares by {title}")), note))
        scored = {name: group for name, group in most.items() if group.scored}
        if len(scored) > (title == "language"):
            change = np.stack(
                [group.after[: len(PROSOCIAL)] - group.before[: len(PROSOCIAL)] for group in scored.values()]
            )
            svg = charts.heat(
                [plain(name) for name in PROSOCIAL], list(scored), change.T, f"Change of means by {title}"
            )
            heats.append(
                _Titled(f"What weighing changed, by {title}", draw(svg), "change of the mean probability over tokens")
            )
        tables.append((title, [_table_row(name, group) for name, group in groups.items()][: 5 * MOST_GROUPS]))
    return {
        "sentence": "Charters choose inside a domain; how much of the budget a domain gets follows from their votes.",
        "charts": pictures,
        "heats": heats,
        "tables": tables,
    }


def _table_row(name: str, group: Group) -> list[str]:
    mean = group.weighted / group.tokens if group.tokens else 0.0
    return [name, f"{group.documents:,}", f"{group.tokens:,.0f}", f"{group.weighted:,.0f}", f"{mean:.2f}"]


def _weights(found: Survey, figures: Figures, draw: Any) -> dict[str, Any]:
    plan = found.plan
    assert plan is not None
    pictures = []
    if figures.weights:
        top = max(figures.weights)
        steps = int(top / 0.25) + 1
        values = [(f"{step * 0.25:g}", float(figures.weights.get(step * 0.25, (0, 0))[0])) for step in range(steps)]
        svg = charts.bars(values, "Documents by weight", note="weight, in steps of a quarter")
        pictures.append(_Titled("How heavy documents are", draw(svg), f"documents by weight; cap {plan.epoch_cap:g}"))
    domains = sorted(plan.domains.items(), key=lambda item: (-item[1].spent, item[0]))
    spending = [(name, total.entitled, total.spent) for name, total in plan.charters.items()]
    whole = max(sum(spent for _, _, spent in spending), 1e-9)
    rows = [(name, entitled / whole, spent / whole) for name, entitled, spent in spending]
    pictures.append(
        _Titled(
            "What charters spent",
            draw(charts.shares(rows, "Spending by charter")),
            "share of weighted tokens; grey what it was entitled to, blue what it spent",
        )
    )
    lines = []
    for name, domain in [item for item in domains if item[1].spent > 0][:MOST_CURVES]:
        drawn = []
        for charter, cell in domain.charters.items():
            tokens = np.array(cell.bins.tokens, np.float64)
            ignored = max(domain.tokens - tokens.sum(), 0.0)  # tokens that the charter does not accept weigh nothing
            edges = np.concatenate([[0.0], ignored + np.concatenate([[0.0], np.cumsum(tokens)])]) / max(
                domain.tokens, 1
            )
            drawn.append((charter, edges, np.concatenate([[0.0], cell.bins.weight])))
        lines.append(
            _Titled(name, draw(charts.curves(drawn, f"Weight curves in {name}", plan.epoch_cap)), "weight of a token")
        )
    effective = 100 * plan.effective_at_least / max(plan.spent, 1e-9)
    return {
        "sentence": (
            f"The budget is {plan.budget_tokens:,} tokens over a pool of {plan.pool_tokens:,}; no document weighs "
            f"more than {plan.epoch_cap:g}. Repeated tokens teach less: what is spent is worth at least "
            f"{effective:.1f} % of as many tokens seen once."
        ),
        "charts": pictures,
        "charters": [
            [name, f"{100 * total.share:.1f} %", *(f"{amount:,.0f}" for amount in _amounts(total))]
            for name, total in plan.charters.items()
        ],
        "curves": lines,
    }


def _amounts(total: Any) -> tuple[float, float, float, float]:
    return total.entitled, total.spent, total.short, total.received


def _charters(found: Survey) -> list[dict[str, Any]]:
    shares = found.manifest.recipe.weighing.charters if found.manifest else {}
    return [
        {
            "name": name,
            "share": f"{100 * shares.get(name, 0):.0f} % of the budget",
            "community": charter.community,
            "sentences": charter_sentences(charter),
            "description": charter.description,
            "leaves_out": charter.leaves_out,
            "author": charter.author,
        }
        for name, charter in found.charters.items()
    ]


def _fared(kind: str, fared: Any) -> list[str]:
    ratio = "–" if fared.ratio is None else f"{fared.ratio:.2f}"
    between = "–" if fared.interval is None else "{:.2f} to {:.2f}".format(*fared.interval)
    cause = next(iter(fared.without), "–")
    return [kind, f"{fared.pairs:,}", f"{fared.left:.2f}", f"{fared.right:.2f}", ratio, between, fared.verdict, cause]


def _copies(figures: Figures, draw: Any) -> dict[str, Any]:
    clusters = sum(figures.clusters.values())
    largest = max(figures.clusters, default=0)
    sentence = "No document in the shards has a copy among what was read."
    pictures = []
    if clusters:
        sentence = (
            f"{clusters:,} documents in the shards stand for several copies, the largest cluster for {largest:,}; "
            f"{figures.flow.get('duplicates', 0):,} copies were left out. A copy is no vote: what is often repeated "
            "does not weigh more for it."
        )
        bins = [(2, 2), (3, 3), (4, 5), (6, 10), (11, 100), (101, 10**9)]
        values = [
            (
                str(low) if low == high else f"{low}–{high}" if high < 10**9 else f"> {low - 1}",
                float(sum(number for size, number in figures.clusters.items() if low <= size <= high)),
            )
            for low, high in bins
        ]
        pictures.append(
            _Titled("Clusters by their size", draw(charts.bars(values, "Clusters by size", "c6", "copies")))
        )
    documents, tokens = figures.synthetic
    share = 100 * tokens / max(figures.whole.tokens, 1)
    return {
        "sentence": sentence,
        "charts": pictures,
        "synthetic": (
            f"{documents:,} documents were generated by a model, {share:.2f} % of the tokens, and are marked."
            if documents
            else "Nothing here was generated by a model on behalf of this run; what authors used, nobody knows."
        ),
        "personal_data": [(plain(kind), f"{number:,}") for kind, number in figures.personal_data.items()],
        "licenses": [(name, f"{number:,}") for name, number in figures.licenses.items()],
    }


def _against(found: Survey, figures: Figures, other: Survey, theirs: Figures, draw: Any) -> dict[str, Any]:
    mine, their_harm = _rows(theirs.whole.after, figures.whole.after)
    names = ("the other run", "this run")
    same = bool(
        found.manifest and other.manifest and found.manifest.identity["inputs"] == other.manifest.identity["inputs"]
    )
    rows = [
        [name, f"{figures.flow.get(name, 0):,}", f"{theirs.flow.get(name, 0):,}"]
        for name in ("read", "kept", "unweighted", "rejected", "duplicates", "failed")
    ]
    rows += [
        ["tokens, weighted", f"{figures.whole.weighted:,.0f}", f"{theirs.whole.weighted:,.0f}"],
        ["documents above weight 1", f"{figures.upweighted:,}", f"{theirs.upweighted:,}"],
    ]
    for charter in sorted({*found.charters, *other.charters}):
        both = [run.plan.charters.get(charter) if run.plan else None for run in (found, other)]
        rows.append([f"share of {charter}", *("–" if part is None else f"{100 * part.share:.1f} %" for part in both)])
    return {
        "name": other.folder.url.rstrip("/").rsplit("/", 1)[-1],
        "sentence": (
            "Both runs read the same inputs"
            if same
            else "The two runs read different inputs, so differences may be theirs"
        )
        + ". Open dots show the other run after weighing, full dots this one.",
        "charts": [
            _Titled("What helps people flourish", draw(charts.dumbbells(mine, "Prosocial dimensions", names=names))),
            _Titled("What may enact harm", draw(charts.dumbbells(their_harm[1], "Toxic harms", "harm", names))),
        ],
        "rows": rows,
    }


def _identity(found: Survey) -> list[tuple[str, str]]:
    if not found.manifest:
        return []
    manifest = found.manifest
    rows = [("recipe", manifest.recipe_digest), *(("inputs", manifest.identity[part]) for part in ["inputs"])]
    rows += [(f"model of {stage}", digest) for stage, digest in sorted(manifest.models.items())]
    rows += [(f"charter {name}", charter.digest()) for name, charter in found.charters.items()]
    return rows + [(name, value) for name, value in manifest.environment.items() if value]


def _inputs(found: Survey) -> list[tuple[str, str, str]]:
    inputs = found.manifest.inputs if found.manifest else []
    rows = [(item["source"], item["file"], item["fingerprint"]) for item in inputs[:MOST_INPUTS]]
    if len(inputs) > len(rows):
        rows.append(("…", f"{len(inputs) - len(rows):,} more in manifest.json", ""))
    return rows


def _yaml(values: Any) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _short(number: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:,.0f}"
