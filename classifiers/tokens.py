"""Tokenised text: the same bytes for training and for scoring.

fastText reads one line of tokens between spaces. Here text becomes such a line by rules on bytes alone,
so that one compiled pass does it (about 200 MB/s) and nothing depends on a Unicode version:

    A–Z                          lower-cased
    0–9                          each digit becomes 0 (no number enters a vocabulary)
    other ASCII signs            a token of their own, except an apostrophe inside a word (don't)
    curly quotes, dashes, …      as the ASCII signs ' " - .
    white space, control bytes   separate tokens, as do U+00A0, U+2000–U+200F, U+2028, U+2029, U+3000
    any other byte               part of a word, as it is

No token can hold white space, a label's prefix or fastText's end-of-line mark: signs are split off.
"""

from typing import Any

import numba
import numpy as np
import pyarrow as pa

from ..schemas.arrays import string_array, string_buffers

__all__ = ["TOKENS_VERSION", "tokenize", "without_repeats"]

TOKENS_VERSION = "tokens.v1"

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Offsets = np.ndarray[Any, np.dtype[np.int32]]

SPACE, WORD, SIGN = 0, 1, 2


def _byte_classes() -> tuple[Bytes, Bytes]:
    """`(kind, mapped)` of the 256 bytes."""
    kind = np.full(256, WORD, np.uint8)
    mapped = np.arange(256, dtype=np.uint8)
    for byte in range(128):
        if byte <= 32 or byte == 127:
            kind[byte] = SPACE
        elif not chr(byte).isalnum():
            kind[byte] = SIGN
        elif chr(byte).isdigit():
            mapped[byte] = ord("0")
        else:
            mapped[byte] = ord(chr(byte).lower())
    return kind, mapped


KIND, MAPPED = _byte_classes()


@numba.njit(cache=True, nogil=True)
def _tokenize(data: Bytes, offsets: Offsets, kind: Bytes, mapped: Bytes, out: Bytes, ends: Offsets) -> int:
    """Write the tokenised rows to `out`, their offsets to `ends`; return the bytes written."""
    written = 0
    ends[0] = 0
    for row in range(len(offsets) - 1):
        position, stop = offsets[row], offsets[row + 1]
        first = written
        in_word = False
        while position < stop:
            byte = data[position]
            step, of_kind, value = 1, kind[byte], mapped[byte]
            if byte == 0xE2 and position + 2 < stop and data[position + 1] == 0x80:
                third = data[position + 2]
                step = 3
                if 0x98 <= third <= 0x9B:
                    of_kind, value = SIGN, 39  # '
                elif 0x9C <= third <= 0x9F:
                    of_kind, value = SIGN, 34  # "
                elif 0x90 <= third <= 0x95:
                    of_kind, value = SIGN, 45  # -
                elif third == 0xA6:
                    of_kind, value = SIGN, 46  # .
                elif third <= 0x8F or third == 0xA8 or third == 0xA9 or third == 0xAF:
                    of_kind = SPACE
                else:
                    step = 1
            elif byte == 0xC2 and position + 1 < stop and data[position + 1] == 0xA0:
                step, of_kind = 2, SPACE
            elif byte == 0xE3 and position + 2 < stop and data[position + 1] == 0x80 and data[position + 2] == 0x80:
                step, of_kind = 3, SPACE
            position += step
            if of_kind == SPACE:
                in_word = False
                continue
            if value == 39 and in_word and position < stop and data[position] < 128 and kind[data[position]] == WORD:
                of_kind = WORD
            if (of_kind == SIGN or not in_word) and written > first:
                out[written] = 32
                written += 1
            out[written] = value
            written += 1
            in_word = of_kind == WORD
        ends[row + 1] = written
    return written


def tokenize(texts: pa.StringArray) -> pa.StringArray:
    """Each text as one line of tokens with a space between them; empty where the text holds none."""
    data, offsets = string_buffers(texts)
    size = int(offsets[-1] - offsets[0])
    out = np.empty(2 * size + 1, np.uint8)
    ends = np.empty(len(offsets), np.int32)
    written = _tokenize(data, offsets, KIND, MAPPED, out, ends)
    return string_array(out[:written], ends)


@numba.njit(cache=True, nogil=True)
def _without_repeats(data: Bytes, offsets: Offsets, out: Bytes, ends: Offsets) -> int:
    """Write the rows less their repeated sentences to `out`, their offsets to `ends`; return the bytes written."""
    most = 0  # sentences of a row, or more
    for row in range(len(offsets) - 1):
        closing = 1
        for place in range(offsets[row], offsets[row + 1]):
            byte = data[place]
            closing += byte == 46 or byte == 33 or byte == 63
        most = max(most, closing)
    slots = 2
    while slots < 2 * most:  # half of them stay free
        slots *= 2
    mask = np.uint64(slots - 1)
    hashes, owners = np.zeros(slots, np.uint64), np.full(slots, -1, np.int32)
    written = 0
    ends[0] = 0
    for row in range(len(offsets) - 1):
        start, stop, first = offsets[row], offsets[row + 1], written
        while start < stop:
            end, hashed = start, np.uint64(14695981039346656037)
            while end < stop:
                byte = data[end]
                hashed = (hashed ^ np.uint64(byte)) * np.uint64(1099511628211)
                end += 1
                closes = byte == 46 or byte == 33 or byte == 63  # . ! ?
                if closes and end + 1 < stop:
                    following = data[end + 1]
                    if following != 46 and following != 33 and following != 63:
                        break
            slot = (hashed ^ (hashed >> np.uint64(32))) & mask
            while owners[slot] == row and hashes[slot] != hashed:
                slot = (slot + np.uint64(1)) & mask
            if owners[slot] != row:
                owners[slot], hashes[slot] = row, hashed
                if written > first:
                    out[written] = 32
                    written += 1
                out[written : written + end - start] = data[start:end]
                written += end - start
            start = end + 1
        ends[row + 1] = written
    return written


def without_repeats(lines: pa.StringArray) -> pa.StringArray:
    """Each tokenised line without the sentences that it has already held, so that saying a thing again buys nothing.

    A sentence ends at the last of a run of . ! and ?, or with the line.
    """
    data, offsets = string_buffers(lines)
    out, ends = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint8), np.empty(len(offsets), np.int32)
    written = _without_repeats(data, offsets, out, ends)
    return string_array(out[:written], ends)
