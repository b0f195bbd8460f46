"""Quality statistics in the manner of Gopher (Rae et al., arXiv 2112.11446, table A1) and C4 (arXiv 1910.10683).

One compiled pass over the UTF-8 bytes of a batch measures them all; nothing is judged here. The kernel
fills one float64 row per document in the order of STATISTIC_NAMES, so that a further statistic is a
further counter and a further column. Shares and means are rounded to thousandths: a decision on
them must not hang on the last bit.
"""

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit

from ...schemas.arrays import replace_column, string_buffers
from ...schemas.document import GRID, STATISTIC_NAMES, STATISTICS
from ...schemas.recipe import StatisticsOptions
from .utf8 import ALPHANUMERIC, LETTER, SPACE, decode, unicode_classes

__all__ = ["BULLETS", "DASHES", "STOP_WORDS", "TERMINALS", "Statistics"]

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher's English list
BULLETS = "•‣▪◦●○■□⁃▶►"
DASHES = "-*+–—"  # a bullet only before white space: "-5" and "**bold**" are none
TERMINALS = ".!?\"'”’»›" + "。！？．」』؟۔।॥"
BULLET, DASH, TERMINAL = 8, 16, 32  # bits beside those of utf8.py

# A word of up to four ASCII letters as one number, its first letter highest.
_THE, _BE, _TO, _OF, _AND, _THAT, _HAVE, _WITH = (int.from_bytes(word.encode(), "big") for word in STOP_WORDS)
_HASH = np.uint64(0x9E3779B97F4A7C15)  # odd, from the golden ratio


@cache
def character_bits() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """What the kernel must know about every code point; shape (1114112,)."""
    table = unicode_classes().copy()
    for characters, bit in ((BULLETS, BULLET), (DASHES, DASH), (TERMINALS, TERMINAL)):
        table[[ord(character) for character in characters]] |= bit
    table.flags.writeable = False
    return table


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


@njit(cache=True, nogil=True)
def _measure(data, offsets, bits, values):  # type: ignore[no-untyped-def]
    """Fill `values`, float64 (rows, len(STATISTIC_NAMES))."""
    table = np.zeros(1 << 10, np.uint64)  # open addressing: the hashes of a document's lines
    for row in range(len(offsets) - 1):
        start, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        breaks = 0
        for i in range(start, end):
            breaks += data[i] == 10
        size = 8
        while size < 2 * (breaks + 1):
            size *= 2
        if size > len(table):
            table = np.zeros(size, np.uint64)
        table[:size] = 0
        slots = np.uint64(size - 1)

        characters = words = word_characters = alphabetic_words = symbols = stop_words = 0
        lines = bullet_lines = ellipsis_lines = terminal_lines = line_characters = duplicate_characters = 0
        cased = upper = digits = 0
        run = run_kinds = 0  # the current run of non-space characters
        letters = np.int64(0)  # the current run of letters and digits; what leaves its 8 bytes cannot match again
        dots = last_dots = 0  # the current run of full stops; the one that the line ends with so far
        length = trimmed = 0  # the current line without white space around it
        key = trimmed_key = np.uint64(0)
        first_kind = second_kind = last_kind = 0
        i = start
        while i <= end:
            point = np.int64(10)  # the end of the text ends its last line
            width = 1
            if i < end:
                point = np.int64(data[i])
                if point >= 0x80:
                    point, width = decode(data, i, end)
                characters += 1
            i += width
            kind = np.int64(bits[point])

            if kind & ALPHANUMERIC:
                dots = 0
                if point >= 0x80:
                    letters = letters << 8 | 1
                elif point <= 57:
                    digits += 1
                    letters = letters << 8 | point
                else:
                    cased += 1
                    upper += point <= 90
                    letters = letters << 8 | (point | 32)
            else:
                stop_words += _is_stop_word(letters)
                letters = np.int64(0)
                if point == 46:
                    dots += 1
                    symbols += dots % 3 == 0
                else:
                    dots = 0
                    symbols += (point == 35) | (point == 0x2026)

            if kind & SPACE:
                if run_kinds & ALPHANUMERIC:
                    words += 1
                    word_characters += run
                    alphabetic_words += (run_kinds & LETTER) > 0
                run = run_kinds = 0
                if point == 10:
                    if trimmed:
                        lines += 1
                        line_characters += trimmed
                        dash = (first_kind & DASH) > 0 and trimmed > 1 and (second_kind & SPACE) > 0
                        bullet_lines += dash or (first_kind & BULLET) > 0
                        ellipsis = last_kind == 0x2026 or last_dots >= 3
                        ellipsis_lines += ellipsis
                        terminal_lines += not ellipsis and (bits[last_kind] & TERMINAL) > 0
                        trimmed_key |= np.uint64(1)  # 0 marks an empty slot
                        slot = (trimmed_key >> np.uint64(32)) & slots
                        while table[slot] != 0 and table[slot] != trimmed_key:
                            slot = (slot + np.uint64(1)) & slots
                        if table[slot] == trimmed_key:
                            duplicate_characters += trimmed
                        table[slot] = trimmed_key
                    length = trimmed = 0
                    key = np.uint64(0)
                    continue
                if length == 0:
                    continue
            else:
                run += 1
                run_kinds |= kind
            length += 1
            key = (key ^ np.uint64(point)) * _HASH
            key ^= key >> np.uint64(29)
            if length == 1:
                first_kind = kind
            elif length == 2:
                second_kind = kind
            if not kind & SPACE:
                trimmed = length
                trimmed_key = key
                last_kind = point
                last_dots = dots

        values[row, 0] = characters
        values[row, 1] = words
        values[row, 2] = lines
        values[row, 3] = word_characters / max(words, 1)
        values[row, 4] = alphabetic_words / max(words, 1)
        values[row, 5] = symbols / max(words, 1)
        values[row, 6] = bullet_lines / max(lines, 1)
        values[row, 7] = ellipsis_lines / max(lines, 1)
        values[row, 8] = terminal_lines / max(lines, 1)
        values[row, 9] = duplicate_characters / max(line_characters, 1)
        values[row, 10] = upper / max(cased, 1)
        values[row, 11] = digits / max(characters, 1)
        values[row, 12] = stop_words


class Statistics:
    """The struct column `statistics` added: STATISTIC_NAMES as document.py defines them.

    White space, letters and digits are what `str.isspace`, `isalpha` and `isalnum` say; lines end at LF
    and are taken without white space around them. Details that the definitions leave open:

    - words are as Gopher's: punctuation that touches a word belongs to it; a script written without
      spaces has few, long words;
    - ellipses are counted as `text.count("...") + text.count("…")`;
    - a bullet is one of BULLETS, or one of DASHES and white space;
    - a terminal line ends in TERMINALS but not in an ellipsis, as C4 has it; full stops and closing
      quotes of other scripts count alike;
    - a duplicate line equals an earlier one; its share is of the characters of all lines;
    - a stop word is a maximal run of letters and digits, so "that's" holds one;
    - a share of nothing is 0, and symbols without a word count as if there were one.
    """

    name = "statistics"
    version = "statistics.v1"

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
    """The statistics on the grid of thousandths, shape (rows, len(STATISTIC_NAMES))."""
    data, offsets = string_buffers(text)
    values = np.zeros((len(text), len(STATISTIC_NAMES)))
    _measure(data, offsets, character_bits(), values)
    return np.rint(values * GRID) / GRID
