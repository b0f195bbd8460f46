"""Annotated documents as speakers of other varieties might have written them (configs/voices.yaml).

Rules rewrite the grammar of a document in standard English, word by word; what it says stays the same, so its scores
ought to. Each rewritten document and the one that it was make a pair (alike.py), in whole documents of every kind and
not in sentences of ours: it teaches that no evidence is lost where "you're" is "you" and "they don't have any" is "they
ain't got no". Nobody labels such a document, and it does not count for what is common.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..schemas.hashing import digest
from .alike import BETWEEN
from .labelled_sets import read_templates

__all__ = ["READ", "Voices", "changed", "read_voices"]

LEAST_CHANGED = 0.03  # of the different words; a document that a variety hardly changes teaches nothing
READ = 3  # documents read for each that is asked for


class Voices(BaseModel):
    """Rules of each variety."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    importance: float = Field(gt=0)  # of a pair, beside 1 of an annotated document
    documents: int = Field(ge=1)  # of each variety at most
    lists: dict[str, list[str]] = {}  # a name in braces in a pattern stands for any of its words
    varieties: dict[str, list[str]]  # variety → "pattern over whole words => what stands there instead"
    spelled: dict[str, str] = {}  # variety → which of spellings.yaml it is spelled in, where fairness is measured

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        for variety, rules in self.varieties.items():
            for rule in rules:
                if rule.count(BETWEEN) != 1:
                    raise ValueError(f"varieties.{variety}: {rule!r} needs two sides with {BETWEEN!r} between them")
                try:
                    _replaced(pa.array([""], pa.string()), self._written_out(rule))
                except pa.ArrowInvalid as error:
                    raise ValueError(f"varieties.{variety}: {rule!r} is no pattern ({error})") from error
        return self

    def _written_out(self, rule: str) -> str:
        for name, words in self.lists.items():
            rule = rule.replace(f"{{{name}}}", "|".join(words))
        return rule

    def rewrite(self, lines: Sequence[str], variety: str) -> list[str]:
        """Tokenised lines as the variety's rules have them."""
        spaced = pa.array([f" {line.replace(' ', '  ')} " for line in lines], pa.string())
        for rule in self.varieties[variety]:
            spaced = _replaced(spaced, self._written_out(rule))
        return [" ".join(line.split()) for line in spaced.to_pylist()]

    def rewritten(self, ids: Sequence[str], lines: Sequence[str]) -> list[tuple[int, str]]:
        """Rows of `lines` with what they are in each variety: those that it changes, chosen by hash of id."""
        found: list[tuple[int, str]] = []
        for variety in self.varieties:
            order = sorted(range(len(ids)), key=lambda row: digest([variety, ids[row]]))
            rows = order[: READ * self.documents]
            rewritten = zip(rows, self.rewrite([lines[row] for row in rows], variety), strict=True)
            other = [(row, line) for row, line in rewritten if changed(lines[row], line) >= LEAST_CHANGED]
            found += other[: self.documents]
        return found


def _replaced(spaced: pa.StringArray, rule: str) -> pa.StringArray:
    """A rule applied to lines with a space before and after each word, so that neighbours can both be replaced."""
    pattern, instead = (f" {side} ".replace(" ", "  ")[1:-1] for side in rule.split(BETWEEN))
    return pc.replace_substring_regex(spaced, f" (?:{pattern[1:-1]}) ", instead)


def changed(before: str, after: str) -> float:
    """The share of a line's different words that are not in the other."""
    words = set(before.split(" "))
    return len(words - set(after.split(" "))) / len(words)


def read_voices(path: Path) -> Voices:
    """Rules from a YAML file. Raises `RecipeError`."""
    return read_templates(Voices, path, "varieties")
