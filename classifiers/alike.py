"""Pairs of texts that ought to be scored alike: what a model is taught not to hear (configs/alike.yaml).

A scorer that learned from documents learned who wrote them too: in a variety of English it finds less quality and less
compassion, at the name of a group of people more of what is said about such groups. Each pair says one thing twice, and
training asks that no score differ between the two (fit.py). The sentences come from templates and are none of those
that measure fairness (suites/).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..schemas.hashing import digest
from .labelled_sets import read_templates
from .tokens import tokenize

__all__ = ["AlikePairs", "AlikeTemplates", "alike_pairs", "capitalised", "read_alike"]

BETWEEN = " => "
Value = TypeVar("Value")


class Swaps(BaseModel):
    """Sentences about a group of people and about anybody."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    each: int = Field(ge=1)  # groups of a sentence at most
    others: list[tuple[str, str]] = Field(min_length=1)  # whom no group is named for: "a person", "people"
    groups: list[tuple[str, str]] = Field(min_length=1)
    sentences: list[str]  # with {person} or {people}

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The sentence about a group, and about anybody."""
        for sentence in self.sentences:
            for group in sorted(self.groups, key=lambda group: digest([sentence, *group]))[: self.each]:
                other = _chosen(self.others, [sentence, *group])
                yield tuple(capitalised(sentence.format(person=one, people=many)) for one, many in (group, other))  # type: ignore[misc]


class AlikeTemplates(BaseModel):
    """Templates of pairs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    importance: float = Field(gt=0)  # of a pair, beside 1 of an annotated document
    each: int = Field(ge=1)  # pairs of a template at most
    fillers: dict[str, list[str]]
    dialects: dict[str, list[str]]  # variety → "one side => the other"
    swaps: Swaps

    @model_validator(mode="after")
    def _two_sides(self) -> Self:
        for variety, templates in self.dialects.items():
            for template in templates:
                if template.count(BETWEEN) != 1:
                    raise ValueError(f"dialects.{variety}: {template!r} needs two sides with {BETWEEN!r} between them")
        return self

    def pairs(self) -> dict[str, list[tuple[str, str]]]:
        """Kind → its pairs of sentences; the fillers of a template are chosen by hash."""
        found = {
            variety: [pair for template in templates for pair in self._filled(template)]
            for variety, templates in self.dialects.items()
        }
        return {**found, "swaps": list(self.swaps.pairs())}

    def _filled(self, template: str) -> list[tuple[str, str]]:
        found: dict[tuple[str, str], None] = {}
        for turn in range(self.each):
            filled = template
            for name, words in self.fillers.items():
                filled = filled.replace(f"{{{name}}}", _chosen(words, [template, name, turn]))
            left, right = filled.split(BETWEEN)
            found[left, right] = None
        return list(found)


def _chosen(values: Sequence[Value], key: list[str | int]) -> Value:
    return values[int(digest(key), 16) % len(values)]


def capitalised(sentence: str) -> str:
    """The sentence with a capital at its start."""
    return sentence[:1].upper() + sentence[1:]


def read_alike(path: Path) -> AlikeTemplates:
    """Templates from a YAML file. Raises `RecipeError`."""
    return read_templates(AlikeTemplates, path, "pairs")


@dataclass(frozen=True)
class AlikePairs:
    """Tokenised pairs."""

    lines: list[tuple[str, str]]
    importance: float


def alike_pairs(templates: AlikeTemplates) -> AlikePairs:
    """What a model is fitted to."""
    pairs = [pair for group in templates.pairs().values() for pair in group]
    sides = [tokenize(pa.array([pair[side] for pair in pairs], pa.string())).to_pylist() for side in (0, 1)]
    return AlikePairs(list(zip(*sides, strict=True)), templates.importance)
