"""Clean text and the identity of a document.

Text becomes Unicode NFC with plain line ends, without characters that nobody sees, and without empty
space that means nothing. The id is taken from the clean text once more case-folded and with every run
of white space as one space, so that twins that differ only in case, spaces or Unicode form share it.

One compiled pass cleans and folds every script; only documents that hold characters which NFC may change,
or case-folding outside ASCII, go through Python one by one.
"""

import unicodedata
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from ...schemas.arrays import append_flag, replace_column, string_array, string_buffers
from ...schemas.hashing import document_id, raw_hash
from ...schemas.recipe import NormalizeOptions
from .utf8 import SPACE, decode, unicode_classes

__all__ = ["Normalize", "hosts_of"]

VISIBLE, BLANK, LINE_END, REMOVED = 0, 1, 2, 3  # kinds of characters
COMPOSING = 4  # bit beside them: NFC may change it or what stands before it
FOLDING = 8  # bit beside them: case-folding changes it, outside ASCII
HAS_REMOVED, HAS_COMPOSING, HAS_FOLDING = 1, 2, 4  # findings about a row
BLOCK = 32  # bytes copied at once where they are plain

# RFC 3986, leniently: any scheme or none, user-info and port dropped, an IPv6 literal in brackets.
HOST = (
    r"^\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?:[^/?#\\]*@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#\\:@\[\]\s%<>^|]+?)\.?(?::[0-9]*)?(?:[/?#\\].*)?\s*$"
)


@cache
def character_kinds() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The kind of every code point, with the bit COMPOSING; shape (1114112,)."""
    kinds = (unicode_classes() & SPACE).astype(np.uint8) * np.uint8(BLANK)
    kinds[0:0x20] = REMOVED  # C0
    kinds[0x7F:0xA0] = REMOVED  # DEL and C1
    kinds[[0xAD, 0xFEFF]] = REMOVED  # soft hyphen, byte order mark
    kinds[0xFDD0:0xFDF0] = REMOVED  # noncharacters
    kinds[0xFFFE::0x10000] = kinds[0xFFFF::0x10000] = REMOVED
    kinds[ord("\t")] = BLANK
    kinds[[0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029]] = LINE_END  # Unicode 5.8, rule R4
    # Python has no NFC_Quick_Check. A character is inert if NFC keeps it, its combining class is 0 and it is
    # not the second half of a canonical pair. None of the others lies below U+0300.
    for point in range(0x300, 0x20000):
        character = chr(point)
        pair = unicodedata.decomposition(character)
        if pair and pair[0] != "<":
            kinds[[int(half, 16) for half in pair.split()[1:]]] |= COMPOSING
        if unicodedata.combining(character) or not unicodedata.is_normalized("NFC", character):
            kinds[point] |= COMPOSING
    kinds[0x1161:0x1176] |= COMPOSING  # Hangul vowels and finals compose by rule
    kinds[0x11A8:0x11C3] |= COMPOSING
    kinds[0x2F800:0x2FA20] |= COMPOSING  # CJK compatibility ideographs
    for point in range(0x80, 0x20000):
        character = chr(point)
        if character.casefold() != character:
            kinds[point] |= FOLDING
    kinds.flags.writeable = False
    return kinds


@njit(inline="always")
def _is_plain(data, start):  # type: ignore[no-untyped-def]
    """Whether the BLOCK bytes from `start` are visible ASCII with at most one space between them."""
    odd = np.uint8(0)
    for i in range(start, start + BLOCK):
        byte = data[i]
        odd |= np.uint8((byte < 32) | (byte > 126) | ((byte == 32) & (data[i - 1] == 32)))
    return odd == 0


@njit(cache=True, nogil=True)
def _clean(data, offsets, kinds, text, text_offsets, folded, folded_offsets, findings):  # type: ignore[no-untyped-def]
    """Clean every row into `text`, case-folded into `folded`; `findings` are bits per row.

    A row with HAS_COMPOSING or HAS_FOLDING is not folded here.
    """
    write = fold = np.int64(0)
    for row in range(len(offsets) - 1):
        start, fold_start = write, fold
        line_end = write  # where the clean text ends if only white space follows
        breaks = 0
        pending = False
        found = 0
        i = np.int64(offsets[row])
        end = np.int64(offsets[row + 1])
        while i < end:
            if fold > fold_start and not pending and i + BLOCK <= end and _is_plain(data, i):
                for k in range(BLOCK):
                    text[write + k] = data[i + k]
                for k in range(BLOCK):
                    byte = data[i + k]
                    folded[fold + k] = byte + 32 if 65 <= byte <= 90 else byte
                i += BLOCK
                pending = data[i - 1] == 32
                write += BLOCK
                fold += BLOCK - pending
                line_end = write - pending
                breaks = 0
                continue
            stop = min(i + BLOCK, end)
            while i < stop:
                byte = data[i]
                width = 1
                if byte < 0x80:
                    kind = kinds[byte]
                else:
                    point, width = decode(data, i, end)
                    kind = kinds[point]
                    if kind & COMPOSING:
                        found |= HAS_COMPOSING
                    if kind & FOLDING:
                        found |= HAS_FOLDING
                    kind &= 3
                if kind == VISIBLE:
                    if pending and fold > fold_start:
                        folded[fold] = 32
                        fold += 1
                    text[write] = byte
                    folded[fold] = byte + 32 if 65 <= byte <= 90 else byte
                    for k in range(1, width):
                        text[write + k] = folded[fold + k] = data[i + k]
                    write += width
                    fold += width
                    line_end = write
                    breaks = 0
                    pending = False
                elif kind == BLANK:
                    pending = True
                    if write > start:
                        for k in range(width):
                            text[write + k] = data[i + k]
                        write += width
                elif kind == LINE_END:
                    pending = True
                    if byte == 13 and i + 1 < end and data[i + 1] == 10:
                        width = 2
                    write = line_end
                    if write > start and breaks < 2:
                        text[write] = 10
                        write += 1
                        breaks += 1
                        line_end = write
                else:
                    found |= HAS_REMOVED
                i += width
        write = line_end
        while write > start and text[write - 1] == 10:
            write -= 1
        if found & (HAS_COMPOSING | HAS_FOLDING):
            fold = fold_start
        text_offsets[row + 1] = write
        folded_offsets[row + 1] = fold
        findings[row] = found


class Normalize:
    """`text` made clean, and `raw_hash`, `id` and `host` added.

    In this order: line ends of every kind (CR LF, CR, VT, FF, NEL, LS, PS) become LF; control
    characters (C0 except LF and tab, DEL, C1), U+FEFF, soft hyphens and noncharacters go, which the flag
    `normalize.control_characters` records; NFC; white space at the ends of lines and of the text goes;
    more than one empty line becomes one. A text that is empty then is the error `normalize.empty`.
    Rows with an error get an id of (source, file, offset), so that each stays distinct.
    """

    name = "normalize"
    version = "normalize.v1"

    def __init__(self, options: NormalizeOptions) -> None:
        self.options = options

    def setup(self) -> None:
        _clean_rows(pa.array(["a"]))

    def identity(self) -> dict[str, str]:
        return {"version": self.version}

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        raw, offsets = string_buffers(batch["text"])
        view = raw.data
        hashes = [raw_hash(view[start:end]) for start, end in pairwise(offsets.tolist())]
        text, folded, findings = _clean_rows(batch["text"])
        empty = pc.and_(pc.is_null(batch["error"]), pc.equal(pc.binary_length(text), 0))
        error = pc.if_else(empty, pa.scalar("normalize.empty"), batch["error"])
        batch = replace_column(batch, "text", text)
        batch = replace_column(batch, "error", error)
        batch = replace_column(batch, "raw_hash", pa.array(hashes, pa.uint64()))
        batch = replace_column(batch, "id", pa.array(_ids(batch, folded, findings), pa.string()))
        batch = replace_column(batch, "host", hosts_of(batch["url"]))
        return append_flag(batch, (findings & HAS_REMOVED) > 0, "normalize.control_characters")


def _clean_rows(array: pa.StringArray) -> tuple[pa.StringArray, pa.StringArray, np.ndarray[Any, np.dtype[np.uint8]]]:
    """Clean text, folded text (of rows that the kernel folds) and findings, each of shape (rows,)."""
    data, offsets = string_buffers(array)
    size = int(offsets[-1] - offsets[0])
    text, folded = np.empty(size, np.uint8), np.empty(size, np.uint8)
    text_offsets, folded_offsets = np.zeros(len(offsets), np.int32), np.zeros(len(offsets), np.int32)
    findings = np.zeros(len(array), np.uint8)
    _clean(data, offsets, character_kinds(), text, text_offsets, folded, folded_offsets, findings)
    cleaned = string_array(text[: text_offsets[-1]], text_offsets)
    changed = np.zeros(len(array), np.bool_)
    composed = []
    for row in np.flatnonzero(findings & HAS_COMPOSING):
        old = cleaned[row].as_py()
        if not unicodedata.is_normalized("NFC", old):
            changed[row] = True
            composed.append(unicodedata.normalize("NFC", old))
    if composed:
        cleaned = pc.replace_with_mask(cleaned, pa.array(changed), pa.array(composed, pa.string()))
    return cleaned, string_array(folded[: folded_offsets[-1]], folded_offsets), findings


def _ids(batch: pa.RecordBatch, folded: pa.StringArray, findings: np.ndarray[Any, np.dtype[np.uint8]]) -> list[str]:
    """The ids of all rows: of the folded content, or of the place for rows with an error."""
    data, offsets = string_buffers(folded)
    view = data.data
    ids = [document_id(view[start:end]) for start, end in pairwise(offsets.tolist())]
    failed = pc.is_valid(batch["error"]).to_numpy(zero_copy_only=False)
    text = batch["text"]
    for row in np.flatnonzero(((findings & (HAS_COMPOSING | HAS_FOLDING)) > 0) & ~failed):
        # Folding can undo NFC: U+0390 in upper case and back is three code points.
        content = unicodedata.normalize("NFC", text[row].as_py().casefold())
        ids[row] = document_id(" ".join(content.split()).encode())
    for row in np.flatnonzero(failed):
        place = batch["provenance"][row].as_py()
        parts = ("failed", batch["source"][row].as_py(), place["file"] or "", str(place["offset"]))
        ids[row] = document_id("\0".join(parts).encode())
    return ids


def hosts_of(urls: pa.StringArray) -> pa.StringArray:
    """Lower-case hosts without port, final dot and leading "www."; null where the URL is null or has none."""
    hosts = pc.utf8_lower(pc.struct_field(pc.extract_regex(urls, HOST), "host"))
    return pc.replace_substring_regex(hosts, r"^www\.(.+\..+)$", r"\1")
