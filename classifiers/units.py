"""What a harm model reads as words: those of a line, the parts of long ones, or the characters of a script.

The tokeniser knows spaces alone. German builds words that no training set holds (and inflects the rest), Chinese
has no spaces. A model's `units` say what stands in for words, before they are paired:

    words       tokens as they are
    parts       each token, between two marks, as its runs of four letters: `_dumm_` as `_dum`, `dumm`, `umm_`;
                a pair of them is a run of five
    characters  every character from U+3000 to U+9FFF (kana, Han and their signs), compatibility forms and full-width
                signs alone, so that a pair is a bigram; other tokens as they are

Rules on bytes, as in tokens.py: one compiled pass, the same for training and for scoring.
"""

from typing import Any, Literal

import numba
import numpy as np
import pyarrow as pa

from ..schemas.arrays import string_array, string_buffers
from .tokens import tokenize, without_repeats

__all__ = ["Units", "read_lines"]

Units = Literal["words", "parts", "characters"]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Offsets = np.ndarray[Any, np.dtype[np.int32]]

LETTERS = 4  # of a part
MARK = 95  # _, which the tokeniser leaves in no word
# A part is at most as long as its four letters and a space, and a word of n letters has n - 1 of them; the shortest
# token, a byte and its space, becomes four bytes.
GROWTH = {"parts": 6, "characters": 2}


def read_lines(texts: pa.StringArray, units: Units) -> pa.StringArray:
    """Each text as one line of units with a space between them, sentences that it repeats left out."""
    lines = tokenize(texts)
    if units == "characters":
        lines = _rewritten(_characters, lines, GROWTH[units])
    lines = without_repeats(lines)
    return _rewritten(_parts, lines, GROWTH[units]) if units == "parts" else lines


def _rewritten(kernel: Any, lines: pa.StringArray, growth: int) -> pa.StringArray:
    data, offsets = string_buffers(lines)
    size = int(offsets[-1] - offsets[0])
    out, ends = np.empty(growth * size + 4 * len(offsets), np.uint8), np.empty(len(offsets), np.int32)
    written = int(kernel(data, offsets, out, ends))
    return string_array(out[:written], ends)


@numba.njit(cache=True, nogil=True)
def _characters(data: Bytes, offsets: Offsets, out: Bytes, ends: Offsets) -> Any:
    """Write the rows with their characters apart to `out`, their offsets to `ends`; return the bytes written.

    The full-width signs that end a sentence become those of ASCII, for `without_repeats`.
    """
    written = 0
    ends[0] = 0
    for row in range(len(offsets) - 1):
        position, stop, first = offsets[row], offsets[row + 1], written
        apart = False  # whether what comes next needs a space before it
        while position < stop:
            byte = data[position]
            second = data[position + 1] if position + 2 < stop else np.uint8(0)
            alone = 0xE3 <= byte <= 0xE9 or (byte == 0xEF and (0xA4 <= second <= 0xAB or 0xBC <= second <= 0xBD))
            if byte == 32:
                apart = True
                position += 1
                continue
            if (alone or apart) and written > first:
                out[written] = 32
                written += 1
            apart = alone
            if not alone:
                out[written] = byte
                written += 1
                position += 1
                continue
            third = data[position + 2]
            ending = 0
            if byte == 0xE3 and second == 0x80 and third == 0x82:
                ending = 46  # .
            elif byte == 0xEF and second == 0xBC and third == 0x81:
                ending = 33  # !
            elif byte == 0xEF and second == 0xBC and third == 0x9F:
                ending = 63  # ?
            if ending:
                out[written] = ending
                written += 1
            else:
                out[written : written + 3] = data[position : position + 3]
                written += 3
            position += 3
        ends[row + 1] = written
    return written


@numba.njit(cache=True, nogil=True)
def _parts(data: Bytes, offsets: Offsets, out: Bytes, ends: Offsets) -> Any:
    """Write the parts of the rows' tokens to `out`, their offsets to `ends`; return the bytes written."""
    longest = np.int64(0)
    for row in range(len(offsets) - 1):
        longest = max(longest, np.int64(offsets[row + 1] - offsets[row]))
    starts = np.empty(longest + 3, np.int64)  # where each letter of a token and its two marks begins
    written = np.int64(0)
    ends[0] = 0
    for row in range(len(offsets) - 1):
        position, stop, first = np.int64(offsets[row]), np.int64(offsets[row + 1]), written
        while position < stop:
            starts[0], letters = position - 1, 1
            end = position
            while end < stop and data[end] != 32:
                if data[end] & 0xC0 != 0x80:  # not the rest of a code point
                    starts[letters] = end
                    letters += 1
                end += 1
            starts[letters], starts[letters + 1] = end, end + 1
            letters += 1
            for part in range(max(letters - LETTERS + 1, 1)):
                begin, close = starts[part], starts[min(part + LETTERS, letters)]
                if written > first:
                    out[written] = 32
                    written += 1
                for place in range(begin, close):
                    out[written] = data[place] if position <= place < end else MARK
                    written += 1
            position = end + 1
        ends[row + 1] = written
    return written
