"""Text without its disguise: what "k1ll y0urs3lf" or "i.d.i.o.t" says, for a second reading of harm.

A model over words knows a word in one spelling. Spelled with digits, with letters of other scripts that look the
same, with signs that nobody sees or with its letters set apart, it is no word to the model, and a harm is missed. So
a document that shows marks of disguise is read a second time with such words folded to what they look like. Of a harm
the higher score counts, and nothing else of the second reading does.

    marked    one compiled pass over bytes says which texts are worth a look; most are not
    fold      a word is folded where the model knows the result, and does not know the word as it stands

The second rule leaves 3D, MP3, covid19, h264, 15th and texts in Cyrillic or Greek proper as they are, and loses
nothing: what is no word to the model either way is nothing to it either way.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, pairwise, product
from typing import Any, Self

import numba
import numpy as np
import pyarrow as pa

from ..schemas.arrays import string_buffers

__all__ = ["Unmasker", "fold"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Offsets = np.ndarray[Any, np.dtype[np.int32]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

LOOKALIKES = {  # Cyrillic, Greek, Armenian and phonetic letters
    "a": "\u0430\u03b1\u0251", "b": "\u0432", "c": "\u0441\u03f2", "d": "\u0501", "e": "\u0435\u03b5", "g": "\u0261",
    "h": "\u043d\u04bb", "i": "\u0456\u0131\u03b9\u0269", "j": "\u0458\u03f3", "k": "\u043a\u03ba", "l": "\u04cf",
    "m": "\u043c", "n": "\u03b7\u0578", "o": "\u043e\u03bf\u0585", "p": "\u0440\u03c1", "q": "\u051b", "r": "\u0433",
    "s": "\u0455", "t": "\u0442\u03c4", "u": "\u03c5\u057d", "v": "\u03bd\u0475", "w": "\u051d\u03c9\u0461",
    "x": "\u0445\u03c7", "y": "\u0443\u03b3\u04af",
    "A": "\u0410\u0391", "B": "\u0412\u0392", "C": "\u0421\u03f9", "E": "\u0415\u0395", "H": "\u041d\u0397",
    "I": "\u0406\u0399\u04c0", "J": "\u0408", "K": "\u041a\u039a", "M": "\u041c\u039c", "N": "\u039d",
    "O": "\u041e\u039f", "P": "\u0420\u03a1", "S": "\u0405", "T": "\u0422\u03a4", "W": "\u051c", "X": "\u0425\u03a7",
    "Y": "\u0423\u04ae\u03a5", "Z": "\u0396",
}  # fmt: skip
# Fullwidth, mathematical, circled, raised, letterlike and squared letters: NFKC says which they are.
STYLED = (
    (0xFF10, 0xFF5B),
    (0x1D400, 0x1D800),
    (0x24B6, 0x24EA),
    (0x1D2C, 0x1D6B),
    (0x2100, 0x2150),
    (0x1F130, 0x1F14A),
)
BOXED = (0x1F150, 0x1F170)  # white on black, where NFKC says nothing
UNSEEN = "\u00ad\u0300-\u033f\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
LEET = {"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g", "@": "a", "$": "s", "!": "i"}
MOST_READINGS = 32  # of a word with signs that stand for several letters
FEW_LETTERS = 3  # that a word with signs at one end alone has at least, as 5tupid has
SHORT = 3  # characters of words that many a name in code has too, as z3d: read beside longer disguised ones alone
PLAINLY = 2  # words with signs for letters after which such a word may have fewer
SIEVE = 1 << 22  # hashes, a power of two: one word in four hundred passes by chance
SHORTEST, LONGEST = 3, 80  # letters set apart that are read as words

ROUND = "\u24b6-\u24e9\U0001f130-\U0001f189"  # styled letters that are no letters to Python
SIGNS = f"@$!{UNSEEN}{ROUND}"
WORD = re.compile(rf"(?<![A-Za-z'])[A-Za-z']*+(?:[0-9{SIGNS}]|[^\W\x00-\x7f])[\w'{SIGNS}]*")
UNSEEN_SIGNS = re.compile(f"[{UNSEEN}]+")
LETTER = "[A-Za-z0-9@$]"
APART = re.compile(
    rf"(?<!{LETTER}){LETTER}(?=([.\-_*\u00b7\u2022,/|~]| {{1,3}}){LETTER}(?!{LETTER}))(?:\1{LETTER}(?!{LETTER})){{2,}}"
)

# Kinds of bytes, and what three of them in a row call for.
OTHER, ALPHABETIC, DIGIT, NO_LEET, SIGN, BETWEEN, HIGH, CONTINUED = 0, 1, 2, 3, 4, 5, 6, 7
NOTHING, CHARACTER, WORD_WITH_SIGNS, SINGLE = 0, 1, 2, 3


@cache
def confusables() -> dict[int, str]:
    """Code point → the ASCII letter or digit that it looks like."""
    table = {ord(other): letter for letter, others in LOOKALIKES.items() for other in others}
    for first, last in STYLED:
        for point in range(first, last):
            plain = unicodedata.normalize("NFKC", chr(point))
            if len(plain) == 1 and plain.isascii() and plain.isalnum():
                table[point] = plain
    for first in BOXED:
        table |= {first + place: chr(ord("A") + place) for place in range(26)}
    return table


@dataclass(frozen=True)
class Unmasker:
    """What finds and folds disguised words, for a model that knows certain words."""

    known: frozenset[str]
    sieve: Mask  # which hashes of known words there are

    @classmethod
    def of(cls, words: Sequence[bytes]) -> Self:
        """For a model that has weights for `words`."""
        data = np.frombuffer(b"".join(words), np.uint8)
        offsets = np.cumsum([0, *map(len, words)], dtype=np.int32)
        sieve = np.zeros(SIEVE, np.bool_)
        _fill_sieve(data, offsets, sieve)
        return cls(frozenset(word.decode() for word in words), sieve)

    def marked(self, texts: pa.StringArray) -> Mask:
        """Which texts show a mark of disguise, (rows,): a reason to look closer, no more.

        Marks are a word with digits for letters, a look-alike or an unseen sign in one, styled letters, and more than
        three single letters in a row.
        """
        data, offsets = string_buffers(texts)
        found = np.zeros(len(texts), np.bool_)
        _marked(data, offsets, KINDS, FOLDED, CALLS, self.sieve, found)
        return found

    def copies(self, texts: pa.StringArray) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[str]]:
        """`(rows, copies)`: the texts that read otherwise without their disguise, and how they then read."""
        rows, copies = [], []
        suspects = np.flatnonzero(self.marked(texts))
        for row, text in zip(suspects.tolist(), texts.take(pa.array(suspects)).to_pylist(), strict=True):
            copy = fold(text, self.known)
            if copy != text:
                rows.append(row)
                copies.append(copy)
        return np.array(rows, np.int64), copies


def fold(text: str, known: Collection[str]) -> str:
    """The text with disguised words as what they look like, in lower case, where that is one of `known`."""
    foreign = _is_foreign(text)
    folded = 0

    def read(least: int, short: int = 0) -> Callable[[re.Match[str]], str]:
        def word(found: re.Match[str]) -> str:
            nonlocal folded
            reading = _word(found.group(), known, foreign, least, short)
            folded += reading != found.group() and any(sign in LEET for sign in found.group())
            return reading

        return word

    text = WORD.sub(read(FEW_LETTERS, SHORT), text)
    if folded:
        text = WORD.sub(read(FEW_LETTERS), text)
    if folded >= PLAINLY:
        text = WORD.sub(read(1), text)
    return APART.sub(lambda found: _together(found.group(), found.group(1), known), text)


def _is_foreign(text: str) -> bool:
    """Whether letters that look like none of ASCII outnumber the ASCII ones."""
    if text.isascii():
        return False
    table = confusables()
    strange = sum(1 for sign in text if sign > "\u024f" and sign.isalpha() and ord(sign) not in table)
    return strange > sum(1 for sign in text if sign.isascii() and sign.isalpha())


def _word(word: str, known: Collection[str], foreign: bool, least: int, short: int) -> str:
    """A word, perhaps with signs, as what it looks like.

    One with signs for letters has more than `short` characters; one with signs at one end alone, `least` letters.
    """
    core = word.rstrip("@$!'")
    plain = UNSEEN_SIGNS.sub("", core)
    if not foreign:
        plain = plain.translate(confusables())
    plain = plain.lower()
    letters = sum(sign.isalpha() for sign in plain)
    if not letters or len(plain) < 2 or not plain.isascii() or _stands(core, known):
        return word
    if len(plain) < SHORT and plain != core.lower():  # a sign of mathematics and a letter
        return word
    signed = letters < len(plain.replace("'", ""))
    if signed and (len(plain) <= short or (letters < least and _changes(plain) < 2)):
        return word
    reading = next((reading for reading in _readings(plain) if reading in known), None)
    return word if reading is None else reading + word[len(core) :]


def _stands(word: str, known: Collection[str]) -> bool:
    """Whether the model knows an ASCII word as it stands, digits as the tokeniser writes them."""
    return word.isascii() and re.sub("[0-9]", "0", word.lower()) in known


def _changes(word: str) -> int:
    """How often letters and signs alternate."""
    kinds = [sign.isalpha() for sign in word if sign != "'"]
    return sum(one != other for one, other in pairwise(kinds))


def _readings(word: str) -> Iterator[str]:
    """What a word can say where signs stand for letters."""
    signs = [sign if sign.isalpha() or sign == "'" else LEET.get(sign, "") for sign in word]
    return islice(map("".join, product(*signs)), MOST_READINGS)


def _together(run: str, between: str, known: Collection[str]) -> str:
    """Letters set apart as the fewest known words that they spell; as they are where they spell none."""
    letters = "".join(run.split(between)).lower()
    if len(letters) > LONGEST or not any(sign.isalpha() for sign in letters):
        return run
    for reading in _readings(letters):
        words = _words(reading, known)
        if words:
            return " ".join(words)
    return run


def _words(letters: str, known: Collection[str]) -> list[str] | None:
    """The fewest known words that letters spell, three letters long in the mean."""
    best: list[list[str] | None] = [[]]
    for end in range(1, len(letters) + 1):
        found: list[str] | None = None
        for start in range(end):
            before, word = best[start], letters[start:end]
            if before is None or (len(word) < 2 and word not in "ai") or word not in known:
                continue
            if found is None or len(before) + 1 < len(found):
                found = [*before, word]
        best.append(found)
    words = best[-1]
    return words if words and len(letters) >= SHORTEST * len(words) else None


def _byte_tables() -> tuple[Bytes, Bytes, Bytes]:
    """`(kinds, folded)` of the 256 bytes, and the calls of the 512 triples of kinds."""
    kinds = np.full(256, OTHER, np.uint8)
    folded = np.arange(256, dtype=np.uint8)
    for byte in range(128):
        sign = chr(byte)
        if sign.isalpha():
            kinds[byte], folded[byte] = ALPHABETIC, ord(sign.lower())
        elif sign in LEET:
            kinds[byte], folded[byte] = DIGIT if sign.isdigit() else SIGN, ord(LEET[sign][0])
        elif sign.isdigit():
            kinds[byte] = NO_LEET
        elif sign in ".-_*,/|~ ":
            kinds[byte] = BETWEEN
    kinds[128:192], kinds[192:] = CONTINUED, HIGH
    calls = np.full((8, 8, 8), NOTHING, np.uint8)
    for outside in (OTHER, BETWEEN):
        calls[outside, ALPHABETIC, [OTHER, BETWEEN, SIGN]] = SINGLE
    for one, other in ((ALPHABETIC, DIGIT), (DIGIT, ALPHABETIC), (SIGN, ALPHABETIC)):
        calls[:, one, other] = WORD_WITH_SIGNS
    calls[:, :, HIGH] = CHARACTER
    return kinds, folded, calls.ravel()


KINDS, FOLDED, CALLS = _byte_tables()


@numba.njit(inline="always")
def _hashed(value: Any, byte: Any) -> Any:
    """One more byte in a 32-bit FNV-1a hash."""
    return np.uint32((value ^ np.uint32(byte)) * np.uint32(16777619))


@numba.njit(cache=True, nogil=True)
def _fill_sieve(data: Bytes, offsets: Offsets, sieve: Mask) -> None:
    for word in range(len(offsets) - 1):
        value = np.uint32(2166136261)
        for position in range(offsets[word], offsets[word + 1]):
            value = _hashed(value, data[position])
        sieve[value & np.uint32(len(sieve) - 1)] = True


@numba.njit(inline="always")
def _in_word(data: Bytes, position: int, stop: int, kinds: Bytes) -> Any:
    """Whether a byte is part of a word: a letter, a digit, a sign before one of them."""
    kind = kinds[data[position]]
    if kind == SIGN:
        return position + 1 < stop and kinds[data[position + 1]] in (ALPHABETIC, DIGIT)
    return kind in (ALPHABETIC, DIGIT, NO_LEET)


@numba.njit(inline="always")
def _may_be_known(data: Bytes, begin: int, end: int, kinds: Bytes, folded: Bytes, sieve: Mask) -> Any:
    """Whether letters with signs among them may read as a known word."""
    letters, changes = 0, 0
    one, other = np.uint32(2166136261), np.uint32(2166136261)  # hashes, 1 read as i and as l
    for position in range(begin, end):
        byte = data[position]
        if kinds[byte] == NO_LEET:
            return False
        letters += kinds[byte] == ALPHABETIC
        if position > begin:
            changes += (kinds[byte] == ALPHABETIC) != (kinds[data[position - 1]] == ALPHABETIC)
        one, other = _hashed(one, folded[byte]), _hashed(other, 108 if byte == 49 else folded[byte])
    if letters in (0, end - begin) or (changes < 2 and letters < FEW_LETTERS):
        return False
    mask = np.uint32(len(sieve) - 1)
    return sieve[one & mask] or sieve[other & mask]


@numba.njit(cache=True, nogil=True)
def _disguised(data: Bytes, start: int, stop: int, kinds: Bytes, folded: Bytes, calls: Bytes, sieve: Mask) -> bool:
    """Whether a text shows a mark of disguise."""
    triple, ended = 0, start  # the last three kinds, and where the last word with signs ended
    run, single, between = 0, -1, 0  # single letters in a row, where the last is, and the byte after it
    for position in range(start, stop + 1):
        kind = kinds[data[position]] if position < stop else OTHER
        triple = (triple << 3 | kind) & 511
        call = calls[triple]
        if call == NOTHING:
            continue
        if call == CHARACTER:
            if _high(data, position, start, stop, kinds):
                return True
        elif call == SINGLE:
            follows = single == position - 3 and data[position - 2] == between
            run = run + 1 if follows else 1
            if run > SHORTEST:
                return True
            single, between = position - 1, data[position] if position < stop else 0
        elif position >= ended:
            begin = position - 1
            while begin > ended and _in_word(data, begin - 1, stop, kinds):
                begin -= 1
            while ended < stop and (ended < position or _in_word(data, ended, stop, kinds)):
                ended += 1
            if _may_be_known(data, begin, ended, kinds, folded, sieve):
                return True
    return False


@numba.njit(inline="always")
def _high(data: Bytes, position: int, start: int, stop: int, kinds: Bytes) -> Any:
    """Whether the character that begins here is a letter's look-alike in a word, or an unseen sign within one."""
    lead = data[position]
    if lead < 0xC2 or position + 1 >= stop:
        return False
    second = data[position + 1]
    third = data[position + 2] if position + 2 < stop else np.uint8(0)
    fourth = data[position + 3] if position + 3 < stop else np.uint8(0)
    after_letter = position > start and kinds[data[position - 1]] == ALPHABETIC
    if lead == 0xCC:
        return after_letter
    if lead == 0xC2 or lead == 0xCD:
        return after_letter and second == (0xAD if lead == 0xC2 else 0x8F) and third > 32
    if lead == 0xC4 and second != 0xB1:  # U+0131 alone
        return False
    if lead == 0xC9 and second != 0x91 and second != 0xA1 and second != 0xA9:
        return False
    if lead == 0xC4 or lead == 0xC9 or 0xCE <= lead <= 0xD6:
        return after_letter or kinds[third] == ALPHABETIC
    if lead == 0xE1:
        return (second == 0xB4 and third >= 0xAC) or (second == 0xB5 and third <= 0xAA)
    if lead == 0xE2 and ((second == 0x92 and third >= 0xB6) or (second == 0x93 and third <= 0xA9)):
        return True
    if lead == 0xEF and ((second == 0xBC and 0xA1 <= third <= 0xBA) or (second == 0xBD and 0x81 <= third <= 0x9A)):
        return True
    if lead == 0xF0:
        return (second == 0x9D and 0x90 <= third <= 0x9F) or (second == 0x9F and (third == 0x84 or third == 0x85))
    unseen = lead == 0xE2 and second == 0x80 and (0x8B <= third <= 0x8F or 0xAA <= third <= 0xAE)
    unseen = unseen or (lead == 0xE2 and second == 0x81 and 0xA0 <= third <= 0xAF)
    unseen = unseen or (lead == 0xEF and ((second == 0xBB and third == 0xBF) or (second == 0xB8 and third <= 0x8F)))
    return unseen and after_letter and (kinds[fourth] == ALPHABETIC or fourth >= 0xC2)


@numba.njit(cache=True, nogil=True)
def _marked(data: Bytes, offsets: Offsets, kinds: Bytes, folded: Bytes, calls: Bytes, sieve: Mask, found: Mask) -> None:
    for row in range(len(offsets) - 1):
        found[row] = _disguised(data, offsets[row], offsets[row + 1], kinds, folded, calls, sieve)
