"""Quality statistics: what the rules of Gopher, C4 and FineWeb compare, each number a column.

One compiled pass over the UTF-8 bytes of a batch measures them all; nothing is judged here. Sources:
Gopher (Rae et al., arXiv 2112.11446, table A1), C4 (Raffel et al., arXiv 1910.10683), FineWeb (Penedo
et al., arXiv 2406.17557). The columns of the three rule sets are what datatrove 0.10's filters compute,
so that their decisions are the same (tests/pipelines/stages/test_statistics_parity.py); `words.py`
says how words are told apart. Counts of repeated n-grams cost little because an n-gram can only repeat
where the two shorter ones inside it do: in ordinary text few places are left after pairs of words.

Every number is a count or a ratio of two counts, correctly rounded, hence the same on every machine.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from ...schemas.arrays import replace_column, string_buffers
from ...schemas.document import STATISTIC_NAMES, STATISTICS
from ...schemas.recipe import StatisticsOptions
from .utf8 import ALPHANUMERIC, LETTER, SPACE, decode
from .words import (
    COMPLEX,
    DIGIT,
    MARK,
    SENTENCE_END,
    SENTENCE_ENDS,
    SUFFIX,
    borrow,
    borrow_exceptions,
    borrow_frozen,
    code_points,
    exceptions,
    hash_bytes,
    is_exception,
    split,
    word_classes,
)

__all__ = ["BULLETS", "DASHES", "POLICIES", "STOP_WORDS", "TERMINALS", "Statistics"]

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher's English list
BULLETS = "•‣▪◦●○■□⁃▶►"
DASHES = "-*+–—"  # a bullet only before white space: "-5" and "**bold**" are none
TERMINALS = ".!?\"'”’»›" + "。！？．」』؟۔।॥"
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
JAVASCRIPT, LOREM_IPSUM = "javascript", "lorem ipsum"
TRIGGERS = ("ki", "va", "ps", "f ")  # rare pairs, of which every phrase holds one

SHORT_LINE = 30  # FineWeb: characters
LONG_WORD = 1000  # C4: characters
FEW_WORDS = 3  # C4: words a line

# Punctuation of datatrove's `utils.text`: what ends a sentence in any script (beyond spaCy's list), and the rest.
MORE_TERMINALS = (
    "61d-61e 837 839 83d-83e 17d4-17d6 17d9-17da 1aaa-1aab 1b7d-1b7e 2e53-2e54 10f55-10f59 10f86-10f89 11944 11946 "
    "11ef7-11ef8 11f43-11f44 16e98"
)
SYMBOLS = (
    "0-8 b-1f 22-2d 2f 3a-3e 40 5b-60 7b-9f ab b4 bb 2013-2014 2019 201c-201e 2026 2236 2501 25ba 3001 3008-300d "
    "3010-3011 ff05 ff08-ff09 ff0c ff11 ff1a-ff1b ff5e"
)

# Bits beside those of utf8.py and words.py. TRIGGER: a character that a phrase of C4's rules turns on.
BULLET, DASH, TERMINAL, LINE_END, SYMBOL, ANY_TERMINAL, TRIGGER = (1 << shift for shift in range(16, 23))
JAVA, POLICY, LOREM, CURLY = 1, 2, 4, 8  # what the phrases in a line say

# A word of up to four ASCII letters as one number, its first letter highest.
_THE, _BE, _TO, _OF, _AND, _THAT, _HAVE, _WITH = (int.from_bytes(word.encode(), "big") for word in STOP_WORDS)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, from the golden ratio
_RAW, _PARAGRAPH = np.uint64(0xA0761D6478BD642E), np.uint64(0xE7037ED1A0B428DA)  # tell three sets in one table
_COLUMN = {name: column for column, name in enumerate(STATISTIC_NAMES)}
_GOPHER, _REPEATED = _COLUMN["gopher_tokens"], _COLUMN["repeated_lines"]
_TOP, _C4, _FINEWEB = _COLUMN["top_2_gram_characters"], _COLUMN["c4_lines"], _COLUMN["fineweb_terminal_lines"]

# What `_document` counts: the document's sums, then where its line feeds and paragraphs stand, then the current line.
(
    CHARACTERS, WORDS, WORD_CHARACTERS, ALPHABETIC_WORDS, HASHES, ELLIPSES, STOPS, CASED, UPPER_CASE, DIGITS,
    LINES, LINE_CHARACTERS, BULLET_LINES, ELLIPSIS_LINES, TERMINAL_LINES, DUPLICATE_CHARACTERS,
    TOKENS, ALPHABETIC_TOKENS, GOPHER_WORDS, GOPHER_CHARACTERS, DIFFERENT_STOPS, ALL_LINES, GOPHER_BULLETS,
    RAW_LINES, RAW_REPEATED, RAW_REPEATED_CHARACTERS, PARAGRAPHS, PARAGRAPHS_REPEATED, PARAGRAPHS_CHARACTERS,
    C4_LINES, C4_SENTENCES, LOREM_LINES, CURLY_LINES, UNTERMINATED_LINES, FEW_WORDS_LINES, LONG_WORD_LINES,
    JAVASCRIPT_LINES, POLICY_LINES, TEXT_LINES, TEXT_TERMINAL, TEXT_SHORT, TEXT_REPEATED_CHARACTERS, NEWLINES,
    RAW, RAW_CHARACTERS, PARAGRAPH, PARAGRAPH_CHARACTERS, HELD, HELD_REPEATED, HELD_CHARACTERS,
    FIRST, LAST, FIRST_POINT, LAST_POINT, FIRST_CHARACTERS, LAST_CHARACTERS, FIRST_RUN, LAST_DOTS,
    CHUNKS, LONGEST, FOUND, CITED, SENTENCES, WAITING, COUNTS,
) = range(65)  # fmt: skip


class Phrases(NamedTuple):
    """The lower-case phrases that C4's rules look for in a line."""

    data: np.ndarray[Any, np.dtype[np.uint8]]
    offsets: np.ndarray[Any, np.dtype[np.int64]]  # (phrases + 1,)
    triggers: np.ndarray[Any, np.dtype[np.int64]]  # where in the phrase the letter stands that makes us look
    bits: np.ndarray[Any, np.dtype[np.uint8]]  # what a line that holds it is


class Words(NamedTuple):
    """Gopher's stop words by hash."""

    keys: np.ndarray[Any, np.dtype[np.uint64]]  # (256,)
    bits: np.ndarray[Any, np.dtype[np.uint8]]  # (256,)


@cache
def character_bits() -> np.ndarray[Any, np.dtype[np.uint32]]:
    """What the kernel must know about every code point; shape (1114112,)."""
    table = word_classes().copy()
    terminals = np.union1d(code_points(SENTENCE_ENDS), code_points(MORE_TERMINALS))
    triggers = [ord(case) for pair in TRIGGERS for case in (pair[0], pair[0].upper())]
    for points, bit in (
        (list(map(ord, BULLETS)), BULLET),
        (list(map(ord, DASHES)), DASH),
        (list(map(ord, TERMINALS)), TERMINAL),
        (code_points("a-d 1c-1e 85 2028-2029"), LINE_END),  # as str.splitlines
        (np.union1d(terminals, code_points(SYMBOLS)), SYMBOL),
        (terminals, ANY_TERMINAL),
        ([*triggers, ord("{"), ord("[")], TRIGGER),
    ):
        table[np.asarray(points)] |= np.uint32(bit)
    table.flags.writeable = False
    return table


@cache
def phrases() -> Phrases:
    """C4's phrases, each with the place of its trigger."""
    kinds = {JAVASCRIPT: JAVA, LOREM_IPSUM: LOREM, **dict.fromkeys(POLICIES, POLICY)}
    data = np.frombuffer("".join(kinds).encode(), np.uint8)
    offsets = np.cumsum([0, *map(len, kinds)])
    triggers = np.array([next(phrase.index(pair) for pair in TRIGGERS if pair in phrase) for phrase in kinds])
    return Phrases(data, offsets, triggers, np.array(list(kinds.values()), np.uint8))


@cache
def stop_words() -> Words:
    """Gopher's stop words; their hashes differ in the highest byte."""
    words = Words(np.zeros(256, np.uint64), np.zeros(256, np.uint8))
    for place, word in enumerate(STOP_WORDS):
        key = hash_bytes(np.frombuffer(word.encode(), np.uint8), 0, len(word))
        if words.keys[int(key >> np.uint64(56))]:
            raise ValueError(f"the hash of {word!r} collides")
        words.keys[int(key >> np.uint64(56))] = key
        words.bits[int(key >> np.uint64(56))] = 1 << place
    return words


@njit(inline="always")
def _is_stop_word(letters):  # type: ignore[no-untyped-def]
    return (
        (letters == _THE)
        | (letters == _TO)
        | (letters == _AND)
        | (letters == _OF)
        | (letters == _THAT)
        | (letters == _BE)
        | (letters == _HAVE)
        | (letters == _WITH)
    )


@njit(cache=True)
def _seen(key, table, mask):  # type: ignore[no-untyped-def]
    """Whether `key` is in the open-addressing table of `mask` + 1 slots; from now on it is."""
    slot = (key >> np.uint64(20)) & mask
    while table[slot] != 0:
        if table[slot] == key:
            return True
        slot = (slot + np.uint64(1)) & mask
    table[slot] = key
    return False


@njit(inline="always")
def _follows(letter, following):  # type: ignore[no-untyped-def]
    """Whether two lower-case letters are one of TRIGGERS; a space stays one when it is made lower case."""
    return (
        (letter == 107 and following == 105)
        or (letter == 118 and following == 97)
        or (letter == 112 and following == 115)
        or (letter == 102 and following == 32)
    )


@njit(cache=True)
def _ends_well(point):  # type: ignore[no-untyped-def]
    """C4's terminal punctuation: . ? ! " '"""
    return point == 46 or point == 63 or point == 33 or point == 34 or point == 39


@njit(cache=True)
def _phrase(data, start, end, i, phrases):  # type: ignore[no-untyped-def]
    """The bits of the phrases in `data[start:end]` whose trigger stands at i, and of a curly bracket."""
    if data[i] == 123:
        return CURLY
    found = 0
    for k in range(len(phrases.bits)):
        begin = i - phrases.triggers[k]
        size = phrases.offsets[k + 1] - phrases.offsets[k]
        if begin < start or begin + size > end:
            continue
        same = True
        for j in range(size):
            byte = data[begin + j]
            same = byte == phrases.data[phrases.offsets[k] + j] or (
                65 <= byte <= 90 and byte | 32 == phrases.data[phrases.offsets[k] + j]
            )
            if not same:
                break
        if same:
            found |= phrases.bits[k]
    return found


@njit(cache=True)
def _citation(data, start, end):  # type: ignore[no-untyped-def]
    """Bytes of the citation mark at `start` that C4 cuts out: [], [12], [edit], [citation needed]."""
    i = start + 1
    while i < end and i - start < 100 and 48 <= data[i] <= 57:
        i += 1
    if i < end and data[i] == 93:
        return i + 1 - start
    for text in (b"[edit]", b"[citation needed]"):
        if start + len(text) <= end:
            same = True
            for k in range(len(text)):
                same = same and data[start + k] == text[k]
            if same:
                return len(text)
    return 0


@njit(cache=True)
def _without_citations(data, start, end, bits, phrases, table, scratch, ends):  # type: ignore[no-untyped-def]
    """`(ends well, phrases found, sentences)` of a line after its citation marks are cut out.

    `scratch` and `ends` hold at least as many items as the line has bytes.
    """
    zero = np.int64(0)
    size = zero
    i = start
    while i < end:
        skip = _citation(data, i, end) if data[i] == 91 else 0
        if skip:
            i += skip
        else:
            scratch[size] = data[i]
            size += 1
            i += 1
    line = borrow_frozen(scratch)
    last = line[size - 1] if size else np.uint8(0)
    well = _ends_well(last)
    if size >= 3 and last == 46 and line[size - 2] == 46 and line[size - 3] == 46:
        well = False
    found = 0
    sentences = 1
    waiting = False  # a sentence has ended and the next not yet begun
    chunk = zero - 1
    i = zero
    while i <= size:
        kind, width = np.uint32(SPACE), 1
        if i < size:
            kind, width = bits[line[i]], 1
            if line[i] >= 0x80:
                point, width = decode(line, i, size)
                kind = bits[point]
            if kind & TRIGGER and line[i] != 91:
                found |= _phrase(line, zero, size, i, phrases)
        if not kind & SPACE:
            chunk = i if chunk < 0 else chunk
        elif chunk >= 0:
            begin = chunk
            key = hash_bytes(line, chunk, i)
            for part in range(split(line, chunk, i, key, bits, table, ends)):
                _, every, length = _kinds(line, begin, ends[part], bits)
                ender = length == 1 and every & SENTENCE_END
                if waiting and not every & MARK and not ender:
                    sentences += 1
                waiting = ender or (waiting and every & MARK > 0)
                begin = ends[part]
            chunk = zero - 1
        i += width
    return well, found, sentences


@njit(cache=True)
def _kinds(data, start, end, bits):  # type: ignore[no-untyped-def]
    """`(bits of any, bits of every, number)` of the characters of `data[start:end]`."""
    some = np.uint32(0)
    every = np.uint32(0xFFFFFFFF)
    length = 0
    i = start
    while i < end:
        width = 1
        if data[i] < 0x80:
            kind = bits[data[i]]
        else:
            point, width = decode(data, i, end)
            kind = bits[point]
        some |= kind
        every &= kind
        length += 1
        i += width
    return some, every, length


@njit(cache=True)
def _repetition(hashes, lengths, tokens, characters, keys, firsts, counts, places, table, values):  # type: ignore[no-untyped-def]
    """Fill `values` with the shares of the top 2..4-grams and of the repeated 5..10-grams.

    `hashes` and `lengths` (summed up, one more) are the document's tokens; the other arrays are scratch
    of at least `tokens` items, `table` a power of two of at least twice as many. `places` are the
    positions whose n-gram may repeat: at first all, then those where both shorter ones occur twice.
    """
    candidates = tokens - 1
    for i in range(max(candidates, 0)):
        places[i] = i
        keys[i] = hashes[i] * _RAW  # or "a b" would be "b a"
    for n in range(2, 11):
        size = 8
        while size < 2 * candidates:
            size *= 2
        mask = np.uint64(size - 1)
        table[:size] = -1
        repeated = 0
        free = 0  # repeated n-grams are counted once each: where the next may begin
        for k in range(candidates):
            i = places[k]
            key = (keys[i] ^ hashes[i + n - 1]) * _MIX
            key ^= key >> np.uint64(29)
            keys[i] = key
            slot = (key >> np.uint64(8)) & mask
            while table[slot] >= 0 and keys[table[slot]] != key:
                slot = (slot + np.uint64(1)) & mask
            first = table[slot]
            if first < 0:
                table[slot] = first = i
                counts[i] = 0
            firsts[i] = first
            counts[first] += 2
            if n >= 5 and i >= free:
                if counts[first] & 1:
                    repeated += lengths[i + n] - lengths[i]
                    free = i + n
                else:
                    counts[first] |= 1  # the lowest bit: seen outside what was counted already
        if n >= 5:
            values[_TOP - 2 + n] = repeated / characters
        elif tokens >= n:
            best, most = 0, 1
            for k in range(candidates):
                i = places[k]
                if firsts[i] == i and counts[i] >> 1 > most:
                    best, most = i, counts[i] >> 1
            values[_TOP - 2 + n] = most * (lengths[best + n] - lengths[best] + n - 1) / characters
        kept = 0
        for k in range(candidates - 1):
            i = places[k]
            if places[k + 1] == i + 1 and counts[firsts[i]] >= 4 and counts[firsts[i + 1]] >= 4:
                places[kept] = i
                kept += 1
        candidates = kept


@njit(cache=True)
def _end_line(data, bits, phrases, exceptions, seen, slots, ends, scratch, count):  # type: ignore[no-untyped-def]
    """Count the line that `count` describes, as str.splitlines has it, and make ready for the next."""
    count[ALL_LINES] += 1
    first, last = count[FIRST], count[LAST]
    opening, closing = count[FIRST_POINT], count[LAST_POINT]
    if last > first:
        size = count[LAST_CHARACTERS] - count[FIRST_CHARACTERS]
        count[LINES] += 1
        count[LINE_CHARACTERS] += size
        dash = (bits[opening] & DASH) > 0 and count[FIRST_RUN] == 1 and count[CHUNKS] > 1
        count[BULLET_LINES] += dash or (bits[opening] & BULLET) > 0
        count[GOPHER_BULLETS] += opening == 45 or opening == 0x2022
        ellipsis = closing == 0x2026 or count[LAST_DOTS] >= 3
        count[ELLIPSIS_LINES] += ellipsis
        count[TERMINAL_LINES] += not ellipsis and (bits[closing] & TERMINAL) > 0
        if _seen(hash_bytes(data, first, last), seen, slots):
            count[DUPLICATE_CHARACTERS] += size
    if count[LONGEST] > LONG_WORD:
        count[LONG_WORD_LINES] += 1
    else:
        well = last > first and count[LAST_DOTS] < 3 and _ends_well(closing)
        found, sentences = count[FOUND], count[SENTENCES]
        if count[CITED]:
            well, found, sentences = _without_citations(data, first, last, bits, phrases, exceptions, scratch, ends)
        if not well:
            count[UNTERMINATED_LINES] += 1
        elif count[CHUNKS] < FEW_WORDS:
            count[FEW_WORDS_LINES] += 1
        else:
            count[LOREM_LINES] += (found & LOREM) > 0
            count[CURLY_LINES] += (found & (JAVA | CURLY)) == CURLY
            if found & JAVA:
                count[JAVASCRIPT_LINES] += 1
            elif found & POLICY:
                count[POLICY_LINES] += 1
            else:
                count[C4_LINES] += 1
                count[C4_SENTENCES] += sentences
    count[FIRST:COUNTS] = 0
    count[SENTENCES] = 1


@njit(cache=True)
def _end_paragraph(data, end, size, blank, seen, slots, count):  # type: ignore[no-untyped-def]
    """Count the paragraph that ends at `end`, the document's character `size`; blank ones wait for text after them."""
    count[HELD] += 1
    if _seen(hash_bytes(data, count[PARAGRAPH], end) ^ _PARAGRAPH, seen, slots):
        count[HELD_REPEATED] += 1
        count[HELD_CHARACTERS] += size - count[PARAGRAPH_CHARACTERS]
    if not blank:
        for kind in range(3):
            count[PARAGRAPHS + kind] += count[HELD + kind]
            count[HELD + kind] = 0


@njit(cache=True)
def _end_raw_line(data, start, begin, end, characters, text_end, previous, seen, slots, count):  # type: ignore[no-untyped-def]
    """Count the line before the line feed, or the end of the text, at `begin`; paragraphs end at an empty line.

    `previous` are the bits of the character before, `text_end` is where the last that is no white space ends.
    """
    raw = count[RAW]
    size = characters - count[RAW_CHARACTERS]
    if begin > raw:
        repeated = _seen(hash_bytes(data, raw, begin) ^ _RAW, seen, slots)
        count[RAW_LINES] += 1
        count[RAW_REPEATED] += repeated
        count[RAW_REPEATED_CHARACTERS] += size * repeated
        if text_end > raw:
            count[TEXT_LINES] += 1
            count[TEXT_TERMINAL] += (previous & ANY_TERMINAL) > 0
            count[TEXT_SHORT] += size <= SHORT_LINE
            count[TEXT_REPEATED_CHARACTERS] += size * repeated
    if begin < end:
        count[NEWLINES] += 1
        count[RAW], count[RAW_CHARACTERS] = begin + 1, characters + 1
        empty_before = begin == start or data[begin - 1] == 10
        empty_after = begin + 1 < end and data[begin + 1] == 10
        if count[PARAGRAPH] >= 0:
            if empty_after and not empty_before:
                _end_paragraph(data, begin, characters, text_end <= count[PARAGRAPH], seen, slots, count)
            elif empty_before and not empty_after:
                count[PARAGRAPH], count[PARAGRAPH_CHARACTERS] = begin + 1, characters + 1


@njit(cache=True)
def _document(data, start, end, bits, phrases, stops, exceptions, seen, slots, hashes, lengths, ends, scratch, count):  # type: ignore[no-untyped-def]
    """Count everything but the n-grams; `hashes` and `lengths`, which are summed up, receive the tokens."""
    count[:] = 0
    count[SENTENCES] = 1
    count[RAW] = start
    count[PARAGRAPH] = -1
    lengths[0] = 0
    characters = tokens = stop_bits = np.int64(0)
    extra = 0  # bytes beyond one a character
    hash_marks = ellipses = 0
    dots, dots_end = 0, -1  # the last run of full stops and where it ends
    letters = np.int64(0)  # the current run of letters and digits; what leaves its 8 bytes cannot match again
    gap = 0  # white space since the last word of the line; 1 is one space
    text_end, text_end_characters = start, np.int64(0)
    previous = np.uint32(0)
    line_start = i = start
    while i < end:
        point, width = np.int64(data[i]), 1
        if point >= 0x80:
            point, width = decode(data, i, end)
            extra += width - 1
        kind = bits[point]

        if kind & SPACE:
            if kind & LINE_END:
                if point != 10 or i == start or data[i - 1] != 13:  # CR LF is one
                    _end_line(data, bits, phrases, exceptions, seen, slots, ends, scratch, count)
                gap = 0
                line_start = i + width
                if point == 10:
                    _end_raw_line(data, start, i, end, characters, text_end, previous, seen, slots, count)
            else:
                gap += 1 if point == 32 else 2
            previous = kind
            i += width
            characters = i - start - extra
            continue

        # A run of characters that are no white space.
        begin, before, first_point = i, characters, point
        kinds = body = np.uint32(0)  # of all its characters, and of all but the last
        while True:
            body = kinds
            kinds |= kind
            if not kind & (COMPLEX | TRIGGER):
                letters = letters << 8 | (point | 32)
            elif kind & ALPHANUMERIC:
                letters = letters << 8 | (point | 32 if point < 0x80 else 1)
            else:
                count[STOPS] += _is_stop_word(letters)
                letters = np.int64(0)
                if point == 46:
                    dots = dots + 1 if i == dots_end else 1
                    dots_end = i + 1
                    ellipses += dots % 3 == 0
                else:
                    hash_marks += point == 35
                    ellipses += point == 0x2026
            if kind & TRIGGER:
                if point == 91:
                    count[CITED] |= _citation(data, i, end) > 0
                elif point == 123 or (i + 1 < end and _follows(point | 32, data[i + 1] | 32)):
                    count[FOUND] |= _phrase(data, line_start, end, i, phrases)
            i += width
            if i >= end:
                break
            following, following_width = np.int64(data[i]), 1
            if following >= 0x80:
                following, following_width = decode(data, i, end)
                extra += following_width - 1
            following_kind = bits[following]
            if following_kind & SPACE:
                extra -= following_width - 1
                break
            point, width, kind = following, following_width, following_kind
        count[STOPS] += _is_stop_word(letters)
        letters = np.int64(0)
        characters = i - start - extra
        size = characters - before
        if count[CHUNKS] == 0:
            count[FIRST], count[FIRST_CHARACTERS], count[FIRST_POINT] = begin, before, first_point
            count[FIRST_RUN] = size
            if count[PARAGRAPH] < 0:
                count[PARAGRAPH], count[PARAGRAPH_CHARACTERS] = begin, before
        count[CHUNKS] += 1
        count[LONGEST] = max(count[LONGEST], size)
        count[LAST], count[LAST_CHARACTERS], count[LAST_POINT], count[LAST_DOTS] = (
            i,
            characters,
            point,
            dots if i == dots_end else 0,
        )
        text_end, text_end_characters = i, characters
        previous = kind
        if kinds & ALPHANUMERIC:
            count[WORDS] += 1
            count[WORD_CHARACTERS] += size
            count[ALPHABETIC_WORDS] += (kinds & LETTER) > 0

        # Its words and punctuation marks. spaCy makes a token of white space other than one space.
        if count[WAITING] and gap != 1:
            count[SENTENCES] += 1
            count[WAITING] = 0
        gap = 0
        key = hash_bytes(data, begin, i)
        simple = not exceptions.filter[key & np.uint64(0xFFFF)] or not is_exception(key, exceptions)
        whole = simple and not kinds & COMPLEX and (kinds & (LETTER | DIGIT)) != (LETTER | DIGIT)
        # The commonest others are letters and one mark.
        marked = simple and body >= LETTER and not body & (COMPLEX | DIGIT) and point < 0x80
        if marked and (kind & SUFFIX or (point == 46 and data[i - 2] >= 97)):
            key = hash_bytes(data, begin, i - 1)
            marked = not is_exception(key, exceptions)
        else:
            marked = False
        if whole:
            ends[0], parts = i, 1
        elif marked:
            ends[0], ends[1], parts = i - 1, i, 2
        else:
            key = hash_bytes(data, begin, i)
            parts = split(data, begin, i, key, bits, exceptions, ends)
        for part in range(parts):
            some = every = kinds
            if marked:
                some = every = kind if part else body
                size = 1 if part else size - 1
                if part:
                    key = hash_bytes(data, i - 1, i)
            elif parts > 1:
                some, every, size = _kinds(data, begin, ends[part], bits)
                key = hash_bytes(data, begin, ends[part])
                begin = ends[part]
            elif not whole:
                _, every, _ = _kinds(data, begin, i, bits)
            hashes[tokens] = key
            lengths[tokens + 1] = lengths[tokens] + size
            tokens += 1
            count[ALPHABETIC_TOKENS] += (some & LETTER) > 0
            if not every & SYMBOL:
                count[GOPHER_WORDS] += 1
                count[GOPHER_CHARACTERS] += size
            slot = key >> np.uint64(56)
            if stops.keys[slot] == key:
                stop_bits |= stops.bits[slot]
            if size == 1 and every & SENTENCE_END:
                count[WAITING] = 1
            elif count[WAITING] and not every & MARK:
                count[SENTENCES] += 1
                count[WAITING] = 0

    if line_start < end:
        _end_line(data, bits, phrases, exceptions, seen, slots, ends, scratch, count)
    _end_raw_line(data, start, end, end, characters, text_end, previous, seen, slots, count)
    if text_end > count[PARAGRAPH] >= 0:
        _end_paragraph(data, text_end, text_end_characters, False, seen, slots, count)
    if end > start:  # splitting at line feeds leaves an empty string before the first and after the last
        edges = (data[start] == 10) + (data[end - 1] == 10)
        count[RAW_LINES] += edges
        count[RAW_REPEATED] += edges == 2
    count[CHARACTERS], count[TOKENS] = characters, tokens
    count[HASHES], count[ELLIPSES] = hash_marks, ellipses
    while stop_bits:
        count[DIFFERENT_STOPS] += stop_bits & 1
        stop_bits >>= 1


@njit(cache=True)
def _divide(count, value):  # type: ignore[no-untyped-def]
    """Fill `value` from the counts of a document, all but the n-grams; a share of nothing is 0."""
    characters, words, lines = count[CHARACTERS], max(count[WORDS], 1), max(count[LINES], 1)
    tokens, all_lines, text_lines = max(count[TOKENS], 1), max(count[ALL_LINES], 1), max(count[TEXT_LINES], 1)
    value[0] = characters
    value[1] = count[WORDS]
    value[2] = count[LINES]
    value[3] = count[WORD_CHARACTERS] / words
    value[4] = count[ALPHABETIC_WORDS] / words
    value[5] = (count[HASHES] + count[ELLIPSES]) / words
    value[6] = count[BULLET_LINES] / lines
    value[7] = count[ELLIPSIS_LINES] / lines
    value[8] = count[TERMINAL_LINES] / lines
    value[9] = count[DUPLICATE_CHARACTERS] / max(count[LINE_CHARACTERS], 1)
    value[10] = count[UPPER_CASE] / max(count[CASED], 1)
    value[11] = count[DIGITS] / max(characters, 1)
    value[12] = count[STOPS]
    value[_GOPHER] = count[TOKENS]
    value[_GOPHER + 1] = count[GOPHER_WORDS]
    value[_GOPHER + 2] = count[GOPHER_CHARACTERS] / max(count[GOPHER_WORDS], 1)
    value[_GOPHER + 3] = count[HASHES] / tokens
    value[_GOPHER + 4] = count[ELLIPSES] / tokens
    value[_GOPHER + 5] = count[GOPHER_BULLETS] / all_lines
    value[_GOPHER + 6] = count[ELLIPSIS_LINES] / all_lines
    value[_GOPHER + 7] = count[ALPHABETIC_TOKENS] / tokens
    value[_GOPHER + 8] = count[DIFFERENT_STOPS]
    value[_REPEATED] = count[RAW_REPEATED] / max(count[RAW_LINES], 1)
    value[_REPEATED + 1] = count[RAW_REPEATED_CHARACTERS] / max(characters, 1)
    value[_REPEATED + 2] = count[PARAGRAPHS_REPEATED] / max(count[PARAGRAPHS], 1)
    value[_REPEATED + 3] = count[PARAGRAPHS_CHARACTERS] / max(characters, 1)
    for k in range(9):
        value[_C4 + k] = count[C4_LINES + k]
    value[_FINEWEB] = count[TEXT_TERMINAL] / text_lines
    value[_FINEWEB + 1] = count[TEXT_SHORT] / text_lines
    value[_FINEWEB + 2] = count[TEXT_REPEATED_CHARACTERS] / max(characters - count[NEWLINES], 1)
    value[_FINEWEB + 3] = count[NEWLINES] / tokens


@njit(cache=True, nogil=True)
def _measure(data, offsets, bits, phrases, stops, exceptions, values):  # type: ignore[no-untyped-def]
    """Fill `values`, float64 (rows, len(STATISTIC_NAMES))."""
    phrases = Phrases(borrow(phrases.data), borrow(phrases.offsets), borrow(phrases.triggers), borrow(phrases.bits))
    stops = Words(borrow(stops.keys), borrow(stops.bits))
    exceptions = borrow_exceptions(exceptions)
    # Scratch for the largest document so far. What is sized by bytes is only touched as far as there are words.
    count = np.zeros(COUNTS, np.int64)
    seen = np.zeros(1 << 8, np.uint64)  # hashes of lines and paragraphs
    hashes, lengths = np.empty(0, np.uint64), np.empty(0, np.int32)
    ends, scratch = np.empty(0, np.int64), np.empty(0, np.uint8)
    keys, table = np.empty(0, np.uint64), np.empty(0, np.int32)
    firsts, counts, places = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int32)
    for row in range(len(offsets) - 1):
        start, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        room = end - start + 2
        if room > len(hashes):
            room = max(room, 2 * len(hashes), 1 << 12)
            hashes, lengths = np.empty(room, np.uint64), np.empty(room, np.int32)
            ends, scratch = np.empty(room, np.int64), np.empty(room, np.uint8)
        breaks = cased = upper = digits = 0
        for i in range(start, end):
            byte = data[i]
            upper += (byte >= 65) & (byte <= 90)
            cased += (byte | 32 >= 97) & (byte | 32 <= 122)
            digits += (byte >= 48) & (byte <= 57)
        for i in range(start, end - 1):
            byte = data[i]  # where lines with text may end: line ends, and the last bytes of those outside ASCII
            found = (byte >= 10) & (byte <= 13) | (byte >= 28) & (byte <= 30) | (byte == 0x85) | (byte & 0xFE == 0xA8)
            breaks += found & (data[i + 1] != 10)
        size = 8
        while size < 4 * (breaks + 2):
            size *= 2
        if size > len(seen):
            seen = np.zeros(size, np.uint64)
        seen[:size] = 0
        _document(
            borrow(data), start, end, borrow(bits), phrases, stops, exceptions, borrow(seen), np.uint64(size - 1),
            borrow(hashes), borrow(lengths), borrow(ends), borrow(scratch), borrow(count),
        )  # fmt: skip
        count[CASED], count[UPPER_CASE], count[DIGITS] = cased, upper, digits
        _divide(count, values[row])
        tokens = count[TOKENS]
        if tokens > len(keys):
            room = max(tokens, 2 * len(keys), 1 << 12)
            keys = np.empty(room, np.uint64)
            firsts, counts, places = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
            size = 8
            while size < 2 * room:
                size *= 2
            table = np.empty(size, np.int32)
        _repetition(
            hashes, lengths, tokens, max(count[CHARACTERS], 1), keys, firsts, counts, places, table, values[row]
        )


class Statistics:
    """The struct column `statistics` added: STATISTIC_NAMES as document.py defines them.

    White space, letters and digits are what `str.isspace`, `isalpha` and `isalnum` say, lines what
    `str.splitlines` makes. Details that the definitions of the general statistics leave open:

    - punctuation that touches a word belongs to it; a script written without spaces has few, long words;
    - ellipses are counted as `text.count("...") + text.count("…")`;
    - a bullet is one of BULLETS, or one of DASHES and white space;
    - a terminal line ends in TERMINALS but not in an ellipsis; full stops and closing quotes of other
      scripts count alike;
    - a duplicate line equals an earlier one but for white space around it;
    - a stop word is a maximal run of letters and digits, so "that's" holds one;
    - a share of nothing is 0, and symbols without a word count as if there were one.

    The statistics of the published rule sets follow datatrove 0.10's filters instead: lines with the white
    space around them for repetition and FineWeb, tokens as spaCy's English tokenizer splits them in every
    language. C4's filter also takes lines out of documents; here they are only counted, and its document
    rules see the lines that it would keep.

    Memory: some 50 bytes per token of the largest document beside the text.
    """

    name = "statistics"
    version = "statistics.v2"

    def __init__(self, options: StatisticsOptions) -> None:
        self.options = options

    def setup(self) -> None:
        _measure_rows(pa.array(["a"]))

    def identity(self) -> dict[str, str]:
        return {"version": self.version}

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        values = _measure_rows(batch["text"])
        columns = [pa.array(values[:, column]).cast(field.type) for column, field in enumerate(STATISTICS)]
        return replace_column(batch, "statistics", pa.StructArray.from_arrays(columns, fields=list(STATISTICS)))


def _measure_rows(text: pa.StringArray) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The statistics, shape (rows, len(STATISTIC_NAMES))."""
    data, offsets = string_buffers(text)
    values = np.zeros((len(text), len(STATISTIC_NAMES)))
    _measure(data, offsets, character_bits(), phrases(), stop_words(), exceptions(), values)
    return values
