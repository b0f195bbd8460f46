"""The taxonomy, read from `taxonomy.yaml`: the one place that names what is measured.

Code, model cards, prompts and pages take names, grades and definitions from here. Its version is
part of every model's header, so a model of another taxonomy is refused instead of misread.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

__all__ = ["HARMS", "PROSOCIAL", "TAXONOMY_VERSION", "Dimension", "Taxonomy", "load_taxonomy"]


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
    return tuple(Dimension(name, entry["definition"], entry["not"]) for name, entry in section["dimensions"].items())


@cache
def load_taxonomy() -> Taxonomy:
    """The shipped taxonomy (12 prosocial dimensions, 7 harms, quality 0–5)."""
    raw = yaml.safe_load(files("florilegium.schemas").joinpath("taxonomy.yaml").read_text("utf-8"))
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
