"""Whether a document makes sense, as far as cheap signs tell; English only.

Four signs, each of a way in which small models fail:

broken     words in an order that no sentence has: `the of`, `is was`, `for he`
loops      the same words over and over: few different pairs of words, or one word that is everywhere
unknown    words that the classifier's vocabulary, learnt from millions of them, does not hold
astray     turns, or an essay's sentences, with no thread to what came before: no shared word, nobody and nothing
           referred to (`it`, `she`, `that`), no address (`you`), no taking up (`yes`, `then`, `oh`), no question

They say that something is amiss, not that a text is good: a fluent non sequitur with a pronoun in it passes.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from ...classifiers.student import load
from .grid import load_compositions

__all__ = ["Coherence", "coherence", "incoherence", "sentences"]

WORD = re.compile(r"[a-z]+(?:['’][a-z]+)?")
SENTENCE = re.compile(r"(?<![.!?…])[.!?…]++[\"”’')]*+\s+")
STEM = 4  # letters by which two words are taken for one
MOST_BROKEN, MOST_REPEATED, MOST_EVERYWHERE, MOST_ASTRAY = 0.035, 0.2, 0.35, 0.45
MOST_UNKNOWN, TIMES_UNKNOWN = 0.1, 10  # or as many unknown words as in the composer's lines, with a small vocabulary


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Classes of the words that build sentences, for pairs that none has.
ARTICLES = _words("the a an my your our their")
LINKS = _words("of to for from with at into because which")
VERBS = _words("is are was were be has have had will would")
SUBJECTS = _words("he she they we i")
BROKEN = (
    (ARTICLES, LINKS | VERBS | SUBJECTS | ARTICLES | _words("and but or if them him not yes no so then")),
    (_words("of for from with at into"), VERBS | SUBJECTS | _words("of to and but")),
    (_words("to"), _words("of to is are was were has had and but he she they we i")),
    (_words("is are was were"), _words("is are was were be have has will would of")),
    (_words("and but"), _words("of and but")),
    (_words("it he she"), _words("are were have be")),
    (_words("they we you"), _words("is was has")),
    (_words("them him"), _words("of is are be was were")),
)  # fmt: skip
BROKEN_PAIRS = frozenset((first, second) for firsts, seconds in BROKEN for first in firsts for second in seconds) - {
    (first, "so") for first in ARTICLES
}

COMMON = _words(
    "a an the and or but if of to in on at by for from with as is are was were be been have has had do does did not no "
    "so than too very can could will would should may might must just only also there here what when where who why how "
    "some any all more most much many one two out up down over about into"
)
THREADS = _words(
    "it its it's he she him her his hers they them their that that's this those these you your you're you've you'd i'd "
    "i'll i'm i've me us we we'd we'll we've he's she's they're there's what's let's yes no yeah okay oh ah right sure "
    "sorry thank thanks please well then still even maybe so if both neither either same other another such again "
    "instead though however i"
)
QUESTIONS = _words("what why how who where when which because perhaps my our mine")


@dataclass(frozen=True)
class Coherence:
    """The signs of one document, each from 0 (none) to 1; `astray` counts too, since one turn is no sign."""

    broken: float
    repeated: float
    everywhere: float
    unknown: float
    astray: float
    astray_turns: int


@cache
def _vocabulary() -> frozenset[str]:
    model = load("prosocial")
    return frozenset(word.decode() for word in getattr(model, "student", model).model.vocabulary.words)


def coherence(parts: Sequence[str]) -> Coherence:
    """The signs of a document's turns, without their speakers, or of an essay's sentences."""
    turns = [WORD.findall(part.lower().replace("’", "'")) for part in parts]
    words = [word for turn in turns for word in turn]
    pairs = [pair for turn in turns for pair in pairwise(turn)]
    different = set(pairs)
    wrong = {pair for pair in different if pair[0] == pair[1]} | (different & BROKEN_PAIRS)
    told = [[stem for word in turn if (stem := _told(word))] for turn in turns]
    said = Counter(stem for turn in told for stem in turn)
    content = sum(said.values())
    uses = Counter(words)
    short = sum(count for word, count in uses.items() if "'" in word)
    known = _vocabulary()
    unknown = sum(count for word, count in uses.items() if word not in known and "'" not in word)
    astray = _astray(parts, turns, told)
    return Coherence(
        broken=sum(pair in wrong for pair in pairs) / max(len(pairs), 1) if wrong else 0.0,
        repeated=(len(pairs) - len(different)) / max(len(pairs), 1),
        everywhere=max(said.values(), default=0) / max(content, 1),
        unknown=unknown / max(len(words) - short, 1),
        astray=astray / max(len(parts) - 1, 1),
        astray_turns=astray,
    )


def sentences(text: str) -> list[str]:
    """The sentences of an essay."""
    return SENTENCE.split(text.strip())


SILENT = COMMON | THREADS | QUESTIONS


def _told(word: str) -> str:
    """The stem of a word that tells what is spoken of, else nothing."""
    return "" if word in SILENT else word.partition("'")[0][:STEM]


def _astray(parts: Sequence[str], turns: Sequence[Sequence[str]], told: Sequence[Sequence[str]]) -> int:
    """How many after the first have no thread to anything before."""
    count = 0
    before: set[str] = set()
    for part, turn, stems in zip(parts, turns, told, strict=True):
        if before and len(turn) >= 4 and "?" not in part and before.isdisjoint(stems) and THREADS.isdisjoint(turn):
            count += 1
        before.update(stems)
    return count


@cache
def _usual_unknown() -> float:
    """The share of unknown words in the composer's own lines, which holds whatever the vocabulary's size."""
    lines = (line for entry in load_compositions().values() for plan in entry["plans"] for line in plan[-2:])
    return coherence([" ".join(lines)]).unknown


def incoherence(parts: Sequence[str]) -> str:
    """What is amiss with a document, given as for `coherence`, or nothing."""
    found = coherence(parts)
    if found.broken > MOST_BROKEN:
        return f"{found.broken:.0%} of neighbouring words stand in no order of a sentence"
    if found.repeated > MOST_REPEATED:
        return f"{found.repeated:.0%} of the pairs of words are repeats"
    if found.everywhere > MOST_EVERYWHERE:
        return f"one word is {found.everywhere:.0%} of what is said"
    if found.unknown > max(MOST_UNKNOWN, TIMES_UNKNOWN * _usual_unknown()):
        return f"{found.unknown:.0%} of the words are unknown"
    if found.astray > MOST_ASTRAY and found.astray_turns > 1:
        return f"{found.astray_turns} turns or sentences have no thread to those before"
    return ""
