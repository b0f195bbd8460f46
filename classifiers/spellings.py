"""Spellings of one word that ought to weigh alike (configs/spellings.yaml).

A word that a variety of English spells in its own way is rare in any corpus, so a model knows little of it, and a text
full of such words scores as if it said nothing. While a model is fitted each spelling is read as its standard word, so
that all of them teach the one; in the fitted model each spelling then has the word's weights, and each common pair
with the word in it has a copy for each spelling. Endings spell whatever words the model knows. Scoring knows nothing of
this: the copies are rows of the model.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ..schemas.errors import RecipeError
from ..schemas.hashing import digest
from .tokens import tokenize

__all__ = ["Spellings", "read_spellings"]


class _File(BaseModel):
    """Words that are named, and endings that any word can have."""

    model_config = ConfigDict(extra="forbid")

    words: dict[str, dict[str, str]]  # variety → standard word → its spellings, with a space between them
    endings: dict[str, dict[str, str]] = {}  # variety → ending → how it is spelled


@dataclass(frozen=True)
class Spellings:
    """Other spellings of standard words."""

    varieties: Mapping[str, Mapping[str, str]]  # variety → spelling → standard word
    endings: Mapping[str, Mapping[str, str]]  # variety → ending → how it is spelled

    @classmethod
    def of(
        cls, varieties: Mapping[str, Mapping[str, str]], endings: Mapping[str, Mapping[str, str]] | None = None
    ) -> Self:
        """From the standard words of each variety with their spellings, separated by spaces, and from endings.

        Raises `ValueError` where a spelling has two standard words, is one itself, or is no single token.
        """
        found = {
            variety: {spelling: word for word, spellings in words.items() for spelling in spellings.split()}
            for variety, words in varieties.items()
        }
        standard: dict[str, str] = {}
        for spelling, word in (pair for spellings in found.values() for pair in spellings.items()):
            if standard.setdefault(spelling, word) != word:
                raise ValueError(f"{spelling!r} stands for {standard[spelling]!r} and for {word!r}")
        counted = sum(len(spellings.split()) for words in varieties.values() for spellings in words.values())
        if counted != sum(map(len, found.values())):
            raise ValueError("a spelling is named twice in a variety")
        both = sorted(standard.keys() & set(standard.values()))
        if both:
            raise ValueError(f"{both[0]!r} is a spelling and a standard word")
        words = [*standard, *standard.values()]
        for word, token in zip(words, tokenize(pa.array(words, pa.string())).to_pylist(), strict=True):
            if word != token:
                raise ValueError(f"{word!r} is no single word in lower case")
        return cls(found, endings or {})

    @cached_property
    def standard(self) -> dict[str, str]:
        """Spelling → standard word."""
        return {spelling: word for spellings in self.varieties.values() for spelling, word in spellings.items()}

    @cached_property
    def _by_word(self) -> dict[str, dict[str, list[str]]]:
        """Standard word → variety → its spellings there."""
        found: dict[str, dict[str, list[str]]] = {}
        for variety, spellings in self.varieties.items():
            for spelling, word in spellings.items():
                found.setdefault(word, {}).setdefault(variety, []).append(spelling)
        return found

    def respell(self, lines: Iterable[str]) -> list[str]:
        """Tokenised lines with the standard word for each spelling."""
        standard = self.standard
        return [" ".join([standard.get(token, token) for token in line.split(" ")]) for line in lines]

    def spell(self, line: str, variety: str) -> str:
        """A tokenised line as a variety spells it; of several spellings of a word one is chosen by hash."""
        words, key = line.split(" "), digest(line)
        found = {word: self._by_word[word].get(variety, []) for word in set(words) if word in self._by_word}
        chosen = {word: some[int(digest([key, word]), 16) % len(some)] for word, some in found.items() if some}
        return " ".join([chosen.get(word, word) for word in words])

    def words(self, known: Sequence[str]) -> list[tuple[str, int]]:
        """Each spelling of a known word that is not known itself, and the place of that word among the known.

        Of words that an ending spells alike it is the first, in the order of the known.
        """
        places = {word: place for place, word in enumerate(known)}
        found = {spelling: places[word] for spelling, word in self.standard.items() if word in places}
        for ending, spelled in (pair for endings in self.endings.values() for pair in endings.items()):
            for place, word in enumerate(known):
                if word.endswith(ending) and len(word) > len(ending) + 1:
                    found.setdefault(word[: -len(ending)] + spelled, place)
        return sorted((spelling, place) for spelling, place in found.items() if spelling not in places)

    def has(self, word: str) -> bool:
        """Whether the word has other spellings."""
        return word in self._by_word

    def pairs(self, left: str, right: str) -> Iterator[tuple[str, str]]:
        """A pair of neighbouring words in other spellings: one of them, or both as one variety spells them."""
        lefts, rights = self._by_word.get(left, {}), self._by_word.get(right, {})
        for spellings in lefts.values():
            yield from ((spelling, right) for spelling in spellings)
        for spellings in rights.values():
            yield from ((left, spelling) for spelling in spellings)
        for variety in lefts.keys() & rights.keys():
            yield from ((one, other) for one in lefts[variety] for other in rights[variety])


def read_spellings(path: Path) -> Spellings:
    """Spellings from a YAML file. Raises `RecipeError`."""
    try:
        content = _File.model_validate(yaml.safe_load(path.read_text("utf-8")))
        return Spellings.of(content.words, content.endings)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError, ValueError) as error:
        raise RecipeError(f"{path}: not spellings of words ({error})") from error
