"""MinHash (Broder 1997) of word shingles, in bands: documents that meet in a bucket are near-duplicates.

A word is a maximal run of letters, digits and marks in lower case; in scripts written without spaces every
character is a word. A shingle is `shingle` words in a row, hashed to 32 bits, so punctuation, case and spacing
make no difference. Each of `bands × rows` hash functions keeps its minimum over the shingles of a text, and
the minima of a band are hashed to one of its 2^64 buckets. Two texts that share the part J of all their
shingles (Jaccard) meet in at least one bucket with the probability 1 - (1 - J^rows)^bands: by default 5 % for
J = 0.5, 56 % for 0.7, 92 % for 0.8 and all but one in 2,500 for 0.9.

A text with fewer words than a shingle is one shingle, whole: it meets only texts of the same words. A text
without a word has no buckets.

The functions are (x ^ a) · b mod 2^32 over a shingle's hash x, with random a and odd random b. Over 3,000
pairs each of 10, 50 and 300 shingles and J from 0.5 to 0.9, the rate at which bands agree is J^8 within the
error of the sample, as with costlier mixing. A vector unit takes eight at once: all 112 cost less than
finding the words, so one permutation with densification, whose minima depend on each other in short
texts, would save little.
"""

import unicodedata
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit

from ...schemas.arrays import replace_column, string_buffers
from ...schemas.document import BUCKETS
from ...schemas.hashing import hash64
from ...schemas.recipe import MinhashOptions
from .utf8 import ALPHANUMERIC, CODE_POINTS, decode, unicode_classes

__all__ = ["Minhash"]

BLOCK = 256  # shingles that each function takes in one go

CASED = 0x20000  # beyond, no character has another case, and marks are variation selectors
ALONE = 1 << 31  # bit beside a character: it is a word of its own
UNSPACED = (  # scripts written without spaces
    (0x0E00, 0x1000),  # Thai, Lao, Tibetan
    (0x1000, 0x10A0),  # Myanmar
    (0x1780, 0x1800),  # Khmer
    (0x3005, 0x3008),  # Han
    (0x3040, 0x3100),  # Kana
    (0x3400, 0xA000),  # Han
    (0xF900, 0xFB00),
    (0xFF66, 0xFFA0),  # Kana of half width
    (0x20000, 0x32400),  # Han
)
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)  # odd, of even bit density
_MIX = np.uint64(0xFF51AFD7ED558CCD)  # of MurmurHash3's finaliser

Array = np.ndarray[Any, Any]


@cache
def _characters() -> np.ndarray[Any, np.dtype[np.uint32]]:
    """What each code point counts as in a word: its lower case, perhaps with ALONE, or 0; shape (1114112,)."""
    points = np.arange(CODE_POINTS, dtype=np.uint32)
    points[0xD800:0xE000] = 0  # surrogates are no characters
    table = points.copy()
    cased = points[:CASED]
    table[:CASED] = np.strings.lower(cased.view("U1")).astype("U1").view(np.uint32)
    in_word = (unicode_classes() & ALPHANUMERIC) > 0
    in_word[[point for point in range(0x300, CASED) if unicodedata.category(chr(point))[0] == "M"]] = True
    table[~in_word] = 0
    for start, end in UNSPACED:
        table[start:end][table[start:end] > 0] |= np.uint32(ALONE)
    table.flags.writeable = False
    return table


@njit(cache=True, nogil=True)
def _sign(data, offsets, characters, width, masks, factors, buckets, salts, signed):  # type: ignore[no-untyped-def]
    """Fill `buckets`, uint64 (rows, bands), and `signed`, whether a row has any; `masks` and `factors` by function."""
    zero, half = np.uint64(0), np.uint64(32)
    functions, bands = len(masks), buckets.shape[1]
    rows_of_band = functions // bands
    minima = np.empty(functions, np.uint32)
    block = np.empty(BLOCK, np.uint32)
    words = np.empty(width, np.uint64)
    leaving = np.uint64(1)
    for _ in range(width):
        leaving *= _SECOND
    for row in range(len(offsets) - 1):
        end = np.int64(offsets[row + 1])
        i = np.int64(offsets[row])
        minima[:] = np.uint32(0xFFFFFFFF)
        words[:] = zero
        rolling, word = zero, zero
        count, place, filled = 0, 0, 0
        inside = False
        while i < end or inside:
            character, step = np.uint32(0), 1
            if i < end:
                if data[i] < 0x80:
                    character = characters[data[i]]
                else:
                    point, step = decode(data, i, end)
                    character = characters[point]
            alone = character >> np.uint32(31) != 0
            if inside and (alone or character == 0):
                # A word ends; the same place is looked at again if a character that stands alone ended it.
                inside = False
                step = 0 if alone else step
            elif character != 0:
                word = (word ^ np.uint64(character)) * _FIRST
                inside = not alone
                if inside:
                    i += step
                    continue
            else:
                i += step
                continue
            i += step
            word ^= word >> half
            rolling = rolling * _SECOND + word - words[place] * leaving
            words[place] = word
            word = zero
            place = place + 1 if place + 1 < width else 0
            count += 1
            if count >= width:
                mixed = (rolling ^ (rolling >> half)) * _MIX
                block[filled] = np.uint32(mixed >> half)
                filled += 1
                if filled == BLOCK:
                    _take_minima(block, filled, masks, factors, minima)
                    filled = 0
        if 0 < count < width:
            mixed = (rolling ^ (rolling >> half)) * _MIX
            block[0] = np.uint32(mixed >> half)
            filled = 1
        _take_minima(block, filled, masks, factors, minima)
        signed[row] = count > 0
        for band in range(bands):
            bucket = salts[band]
            for k in range(band * rows_of_band, (band + 1) * rows_of_band):
                bucket = (bucket ^ np.uint64(minima[k])) * _MIX
                bucket ^= bucket >> half
            buckets[row, band] = bucket


@njit(inline="always")
def _take_minima(block, filled, masks, factors, minima):  # type: ignore[no-untyped-def]
    """Lower the minimum of every function to its least value over `filled` shingles."""
    for k in range(len(minima)):
        least, mask, factor = minima[k], masks[k], factors[k]
        for s in range(filled):
            least = min(least, np.uint32((block[s] ^ mask) * factor))
        minima[k] = least


class Minhash:
    """`buckets` added: one 64-bit bucket a band in the order of the bands, none for a text without a word."""

    name = "minhash"
    version = "minhash.v1"

    def __init__(self, options: MinhashOptions) -> None:
        self.options = options
        functions = options.bands * options.rows
        self._masks = _random(options.seed, "masks", functions).astype(np.uint32)
        self._factors = _random(options.seed, "factors", functions).astype(np.uint32) | np.uint32(1)
        self._salts = _random(options.seed, "bands", options.bands)

    def setup(self) -> None:
        self._sign(pa.array(["a"]))

    def identity(self) -> dict[str, str]:
        return {"version": self.version, **{name: str(value) for name, value in self.options}}

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return replace_column(batch, BUCKETS, self._sign(batch["text"]))

    def _sign(self, text: pa.StringArray) -> pa.ListArray:
        data, offsets = string_buffers(text)
        buckets = np.empty((len(text), self.options.bands), np.uint64)
        signed = np.zeros(len(text), np.bool_)
        width = self.options.shingle
        _sign(data, offsets, _characters(), width, self._masks, self._factors, buckets, self._salts, signed)
        ends = np.cumsum(signed, dtype=np.int32) * np.int32(self.options.bands)
        bounds = pa.array(np.concatenate([np.zeros(1, np.int32), ends]))
        return pa.ListArray.from_arrays(bounds, pa.array(buckets[signed].reshape(-1)))


def _random(seed: int, purpose: str, number: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Uniform 64-bit numbers, shape (number,)."""
    return hash64(seed, f"minhash.{purpose}", np.zeros(number, np.uint64), np.arange(number, dtype=np.uint64))
