"""A charter: what one community values in a text, what it refuses, and how it would split the budget.

A charter speaks only about stored scores, so a change of charter never needs a new scoring pass. All
its numbers lie on the grid of the scores (1/1000): a finer one could not decide anything and is
refused instead of rounded in silence. How a utility follows from these numbers is defined, to the
bit, in `pipelines.weighing.utility`.
"""

import re
from difflib import get_close_matches
from math import gcd
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .document import GRID
from .hashing import digest
from .taxonomy import HARMS, PROSOCIAL

__all__ = ["Ballots", "Charter", "HarmTolerance", "Opinion", "Spread", "Tolerance", "Value"]

DEFAULT_AT = 0.5  # where a careful reader more likely than not finds the quality clearly there


def _unknown(kind: str, name: object, known: tuple[str, ...] | list[str]) -> str:
    nearest = get_close_matches(str(name), known, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
    return f"unknown {kind} {name!r}; {hint}"


def _on_grid(value: float) -> float:
    if abs(value * GRID - round(value * GRID)) > 1e-6:
        raise ValueError(f"{value:g} is finer than the grid of the scores; give at most three decimals")
    return value


Thousandths = Annotated[float, Field(ge=0, le=1), AfterValidator(_on_grid)]
Share = Annotated[float, Field(ge=0, le=1)]


def _language_code(text: str) -> str:
    if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", text):
        raise ValueError(f"{text!r} is no language code; write for example `en`, `de` or `sw`")
    return text


Language = Annotated[str, AfterValidator(_language_code)]


def _charter_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,62}", text):
        raise ValueError(f"{text!r} is no name; write small letters a to z, digits, `-`, `_` and `.`, at most 63")
    return text


class Model(BaseModel):
    """A strict part of a charter: unknown keys fail with the nearest known one; immutable once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _knows_every_key(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(_unknown("key", key, list(cls.model_fields)))
        return data


class Value(Model):
    """How much one prosocial dimension counts, and how its probability p becomes worth.

    linear: p.  saturating: min(p / at, 1), enough is enough.  threshold: 1 where p >= at, else 0.
    `at` is .5 where a shape that uses it does not name it.
    """

    weight: Annotated[float, Field(gt=0, le=GRID), AfterValidator(_on_grid)] = 1.0
    shape: Literal["linear", "saturating", "threshold"] = "linear"
    at: Annotated[float, Field(gt=0, le=1), AfterValidator(_on_grid)] | None = None

    @model_validator(mode="after")
    def _at_has_a_use(self) -> "Value":
        if self.shape == "linear" and self.at is not None:
            raise ValueError("`at` means nothing to a linear value; leave it out, or choose saturating or threshold")
        return self

    @property
    def turning_point(self) -> float:
        """`at`, or its default."""
        return DEFAULT_AT if self.at is None else self.at


class HarmTolerance(Model):
    """The highest probabilities of one harm that the charter still trains on; null tolerates all."""

    topical: Thousandths | None = None
    toxic: Thousandths | None = None


class Spread(Model):
    """How far the answers to one question of a ballot lie apart."""

    answers: Annotated[int, Field(ge=1)]
    low: float  # the lower quartile, one of the answers
    median: float
    high: float  # the upper quartile, one of the answers


class Opinion(Model):
    """A group of participants who answered alike: how many, and the medians of their answers."""

    participants: Annotated[int, Field(ge=1)]
    medians: dict[str, float]


class Ballots(Model):
    """Where a charter built from ballots comes from, with the disagreement that medians hide; decides nothing.

    Questions are `domain.NAME` (points of 100), `dimension.NAME` and `harm.NAME.KIND` (0 to 10).
    """

    participants: Annotated[int, Field(ge=1)]
    spread: dict[str, Spread] = Field(default_factory=dict)
    opinions: list[Opinion] = Field(default_factory=list)  # the largest first; one where no groups stand out
    remarks: list[str] = Field(default_factory=list)  # what was set aside or mended, and why


def _harms(tolerances: dict[str, HarmTolerance]) -> dict[str, HarmTolerance]:
    for name in tolerances:
        if name not in HARMS:
            raise ValueError(_unknown("harm", name, HARMS))
    return tolerances


class Tolerance(Model):
    """What the charter will not train on; a harm that it does not name it tolerates."""

    harm: Annotated[dict[str, HarmTolerance], AfterValidator(_harms)] = Field(default_factory=dict)


def _long_form(values: Any) -> Any:
    """`{dimension: 2}` means `{dimension: {weight: 2}}`."""
    if not isinstance(values, dict):
        return values
    for name in values:
        if name not in PROSOCIAL:
            raise ValueError(_unknown("dimension", name, PROSOCIAL))
    return {
        name: {"weight": value} if isinstance(value, int | float) and not isinstance(value, bool) else value
        for name, value in values.items()
    }


def _shares(shares: Any) -> Any:
    if shares != "natural" and not isinstance(shares, dict):
        raise ValueError(f"{shares!r} is neither `natural` nor a mapping of domains to shares")
    return shares


def _sum_to_one(shares: dict[str, float] | str) -> dict[str, float] | str:
    if isinstance(shares, dict) and abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"the shares sum to {sum(shares.values()):g}, not 1")
    return shares


class Charter(Model):
    """One community's charter.

    `values` empty: every accepted document has utility 1 (a control, or a community that only
    refuses). `languages` null: it speaks for every language that has scores; on a document in a
    language that it does not speak for it neither accepts nor refuses. `shares`: the parts of the
    budget that it wants per domain, or `natural`, the parts that the pool holds.
    """

    version: Literal[1]
    name: Annotated[str, AfterValidator(_charter_name)]
    author: str = ""
    community: str = ""
    tradition: str = ""
    description: str = ""
    languages: Annotated[list[Language], Field(min_length=1)] | None = None
    values: Annotated[dict[str, Value], BeforeValidator(_long_form)] = Field(default_factory=dict)
    utility_floor: Thousandths = 0.0
    quality_floor: Thousandths = 0.0
    tolerance: Tolerance = Tolerance()
    shares: Annotated[
        Literal["natural"] | Annotated[dict[str, Share], Field(min_length=1)],
        BeforeValidator(_shares),
        AfterValidator(_sum_to_one),
    ] = "natural"
    example: bool = False
    leaves_out: str = ""
    ballots: Ballots | None = None

    def meaning(self) -> dict[str, Any]:
        """What decides weights, in one form: without name and prose, in thousandths, weights by their ratio."""
        weights = {name: round(value.weight * GRID) for name, value in self.values.items()}
        divisor = gcd(*weights.values()) or 1
        tolerances = {
            f"{harm}.{kind}": round(limit * GRID)
            for harm, limits in self.tolerance.harm.items()
            for kind, limit in (("topical", limits.topical), ("toxic", limits.toxic))
            if limit is not None and limit < 1
        }
        return {
            "version": self.version,
            "languages": None if self.languages is None else sorted(set(self.languages)),
            "values": {
                name: [
                    weights[name] // divisor,
                    value.shape,
                    None if value.shape == "linear" else round(value.turning_point * GRID),
                ]
                for name, value in self.values.items()
            },
            "utility_floor": round(self.utility_floor * GRID),
            "quality_floor": round(self.quality_floor * GRID),
            "tolerances": tolerances,
            "shares": self.shares,
        }

    def digest(self) -> str:
        """16 hex digits of the meaning: equal for charters that decide alike, whatever their prose."""
        return digest(self.meaning())
