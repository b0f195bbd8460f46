"""How much of the budget each domain gets: the charters' wishes, combined and made feasible.

Exact rational arithmetic wherever the rule allows it, so that targets sum to 1 and nothing depends
on the order of charters or domains. `markets` is truthful for ℓ1 preferences over this step alone;
nothing is claimed for final weights. `mean` can be manipulated: a charter that exaggerates moves it.
"""

from collections.abc import Mapping
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Literal

import numpy as np

from ...schemas.recipe import Generated, SyntheticBudget

__all__ = [
    "combine",
    "exact",
    "feasible",
    "fill",
    "independent_markets",
    "mean",
    "ratio_rule",
    "synthetic_budgets",
    "voters",
]

Votes = Mapping[str, Mapping[str, Fraction]]  # charter → domain → share; each charter's sum to 1
Shares = Mapping[str, Fraction]  # charter → its share of the budget; sum to 1

RATIO_ROUNDS = 20_000
BILLION = 10**9


def exact(value: float) -> Fraction:
    """The decimal that a person wrote: exact(0.1) is 1/10."""
    return Fraction(repr(float(value)))


def voters(shares: Shares) -> dict[str, int]:
    """Voters of each charter: its share in thousandths, rounded, at least 1."""
    return {name: max(1, round(share * 1000)) for name, share in shares.items()}


def combine(method: Literal["markets", "mean", "ratio"], votes: Votes, shares: Shares) -> dict[str, Fraction]:
    """Targets x_g ≥ 0 with Σ x_g = 1 exactly, by the recipe's rule."""
    return {"markets": independent_markets, "mean": mean, "ratio": ratio_rule}[method](votes, shares)


def mean(votes: Votes, shares: Shares) -> dict[str, Fraction]:
    """The mean of the votes by share."""
    domains = next(iter(votes.values()))
    return {g: sum((shares[c] * vote[g] for c, vote in votes.items()), Fraction(0)) for g in domains}


def independent_markets(votes: Votes, shares: Shares) -> dict[str, Fraction]:
    """Medians with phantoms (Freeman, Pennock, Peters, Wortman Vaughan, arXiv 1905.00457).

    With n voters, x_g is the median of the n votes on g and the n + 1 phantoms min(t (n - k), 1),
    k = 0..n, at the t where Σ x_g = 1. A charter of share s counts as `voters` identical voters. The
    (n + 1)-th largest of those 2n + 1 numbers is

        x_g(t) = max over votes v on g of min(v, t N(v)),    N(v) = how many voters want at least v

    so no voter is materialised. x_g(t) is piecewise linear and never falls; a bisection over its
    breakpoints and one interpolation give the exact x.
    """
    counts = voters(shares)
    domains = next(iter(votes.values()))
    ladders = {g: _ladder({c: vote[g] for c, vote in votes.items()}, counts) for g in domains}

    def at(t: Fraction) -> dict[str, Fraction]:
        return {g: max((min(v, t * n) for v, n in ladder), default=Fraction(0)) for g, ladder in ladders.items()}

    breaks = {Fraction(0)}
    for ladder in ladders.values():
        breaks |= {v / n for v, n in ladder} | {v / n for (_, n), (v, _) in pairwise(ladder)}
    times = sorted(breaks)
    low, high = 0, len(times) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sum(at(times[middle]).values()) < 1 else (low, middle)
    before, after = at(times[low]), at(times[high])
    rise = sum(after.values()) - sum(before.values())
    step = (Fraction(1) - sum(before.values())) / rise if rise else Fraction(0)
    return {g: before[g] + step * (after[g] - before[g]) for g in domains}


def _ladder(votes: Mapping[str, Fraction], counts: Mapping[str, int]) -> list[tuple[Fraction, int]]:
    """The positive votes on one domain, downwards, each with the number of voters who want at least that."""
    wanting: dict[Fraction, int] = {}
    for c, vote in votes.items():
        wanting[vote] = wanting.get(vote, 0) + counts[c]
    levels = sorted(wanting.keys() - {Fraction(0)}, reverse=True)
    return list(zip(levels, accumulate(wanting[v] for v in levels), strict=True))


def ratio_rule(votes: Votes, shares: Shares) -> dict[str, Fraction]:
    """The x that maximises Π_c (min_g x_g / p_cg)^s_c (arXiv 2402.15904), to about five decimals.

    Its dual is a linear Fisher market: charters with money s_c and values p_cg buy the domains, and x
    are the prices. Proportional response (each bids its money on domains in proportion to the worth
    that its last bids got there; Zhang, Theoretical Computer Science 412, 2011) converges to them.
    Rounded to 10^-9 with the largest remainders up, so that the last bits of a sum do not show.
    """
    charters, domains = sorted(votes), sorted(next(iter(votes.values())))
    wishes = np.array([[float(votes[c][g]) for g in domains] for c in charters])
    money = np.array([[float(shares[c])] for c in charters])
    bids = money * wishes
    for _ in range(RATIO_ROUNDS):
        prices = bids.sum(axis=0)
        worth = wishes * np.divide(bids, prices, out=np.zeros_like(bids), where=prices > 0)
        renewed = money * worth / worth.sum(axis=1, keepdims=True)
        moved = np.abs(renewed - bids).max()
        bids = renewed
        if moved < 1e-15:
            break
    prices = bids.sum(axis=0) / bids.sum() * BILLION
    whole = np.floor(prices).astype(np.int64)
    order = sorted(range(len(domains)), key=lambda g: (whole[g] - prices[g], domains[g]))
    for g in order[: BILLION - int(whole.sum())]:
        whole[g] += 1
    return {g: Fraction(int(part), BILLION) for g, part in zip(domains, whole, strict=True)}


def fill(amount: Fraction, parts: Mapping[str, Fraction], limits: Mapping[str, Fraction]) -> dict[str, Fraction]:
    """Spread `amount` in proportion to `parts`, nowhere above its limit; spread the excess again until nothing moves.

    The result is min(level · part, limit) for one level; it sums to `amount`, or to all limits of
    positive parts where those hold less.
    """
    filled = {name: Fraction(0) for name in parts}
    open_parts = {name: part for name, part in parts.items() if part > 0}
    while open_parts:
        level = (amount - sum(filled.values())) / sum(open_parts.values())
        full = [name for name, part in open_parts.items() if level * part >= limits[name]]
        if not full:
            return filled | {name: level * part for name, part in open_parts.items()}
        for name in full:
            filled[name] = limits[name]
            del open_parts[name]
    return filled


def feasible(
    targets: Mapping[str, Fraction],
    budget: int | Fraction,
    tokens: Mapping[str, int | Fraction],
    caps: Mapping[str, Fraction],
) -> dict[str, Fraction]:
    """Budgets z_g = min(x_g Z, cap_g X_g), the excess spread over domains that are not full in proportion to x.

    X_g = `tokens` is the pool's; where budgets may move, only what charters accept of it, each by its share.
    """
    return fill(Fraction(budget), targets, {g: caps[g] * tokens[g] for g in targets})


def synthetic_budgets(
    domains: Mapping[str, Generated], spendable: Mapping[str, Fraction], natural: Fraction, budget: SyntheticBudget
) -> dict[str, Fraction]:
    """Budgets of synthetic domains beside `natural` tokens that the others spend; no share of the sum is exceeded.

    A share s of natural and synthetic tokens together is s / (1 - s) of the natural ones. All domains rise in
    proportion to what can be spent in them until a limit binds: their own, their backend's, their seed source's,
    or the whole. Those that it binds stay there and the others rise on.
    """

    def limit(share: float) -> Fraction:
        return exact(share) / (1 - exact(share)) * natural

    groups: list[tuple[Fraction, list[str]]] = [(limit(budget.share), list(domains))]
    groups += [(amount, [g]) for g, amount in spendable.items()]
    for share, name in ((budget.per_backend, "backend"), (budget.per_seed_source, "seeds")):
        for value in sorted({getattr(source, name) for source in domains.values()} - {None}):
            groups.append((limit(share), [g for g, source in domains.items() if getattr(source, name) == value]))
    filled = {g: Fraction(0) for g in domains}
    rising = {g for g in domains if spendable[g] > 0}
    while rising:
        levels = []
        for amount, members in groups:
            still = sum((spendable[g] for g in members if g in rising), Fraction(0))
            if still:
                levels.append((amount - sum((filled[g] for g in members if g not in rising), Fraction(0))) / still)
            else:
                levels.append(None)
        level = max(min(found for found in levels if found is not None), Fraction(0))
        bound = {
            g for found, (_, members) in zip(levels, groups, strict=True) if found is not None and found <= level
            for g in members
        } & rising  # fmt: skip
        filled |= {g: level * spendable[g] for g in bound}
        rising -= bound
    return filled
