"""Texts of our own, made by rule, on both sides of every threshold that the published filters have."""

from collections.abc import Callable
from random import Random

__all__ = ["texts"]

NOUNS = [
    "river",
    "garden",
    "teacher",
    "bicycle",
    "kettle",
    "neighbour",
    "lantern",
    "harbour",
    "orchard",
    "violin",
    "bridge",
    "letter",
    "winter",
    "market",
    "basket",
    "mountain",
    "cousin",
    "recipe",
    "window",
    "sparrow",
    "library",
    "carpenter",
    "ferry",
    "island",
    "meadow",
    "question",
    "answer",
    "engine",
]
VERBS = [
    "repairs",
    "carries",
    "remembers",
    "visits",
    "paints",
    "measures",
    "borrows",
    "explains",
    "waters",
    "counts",
    "opens",
    "follows",
    "finds",
]
ADJECTIVES = [
    "quiet",
    "old",
    "green",
    "patient",
    "narrow",
    "bright",
    "careful",
    "wooden",
    "early",
    "distant",
    "honest",
    "small",
    "heavy",
    "gentle",
]
TAILS = [
    "with the others",
    "before the rain comes",
    "and that is enough",
    "to be of use",
    "as we have always done",
    "at 7 o'clock",
    "for $12.50 (or less)",
    "in the long, slow evening",
]
ODD = [
    "It doesn't matter; they'd've gone anyway.",
    "Dr. Moss met Mrs. Reed at 10am, i.e. before lunch.",
    'She said: "We cannot, and won\'t, sell it!"',
    "See https://example.org/a-b/c?d=e or write to someone@example.org today.",
    "The well-known path is 10km long--nearly 12 km in winter.",
    "Thanks:) we're gonna try again :-D and smile.",
    "He’s here, isn’t he? “Yes,” they say, “of course.”",
    "The U.S. and the E.U. agreed on 3/4 of it in Jan. 2020.",
    "It cost €5,000.75 + 20% tax, or 5kg of plums...",
    "Rain fell at 21°C. and the roof/garden/path was wet.",
    "dont worry, im sure youll find it, thats all.",
    "A list: one,two,three and four:five <six> [seven] {eight is elsewhere",
    "v.1.2-beta+3 of foo_bar.baz() costs ~3*4^2=48 points!!!",
    "Über den Fluss führt eine Brücke – schön, nicht?",
    "Это не дом. Где мост?",
    "雨が降る。橋は遠い！本当？",
    "यह नदी है। पुल कहाँ है?",
    "😀😀 so happy 🎉 today ☀️☀️☀️",
    "The lake[1] is deep.[2] It is cold.[citation needed] Few swim there.[edit]",
    "Wait… what…? No way....... really",
]


class Writer:
    """Sentences by a seeded stream that is the same on every Python version."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed).random

    def pick(self, items: list[str] | tuple[str, ...]) -> str:
        return items[int(self.random() * len(items))]

    def sentence(self) -> str:
        subject = f"the {self.pick(ADJECTIVES)} {self.pick(NOUNS)}"
        rest = f"{self.pick(VERBS)} the {self.pick(ADJECTIVES)} {self.pick(NOUNS)} {self.pick(TAILS)}"
        return f"{subject.capitalize()} {rest}."

    def paragraph(self, sentences: int) -> str:
        return " ".join(self.sentence() for _ in range(sentences))

    def prose(self, paragraphs: int, sentences: int = 4) -> str:
        return "\n\n".join(self.paragraph(sentences) for _ in range(paragraphs))


def _graded(write: Writer, make: Callable[[Writer, int], str], levels: range | list[int]) -> list[str]:
    return [make(write, level) for level in levels]


def _share(write: Writer, lines: int, special: int, make: Callable[[str], str]) -> str:
    """`lines` sentences a line, of which the first `special` are changed by `make`."""
    return "\n".join(make(write.sentence()) if line < special else write.sentence() for line in range(lines))


def texts() -> list[str]:
    """About 200 texts."""
    write = Writer(20_261_123)
    made = [write.prose(1 + level % 4, 2 + level % 5) for level in range(20)]
    made += [
        " ".join(write.pick(NOUNS) for _ in range(count)) + "." for count in (3, 48, 49, 50, 51, 90)
    ]  # no stop words
    made += _graded(write, lambda w, n: "#tag " * n + w.paragraph(6), [1, 5, 7, 8, 9, 12, 40])
    made += _graded(write, lambda w, n: w.paragraph(6) + " and so..." * n, [1, 3, 6, 8, 10, 14, 30])
    made += _graded(write, lambda w, n: _share(w, 20, n, lambda s: "- " + s), [1, 17, 18, 19, 20])
    made += _graded(write, lambda w, n: _share(w, 20, n, lambda s: "  • " + s), [10, 18, 19, 20])
    made += _graded(write, lambda w, n: _share(w, 20, n, lambda s: s[:-1] + "..."), [3, 6, 7, 12])
    made += _graded(write, lambda w, n: _share(w, 20, n, lambda s: s[:-1] + "… "), [5, 6, 7, 8])
    made += _graded(write, lambda w, n: _share(w, 25, n, lambda s: s[:-1]), [5, 21, 22, 23, 25])  # no full stop
    made += _graded(write, lambda w, n: _share(w, 24, n, lambda s: s[:18]), [8, 15, 16, 17, 24])  # short lines
    made += _graded(write, lambda w, n: w.paragraph(5) + " 12 34, 56; 78" * n, [1, 2, 3, 4, 6, 10])  # few letters
    made += _graded(write, lambda w, n: w.paragraph(2) + " donaudampfschifffahrtsgesellschaft" * n, [2, 8, 9, 10, 14])
    made += _graded(write, lambda w, n: "a b c d e f g h " * n + w.paragraph(4), [2, 6, 9, 20])  # short words
    for repeats in (1, 2, 3, 4, 6):
        line, paragraph = write.sentence(), write.paragraph(3)
        others = [write.sentence() for _ in range(8)]
        made.append("\n".join([*others, *[line] * repeats]))
        made.append("\n\n".join([*others, *[paragraph] * repeats]))
        made.append("\n\n".join([*others, *["short"] * repeats]))
        made.append(write.paragraph(4) + (" " + " ".join(line.split()[:3])) * repeats)
        made.append(write.paragraph(6) + (" " + " ".join(paragraph.split()[:11])) * repeats)
        made.append(write.paragraph(8) + " one of the" * repeats + " " + write.paragraph(2))
        made.append("\n" * repeats + write.prose(3) + "\n" * repeats)
        made.append("\n \n\n".join(others) + "\n\n \n\n" * repeats)
    made += ["no no no no no no", "a b a b a b a b a b c", "one two three four five " * 12, "yes " * 60]
    made += [f"{write.prose(2)}\n{odd}\n{write.sentence()}" for odd in ODD]
    made += ["\n".join(ODD), " ".join(ODD), "\n\n".join(ODD * 2)]
    for line in (
        "Please enable JavaScript to see this page.",
        "Our site uses cookies to count visits.",
        "Read the Terms of Use before you go on.",
        "The PRIVACY POLICY changed last week.",
        "Lorem ipsum dolor sit amet, as they write.",
        "LOREM IPSUM is no word of mine",
        "function f() { return 1; }",
        "We write { and } in plain prose here.",
        "Use javascript { or leave it, my friend.",
        "The Cookie Policy holds {braces} too.",
        "Too short.",
        "x" * 1000 + " is a word of a thousand letters.",
        "x" * 1001 + " is longer than that, is it not?",
        'He asked: "Where is the ferry?"',
        "She left at dawn. . . ' ",
        "Wait...",
    ):
        made.append(f"{write.paragraph(3)}\n{line}\n{write.paragraph(1)}")
        made.append("\n".join([write.sentence(), line, write.sentence(), write.sentence(), write.sentence()]))
    made += [
        write.paragraph(2).replace(". ", mark) for mark in (".\r\n", ".\u2028", ".\x0b", ".\x85 ", ".  ", ".\u00a0")
    ]
    made += ["word " * 30 + "\n" * count + "the end of it." for count in (5, 12, 13, 14, 40)]
    return [*made, "", " ", "\n\n", ".", "a", "...", "!!!!!!!!", "😀" * 60, "the\n" * 80, "中文字" * 40 + "。"]
