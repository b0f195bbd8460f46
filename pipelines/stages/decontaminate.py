"""Passages of evaluation sets in documents, by n-grams of words.

The field's measure (GPT-3, arXiv 2005.14165, appendix C: 13 words, case and punctuation aside), made to hold for
every script. A compiled pass cuts a text into words, hashes every window of `ngram_words` of them and asks a
bit set, which drops nearly all at once, then a sorted array of 64-bit hashes. Nothing is decided here but, where
the recipe says `mask`, what is replaced.

What is a word:
- a maximal run of letters, digits and marks; anything else parts words, so line breaks and punctuation never matter;
- folded: compatibility decomposition and case-folding (NFKD), without accents (U+0300 to U+036F), without
  apostrophes and invisible characters: "Naïve" is "naive", "don't" is "dont", "Straße" is "STRASSE";
- in scripts without spaces every character stands alone and counts as half a word (so does `policy.min_words`): 13
  words are 26 characters of Chinese. A window is the shortest that has `ngram_words` words where it ends.

A core finds 1.7 million n-grams and 30,000 short passages in forum posts at 0.6 times the speed of `normalize`, a few
at its speed.

A false match needs two different n-grams of one hash. With 64 bits a corpus of 10^12 words and sets of 10^7 n-grams
have 0.5 of them; a test measures that shortened hashes collide as often as chance says.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from ...schemas.arrays import append_flag, replace_column, string_buffers
from ...schemas.document import CONTAMINATION, to_grid, to_thousandths
from ...schemas.recipe import Decontamination
from .lexicon import INVISIBLE, UNSPACED, fold
from .utf8 import ALPHANUMERIC, CODE_POINTS, decode, unicode_classes

__all__ = [
    "NGRAMS",
    "PASSAGES",
    "PLACEHOLDER",
    "SHORT",
    "Decontaminate",
    "EvaluationIndex",
    "Passages",
    "counts",
    "cut",
]

PLACEHOLDER = "<EVALUATION>"
APOSTROPHES = "'’‘ʼ`´＇"
ACCENTS = (0x0300, 0x0370)

NGRAMS = pa.schema([pa.field("hash", pa.uint64()), pa.field("passage", pa.int32())])  # sorted, each pair once
PASSAGES = pa.schema(
    [
        pa.field("set", pa.string()),
        pa.field("item", pa.string()),  # the row's own id, else its file and offset
        pa.field("field", pa.string()),  # the column or key that holds the passage
        pa.field("ngrams", pa.int32()),  # different ones; a passage that is found whole only has one
    ]
)
# Passages of fewer words than an n-gram: the hash of their last `min_words` words, and how many tokens they have.
SHORT = pa.schema([pa.field("suffix", pa.uint64()), pa.field("tokens", pa.int32())])

# What a code point is to words: its kind in the upper bits; below them its folded form, or a place among expansions.
SEPARATOR, WORD, EXPANDED, ALONE, IGNORED = (kind << 24 for kind in range(5))
VALUE = (1 << 24) - 1
MOST_TOKENS = 256  # more than two for each word of the longest n-gram
BITS_PER_HASH = 16  # of the bit set
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd: of the windows' polynomial
_STEP = np.uint64(0xD6E8FEB86659FD93)  # odd: of the words'
_SALT = np.uint64(0xA0761D6478BD642F)  # tells whole short passages from windows
Array = np.ndarray[Any, Any]


class Codes(NamedTuple):
    """How characters become words."""

    codes: Array  # uint32 (code points,)
    starts: Array  # int32 (expansions + 1,): where the folded code points of an EXPANDED character begin
    points: Array  # uint32


class Search(NamedTuple):
    """Sorted hashes, to be asked for."""

    sieve: Array  # uint64 (power of two,): a bit for each hash
    hashes: Array  # uint64, ascending, each once
    starts: Array  # int32 (buckets + 1,): where the hashes of equal upper bits begin
    shift: int  # that leaves the upper bits


@cache
def word_codes() -> Codes:
    """The code of every code point."""
    codes = np.full(CODE_POINTS, SEPARATOR, np.uint32)
    plain = np.flatnonzero(unicode_classes() & ALPHANUMERIC)
    codes[plain] = WORD | plain.astype(np.uint32)
    expansions: list[list[int]] = []
    for point in range(0x20000):
        if 0x3400 <= point < 0xA000 or 0xAC00 <= point < 0xF900:  # Han, Hangul and private: their own form
            continue
        character = chr(point)
        if codes[point] == SEPARATOR and unicodedata.category(character)[0] != "M":
            continue
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
        points = [ord(part) for part in folded if not ACCENTS[0] <= ord(part) < ACCENTS[1]]
        points = [part for part in points if chr(part).isalnum() or unicodedata.category(chr(part))[0] == "M"]
        if len(points) == 1:
            codes[point] = WORD | points[0]
        else:
            codes[point] = EXPANDED | len(expansions) if points else IGNORED
            expansions += [points] if points else []
    for first, end in UNSPACED:
        block = np.arange(first, end)
        block = block[codes[block] != SEPARATOR]
        codes[block] = [ALONE | ord(fold(chr(point)) or chr(point)) for point in block.tolist()]
    codes[[*INVISIBLE, *map(ord, APOSTROPHES)]] = IGNORED
    starts = np.cumsum([0, *map(len, expansions)], dtype=np.int32)
    return Codes(_frozen(codes), _frozen(starts), _frozen(np.array(list(chain.from_iterable(expansions)), np.uint32)))


@njit(inline="always")
def _mix(value):  # type: ignore[no-untyped-def]
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@njit(inline="always")
def _next_token(data, i, end, codes, starts, points):  # type: ignore[no-untyped-def]
    """`(hash, weight, start, stop)` of the next word (weight 2) or lone character (1); weight 0 at the end."""
    key = np.uint64(0)
    weight = 0
    start = stop = end
    while i < end:
        point, width = np.int64(data[i]), 1
        if point >= 0x80:
            point, width = decode(data, i, end)
        code = np.int64(codes[point])
        kind = code & ~VALUE
        if kind == WORD:
            if weight == 0:
                weight = 2
                start = i
            key = (key ^ np.uint64(code)) * _STEP
            stop = i + width
        elif kind == EXPANDED:
            if weight == 0:
                weight = 2
                start = i
            for k in range(starts[code & VALUE], starts[(code & VALUE) + 1]):
                key = (key ^ np.uint64(WORD | points[k])) * _STEP
            stop = i + width
        elif kind != IGNORED:
            if weight > 0:
                break
            if kind == ALONE:
                weight = 1
                start, stop = i, i + width
                key = np.uint64(code) * _STEP
                break
        i += width
    return _mix(key), weight, start, stop


@njit(inline="always")
def _passes(key, sieve):  # type: ignore[no-untyped-def]
    bit = key & np.uint64(64 * len(sieve) - 1)
    return (sieve[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1) != 0


@njit(inline="always")
def _place(key, hashes, starts, shift):  # type: ignore[no-untyped-def]
    """Where a hash stands in `hashes`, -1 where it does not."""
    bucket = np.int64(key >> np.uint64(shift))
    for place in range(starts[bucket], starts[bucket + 1]):
        if hashes[place] == key:
            return place
    return -1


@njit(inline="always")
def _roll(tokens, weights, count, size, powers, keys, firsts):  # type: ignore[no-untyped-def]
    """The hash of the shortest window of `size` half-words that ends at each token, and its first token or -1."""
    key = np.uint64(0)
    weight = first = 0
    for last in range(count):
        key = key * _BASE + tokens[last]
        weight += weights[last]
        while weight - weights[first] >= size:
            key -= tokens[first] * powers[last - first]
            weight -= weights[first]
            first += 1
        keys[last] = _mix(key)
        firsts[last] = first if weight >= size else -1


@njit(cache=True, nogil=True)
def _slide(data, offsets, codes, whole, few, every, search, suffixes, counts_of, hits, found_keys, passages):  # type: ignore[no-untyped-def]
    """All windows of `whole` half-words, and whole passages by suffixes of `few`; returns how many are hits.

    A hit is a window that `search` knows, or, with `every`, each of them. As many as there is room for are
    written: into `hits` (row, start, stop, place) and `found_keys`. With `every`, `passages` receives for each
    row its half-words, tokens, and the hashes of all of it and of its suffix. `counts_of` are the token counts
    that short passages of each suffix have, with where they begin.
    """
    points, expansion_starts, expansions = codes
    sieve, hashes, buckets, shift = search
    short_sieve, short_hashes, short_buckets, short_shift = suffixes
    count_starts, token_counts = counts_of
    longest = 0
    for row in range(len(offsets) - 1):
        longest = max(longest, np.int64(offsets[row + 1]) - np.int64(offsets[row]))
    room = longest // 2 + 1  # two tokens of one byte have a separator between them
    tokens, keys = np.empty(room, np.uint64), np.empty(room, np.uint64)
    weights, firsts = np.empty(room, np.int8), np.empty(room, np.int32)
    begins, stops = np.empty(room, np.int32), np.empty(room, np.int32)
    powers = np.ones(MOST_TOKENS, np.uint64)
    for k in range(1, MOST_TOKENS):
        powers[k] = powers[k - 1] * _BASE
    found = 0
    for row in range(len(offsets) - 1):
        first, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        i = first
        count = total = 0
        while True:
            token, weight, begin, stop = _next_token(data, i, end, points, expansion_starts, expansions)
            if weight == 0:
                break
            i = stop
            tokens[count], weights[count], begins[count], stops[count] = token, weight, begin - first, stop - first
            count += 1
            total += weight
        if total >= whole:
            _roll(tokens, weights, count, whole, powers, keys, firsts)
            for last in range(count):
                if not (every or _passes(keys[last], sieve)) or firsts[last] < 0:
                    continue
                place = -1 if every else _place(keys[last], hashes, buckets, shift)
                if every or place >= 0:
                    if found < len(found_keys):
                        found_keys[found] = keys[last]
                        hits[found, 0], hits[found, 3] = row, place
                        hits[found, 1], hits[found, 2] = begins[firsts[last]], stops[last]
                    found += 1
        if every:
            key = np.uint64(0)
            for last in range(count):
                key = key * _BASE + tokens[last]
            passages.half_words[row], passages.tokens[row] = total, count
            passages.hashes[row] = _mix(key ^ _SALT)
        if few == 0 or total < few:
            continue
        _roll(tokens, weights, count, few, powers, keys, firsts)
        if every:
            passages.suffixes[row] = keys[count - 1]
            continue
        for last in range(count):
            if not _passes(keys[last], short_sieve) or firsts[last] < 0:
                continue
            suffix = _place(keys[last], short_hashes, short_buckets, short_shift)
            if suffix < 0:
                continue
            for k in range(count_starts[suffix], count_starts[suffix + 1]):
                opening = last + 1 - token_counts[k]
                if opening < 0:
                    continue
                key = np.uint64(0)
                for token in range(opening, last + 1):
                    key = key * _BASE + tokens[token]
                key = _mix(key ^ _SALT)
                place = _place(key, hashes, buckets, shift) if _passes(key, sieve) else -1
                if place >= 0:
                    if found < len(found_keys):
                        found_keys[found] = key
                        hits[found, 0], hits[found, 3] = row, place
                        hits[found, 1], hits[found, 2] = begins[opening], stops[last]
                    found += 1
    return found


class Passages(NamedTuple):
    """What `cut` says of each text, arrays of shape (rows,)."""

    half_words: Array  # int64
    tokens: Array  # int64: words and lone characters
    hashes: Array  # uint64: of the whole
    suffixes: Array  # uint64: of the last `min_words` words


def cut(text: pa.StringArray, ngram_words: int, min_words: int) -> tuple[Array, Array, Passages]:
    """All n-grams of texts as `(rows, hashes)`, in order and with repeats, and what the texts are as passages."""
    kinds = (np.int64, np.int64, np.uint64, np.uint64)
    passages = Passages(*(np.zeros(len(text), kind) for kind in kinds))
    hits, keys = _run(text, ngram_words, min_words, True, _search(np.zeros(0, np.uint64)), None, passages)
    return hits[:, 0], keys, passages


def counts(ngrams: Array, share: Array, options: Decontamination) -> Array:
    """Whether a found passage counts as contamination: enough of its n-grams, or all of them; bool (passages,)."""
    thousandths = to_thousandths(share)
    enough = (ngrams >= options.min_ngrams) & (thousandths >= round(options.min_share * 1000))
    return enough | (thousandths == 1000)


@dataclass(frozen=True)
class EvaluationIndex:
    """The passages to look for: tables of schemas NGRAMS, PASSAGES and SHORT."""

    ngrams: pa.Table
    passages: pa.Table
    short: pa.Table
    ngram_words: int
    min_words: int

    @cached_property
    def _hashes(self) -> tuple[Array, Array]:
        """Different hashes, ascending, and where the passages of each begin."""
        hashes, starts = np.unique(self.ngrams["hash"].to_numpy(), return_index=True)
        return hashes, np.append(starts, self.ngrams.num_rows)

    @cached_property
    def search(self) -> Search:
        return _search(self._hashes[0])

    @cached_property
    def suffixes(self) -> tuple[Search, tuple[Array, Array]] | None:
        """The suffixes of short passages with their token counts; None where there is no such passage."""
        if not self.short.num_rows:
            return None
        hashes, starts = np.unique(self.short["suffix"].to_numpy(), return_index=True)
        starts = np.append(starts, self.short.num_rows).astype(np.int64)
        return _search(hashes), (_frozen(starts), _frozen(self.short["tokens"].to_numpy().astype(np.int64)))

    def find(self, text: pa.StringArray) -> pa.Table:
        """Every n-gram found: `row`, `start` and `stop` (bytes in its text), `hash`, and `passage`, one row each."""
        hits, keys = _run(text, self.ngram_words, self.min_words, False, self.search, self.suffixes, None)
        starts = self._hashes[1]
        first, number = starts[hits[:, 3]], np.diff(starts)[hits[:, 3]]
        index = np.repeat(np.arange(len(hits)), number)
        within = np.arange(len(index)) - np.repeat(np.cumsum(number) - number, number)
        passages = self.ngrams["passage"].to_numpy()[np.repeat(first, number) + within]
        names = ("row", "start", "stop")
        columns: dict[str, Any] = {name: hits[index, place] for place, name in enumerate(names)}
        return pa.table({**columns, "hash": keys[index], "passage": passages.astype(np.int32)})


def _run(
    text: pa.StringArray,
    ngram_words: int,
    min_words: int,
    every: bool,
    search: Search,
    suffixes: tuple[Search, tuple[Array, Array]] | None,
    passages: Passages | None,
) -> tuple[Array, Array]:
    """Hits, int64 (hits, 4), and their hashes."""
    data, offsets = string_buffers(text)
    few = 2 * min_words if every or suffixes is not None else 0
    nothing = np.zeros(1, np.int64)
    short, lengths = suffixes or (search, (_frozen(nothing), _frozen(nothing)))
    passages = passages or Passages(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.uint64, np.uint64)))
    room = 1024
    while True:
        hits, keys = np.empty((room, 4), np.int64), np.empty(room, np.uint64)
        arguments = (data, offsets, word_codes(), 2 * ngram_words, few, every, search, short, lengths)
        found = _slide(*arguments, hits, keys, passages)
        if found <= room:
            return hits[:found], keys[:found]
        room = found


def _search(hashes: Array) -> Search:
    """What the kernel needs to look ascending, different hashes up."""
    words = 1 << max(len(hashes) * BITS_PER_HASH // 64, 64).bit_length()
    sieve = np.zeros(words, np.uint64)
    bits = hashes & np.uint64(64 * words - 1)
    np.bitwise_or.at(sieve, (bits >> np.uint64(6)).astype(np.int64), np.uint64(1) << (bits & np.uint64(63)))
    upper = max(len(hashes), 2).bit_length()
    edges = np.arange(1, 1 << upper, dtype=np.uint64) << np.uint64(64 - upper)
    starts = np.concatenate([[0], np.searchsorted(hashes, edges), [len(hashes)]]).astype(np.int32)
    return Search(_frozen(sieve), _frozen(hashes), _frozen(starts), 64 - upper)


class Decontaminate:
    """`contamination` added: which passages of the evaluation sets a document holds, and where.

    For each passage, in the order of the index: its set, item and field, how many of its different n-grams are
    found and their share of all, and the spans, in bytes of the clean text that this stage is given. In the text
    that is stored they are off by as much as placeholders before them changed its length. Null where nothing is found.

    With `action: mask` the spans of passages that count (see `counts`) become PLACEHOLDER, and the flag
    `decontaminate.masked` says so; `title`, which no shard has, stays. The id was taken before, as with personal
    data: it names the document that was read, so it is the same in every run whatever its sets, and copies are
    still copies.
    """

    name = "decontaminate"
    version = "decontaminate.v1"

    def __init__(self, options: Decontamination, index: EvaluationIndex) -> None:
        self.options, self.index = options, index

    def setup(self) -> None:
        self.index.find(pa.array(["a"]))

    def identity(self) -> dict[str, str]:
        words = {name: str(getattr(self.options, name)) for name in ("ngram_words", "min_words")}
        masked = {name: str(getattr(self.options, name)) for name in ("min_ngrams", "min_share")}
        return {"version": self.version, **words, **(masked if self.options.action == "mask" else {})}

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        hits = self.index.find(batch["text"])
        if not hits.num_rows:
            return batch.append_column(CONTAMINATION, pa.nulls(batch.num_rows, CONTAMINATION.type))
        row, passage, first, spans = _group(hits)
        ngrams = _different(hits, first)
        totals = self.index.passages["ngrams"].to_numpy()[passage]
        share = to_grid(ngrams / totals)
        named = self.index.passages.take(pa.array(passage)).combine_chunks()
        values = pa.StructArray.from_arrays(
            [
                *(_array(named[name]) for name in ("set", "item", "field")),
                pa.array(ngrams.astype(np.int32)),
                pa.array(share),
                spans,
            ],
            fields=list(CONTAMINATION.type.value_type),
        )
        number = np.bincount(row, minlength=batch.num_rows)
        offsets = np.concatenate([[0], np.cumsum(number)]).astype(np.int32)
        column = pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(number == 0))
        batch = batch.append_column(CONTAMINATION, column.cast(CONTAMINATION.type))
        if self.options.action == "reject":
            return batch
        return _mask(batch, row, spans, counts(ngrams, share, self.options))


def _group(hits: pa.Table) -> tuple[Array, Array, Array, pa.ListArray]:
    """Hits by row and passage: `(rows, passages, first hits, spans)`; hits that touch each other are one span."""
    row, start, stop, passage = (hits[name].to_numpy() for name in ("row", "start", "stop", "passage"))
    order = np.lexsort((start, passage, row))
    row, start, stop, passage = row[order], start[order], stop[order], passage[order]
    new = np.ones(len(row), bool)
    new[1:] = (row[1:] != row[:-1]) | (passage[1:] != passage[:-1])
    apart = new.copy()
    apart[1:] |= start[1:] > stop[:-1]  # windows that begin later never end earlier
    opens = np.flatnonzero(apart)
    closes = np.append(opens[1:], len(row)) - 1
    group = np.cumsum(new) - 1
    offsets = np.searchsorted(group[opens], np.arange(group[-1] + 2)).astype(np.int32)
    pairs = pa.StructArray.from_arrays(
        [pa.array(start[opens].astype(np.int32)), pa.array(stop[closes].astype(np.int32))], ["start", "stop"]
    )
    return row[new], passage[new], np.flatnonzero(new), pa.ListArray.from_arrays(pa.array(offsets), pairs)


def _different(hits: pa.Table, first: Array) -> Array:
    """How many different n-grams each group of `_group` has."""
    keys = np.stack([hits[name].to_numpy().astype(np.uint64) for name in ("row", "passage", "hash")])
    unique = np.unique(keys, axis=1)
    new = np.ones(unique.shape[1], bool)
    new[1:] = (unique[:2, 1:] != unique[:2, :-1]).any(axis=0)
    numbers = np.diff(np.append(np.flatnonzero(new), unique.shape[1]))
    assert len(numbers) == len(first)
    return numbers


def _mask(batch: pa.RecordBatch, row: Array, spans: pa.ListArray, chosen: Array) -> pa.RecordBatch:
    """The batch with the spans of the `chosen` groups replaced in `text`."""
    touched = np.zeros(batch.num_rows, bool)
    touched[row[chosen]] = True
    if not touched.any():
        return batch
    texts = batch["text"]
    by_row: dict[int, list[tuple[int, int]]] = {}
    for group in np.flatnonzero(chosen):
        by_row.setdefault(int(row[group]), []).extend((span["start"], span["stop"]) for span in spans[group].as_py())
    masked = [_replaced(texts[index].as_py().encode(), sorted(by_row[index])) for index in sorted(by_row)]
    text = pc.replace_with_mask(texts, pa.array(touched), pa.array(masked, pa.string()))
    return append_flag(replace_column(batch, "text", text), touched, "decontaminate.masked")


def _replaced(text: bytes, spans: Sequence[tuple[int, int]]) -> str:
    pieces, done = [], -1
    for start, stop in spans:
        if start > done:
            pieces += [text[max(done, 0) : start], PLACEHOLDER.encode()]
        done = max(done, stop)
    return b"".join([*pieces, text[done:]]).decode()


def _array(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def _frozen(array: Array) -> Array:
    """The array, contiguous and read-only, so that a kernel sees one type."""
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
