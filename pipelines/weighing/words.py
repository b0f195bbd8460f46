"""Plans and charters in plain words, to be read aloud to those whose they are."""

from collections.abc import Mapping

from ...schemas.charter import Ballots, Charter, Spread
from .ballots import SLIGHTEST
from .plan import UNSCORED, DomainPlan, WeightPlan

__all__ = ["charter_in_words", "differences", "doubts", "plan_in_words", "remarks"]

SMALL = 0.0005  # parts that would print as 0.0 %
MIXES = {
    "markets": "independent markets, where no charter gains by exaggerating",
    "mean": "the mean by share, which a charter can move by exaggerating",
    "ratio": "the ratio rule",
}


def plan_in_words(plan: WeightPlan, charters: Mapping[str, Charter]) -> list[str]:
    """Lines: the budget, what each charter gets, what each domain gets, and whatever did not work out."""
    worth = plan.effective_at_least
    lines = [
        f"{_number_of(plan)} a budget of {plan.budget_tokens:,} tokens over a pool of "
        f"{plan.pool_tokens:,}; no document is seen more than {plan.epoch_cap:g} times.",
        f"{plan.spent:,.0f} tokens of it are spent ({_percent(plan.spent, plan.budget_tokens)}), worth at least "
        f"{worth:,.0f} tokens seen once, since repetition has falling value.",
        "",
        f"{'charter':<20} {'share':>7} {'entitled to':>14} {'spends':>14} {'of all':>7} {'accepts':>8}",
    ]
    for name, total in plan.charters.items():
        accepted = sum(domain.charters[name].tokens for domain in plan.domains.values())
        lines.append(
            f"{name:<20} {total.share:>7.1%} {total.entitled:>14,.0f} {total.spent:>14,.0f} "
            f"{_percent(total.spent, plan.spent):>7} {_percent(accepted, plan.pool_tokens):>8}"
        )
    lines += ["", f"Budgets of domains: {MIXES[plan.shares]}."]
    lines.append(f"{'domain':<20} {'in pool':>7} {'target':>7} {'budget':>14} {'spent':>14} {'mean weight':>12}")
    for g, domain in plan.domains.items():
        mean = f"{domain.spent / domain.tokens:.2f}" if domain.tokens else "-"
        lines.append(
            f"{g:<20} {_percent(domain.tokens, plan.pool_tokens):>7} {domain.target:>7.1%} {domain.budget:>14,.0f} "
            f"{domain.spent:>14,.0f} {mean:>12}"
        )
    told = remarks(plan, charters)
    return [*lines, "", *told] if told else lines


def remarks(plan: WeightPlan, charters: Mapping[str, Charter]) -> list[str]:
    """What did not work out as the charters wished, a sentence each; empty where all did."""
    told = []
    if not plan.pool_tokens:
        told.append("No document with tokens is left to weigh: look at the reasons in ledger.json.")
    judged = any(domain.documents for g, domain in plan.domains.items() if g != UNSCORED)
    if plan.pool_tokens and not judged:
        told.append("No document is in a language with scores, so no charter judges any.")
    for name, total in plan.charters.items():
        cells = {g: domain.charters[name] for g, domain in plan.domains.items() if g != UNSCORED}
        if judged and plan.pool_tokens and not any(cell.documents for cell in cells.values()):
            told.append(f"{name} accepts no document: {_why_nothing(charters[name])}.")
        elif total.short > SMALL * max(total.entitled, 1):
            where = ", ".join(g for g, cell in cells.items() if cell.short > SMALL * max(cell.entitled, 1))
            told.append(
                f"{name} cannot spend {total.short:,.0f} of the {total.entitled:,.0f} tokens that it is entitled to "
                f"({where}): what it accepts there, {plan.epoch_cap:g} times over, is less."
            )
    for g, domain in plan.domains.items():
        if domain.target > 0 and not domain.documents:
            told.append(f"Domain {g} has no document, so its target of {domain.target:.1%} goes to the other domains.")
        if domain.unspendable > SMALL * max(domain.budget, 1):
            told.append(f"Domain {g} leaves {domain.unspendable:,.0f} tokens unspent: {_why_unspent(plan, domain)}.")
    if plan.unspendable > SMALL * plan.budget_tokens:
        told.append(
            f"{plan.unspendable:,.0f} tokens of the budget find no domain with a target and room below the cap; "
            "ask for fewer tokens, or raise the cap."
        )
    if plan.excluded_documents:
        told.append(
            f"{plan.excluded_documents:,} documents ({plan.excluded_tokens:,} tokens) are in languages without scores "
            "and left unweighted; `unscored: neutral` gives them a weight of at most 1."
        )
    return told


def _why_nothing(charter: Charter) -> str:
    if charter.languages is not None:
        return f"it speaks for {', '.join(charter.languages)} only, and no document with scores is in its languages"
    return "every one lies below its floors or above its tolerance"


def _why_unspent(plan: WeightPlan, domain: DomainPlan) -> str:
    accepting = [name for name, cell in domain.charters.items() if cell.tokens]
    if not accepting:
        return "no charter accepts anything there"
    if plan.unspent == "leave":
        return "what one charter cannot spend the others may not (`unspent: leave`)"
    verb = "accepts" if len(accepting) == 1 else "accept"
    return (
        f"{', '.join(accepting)} {verb} too little there, and no charter weighs a document more than its share "
        "of the cap; `unspent: move` would spend it in other domains"
    )


def _number_of(plan: WeightPlan) -> str:
    return "One charter has" if len(plan.charters) == 1 else f"{len(plan.charters)} charters share"


def _percent(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def charter_in_words(charter: Charter) -> list[str]:
    """What a charter asks for, line by line."""
    lines = [f"{charter.name}{' (an example)' if charter.example else ''}"]
    lines += [
        f"  {key:<12} {' '.join(text.split())}"
        for key, text in (
            ("by", charter.author),
            ("for", charter.community),
            ("tradition", charter.tradition),
            ("leaves out", charter.leaves_out),
        )
        if text.strip()
    ]
    whole = sum(value.weight for value in charter.values.values())
    values = sorted(charter.values.items(), key=lambda item: (-item[1].weight, item[0]))
    shapes = {"linear": "", "saturating": ", enough at {:g}", "threshold": ", once it reaches {:g}"}
    wanted = [f"{n} {v.weight / whole:.0%}{shapes[v.shape].format(v.turning_point)}" for n, v in values]
    lines.append(f"  {'values':<12} {'; '.join(wanted) or 'every accepted document alike'}")
    limits = [
        f"{kind} {harm} above {limit:g}"
        for harm, limits in sorted(charter.tolerance.harm.items())
        for kind, limit in (("topical", limits.topical), ("toxic", limits.toxic))
        if limit is not None and limit < 1
    ]
    lines.append(f"  {'refuses':<12} {'; '.join(limits) or 'nothing beyond what the recipe refuses'}")
    lines.append(
        f"  {'floors':<12} utility {charter.utility_floor:g}, quality {charter.quality_floor:g}; "
        f"languages {', '.join(charter.languages) if charter.languages else 'all that have scores'}"
    )
    shares = charter.shares
    split = "as the pool is" if isinstance(shares, str) else ", ".join(f"{g} {s:.1%}" for g, s in shares.items())
    lines.append(f"  {'domains':<12} {split}")
    if charter.ballots:
        lines += _ballots_in_words(charter.ballots)
    return lines


def _ballots_in_words(ballots: Ballots) -> list[str]:
    widest = sorted(ballots.spread.items(), key=lambda item: (-_width(*item), item[0]))
    apart = [
        f"  {'':<12} {question}: half of them within {found.low:g} to {found.high:g}, median {found.median:g}"
        for question, found in widest[:4]
        if found.high > found.low
    ]
    whose = "one participant" if ballots.participants == 1 else f"{ballots.participants} participants"
    lines = [f"  {'ballots':<12} of {whose}{'; who disagree most on' if apart else ''}", *apart]
    if len(ballots.opinions) > 1:
        sizes = ", ".join(str(group.participants) for group in ballots.opinions)
        lines.append(f"  {'':<12} {len(ballots.opinions)} groups of opinion stand out, of {sizes} participants")
    else:
        lines.append(f"  {'':<12} no groups of opinion stand out")
    return lines + [f"  {'':<12} {remark}" for remark in ballots.remarks]


def _width(question: str, found: Spread) -> float:
    return (found.high - found.low) / (100 if question.startswith("domain.") else 10)


def doubts(charter: Charter) -> list[str]:
    """What a reader of a charter should ask back; none of it is an error."""
    told = []
    for key in ("author", "community", "leaves_out"):
        if not getattr(charter, key).strip():
            told.append(f"`{key}` is empty: say {_ASKED[key]}")
    if not charter.tolerance.harm:
        told.append("no tolerance is set, so it vetoes nothing; only the recipe's harm floor holds")
    if charter.utility_floor > 0.5:
        told.append(f"its utility floor of {charter.utility_floor:g} is high: few documents have scores like that")
    if charter.values and charter.utility_floor == 0:
        told.append("its utility floor is 0, so documents without anything that it values still mean something to it")
    for harm, limits in sorted(charter.tolerance.harm.items()):
        if limits.topical is not None and limits.topical < 0.5:
            told.append(f"it refuses texts about {harm}, testimony of those who suffered it among them")
        if limits.topical is not None and limits.toxic is not None and limits.topical < limits.toxic:
            told.append(f"it refuses texts about {harm} sooner than texts that enact it")
        for kind, limit in (("topical", limits.topical), ("toxic", limits.toxic)):
            if limit is not None and limit < SLIGHTEST:
                told.append(f"its limit for {kind} {harm}, {limit:g}, is below what the model tells apart from none")
    return [f"  ask          {sentence}" for sentence in told]


_ASKED = {"author": "who wrote it", "community": "whose it is", "leaves_out": "what it knowingly leaves out"}


def differences(first: Charter, second: Charter) -> dict[str, tuple[object, object]]:
    """Place → what the two say, wherever they decide differently; weights as parts of their sum."""
    ours, theirs = _flat(first), _flat(second)
    return {
        place: (ours.get(place, "-"), theirs.get(place, "-"))
        for place in sorted({*ours, *theirs})
        if ours.get(place) != theirs.get(place)
    }


def _flat(charter: Charter) -> dict[str, object]:
    whole = sum(value.weight for value in charter.values.values())
    flat: dict[str, object] = {
        f"values.{name}": f"{value.weight / whole:.1%} {value.shape}"
        + ("" if value.shape == "linear" else f" at {value.turning_point:g}")
        for name, value in charter.values.items()
    }
    for harm, limits in charter.tolerance.harm.items():
        for kind, limit in (("topical", limits.topical), ("toxic", limits.toxic)):
            if limit is not None and limit < 1:
                flat[f"tolerance.{harm}.{kind}"] = f"{limit:g}"
    flat["utility_floor"] = f"{charter.utility_floor:g}"
    flat["quality_floor"] = f"{charter.quality_floor:g}"
    flat["languages"] = ", ".join(sorted(set(charter.languages))) if charter.languages else "all"
    shares = charter.shares
    flat |= {"shares": shares} if isinstance(shares, str) else {f"shares.{g}": f"{s:.1%}" for g, s in shares.items()}
    return flat
