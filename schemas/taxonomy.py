"""The taxonomy, read from `taxonomy.yaml`: the one place that names what is measured.

Code, model cards, prompts and pages take names, grades and definitions from here. Its version is
part of every model's header, so a model of another taxonomy is refused instead of misread.

A community that measures more copies the file, adds its dimensions at the end of `prosocial` or `harm`, and sets
FLORILEGIUM_TAXONOMY to the copy's path: labels, models, scores, charters, views and reports then have them too.
Workers elsewhere, which have no such file, are given its text in the same variable.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from os import environ
from pathlib import Path
from typing import Any

import yaml

from .dimensions import TAXONOMY_VARIABLE
from .errors import RecipeError

__all__ = [
    "HARMS",
    "PROSOCIAL",
    "TAXONOMY_VARIABLE",
    "TAXONOMY_VERSION",
    "Dimension",
    "Taxonomy",
    "load_taxonomy",
    "own_dimensions",
    "own_taxonomy",
]

NAME = re.compile(r"[a-z][a-z0-9_]*")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where it was built, since every command reads it


@dataclass(frozen=True)
class Dimension:
    """One named quality of a text: what it is, and what is easily mistaken for it."""

    name: str
    definition: str
    not_this: str


@dataclass(frozen=True)
class Taxonomy:
    """Dimensions in their fixed order, with the meaning of each grade."""

    version: int
    guidance: tuple[str, ...]  # what to keep in mind whatever is judged
    prosocial: tuple[Dimension, ...]
    prosocial_grades: dict[int, str]
    positive_grade: int
    harm: tuple[Dimension, ...]
    harm_grades: dict[int, str]
    quality_grades: dict[int, str]


def _dimensions(section: dict[str, Any]) -> tuple[Dimension, ...]:
    entries = section["dimensions"].items()
    wrong = [name for name, _ in entries if not isinstance(name, str) or not NAME.fullmatch(name)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no name of a dimension; use small letters, digits and _")
    return tuple(Dimension(name, entry["definition"], entry["not"]) for name, entry in entries)


@cache
def load_taxonomy() -> Taxonomy:
    """The shipped taxonomy (12 prosocial dimensions, 7 harms, quality 0–5), or the file that the variable names.

    Raises `RecipeError` where that file is not a taxonomy.
    """
    named = environ.get(TAXONOMY_VARIABLE)
    if not named:
        return _shipped()
    if "\n" in named:
        named = TAXONOMY_VARIABLE
    try:
        taxonomy = _parse(own_taxonomy() or "")
        names = ["quality", "any", *(dimension.name for dimension in (*taxonomy.prosocial, *taxonomy.harm))]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} stands for two things")
        return taxonomy
    except OSError as error:
        raise RecipeError(f"{TAXONOMY_VARIABLE}: {named} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecipeError(f"{named}: not a taxonomy ({error!r}); start from a copy of schemas/taxonomy.yaml") from error


def own_taxonomy() -> str | None:
    """The text of the taxonomy that the variable names or holds; None where it is the shipped one."""
    named = environ.get(TAXONOMY_VARIABLE)
    return named if not named or "\n" in named else Path(named).read_text("utf-8")


def own_dimensions() -> str:
    """Names of the dimensions that the shipped taxonomy lacks, with spaces between; mostly none."""
    if not environ.get(TAXONOMY_VARIABLE):
        return ""
    shipped, own = ((*taxonomy.prosocial, *taxonomy.harm) for taxonomy in (_shipped(), load_taxonomy()))
    known = {dimension.name for dimension in shipped}
    return " ".join(dimension.name for dimension in own if dimension.name not in known)


def _shipped() -> Taxonomy:
    return _parse(files("florilegium.schemas").joinpath("taxonomy.yaml").read_text("utf-8"))


def _parse(text: str) -> Taxonomy:
    raw = yaml.load(text, _LOADER)
    return Taxonomy(
        version=raw["version"],
        guidance=tuple(raw["guidance"]),
        prosocial=_dimensions(raw["prosocial"]),
        prosocial_grades=raw["prosocial"]["grades"],
        positive_grade=raw["prosocial"]["positive_grade"],
        harm=_dimensions(raw["harm"]),
        harm_grades=raw["harm"]["grades"],
        quality_grades=raw["quality"]["grades"],
    )


TAXONOMY_VERSION: int = load_taxonomy().version
PROSOCIAL: tuple[str, ...] = tuple(dimension.name for dimension in load_taxonomy().prosocial)
HARMS: tuple[str, ...] = tuple(dimension.name for dimension in load_taxonomy().harm)
