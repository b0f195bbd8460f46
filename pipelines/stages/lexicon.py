"""Occurrences of the terms of user word lists: evidence of what a text is about, never a verdict.

A list of words cannot tell abuse from quotation, reclaimed words or a victim's report, so no rule of
`decide.py` reads this column. It is there for queries, sampling and audits.

One compiled pass hashes every word of a text in a coarse spelling, in which look-alikes, letters and the
digits that stand for them, and repeated letters are one. A bit set drops nearly all words at once; the
rest is looked up and compared character by character, then followed through a trie of words, for terms
of several. Terms in scripts without spaces, and those that are no words (an emoji), go through an
automaton over characters (Aho and Corasick, CACM 18, 1975) that most rows never meet. The time is linear in
the text whatever it holds, and depends on how often terms match, hardly on how many there are: one core reads
330 MB/s of forum posts with one term, 150 with 20,000 that never match, 60 with their 2,500 commonest words.
"""

import unicodedata
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from ...schemas.arrays import replace_column, string_buffers
from ...schemas.document import LEXICON
from ...schemas.errors import InputError
from ...schemas.hashing import digest
from ...schemas.recipe import LexiconOptions
from .utf8 import ALPHANUMERIC, CODE_POINTS, decode, unicode_classes

__all__ = ["CLOSING", "LEET", "LONGEST", "LOOK_ALIKES", "SOFT", "UNSPACED", "Lexicon", "Matcher", "fold", "read_terms"]

LONGEST = 128  # characters of a term; a longer word of a text is no word of a list
MOST_WORDS = 16  # of a term that is matched word by word
MOST_SOFT = 3  # characters between two words of a term
LEAST_LEET = 3  # characters of a list's word that digits and symbols may stand in

LEET = {
    "0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g",
    "@": "a", "$": "s", "!": "il", "|": "il", "+": "t", "€": "e",
}  # fmt: skip
CLOSING = "!|+"  # no letters at the end of a word
SOFT = " \t\n\u00a0\u2009\u202f\u3000_-‐‑‒–—'’"
# Small letters of Cyrillic and Greek, and the Latin ones that they are taken for (Unicode's confusables.txt).
LOOK_ALIKES = dict(
    zip("авеһніјкӏморԛѕтуүԝхсԁ" + "αβεζηικμνορτυωχγ", "abehhijklmopqstyywxcd" + "abeznikuvoptuwxy", strict=True)
)
FOREIGN_RANGE = (0x0370, 0x0530)  # Greek and Cyrillic
UNSPACED = (  # scripts that put no spaces between words
    (0x0E00, 0x10A0),  # Thai, Lao, Tibetan, Myanmar
    (0x1780, 0x1800),  # Khmer
    (0x2E80, 0x2FE0),  # Han radicals
    (0x3005, 0x3008),  # Han iteration mark and zero
    (0x3040, 0x3130),  # kana, Bopomofo
    (0x31A0, 0xA000),  # Bopomofo, kana, Han
    (0xF900, 0xFB00),  # Han
    (0xFF66, 0xFFA0),  # half-width kana
    (0x20000, 0x323B0),  # Han
)
INVISIBLE = frozenset(  # NUL, soft hyphen, joiners, directions, variation selectors, tags
    chain(
        (0x0000, 0x00AD, 0x034F, 0x061C, 0xFEFF),
        range(0x180B, 0x1810), range(0x200B, 0x2010), range(0x202A, 0x202F), range(0x2060, 0x2070),
        range(0xFE00, 0xFE10), range(0xE0000, 0xE1000),
    )
)  # fmt: skip

# A character's kind: its coarse letter in the lower bits, 0 for what is in no word, and these.
COARSE = (1 << 21) - 1
PLAIN, SYMBOL, SUBSTITUTE, DIGIT, LATIN, FOREIGN, IGNORED = (1 << bit for bit in range(21, 28))
SIEVE_SHIFT = 20
RING = 2 * LONGEST  # characters that are remembered, a power of two
LOOKS = 0x600  # the table of look-alikes ends here
_HASH = np.uint64(0x9E3779B97F4A7C15)  # odd, from the golden ratio
EMPTY = np.uint64(1)  # the hash of nothing
Array = np.ndarray[Any, Any]


def fold(character: str) -> str:
    """Its compatibility form (NFKC) in small letters where that is one character; "" for an invisible one."""
    if ord(character) in INVISIBLE:
        return ""
    if character.isspace():
        return " "
    plain = unicodedata.normalize("NFKC", character)
    plain = plain if len(plain) == 1 else character
    return next(form for form in (plain.casefold(), plain.lower(), plain) if len(form) == 1)


def read_terms(path: str | Path) -> list[str]:
    """The terms of a word list: UTF-8, one a line, in NFC, sorted, each once; `#` begins a line of comment.

    Raises InputError where the file cannot be read, holds no term, or one is too long.
    """
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"stages.lexicon.lists: cannot read {path} as UTF-8 text ({error})") from error
    terms = set()
    for number, line in enumerate(lines, 1):
        term = " ".join(unicodedata.normalize("NFC", line).split())
        if not "".join(map(fold, term)).strip() or term.startswith("#"):
            continue
        if len(term) > LONGEST:
            raise InputError(f"{path}, line {number}: a term has at most {LONGEST} characters")
        terms.add(term)
    if not terms:
        raise InputError(f"stages.lexicon.lists: {path} holds no term; write one a line")
    return sorted(terms)


@cache
def _folds() -> Array:
    """`fold` of every code point, 0 for ""; uint32 (1114112,)."""
    table = np.arange(CODE_POINTS, dtype=np.uint32)
    for point in chain(range(0x3400), range(0xA000, 0xAC00), range(0xF900, 0x20000), range(0x2F800, 0x2FA20)):
        table[point] = ord(fold(chr(point)) or "\0")  # Han, Hangul and private characters are their own form
    table[list(INVISIBLE)] = 0
    return _frozen(table)


@cache
def _kinds(leetspeak: bool, look_alikes: bool) -> Array:
    """The kind of every code point, that of its folded form; uint32 (1114112,)."""
    folds = _folds()
    in_words = (unicode_classes() & ALPHANUMERIC) > 0
    for point in range(0x300, 0x1F000):  # combining marks
        if not in_words[point] and unicodedata.category(chr(point))[0] == "M":
            in_words[point] = True
    for first, end in UNSPACED:
        in_words[first:end] = False
    coarse = np.arange(CODE_POINTS, dtype=np.uint32)
    flags = np.zeros(CODE_POINTS, np.uint32)
    flags[ord("0") : ord("9") + 1] = DIGIT
    flags[ord("a") : ord("z") + 1] = LATIN
    if look_alikes:
        flags[slice(*FOREIGN_RANGE)] = FOREIGN
        for character, letter in LOOK_ALIKES.items():
            coarse[ord(character)] = ord(letter)
    if leetspeak:
        for character, letters in LEET.items():
            point = ord(character)
            coarse[point] = ord(letters[0])
            flags[point] |= SUBSTITUTE if character.isdigit() else SUBSTITUTE | SYMBOL
            in_words[point] = True
        coarse[coarse == ord("l")] = ord("i")  # "1" stands for both
    flags[in_words & (flags & SYMBOL == 0)] |= PLAIN
    kinds = np.where(in_words[folds], coarse[folds] | flags[folds], 0).astype(np.uint32)
    kinds[folds == 0] = IGNORED
    return _frozen(kinds)


class Words(NamedTuple):
    """What the kernel must know to find words and their sequences."""

    kinds: Array  # uint32 (code points,)
    folds: Array  # uint32 (code points,)
    looks: Array  # uint32 (LOOKS,): the Latin letter that a character is taken for, else itself
    repeats: bool  # whether a letter three times or more stands for fewer
    sieve: Array  # uint64 (powers of two,): a bit for the coarse hash of each term's first word
    slots: Array  # uint64 (power of two,): open addressing, coarse hash of a word; 0 where empty
    heads: Array  # int32 (slots,): the first word with that hash
    hashes: Array  # uint64 (words,): sorted, so that words with one hash are neighbours
    starts: Array  # int32 (words + 1,): where a word begins in `spellings`
    spellings: Array  # uint32: folded code points
    roots: Array  # int32 (words,): the node of the trie that a first word leads to, -1 where none
    goes_on: Array  # bool (nodes,): whether a longer term goes through it
    edge_keys: Array  # uint64 (power of two,): node × words + word + 1, open addressing; 0 where empty
    edge_nodes: Array  # int32
    end_starts: Array  # int32 (nodes + 1,): where a node's terms begin in `ends`
    ends: Array  # int32: lists that hold the term


class Pieces(NamedTuple):
    """The automaton over characters."""

    kinds: Array  # uint32 (code points,)
    folds: Array  # uint32 (code points,)
    first: Array  # bool (code points,): folded characters that begin a term
    edge_keys: Array  # uint64 (power of two,): node << 21 | character, open addressing; 0 where empty
    edge_nodes: Array  # int32
    failures: Array  # int32 (nodes,): the node of the longest proper suffix
    shorter: Array  # int32 (nodes,): the next node up the suffixes that ends a term, 0 where none
    depths: Array  # int32 (nodes,): characters read
    opens: Array  # bool (nodes,): the term here begins with a character of words, so a word must not precede
    closes: Array  # bool (nodes,): it ends with one
    end_starts: Array  # int32 (nodes + 1,)
    ends: Array  # int32


@njit(inline="always")
def _probe(keys, key):  # type: ignore[no-untyped-def]
    """The slot that holds `key`, or the empty one where it would go."""
    mask = np.uint64(len(keys) - 1)
    slot = (key * _HASH >> np.uint64(32)) & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True, nogil=True)
def _insert(keys, values, new_keys, new_values):  # type: ignore[no-untyped-def]
    for k in range(len(new_keys)):
        slot = _probe(keys, new_keys[k])
        keys[slot], values[slot] = new_keys[k], new_values[k]


@njit(inline="always")
def _finished(key):  # type: ignore[no-untyped-def]
    """A finished hash of the coarse spelling, never 0."""
    return (key ^ key >> np.uint64(29)) * _HASH | np.uint64(1)


@njit(inline="always")
def _passes(sieve, key):  # type: ignore[no-untyped-def]
    bit = key >> np.uint64(SIEVE_SHIFT)
    return (sieve[(bit >> np.uint64(6)) & np.uint64(len(sieve) - 1)] >> (bit & np.uint64(63))) & np.uint64(1) > 0


@njit(inline="always")
def _coarse_hash(data, start, end, kinds):  # type: ignore[no-untyped-def]
    """The hash of the coarse spelling of bytes that hold characters of words only."""
    key = np.uint64(0)
    last = np.uint32(0)
    i = start
    while i < end:
        point, width = np.int64(data[i]), 1
        if point >= 0x80:
            point, width = decode(data, i, end)
        i += width
        kind = kinds[point]
        letter = kind & np.uint32(COARSE)
        if letter != last and kind != IGNORED:
            key = (key ^ np.uint64(letter)) * _HASH
            last = letter
    return _finished(key)


@njit(cache=True, nogil=True)
def _coarse_hashes(data, offsets, kinds, hashes):  # type: ignore[no-untyped-def]
    for row in range(len(offsets) - 1):
        hashes[row] = _coarse_hash(data, np.int64(offsets[row]), np.int64(offsets[row + 1]), kinds)


@njit(inline="always")
def _stands_for(point, letter, kinds, looks, leet, mixed):  # type: ignore[no-untyped-def]
    """Whether a folded character of a text may be read as `letter` of a term."""
    look = looks[letter] if letter < LOOKS else letter
    alike = mixed and look == (looks[point] if point < LOOKS else point)
    coarse = np.uint32(COARSE)
    substitute = leet and kinds[point] & SUBSTITUTE > 0 and 97 <= look <= 122
    return point == letter or alike or (substitute and kinds[point] & coarse == kinds[letter] & coarse)


@njit(cache=True, nogil=True)
def _is_spelt(text, size, spellings, start, end, kinds, looks, repeats, leet, mixed):  # type: ignore[no-untyped-def]
    """Whether the `size` folded characters of `text` may be read as `spellings[start:end]`."""
    leet = leet and end - start >= LEAST_LEET
    if size == end - start:
        k = 0
        while k < size and _stands_for(text[k], spellings[start + k], kinds, looks, leet, mixed):
            k += 1
        if k == size:
            return True
    i, j = 0, start
    while repeats and i < size and j < end:
        run, group = i, j
        while run < size and text[run] == text[i]:
            run += 1
        while group < end and spellings[group] == spellings[j]:
            group += 1
        fits = run - i == group - j or (run - i >= 3 and run - i > group - j)
        if not (fits and _stands_for(text[i], spellings[j], kinds, looks, leet, mixed)):
            return False
        i, j = run, group
    return i == size and j == end


@njit(inline="always")
def _find_word(data, begin, close, key, kinds, folds, looks, repeats, slots, heads, hashes, starts, spellings, text):  # type: ignore[no-untyped-def]
    """`(word, steps)`: the list's word that the bytes spell, exactly or else first in the alphabet; -1 where none."""
    best = -1
    steps = 0
    slot = _probe(slots, key)
    word = np.int64(heads[slot]) if slots[slot] == key else len(hashes)
    if word < len(hashes):
        size = digits = symbols = 0
        found = np.uint32(0)
        i = begin
        while i < close:
            point, width = np.int64(data[i]), 1
            if point >= 0x80:
                point, width = decode(data, i, close)
            i += width
            kind = kinds[point]
            if kind != IGNORED:
                if size == LONGEST:
                    word = len(hashes)
                    break
                text[size] = folds[point]
                size += 1
                digits += kind & DIGIT > 0
                symbols += kind & SYMBOL > 0
                found |= kind
        steps += i - begin
        letters = size - digits - symbols
        leet = letters > 0 and letters >= digits
        mixed = found & LATIN > 0 and found & FOREIGN > 0
        while word < len(hashes) and hashes[word] == key:
            start, end = np.int64(starts[word]), np.int64(starts[word + 1])
            steps += size
            k = 0
            if size == end - start:
                while k < size and text[k] == spellings[start + k]:
                    k += 1
            if k > 0 and k == size:
                best = word
                break
            if best < 0 and _is_spelt(text, size, spellings, start, end, kinds, looks, repeats, leet, mixed):
                best = word
            word += 1
    return best, steps


@njit(cache=True, nogil=True)
def _is_joint(data, start, end, kinds, soft):  # type: ignore[no-untyped-def]
    """Whether what lies between two words keeps them together: a few soft characters, or one other."""
    count = 0
    hard = False
    i = start
    while i < end:
        point, width = np.int64(data[i]), 1
        if point >= 0x80:
            point, width = decode(data, i, end)
        i += width
        if kinds[point] != IGNORED:
            count += 1
            hard = hard or not soft[point]
            if count > (1 if hard else MOST_SOFT):
                return False
    return count > 0


@njit(cache=True, nogil=True)
def _count_words(data, offsets, words, soft, counts, beyond):  # type: ignore[no-untyped-def]
    """Add the terms made of words to `counts`, int32 (rows, lists); mark rows with characters from U+0E00 on.

    Returns the number of steps beyond the first pass.
    """
    kinds, folds, looks, repeats, sieve, slots, heads, hashes, starts, spellings = words[:10]
    roots, goes_on, edge_keys, edge_nodes, end_starts, ends = words[10:]
    text = np.zeros(LONGEST, np.int64)
    nodes = np.zeros(MOST_WORDS + 1, np.int64)
    steps = 0
    for row in range(len(offsets) - 1):
        i, stop = np.int64(offsets[row]), np.int64(offsets[row + 1])
        tracked = 0  # terms of several words that have begun
        previous = i  # the end of the last word
        while i < stop:
            start = i
            key = np.uint64(0)
            last = np.uint32(0)
            found = np.uint32(0)
            width = 1
            while i < stop:
                point, width = np.int64(data[i]), 1
                if point >= 0x80:
                    point, width = decode(data, i, stop)
                    beyond[row] |= point >= 0x0E00
                kind = kinds[point]
                if kind == 0:
                    break
                letter = kind & np.uint32(COARSE)
                if letter != last and kind != IGNORED:
                    key = (key ^ np.uint64(letter)) * _HASH
                    last = letter
                found |= kind
                i += width
            end = i
            i += width
            key = _finished(key)
            parted = found & SYMBOL > 0
            if key == EMPTY or not (parted or tracked > 0 or _passes(sieve, key)):
                tracked = tracked if key == EMPTY else 0
                continue

            # A run with symbols is one word of a list, or else the symbols part its
            whole = parted
            begin, close = start, end
            if parted:
                while close > begin and (data[close - 1] == 33 or data[close - 1] == 43 or data[close - 1] == 124):
                    close -= 1
                key = _coarse_hash(data, begin, close, kinds)
                steps += 3 * (end - begin)
            while True:
                word = -1
                if whole or tracked > 0 or _passes(sieve, key):
                    word, more = _find_word(
                        data,
                        begin,
                        close,
                        key,
                        kinds,
                        folds,
                        looks,
                        repeats,
                        slots,
                        heads,
                        hashes,
                        starts,
                        spellings,
                        text,
                    )
                    steps += more
                if whole and word < 0:
                    close = begin
                elif key != EMPTY:
                    kept = 0
                    if word >= 0:
                        if tracked > 0:
                            steps += begin - previous
                            tracked = tracked if _is_joint(data, previous, begin, kinds, soft) else 0
                        for k in range(tracked + 1):
                            node = np.int64(roots[word])
                            if k < tracked:
                                edge = np.uint64(nodes[k] * len(hashes) + word + 1)
                                slot = _probe(edge_keys, edge)
                                node = np.int64(edge_nodes[slot]) if edge_keys[slot] == edge else -1
                            if node >= 0:
                                for term in range(end_starts[node], end_starts[node + 1]):
                                    counts[row, ends[term]] += 1
                                if goes_on[node]:
                                    nodes[kept] = node
                                    kept += 1
                        steps += tracked
                    tracked = kept
                    previous = close
                if not parted or (whole and word >= 0):
                    break
                whole = False
                begin = close
                while begin < end:
                    point, width = np.int64(data[begin]), 1
                    if point >= 0x80:
                        point, width = decode(data, begin, end)
                    if not kinds[point] & SYMBOL:
                        break
                    begin += width
                if begin == end:
                    break
                close = begin
                while close < end:
                    point, width = np.int64(data[close]), 1
                    if point >= 0x80:
                        point, width = decode(data, close, end)
                    if kinds[point] & SYMBOL:
                        break
                    close += width
                key = _coarse_hash(data, begin, close, kinds)
    return steps


@njit(cache=True, nogil=True)
def _count_pieces(data, offsets, rows, pieces, counts):  # type: ignore[no-untyped-def]
    """Add the terms that are matched as written to `counts`; `rows` says where to look. Returns the steps."""
    in_word = np.zeros(RING, np.bool_)  # of the last characters
    kinds, folds, first, edge_keys, edge_nodes, failures, shorter, depths, opens, closes, end_starts, ends = pieces
    steps = 0
    for row in range(len(offsets) - 1):
        if not rows[row]:
            continue
        i, stop = np.int64(offsets[row]), np.int64(offsets[row + 1])
        node = np.int64(0)
        seen = 0
        in_word[:] = False
        while i < stop:
            point, width = np.int64(data[i]), 1
            if point >= 0x80:
                point, width = decode(data, i, stop)
            i += width
            folded = np.int64(folds[point])
            if folded == 0:
                continue
            kind = kinds[point]
            seen += 1
            in_word[seen & (RING - 1)] = kind & PLAIN > 0
            if node == 0 and not first[folded]:
                continue
            while True:
                steps += 1
                slot = _probe(edge_keys, np.uint64(node << 21 | folded))
                if edge_keys[slot] != 0:
                    node = np.int64(edge_nodes[slot])
                    break
                if node == 0:
                    break
                node = np.int64(failures[node])
            end = node
            looked = after = False
            while end != 0:
                if end_starts[end + 1] > end_starts[end]:
                    steps += 1
                    before = in_word[(seen - depths[end]) & (RING - 1)]
                    if closes[end] and not looked:
                        looked = True
                        at = i
                        while at < stop:  # past what nobody sees
                            point, width = np.int64(data[at]), 1
                            if point >= 0x80:
                                point, width = decode(data, at, stop)
                            at += width
                            steps += 1
                            if folds[point] != 0:
                                after = kinds[point] & PLAIN > 0
                                break
                    if not (opens[end] and before) and not (closes[end] and after):
                        for term in range(end_starts[end], end_starts[end + 1]):
                            counts[row, ends[term]] += 1
                end = np.int64(shorter[end])
    return steps


class Matcher:
    """Counts the terms of several lists in texts.

    - A word is a maximal run of letters, digits and marks, folded by `fold`; what is part of a longer word
      is no match. A term of several words matches where the same words follow each other with one to
      MOST_SOFT characters of SOFT between them, or one other character.
    - `leetspeak`: characters of LEET stand for letters in a word with at least as many letters as digits, for
      words of lists with LEAST_LEET characters or more; a symbol parts words unless the whole is a list's word.
    - `look_alikes`: a word that mixes Latin letters with Cyrillic or Greek ones is compared by their looks.
      One in a single script is not: Russian "сор" is no "cop".
    - `repeats`: a character three times or more stands for itself any fewer times.
    - A term with a character of UNSPACED, and one that is not words joined as above, is matched as written,
      only folded; where it begins or ends with a character of words, no other may adjoin.

    Each occurrence of each term counts, also inside a longer term. A word that could be several of the
    lists' is the one that it equals, else the first of them in the order of code points.
    """

    def __init__(
        self,
        lists: Sequence[Iterable[str]],
        leetspeak: bool = True,
        look_alikes: bool = True,
        repeats: bool = True,
    ) -> None:
        self.lists = len(lists)
        self._kinds = _kinds(leetspeak, look_alikes)
        by_words: dict[tuple[str, ...], set[int]] = {}
        as_written: dict[str, set[int]] = {}
        for index, terms in enumerate(lists):
            for term in terms:
                words = self._split(term)
                if words:
                    by_words.setdefault(words, set()).add(index)
                else:
                    as_written.setdefault("".join(map(fold, term)), set()).add(index)
        self._words = _build_words(by_words, self._kinds, look_alikes, repeats)
        self._pieces = _build_pieces(as_written, self._kinds) if as_written else None
        self._everywhere = any(max(term) < "\u0e00" for term in as_written)

    def count(self, text: pa.StringArray) -> Array:
        """How often the terms of each list occur in each row; int32 (rows, lists)."""
        return self.measure(text)[0]

    def measure(self, text: pa.StringArray) -> tuple[Array, int]:
        """`count`, and the steps that it took beyond one pass over the bytes."""
        data, offsets = string_buffers(text)
        counts = np.zeros((len(text), self.lists), np.int32)
        beyond = np.full(len(text), self._everywhere)
        steps = _count_words(data, offsets, self._words, _soft(), counts, beyond)
        if self._pieces is not None and beyond.any():
            steps += _count_pieces(data, offsets, beyond, self._pieces, counts)
        return counts, steps

    def _split(self, term: str) -> tuple[str, ...] | None:
        """The folded words of a term that is words with joints between them; None for any other."""
        runs: list[tuple[bool, str]] = []  # whether it is a word, and its characters
        for character in filter(fold, term):
            inside = bool(self._kinds[ord(character)])
            if runs and runs[-1][0] == inside:
                runs[-1] = (inside, runs[-1][1] + character)
            else:
                runs.append((inside, character))
        for inside, run in runs:
            if inside and run[-1] in CLOSING:
                return None
            if not inside and not (len(run) == 1 or (len(run) <= MOST_SOFT and set(run) <= set(SOFT))):
                return None
            if any(first <= ord(character) < end for character in run for first, end in UNSPACED):
                return None
        words = tuple("".join(map(fold, run)) for inside, run in runs if inside)
        return words if 0 < len(words) <= MOST_WORDS and runs[0][0] and runs[-1][0] else None


class Lexicon:
    """`lexicon` added: how often each word list matches, only those that do, sorted by name.

    Null where no list applies to the row: there are none, or none for its language; also for rows with an
    error. Lists of one name in several languages are one list in the result. What matches is said at
    `Matcher`. It stands after `language`, which chooses the lists.
    """

    name = "lexicon"
    version = "lexicon.v2"

    def __init__(self, options: LexiconOptions) -> None:
        self.options = options
        self._terms: list[list[str]] | None = None
        self._matcher: Matcher | None = None

    def setup(self) -> None:
        if self.options.lists and self._matcher is None:
            options = self.options
            self._matcher = Matcher(self._read(), options.leetspeak, options.look_alikes, options.repeats)
            self._matcher.count(pa.array(["a"]))

    def identity(self) -> dict[str, str]:
        lists = [
            (item.name, item.language, digest(terms))
            for item, terms in zip(self.options.lists, self._read(), strict=True)
        ]
        folding = self.options.model_dump(mode="json", exclude={"lists"})
        return {"version": self.version, "lists": digest(sorted(lists, key=str)), "options": digest(folding)}

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.setup()
        if self._matcher is None:
            return replace_column(batch, "lexicon", pa.nulls(batch.num_rows, LEXICON))
        applies = self._applies(batch)
        counts = self._matcher.count(batch["text"]) * applies
        names = sorted({item.name for item in self.options.lists})
        members = np.array([[item.name == name for name in names] for item in self.options.lists])
        matches = counts @ members
        row, column = np.nonzero(matches)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=batch.num_rows))]).astype(np.int32)
        values = pa.StructArray.from_arrays(
            [pa.array(names, pa.string()).take(pa.array(column)), pa.array(matches[row, column].astype(np.int32))],
            fields=list(LEXICON.value_type),
        )
        measured = applies.any(axis=1) & pc.is_null(batch["error"]).to_numpy(zero_copy_only=False)
        found = pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(~measured))
        return replace_column(batch, "lexicon", found.cast(LEXICON))

    def _read(self) -> list[list[str]]:
        if self._terms is None:
            self._terms = [read_terms(item.path) for item in self.options.lists]
        return self._terms

    def _applies(self, batch: pa.RecordBatch) -> Array:
        """Which lists apply to which rows; bool (rows, lists)."""
        applies = np.ones((batch.num_rows, len(self.options.lists)), np.bool_)
        for index, item in enumerate(self.options.lists):
            if item.language is not None:
                same = pc.fill_null(pc.equal(batch["language"], item.language), False)
                applies[:, index] = same.to_numpy(zero_copy_only=False)
        return applies


def _build_words(by_words: Mapping[tuple[str, ...], set[int]], kinds: Array, look_alikes: bool, repeats: bool) -> Words:
    """Tables of the terms that are words."""
    vocabulary = sorted({word for words in by_words for word in words})
    hashes = np.zeros(len(vocabulary), np.uint64)
    _coarse_hashes(*string_buffers(pa.array(vocabulary, pa.string())), kinds, hashes)
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    vocabulary = [vocabulary[index] for index in order]
    number = {word: index for index, word in enumerate(vocabulary)}
    slots, heads = _hash_table({int(value): int(np.searchsorted(hashes, value)) for value in np.unique(hashes)})

    roots = np.full(len(vocabulary), -1, np.int32)
    edges: dict[tuple[int, int], int] = {}
    terminals: list[set[int]] = []
    for words, lists in sorted(by_words.items()):
        first, *rest = (number[word] for word in words)
        if roots[first] < 0:
            roots[first] = len(terminals)
            terminals.append(set())
        node = int(roots[first])
        for word in rest:
            if (node, word) not in edges:
                edges[node, word] = len(terminals)
                terminals.append(set())
            node = edges[node, word]
        terminals[node] |= lists
    goes_on = np.zeros(len(terminals), np.bool_)
    goes_on[[node for node, _ in edges]] = True
    sieve = np.zeros(_power_of_two(max(len(vocabulary), 1 << 10)), np.uint64)
    for value in hashes[roots >= 0].tolist():
        bit = value >> SIEVE_SHIFT
        sieve[(bit >> 6) & (len(sieve) - 1)] |= np.uint64(1 << (bit & 63))

    looks = np.arange(LOOKS, dtype=np.uint32)
    if look_alikes:
        looks[[ord(character) for character in LOOK_ALIKES]] = [ord(letter) for letter in LOOK_ALIKES.values()]
    starts, spellings = _ragged([[ord(character) for character in word] for word in vocabulary])
    edge_keys, edge_nodes = _hash_table(
        {node * len(vocabulary) + word + 1: target for (node, word), target in edges.items()}
    )
    end_starts, ends = _ragged([sorted(lists) for lists in terminals])
    return Words(
        kinds=kinds,
        folds=_folds(),
        looks=_frozen(looks),
        repeats=repeats,
        sieve=_frozen(sieve),
        slots=slots,
        heads=heads,
        hashes=_frozen(hashes),
        starts=starts,
        spellings=spellings,
        roots=_frozen(roots),
        goes_on=_frozen(goes_on),
        edge_keys=edge_keys,
        edge_nodes=edge_nodes,
        end_starts=end_starts,
        ends=ends,
    )


def _build_pieces(as_written: Mapping[str, set[int]], kinds: Array) -> Pieces:
    """The automaton of the terms that are matched as written."""
    children: list[dict[int, int]] = [{}]
    depths, terminals, opens, closes = [0], [set[int]()], [False], [False]
    for term, lists in sorted(as_written.items()):
        node = 0
        for character in term:
            if ord(character) not in children[node]:
                children[node][ord(character)] = len(children)
                children.append({})
                depths.append(depths[node] + 1)
                terminals.append(set())
                opens.append(False)
                closes.append(False)
            node = children[node][ord(character)]
        terminals[node] |= lists
        opens[node], closes[node] = (kinds[ord(edge)] & PLAIN > 0 for edge in (term[0], term[-1]))
    failures, shorter = [0] * len(children), [0] * len(children)
    queue = deque(children[0].values())
    while queue:
        node = queue.popleft()
        for character, child in children[node].items():
            queue.append(child)
            suffix = failures[node]
            while suffix and character not in children[suffix]:
                suffix = failures[suffix]
            failures[child] = children[suffix].get(character, 0)
            shorter[child] = failures[child] if terminals[failures[child]] else shorter[failures[child]]
    edge_keys, edge_nodes = _hash_table(
        {node << 21 | character: child for node, edges in enumerate(children) for character, child in edges.items()}
    )
    first = np.zeros(CODE_POINTS, np.bool_)
    first[list(children[0])] = True
    end_starts, ends = _ragged([sorted(lists) for lists in terminals])
    integers = (np.array(values, np.int32) for values in (failures, shorter, depths))
    flags = (np.array(values, np.bool_) for values in (opens, closes))
    return Pieces(
        kinds, _folds(), _frozen(first), edge_keys, edge_nodes, *map(_frozen, (*integers, *flags)),
        end_starts=end_starts, ends=ends,
    )  # fmt: skip


def _hash_table(entries: Mapping[int, int]) -> tuple[Array, Array]:
    """Open addressing of positive keys: `(keys, values)`, 0 where there is none."""
    keys = np.zeros(_power_of_two(2 * len(entries)), np.uint64)
    values = np.zeros(len(keys), np.int32)
    _insert(keys, values, np.array(list(entries), np.uint64), np.array(list(entries.values()), np.int32))
    return _frozen(keys), _frozen(values)


def _ragged(rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    """`(starts, values)` of rows laid end to end, int32."""
    starts = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return _frozen(starts), _frozen(np.array([value for row in rows for value in row], np.int32))


def _power_of_two(least: int) -> int:
    return 1 << max(least, 1).bit_length()


@cache
def _soft() -> Array:
    table = np.zeros(CODE_POINTS, np.bool_)
    table[[ord(character) for character in SOFT]] = True
    return _frozen(table)


def _frozen(array: Array) -> Array:
    """The array, contiguous and read-only, so that a kernel sees one type."""
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
