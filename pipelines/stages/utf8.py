"""What the compiled kernels of the score stages share: decoding UTF-8 and classes of code points.

Kernels walk the bytes of an Arrow column. ASCII is handled in place, everything else is decoded and
looked up in one table of 1.1 MB, made from Python's own Unicode data in 20 ms.
"""

from functools import cache
from typing import Any

import numpy as np
from numba import njit

__all__ = ["ALPHANUMERIC", "CODE_POINTS", "LETTER", "SPACE", "decode", "unicode_classes"]

SPACE, LETTER, ALPHANUMERIC = 1, 2, 4
CODE_POINTS = 0x110000


@njit(inline="always")
def decode(data, start, end):  # type: ignore[no-untyped-def]
    """`(code point, bytes)` of the multi-byte character at `start`; never reads past `end`."""
    first = np.int64(data[start])
    if first < 0xE0 and start + 1 < end:
        return (first & 0x1F) << 6 | np.int64(data[start + 1] & 0x3F), 2
    if first < 0xF0 and start + 2 < end:
        return (first & 0x0F) << 12 | np.int64(data[start + 1] & 0x3F) << 6 | np.int64(data[start + 2] & 0x3F), 3
    if start + 3 < end:
        low = np.int64(data[start + 1] & 0x3F) << 12 | np.int64(data[start + 2] & 0x3F) << 6
        return min((first & 0x07) << 18 | low | np.int64(data[start + 3] & 0x3F), CODE_POINTS - 1), 4
    return np.int64(0xFFFD), 1


@cache
def unicode_classes() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """SPACE, LETTER, ALPHANUMERIC of all code points, as `str.isspace`, `isalpha`, `isalnum` say; shape (1114112,)."""
    points = np.arange(CODE_POINTS, dtype=np.uint32)
    points[0xD800:0xE000] = 0  # surrogates are no characters
    characters = points.view("U1")
    table = np.strings.isspace(characters) * np.uint8(SPACE)
    table |= np.strings.isalpha(characters) * np.uint8(LETTER)
    table |= np.strings.isalnum(characters) * np.uint8(ALPHANUMERIC)
    table.flags.writeable = False
    return table
