"""The plan: from histograms and charters to the weight of every bin, with all that a reader needs to redo it.

`weights/plan.json` is this model as JSON. The weight of a document is the sum over charters, in
sorted order, of `share × weight of the bin` that its utility falls into, in its domain. Amounts are
tokens; the mix and the budgets are exact fractions until they are stored.

What a charter cannot spend in a domain (its budget there exceeds the cap times what it accepts) goes
to the others there in proportion to their shares: all spend a common level, or their limit where that
is lower (`unspent: redistribute`). Every curve still keeps below the cap, and shares sum to 1, so no
weight exceeds it. The price: a document that only charters of joint share s accept weighs at most
s × cap, and a domain full of such documents may not spend its budget; the plan says how much is left.
With `unspent: move` a domain's budget is bounded by what its charters can spend there, and the excess
goes to other domains (README.md says why nobody's cap is lifted instead).

With rehydration a document of T tokens and factor h counts as floor(T h) tokens here, weighs that much
more than its bin, and the cap of a bin is the epoch cap by the largest factor; so budgets are met and
the epoch cap holds all the same.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ...schemas.charter import Charter
from ...schemas.errors import BalanceError, RecipeError
from ...schemas.recipe import Rehydration, Weighing
from .curve import Curve, effective_tokens, fit_curve
from .histogram import BINS, Histogram
from .mix import combine, exact, feasible, fill, synthetic_budgets

__all__ = ["UNSCORED", "Bins", "Cell", "CharterTotal", "DomainPlan", "WeightPlan", "build_plan"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]

UNSCORED = "unscored"  # the domain of documents in languages without scores, where the recipe weighs them


class Part(BaseModel):
    """A strict, immutable part of the plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Bins(Part):
    """The non-empty bins of one charter in one domain, by ascending utility (thousandths), as columns.

    `weight` is w_c, before the charter's share. In the domain `unscored` there is one bin of utility -1.
    """

    utility: tuple[int, ...] = ()
    documents: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    weight: tuple[float, ...] = ()


class Cell(Part):
    """One charter in one domain."""

    documents: int  # that it accepts
    tokens: int  # X_cg
    entitled: float  # s_c z_g
    budget: float  # what its curve spends, before its share: z_g, or more or less after redistribution
    a: float | None = None  # null where there is nothing to spend or nothing to spend it on
    q: float | None = None
    spent: float  # share × Σ tokens × weight
    short: float  # the part of `entitled` that the cap keeps it from spending
    received: float  # what it spends above `entitled` in place of others
    bins: Bins


class DomainPlan(Part):
    """One domain: its pool, its part of the budget, and what every charter does with it."""

    documents: int  # survivors, whoever accepts them
    tokens: int  # X_g
    cap: float  # epochs: the recipe's cap, 1 for `unscored`
    target: float  # x_g, a share
    budget: float  # z_g, tokens
    spent: float
    unspendable: float  # budget - spent: what the charters here cannot spend, or leave
    effective_at_least: float  # tokens seen once that are worth as much as what is spent
    charters: dict[str, Cell]


class CharterTotal(Part):
    """One charter over all domains."""

    share: float  # s_c, normalised
    digest: str
    votes: dict[str, float]
    entitled: float
    spent: float
    short: float
    received: float


@dataclass(frozen=True, eq=False)
class _Lookup:
    """s_c w_c as (C, G, 1002), utilities from -1; equal to itself alone, so that plans compare by their fields."""

    table: Floats


class WeightPlan(Part):
    """All that decides weights. `effective_at_least` figures are lower bounds: the plan knows what each charter
    alone would buy, and pooling spreads repetition further; they are exact where one charter decides."""

    version: Literal[1] = 1
    seed: int
    budget_tokens: int  # Z
    pool_tokens: int  # X: what can be weighed
    epoch_cap: float
    shares: Literal["markets", "mean", "ratio"]
    quorum: float
    bridging: float
    unspent: Literal["redistribute", "move", "leave"]
    rehydration: Rehydration | None = None
    unscored: Literal["exclude", "neutral"]
    excluded_documents: int  # in languages without scores, where the recipe excludes them
    excluded_tokens: int
    unspendable: float  # Z - Σ z_g: what no domain can hold below the cap
    spent: float
    effective_at_least: float
    charters: dict[str, CharterTotal]  # sorted by name
    domains: dict[str, DomainPlan]  # sorted by name

    @property
    def charter_names(self) -> tuple[str, ...]:
        """Columns of utilities and contributions."""
        return tuple(self.charters)

    @property
    def domain_names(self) -> tuple[str, ...]:
        """What the domain codes of `weights` index; not always the order of the histogram."""
        return tuple(self.domains)

    def weights(
        self,
        utilities: np.ndarray[Any, Any],
        domain: np.ndarray[Any, Any],
        unscored: np.ndarray[Any, Any] | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Contributions s_c w_c, float64 of shape (n, C), charters sorted; written to `out` where it is given.

        `utilities` (n, C) and `unscored` (n,) are as in `Histogram.add`; `domain` (n,) indexes
        `domain_names`. Rows marked `unscored` weigh what the domain `unscored` gives, or 0 where the
        recipe excludes them.
        """
        codes = domain.astype(np.int64) if unscored is None else np.where(unscored, 0, domain)
        lookup = self._lookup.table
        # Column after column, as it is filled and read.
        result = np.empty(utilities.shape[::-1], np.float64).T if out is None else out
        first = codes * (BINS + 1) + 1
        for column, table in enumerate(lookup):
            result[:, column] = table.ravel()[first + utilities[:, column]]
        if unscored is not None and unscored.any():
            neutral = self.unscored == "neutral"
            result[unscored] = lookup[:, self.domain_names.index(UNSCORED), 0] if neutral else 0.0
        return result

    @cached_property
    def _lookup(self) -> _Lookup:
        table = np.zeros((len(self.charters), len(self.domains), BINS + 1))
        for g, domain in enumerate(self.domains.values()):
            for c, (name, total) in enumerate(self.charters.items()):
                bins = domain.charters[name].bins  # utility -1 has a weight in the domain `unscored` alone
                table[c, g, np.array(bins.utility, np.int64) + 1] = total.share * np.array(bins.weight)
        return _Lookup(table)

    def to_json(self) -> str:
        """Indented JSON, one line for each list of numbers; floats survive the round trip to the bit."""
        text = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        return re.sub(r"\[[^\[\]{}\"]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "WeightPlan":
        """The plan that `to_json` wrote. Raises `BalanceError` where the text is not such a plan."""
        try:
            return cls.model_validate(json.loads(text))
        except (ValueError, ValidationError) as error:
            raise BalanceError(f"weights/plan.json is damaged or of another version; weigh again ({error})") from error


def build_plan(histogram: Histogram, charters: Mapping[str, Charter], weighing: Weighing, seed: int) -> WeightPlan:
    """The plan for what the histogram counted.

    `charters` holds every name of `weighing.charters`; the histogram was filled by the same ones.
    Raises `RecipeError` where a charter names a domain that the run does not know. Domains without
    documents, charters that accept nothing and budgets that cannot be spent are no errors: the plan
    says so.
    """
    names = sorted(weighing.charters)
    if tuple(names) != histogram.charters or not set(names) <= set(charters):
        raise ValueError(f"the recipe's charters {names} are not those of the histogram, {list(histogram.charters)}")
    pool = _pool(histogram, weighing)
    cap = exact(weighing.epoch_cap)
    if weighing.rehydration:
        cap /= exact(weighing.rehydration.max_factor)
    caps = {g: min(cap, Fraction(1)) if _is_unscored(g, weighing) else cap for g in pool}
    generated = {source.domain: source for source in weighing.synthetic.sources.values() if source.domain in pool}
    tokens = {g: int(counts[1]) for g, counts in pool.items() if g not in generated}
    total = sum(int(counts[1]) for counts in pool.values())
    budget = weighing.budget_tokens or total
    natural = budget * (1 - exact(weighing.synthetic.share)) if generated else Fraction(budget)

    whole = sum(map(exact, weighing.charters.values()))
    shares = {name: exact(weighing.charters[name]) / whole for name in names}
    votes = {name: _vote(name, charters[name], tokens) for name in names}
    targets = combine(weighing.shares, votes, shares) if sum(tokens.values()) else dict.fromkeys(tokens, Fraction(0))
    reach: Mapping[str, int | Fraction] = tokens
    if weighing.unspent == "move":
        reach = {g: _acceptance(_accepted(g, histogram, weighing, pool[g]), shares) for g in tokens}
    budgets = feasible(targets, natural, reach, caps)
    targets = {g: target * natural / budget if budget else target for g, target in targets.items()}

    def planned(g: str) -> DomainPlan:
        return _plan_domain(g, histogram, weighing, shares, pool[g], caps[g], targets[g], budgets[g])

    domains = {g: planned(g) for g in sorted(tokens)}
    if generated:
        spendable = {g: caps[g] * _acceptance(_accepted(g, histogram, weighing, pool[g]), shares) for g in generated}
        spent = sum((exact(domain.spent) for domain in domains.values()), Fraction(0))
        budgets |= synthetic_budgets(generated, spendable, spent, weighing.synthetic)
        targets |= {g: budgets[g] / budget if budget else Fraction(0) for g in generated}
        domains = dict(sorted({**domains, **{g: planned(g) for g in generated}}.items()))
    excluded = histogram.unscored if weighing.unscored == "exclude" else (0, 0)
    return WeightPlan(
        seed=seed,
        budget_tokens=budget,
        pool_tokens=total,
        epoch_cap=weighing.epoch_cap,
        shares=weighing.shares,
        quorum=weighing.quorum,
        bridging=weighing.bridging,
        unspent=weighing.unspent,
        rehydration=weighing.rehydration,
        unscored=weighing.unscored,
        excluded_documents=int(excluded[0]),
        excluded_tokens=int(excluded[1]),
        unspendable=float(budget - sum(budgets.values())),
        spent=math.fsum(domain.spent for domain in domains.values()),
        effective_at_least=math.fsum(domain.effective_at_least for domain in domains.values()),
        charters={
            name: CharterTotal(
                share=float(shares[name]),
                digest=charters[name].digest(),
                votes={g: float(vote) for g, vote in sorted(votes[name].items())},
                entitled=math.fsum(domain.charters[name].entitled for domain in domains.values()),
                spent=math.fsum(domain.charters[name].spent for domain in domains.values()),
                short=math.fsum(domain.charters[name].short for domain in domains.values()),
                received=math.fsum(domain.charters[name].received for domain in domains.values()),
            )
            for name in names
        },
        domains=domains,
    )


def _is_unscored(domain: str, weighing: Weighing) -> bool:
    return weighing.unscored == "neutral" and domain == UNSCORED


def _pool(histogram: Histogram, weighing: Weighing) -> dict[str, Counts]:
    """Documents and tokens of every domain that the run knows."""
    pool = {domain.name: np.zeros(2, np.int64) for domain in weighing.domains}
    pool |= {name: histogram.pool[:, code] for code, name in enumerate(histogram.domains)}
    if weighing.unscored == "neutral":
        if UNSCORED in pool and (pool[UNSCORED].any() or UNSCORED not in histogram.domains):
            raise RecipeError(
                f"weighing: with `unscored: neutral` the domain {UNSCORED!r} is that of languages without scores; "
                "rename yours"
            )
        pool[UNSCORED] = histogram.unscored
    return pool


def _vote(name: str, charter: Charter, tokens: Mapping[str, int]) -> dict[str, Fraction]:
    """A charter's wished shares, exact and summing to 1 (to 0 where it says `natural` and the pool is empty)."""
    if isinstance(charter.shares, str):
        total = sum(tokens.values())
        return {g: Fraction(count, total or 1) for g, count in tokens.items()}
    for g in charter.shares:
        if g not in tokens:
            raise RecipeError(
                f"charter {name}: shares: this run has no domain {g!r}; it has {', '.join(sorted(tokens)) or 'none'}"
            )
    whole = sum(map(exact, charter.shares.values()))
    return {g: exact(charter.shares.get(g, 0.0)) / whole for g in tokens}


def _accepted(g: str, histogram: Histogram, weighing: Weighing, pool: Counts) -> dict[str, tuple[Counts, Counts]]:
    """What each charter accepts in a domain: the utilities of its bins, and their documents and tokens (2, bins)."""
    accepted: dict[str, tuple[Counts, Counts]] = {}
    for c, name in enumerate(histogram.charters):
        if _is_unscored(g, weighing):
            accepted[name] = np.full(1, -1, np.int64), pool[:, None]
        elif g in histogram.domains:
            counts = histogram.accepted[:, c, histogram.domains.index(g)]
            filled = np.nonzero(counts[0])[0]
            accepted[name] = filled, counts[:, filled]
        else:
            accepted[name] = np.zeros(0, np.int64), np.zeros((2, 0), np.int64)
    return accepted


def _acceptance(accepted: Mapping[str, tuple[Counts, Counts]], shares: Mapping[str, Fraction]) -> Fraction:
    """The tokens that charters accept in a domain, each charter's by its share."""
    return sum((shares[name] * int(counts[1].sum()) for name, (_, counts) in accepted.items()), Fraction(0))


def _plan_domain(
    g: str,
    histogram: Histogram,
    weighing: Weighing,
    shares: Mapping[str, Fraction],
    pool: Counts,
    cap: Fraction,
    target: Fraction,
    budget: Fraction,
) -> DomainPlan:
    accepted = _accepted(g, histogram, weighing, pool)
    limits = {name: cap * int(counts[1].sum()) for name, (_, counts) in accepted.items()}
    spends = {name: min(budget, limit) for name, limit in limits.items()}
    if weighing.unspent != "leave":
        pooled = fill(budget, shares, {name: shares[name] * limit for name, limit in limits.items()})
        spends = {name: pooled[name] / shares[name] for name in shares}
    cells, effective = {}, []
    for name, (utility, counts) in accepted.items():
        cell, curve = _plan_cell(utility, counts, shares[name], cap, budget, spends[name])
        cells[name] = cell
        effective.append(float(shares[name]) * effective_tokens(counts[1], curve.weights))
    spent = math.fsum(cell.spent for cell in cells.values())
    return DomainPlan(
        documents=int(pool[0]),
        tokens=int(pool[1]),
        cap=float(cap),
        target=float(target),
        budget=float(budget),
        spent=spent,
        unspendable=float(budget - sum(shares[name] * spends[name] for name in shares)),
        effective_at_least=math.fsum(effective),
        charters=cells,
    )


def _plan_cell(
    utility: Counts, counts: Counts, share: Fraction, cap: Fraction, budget: Fraction, spends: Fraction
) -> tuple[Cell, Curve]:
    """A charter's cell and its curve; bins without tokens weigh nothing, for there is nothing to spend on."""
    heavy = counts[1] > 0
    weights = np.zeros(len(utility))
    curve = Curve(0.0, 0.0, weights)
    if spends > 0:
        fitted = fit_curve(counts[1][heavy], float(spends), float(cap))
        weights[heavy] = fitted.weights
        curve = Curve(fitted.a, fitted.q, weights)
    cell = Cell(
        documents=int(counts[0].sum()),
        tokens=int(counts[1].sum()),
        entitled=float(share * budget),
        budget=float(spends),
        a=curve.a if spends > 0 else None,
        q=curve.q if spends > 0 else None,
        spent=float(share) * math.fsum((counts[1] * weights).tolist()),
        short=float(share * max(budget - spends, Fraction(0))),
        received=float(share * max(spends - budget, Fraction(0))),
        bins=Bins(
            utility=tuple(utility.tolist()),
            documents=tuple(counts[0].tolist()),
            tokens=tuple(counts[1].tolist()),
            weight=tuple(weights.tolist()),
        ),
    )
    return cell, curve
