"""Who gets what, and what would change: tokens by charter, domain, language and dimension.

Figures are tokens that training would see: Σ tokens · weight. For a dimension they are also multiplied
by the calibrated probability that a careful reader finds the quality clearly there.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from ..schemas.charter import Charter
from ..schemas.errors import RecipeError
from ..schemas.taxonomy import PROSOCIAL
from .candidates import Candidates
from .plan import Run
from .recipes import override_recipe
from .reweigh import FREE_KEYS, Reweighed, Wish
from .weighing.charters import load_charter
from .weighing.curve import effective_tokens
from .weighing.plan import UNSCORED

__all__ = ["Mover", "Tokens", "effective", "imagine", "movers", "pool_tokens", "weighted_tokens"]

Tokens = dict[str, dict[str, float]]  # charter, domain, language or dimension → name → tokens

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Mover:
    """A document whose weight changes much."""

    id: str
    domain: str
    tokens: int
    before: float
    after: float
    by_charter: dict[str, float]  # the change of each contribution that changed


def pool_tokens(documents: Candidates, weighed: Reweighed) -> Tokens:
    """The surviving documents' tokens, each seen once; under `charter`, each one's share of what can be weighed."""
    once = np.where(weighed.rejected, 0.0, 1.0)
    plan = weighed.plan
    charter = {name: item.share * plan.pool_tokens for name, item in plan.charters.items()}
    return {"charter": charter, **_tokens(documents, once, weighed)}


def weighted_tokens(documents: Candidates, weighed: Reweighed) -> Tokens:
    """The tokens that training sees, by charter, domain, language and dimension."""
    sums = documents.tokens.astype(np.float64) @ weighed.contributions
    charter = {name: float(total) for name, total in zip(weighed.plan.charter_names, sums, strict=True)}
    return {"charter": charter, **_tokens(documents, weighed.weight, weighed)}


def effective(documents: Candidates, weighed: Reweighed) -> float:
    """What the weighted corpus is worth in tokens seen once, from the documents themselves."""
    return effective_tokens(documents.tokens.astype(np.int64), weighed.weight)


def movers(documents: Candidates, before: Reweighed, after: Reweighed, count: int = 10) -> list[Mover]:
    """The documents whose weights change most, the largest change first, equal ones by id."""
    change = np.abs(after.weight - before.weight)
    limit = np.partition(change, -count)[-count] if len(change) > count else 0.0
    rows = np.flatnonzero((change >= limit) & (change > 0))
    high, low = documents.words
    order = rows[np.lexsort((low[rows], high[rows], -change[rows]))][:count].tolist()
    return [_mover(documents, before, after, row) for row in order]


def imagine(run: Run, wish: Wish, changes: Sequence[str]) -> Wish:
    """A wish with changes laid over it: `share.NAME=0.5`, or a key of `weighing` such as `bridging=0.5`.

    Shares that are not named keep their ratios and take what is left. A charter that the wish lacks (a
    shipped one or the path of a file) comes in; a share of 0 takes one out. Raises `RecipeError`.
    """
    shares: dict[str, float] = {}
    loaded: dict[str, Charter] = dict(wish.charters)
    settings = []
    for change in changes:
        key, separator, text = change.partition("=")
        key = key.removeprefix("weighing.")
        if not separator:
            raise RecipeError(f"--what-if {change!r}: write KEY=VALUE, for example share.care=0.5")
        if key.startswith("share."):
            name = key.removeprefix("share.")
            if name not in loaded:
                charter = _newcomer(change, name, wish)
                name = charter.name
                loaded[name] = charter
            if name in shares:
                raise RecipeError(f"--what-if {change!r}: {name} has been given a share already; name it once")
            shares[name] = _share(change, text)
        elif key.partition(".")[0] in FREE_KEYS:
            settings.append(f"weighing.{key}={text}")
        else:
            known = ", ".join(("share.NAME", *FREE_KEYS))
            hint = f"did you mean share.{key}?" if key in loaded else f"these can be asked: {known}"
            raise RecipeError(f"--what-if {change!r}: unknown key; {hint}")
    recipe = run.recipe.model_copy(update={"weighing": wish.weighing})
    if shares:
        mixed = _mix(wish.weighing.charters, shares)
        recipe = recipe.model_copy(update={"weighing": wish.weighing.model_copy(update={"charters": mixed})})
    recipe = override_recipe(recipe, settings)
    return Wish({name: loaded[name] for name in recipe.weighing.charters}, recipe.weighing)


def _newcomer(change: str, name: str, wish: Wish) -> Charter:
    """A charter that the wish lacks. Raises `RecipeError`, with the nearest name of those that it has."""
    try:
        return load_charter(name)
    except RecipeError as error:
        nearest = [] if Path(name).exists() else get_close_matches(name, wish.charters, n=1)
        told = f"{name!r} is no charter of this run; did you mean {nearest[0]!r}?" if nearest else str(error)
        raise RecipeError(f"--what-if {change!r}: {told}") from error


def _share(change: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise RecipeError(f"--what-if {change!r}: a share is a number from 0 to 1; one change for each --what-if")
    return value


def _mix(old: Mapping[str, float], named: Mapping[str, float]) -> dict[str, float]:
    others = {name: share for name, share in old.items() if name not in named}
    left, whole = 1 - sum(named.values()), sum(others.values())
    if left < -1e-9 or (not others and abs(left) > 1e-9):
        raise RecipeError(
            f"--what-if: the named shares sum to {sum(named.values()):g}, which leaves no mix that sums to 1"
        )
    mixed = {name: share * max(left, 0.0) / whole for name, share in others.items()} | dict(named)
    return {name: share for name, share in mixed.items() if share > 0}


def _tokens(documents: Candidates, weight: Floats, weighed: Reweighed) -> Tokens:
    seen = documents.tokens * weight
    unscored = ~documents.scores.scored
    domain = documents.domain
    names = [*documents.domains]
    if weighed.plan.unscored == "neutral":
        domain = np.where(unscored, len(names), domain)
        names.append(UNSCORED)
    by_domain = np.bincount(domain, seen, minlength=len(names))
    by_language = np.bincount(documents.language + 1, seen, minlength=len(documents.languages) + 1)
    scored = np.where(unscored, 0.0, seen)
    by_dimension = [float(scored @ documents.scores.prosocial[:, column]) / 1000 for column in range(len(PROSOCIAL))]
    return {
        "domain": _named(names, by_domain),
        "language": _named(["none identified", *documents.languages], by_language),
        "dimension": dict(zip(PROSOCIAL, by_dimension, strict=True)),
    }


def _named(names: Sequence[str], values: np.ndarray[Any, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _mover(documents: Candidates, before: Reweighed, after: Reweighed, row: int) -> Mover:
    given: dict[str, float] = {}
    for weighed, sign in ((before, -1.0), (after, 1.0)):
        for name, part in zip(weighed.plan.charter_names, weighed.contributions[row].tolist(), strict=True):
            given[name] = given.get(name, 0.0) + sign * part
    return Mover(
        id=documents.id(row),
        domain=documents.domains[documents.domain[row]],
        tokens=int(documents.tokens[row]),
        before=float(before.weight[row]),
        after=float(after.weight[row]),
        by_charter={name: part for name, part in sorted(given.items()) if abs(part) > 1e-12},
    )
