"""The words that text gates look for: `phrases.yaml`, found by the word that a phrase begins with.

Some hundreds of alternatives, tried at every place of a text, were most of what the gates cost. `Index` goes through a
text word by word, once for several lists, and tries at each word only what can begin with it.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from .grid import read_data

__all__ = ["CAPITALISED", "LISTS", "NEEDS", "PATTERNS", "WORD", "Index", "plain"]

WORD, CAPITALISED = re.compile(r"\w+"), re.compile(r"[A-Z]\w*")
MOST_WORDS = 1 << 15  # that an index remembers
LISTS: dict[str, dict[str, Any]] = read_data("phrases.yaml")


def plain(text: str) -> str:
    """A text in lower case, with straight apostrophes: as long as it was."""
    lowered = text.lower()
    if len(lowered) != len(text):  # the dotted capital I has two characters below
        lowered = "".join(character if len(character.lower()) > 1 else character.lower() for character in text)
    return lowered.replace("’", "'")


def _compiled(phrases: Sequence[str], ends: bool) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(phrases) + ")" + (r"\b" if ends else ""))


PATTERNS = {
    name: re.compile(values["pattern"]) if "pattern" in values else _compiled(values["phrases"], "ends" in values)
    for name, values in LISTS.items()
}
NEEDS = {name: re.compile(values["needs"]) for name, values in LISTS.items() if "needs" in values}


class Index:
    """Lists of phrases by their first words, and what a word is that one may begin with."""

    def __init__(self, *names: str, word: re.Pattern[str] = WORD) -> None:
        self._word = word
        self._phrases = [(name, phrase) for name in names for phrase in _alternatives("|".join(LISTS[name]["phrases"]))]
        self._beginnings: dict[tuple[str, bool], list[int]] = {}
        for at, (_, phrase) in enumerate(self._phrases):
            for beginning in _beginnings(phrase):
                self._beginnings.setdefault(beginning, []).append(at)
        self._known: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def find(self, text: str) -> dict[str, list[tuple[int, int]]]:
        """Where each list matches, as its pattern's `finditer` does; lists without a match are left out."""
        found: dict[str, list[tuple[int, int]]] = {}
        known = self._known
        if len(known) > MOST_WORDS:
            known.clear()
        for word in self._word.finditer(text):
            fitting = known.get(word[0])
            if fitting is None:
                fitting = known[word[0]] = self._beginning_with(word[0])
            for name, pattern in fitting:
                match = pattern.match(text, word.start())
                if match and (name not in found or found[name][-1][1] <= match.start()):
                    found.setdefault(name, []).append(match.span())
        return found

    def _beginning_with(self, word: str) -> list[tuple[str, re.Pattern[str]]]:
        begun = [(word, True), *((word[:length], False) for length in range(len(word) + 1))]
        fitting: dict[str, list[str]] = {}
        for at in sorted({at for beginning in begun for at in self._beginnings.get(beginning, ())}):
            name, phrase = self._phrases[at]
            fitting.setdefault(name, []).append(phrase)
        return [(name, _of_phrases(tuple(phrases), "ends" in LISTS[name])) for name, phrases in fitting.items()]


@cache
def _of_phrases(phrases: tuple[str, ...], ends: bool) -> re.Pattern[str]:
    return _compiled(phrases, ends)


def _beginnings(phrase: str) -> Iterator[tuple[str, bool]]:
    """The letters that a match may begin with, and whether they are all of its first word."""
    if phrase.startswith("(?:"):
        yield from (beginning for way in _ways(phrase) for beginning in _beginnings(way))
        return
    literal = re.match(r"\w*", phrase)
    assert literal is not None
    letters, rest = literal[0], phrase[literal.end() :]
    if rest[:1] in ("?", "*", "{"):
        yield letters[:-1], False
    else:
        yield letters, bool(letters) and _ends_word(rest)


def _ends_word(rest: str) -> bool:
    if rest.startswith("(?:"):
        return all(map(_ends_word, _ways(rest)))
    return not rest or rest.startswith(r"\b") or (rest[0] in " ',.:" and rest[1:2] not in ("?", "*", "{"))


def _ways(phrase: str) -> Iterator[str]:
    """A phrase that begins with a group, once for each alternative of it."""
    end = _closing(phrase)
    rest = phrase[end + 1 :]
    if rest.startswith("?"):
        rest = rest[1:]
        yield rest
    yield from (alternative + rest for alternative in _alternatives(phrase[3:end]))


def _alternatives(source: str) -> list[str]:
    """What stands between the bars of the outermost level."""
    parts, start = [], 0
    for at, depth in _levels(source):
        if depth == 0 and source[at] == "|":
            parts.append(source[start:at])
            start = at + 1
    return [*parts, source[start:]]


def _closing(source: str) -> int:
    """Where the group ends that a source begins with."""
    return next(at for at, depth in _levels(source) if depth == 0 and source[at] == ")")


def _levels(source: str) -> Iterator[tuple[int, int]]:
    """Each place of a regular expression and how many groups are open after it; classes and escapes are passed over."""
    depth, inside, escaped = 0, False, False
    for at, character in enumerate(source):
        if escaped:
            escaped = False
            continue
        escaped = character == "\\"
        if inside or character == "[":
            inside = character != "]"
            continue
        depth += (character == "(") - (character == ")")
        yield at, depth
