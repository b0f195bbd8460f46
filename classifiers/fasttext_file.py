"""fastText model files, read into and written from NumPy arrays, and a whole-batch scorer over them.

`fasttext` scores one line a call; over the same weights, the kernels here score a batch of Arrow strings
without the interpreter lock, and the file stays one that any fastText loads. The layout is that of fastText
0.9 (`FastText::saveModel`, file version 12), little-endian:

    magic, version · arguments · dictionary (entries, kept buckets) · input matrix · output matrix

A feature of a text is a word of the dictionary or a pair of neighbours, hashed to a bucket. A quantised
matrix (Joulin et al. 2016, arXiv 1612.03651) holds, for each row, one byte per `dsub` dimensions that names
one of 256 centroids. It is expanded to float32 once, at load: rows × dim × 4 bytes.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numba
import numpy as np

__all__ = ["FastTextModel", "Features", "Vocabulary", "Windows", "features", "parse", "serialize", "window_logits"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Integers = np.ndarray[Any, np.dtype[np.int32]]
Words = np.ndarray[Any, np.dtype[np.uint64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]

MAGIC, VERSION = 793712314, 12
SUPERVISED, ONE_VS_ALL, WORD_NGRAMS = 3, 4, 2
END = np.frombuffer(b"</s>", np.uint8)  # fastText's token for the end of a line
CENTROIDS = 256
LABEL = "__label__"
STEEPNESS = 6.0


@dataclass(frozen=True)
class Vocabulary:
    """Which features there are, as the kernels read them."""

    words: tuple[bytes, ...]
    buckets: int
    word_bytes: Bytes  # all words, one after the other
    word_offsets: Integers  # (words + 1,)
    slots: Integers  # hash table: index of a word, -1 where empty; its length is a power of two
    tails: Words  # (words,) a 1 and the last bytes of each word, 8 together, as one number
    kept: Integers  # (buckets,) row below the words, -1 where pruned; empty where nothing was pruned
    sieve: Words  # (buckets / 64, 2) which of 64 buckets are kept, as bits, and how many are before them
    places: Integers  # (buckets kept,) their rows, in the order of the buckets

    @classmethod
    def build(cls, words: Sequence[bytes], buckets: int, kept: Integers | None = None) -> Self:
        """Lay out `words` for the kernels."""
        word_bytes = np.frombuffer(b"".join(words), np.uint8)
        word_offsets = np.cumsum([0, *map(len, words)], dtype=np.int32)
        slots = np.full(1 << (4 * max(len(words), 1)).bit_length(), -1, np.int32)
        _fill_slots(word_bytes, word_offsets, slots)
        tails = np.array([int.from_bytes((b"\1" + word)[-8:], "big") for word in words], np.uint64)
        kept = np.empty(0, np.int32) if kept is None else kept
        bits = np.zeros((-(-len(kept) // 64), 64), np.uint8)
        bits.ravel()[: len(kept)] = kept >= 0
        numbers = bits.sum(axis=1, dtype=np.uint64)
        sieve = np.column_stack([np.packbits(bits, bitorder="little").view("<u8"), np.cumsum(numbers) - numbers])
        return cls(tuple(words), buckets, word_bytes, word_offsets, slots, tails, kept, sieve, kept[kept >= 0])


@dataclass(frozen=True)
class FastTextModel:
    """A supervised one-vs-all model over words and word pairs, ready for the kernel."""

    labels: tuple[str, ...]  # without the prefix
    vocabulary: Vocabulary
    inputs: Floats  # (features, dim): words, then buckets
    outputs: Floats  # (labels, dim)


@dataclass(frozen=True)
class Windows:
    """Scored windows, row after row."""

    logits: Floats  # (windows, labels)
    types: Integers  # (windows,) distinct tokens of each, known to the model or not
    counts: Integers  # (rows,) windows of each row


@dataclass(frozen=True)
class Features:
    """The features of each row, with repetition, as a ragged array."""

    indices: Integers
    offsets: np.ndarray[Any, np.dtype[np.int64]]  # (rows + 1,)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def values(self, layout: str) -> tuple[Any, ...]:
        layout = "<" + layout
        values = struct.unpack_from(layout, self.data, self.position)
        self.position += struct.calcsize(layout)
        return values

    def array(self, dtype: Any, count: int) -> np.ndarray[Any, Any]:
        values = np.frombuffer(self.data, dtype, count, self.position)
        self.position += values.nbytes
        return values

    def string(self) -> bytes:
        end = self.data.index(b"\0", self.position)
        value = self.data[self.position : end]
        self.position = end + 1
        return value

    def centroids(self) -> tuple[int, int, Floats]:
        """`(parts, dsub, centroids)` of a product quantiser, centroids flat."""
        dim, parts, dsub, _ = self.values("4i")
        return parts, dsub, self.array("<f4", dim * CENTROIDS)

    def matrix(self, quantised: bool) -> Floats:
        if not quantised:
            rows, columns = self.values("2q")
            return self.array("<f4", rows * columns).reshape(rows, columns)
        (with_norms,) = self.values("?")
        rows, columns, size = self.values("2qi")
        codes = self.array(np.uint8, size).reshape(rows, -1)
        parts, dsub, centroids = self.centroids()
        dense = np.empty((rows, columns), np.float32)
        for part in range(parts):
            left, right = part * dsub, min((part + 1) * dsub, columns)
            table = centroids[left * CENTROIDS : right * CENTROIDS].reshape(CENTROIDS, right - left)
            dense[:, left:right] = table[codes[:, part]]
        if with_norms:
            norm_codes = self.array(np.uint8, rows)
            dense *= self.centroids()[2][norm_codes][:, None]
        return dense


def parse(data: bytes) -> FastTextModel:
    """A model from the bytes of a `.bin` or `.ftz` file.

    Raises `ValueError` (or `struct.error`) for a file that is cut, or a model that the kernel cannot score.
    """
    reader = _Reader(data)
    if reader.values("2i") != (MAGIC, VERSION):
        raise ValueError("not a fastText file of version 12")
    _, _, _, _, _, word_ngrams, loss, model, buckets, _, longest, _, _ = reader.values("12id")
    if (model, loss) != (SUPERVISED, ONE_VS_ALL) or longest > 0 or word_ngrams != WORD_NGRAMS:
        raise ValueError("needs a supervised one-vs-all model with word pairs and without character n-grams")
    size, word_count, _, _, pruned = reader.values("3i2q")
    entries = []
    for _ in range(size):
        entries.append(reader.string())
        reader.values("qb")
    words, labels = entries[:word_count], entries[word_count:]
    kept = np.empty(0, np.int32)
    if pruned >= 0:
        kept = np.full(buckets, -1, np.int32)
        pairs = reader.array("<i4", 2 * pruned).reshape(-1, 2)
        kept[pairs[:, 0]] = pairs[:, 1]
    (quantised,) = reader.values("?")
    inputs = reader.matrix(quantised)
    (quantised_output,) = reader.values("?")
    outputs = reader.matrix(quantised and quantised_output)
    if reader.position != len(data):
        raise ValueError("holds more bytes than a fastText model")
    if not (np.isfinite(inputs).all() and np.isfinite(outputs).all()):
        raise ValueError("holds weights that are not finite")
    if len(inputs) != word_count + (buckets if pruned < 0 else pruned) or len(outputs) != len(labels):
        raise ValueError("holds matrices that do not fit its dictionary")
    if len(kept) and kept.max() >= pruned:
        raise ValueError("names rows that its input matrix lacks")
    return FastTextModel(
        labels=tuple(label.decode().removeprefix(LABEL) for label in labels),
        vocabulary=Vocabulary.build(words, buckets, kept),
        inputs=np.ascontiguousarray(inputs),
        outputs=np.ascontiguousarray(outputs),
    )


def serialize(
    vocabulary: Vocabulary,
    counts: Sequence[int],
    labels: Sequence[str],
    weights: np.ndarray[Any, Any],
    slopes: np.ndarray[Any, Any],
    intercepts: np.ndarray[Any, Any],
) -> bytes:
    """A linear model as a quantised fastText file: `weights` of shape (features, labels), one dimension a label.

    The last dimension is 1 for every feature, hence 1 in every mean, so that the output matrix holds
    intercepts: fastText's probability of a label is sigmoid(slope * mean weight + intercept).

    Each weight takes one byte, on 255 levels spaced as a hyperbolic sine between ± the label's largest
    weight: steps of about 5 % of the weight from the largest down to 1/40 of it, so that the many small
    weights survive (the k-means levels that fastText fits merge the few words that decide). `counts` are the
    words', for information.
    """
    dim = len(labels) + 1
    weights = np.column_stack([weights, np.ones(len(weights))])
    outputs = np.column_stack([np.diag(slopes), intercepts]).astype("<f4")
    levels = np.sinh(STEEPNESS * (np.arange(CENTROIDS) - 128) / 127) / np.sinh(STEEPNESS)
    levels[0] = -1.0
    largest = np.abs(weights).max(axis=0) + 1e-30
    steps = np.arcsinh(weights / largest * np.sinh(STEEPNESS)) / STEEPNESS * 127
    codes = (np.rint(steps) + 128).astype(np.uint8)
    kept = np.flatnonzero(vocabulary.kept >= 0).astype("<i4")
    pruned = np.column_stack([kept, vocabulary.kept[kept].astype("<i4")])
    parts = [
        struct.pack("<2i", MAGIC, VERSION),
        # dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate, t
        struct.pack("<12id", dim, 5, 1, 1, 5, WORD_NGRAMS, ONE_VS_ALL, SUPERVISED, vocabulary.buckets, 0, 0, 100, 1e-4),
        struct.pack("<3i2q", len(counts) + len(labels), len(counts), len(labels), sum(counts), len(kept)),
        *(word + struct.pack("<xqb", count, 0) for word, count in zip(vocabulary.words, counts, strict=True)),
        *(f"{LABEL}{label}".encode() + struct.pack("<xqb", 1, 1) for label in labels),
        pruned.tobytes(),
        struct.pack("<??2qi", True, False, len(weights), dim, codes.size),
        codes.tobytes(),
        struct.pack("<4i", dim, dim, 1, 1),
        np.ascontiguousarray((levels[None, :] * largest[:, None]).astype("<f4")).tobytes(),
        struct.pack("<?2q", False, *outputs.shape),
        np.ascontiguousarray(outputs).tobytes(),
    ]
    return b"".join(parts)


@numba.njit(inline="always")
def _hash(data: Bytes, start: int, stop: int) -> Any:
    """32-bit FNV-1a over signed bytes, as fastText has it (the sign is kept for compatibility there)."""
    value = np.uint32(2166136261)
    for position in range(start, stop):
        value = np.uint32((value ^ np.uint32(np.int8(data[position]))) * np.uint32(16777619))
    return value


@numba.njit(cache=True, nogil=True)
def _fill_slots(word_bytes: Bytes, word_offsets: Integers, slots: Integers) -> None:
    mask = np.uint32(len(slots) - 1)
    for word in range(len(word_offsets) - 1):
        slot = _hash(word_bytes, word_offsets[word], word_offsets[word + 1]) & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint32(1)) & mask
        slots[slot] = word


@numba.njit(inline="always")
def _find(
    data: Bytes, start: Any, stop: Any, hashed: Any, tail: Any, word_bytes: Bytes, word_offsets: Integers,
    slots: Integers, tails: Words,
) -> Any:  # fmt: skip
    """The index of the word at data[start:stop], or -1; `tail` as in Vocabulary."""
    mask = np.uint32(len(slots) - 1)
    slot = hashed & mask
    while slots[slot] >= 0:
        word = slots[slot]
        begin = word_offsets[word]
        if tails[word] == tail and word_offsets[word + 1] - begin == stop - start:
            same = True
            for position in range(stop - start - 8):
                if word_bytes[begin + position] != data[start + position]:
                    same = False
                    break
            if same:
                return word
        slot = (slot + np.uint32(1)) & mask
    return -1


@numba.njit(inline="always")
def _ones(bits: Any) -> Any:
    """The number of bits set in a uint64."""
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)


@numba.njit(inline="always")
def _gather(
    data: Bytes, position: Any, limit: Any, stop: Any, buckets: int, word_bytes: Bytes, word_offsets: Integers,
    slots: Integers, tails: Words, sieve: Words, places: Integers, found: Integers, paired: Integers, hashes: Any,
) -> tuple[int, int, int, Any]:  # fmt: skip
    """Features of one line: the tokens that start in data[position:limit], then the end-of-line token.

    Fills `found` with words, `paired` with pairs and `hashes` with those of all tokens; returns their numbers and where
    the next token starts.
    """
    words, both, tokens = 0, 0, 0
    previous = np.uint64(0)
    first = True
    last = False
    first_bucket = len(word_offsets) - 1
    modulus = np.uint64(buckets)
    mask = modulus - np.uint64(1) if buckets & (buckets - 1) == 0 else np.uint64(0)
    while not last:
        hashed = np.uint32(2166136261)
        tail = np.uint64(1)
        if position < limit:
            start = position
            while position < stop and data[position] != 32:
                byte = data[position]
                hashed = np.uint32((hashed ^ np.uint32(np.int8(byte))) * np.uint32(16777619))
                tail = tail << np.uint64(8) | np.uint64(byte)
                position += 1
            word = _find(data, start, position, hashed, tail, word_bytes, word_offsets, slots, tails)
            position += 1
            hashes[tokens] = hashed
            tokens += 1
        else:
            for byte in END:
                hashed = np.uint32((hashed ^ np.uint32(np.int8(byte))) * np.uint32(16777619))
                tail = tail << np.uint64(8) | np.uint64(byte)
            word = _find(END, 0, len(END), hashed, tail, word_bytes, word_offsets, slots, tails)
            last = True
        if word >= 0:
            found[words] = word
            words += 1
        # fastText keeps hashes as signed 32-bit integers and widens them to 64 bits.
        signed = np.uint64(np.int64(np.int32(hashed)))
        if not first:
            bucket = previous * np.uint64(116049371) + signed
            bucket = bucket & mask if mask else bucket % modulus
            if len(sieve) == 0:
                paired[both] = first_bucket + np.int64(bucket)
                both += 1
            else:
                bits = sieve[bucket >> np.uint64(6), 0]
                bit = np.uint64(1) << (bucket & np.uint64(63))
                if bits & bit:
                    before = sieve[bucket >> np.uint64(6), 1] + _ones(bits & (bit - np.uint64(1)))
                    paired[both] = first_bucket + places[before]
                    both += 1
        previous, first = signed, False
    return words, both, tokens, position


@numba.njit(cache=True, nogil=True)
def _features(
    data: Bytes, offsets: Integers, buckets: int, word_bytes: Bytes, word_offsets: Integers, slots: Integers,
    tails: Words, sieve: Words, places: Integers, indices: Integers, ends: Any,
) -> None:  # fmt: skip
    most = np.int64(0)
    for row in range(len(offsets) - 1):
        most = max(most, np.int64(offsets[row + 1] - offsets[row]))
    found, paired = np.empty(most // 2 + 4, np.int32), np.empty(most // 2 + 4, np.int32)
    hashes = np.empty(most // 2 + 4, np.uint32)
    total = np.int64(0)
    for row in range(len(offsets) - 1):
        start, stop = np.int64(offsets[row]), np.int64(offsets[row + 1])
        if start < stop:
            words, both, _, _ = _gather(
                data, start, stop, stop, buckets, word_bytes, word_offsets, slots, tails, sieve, places, found, paired,
                hashes,
            )  # fmt: skip
            indices[total : total + words] = found[:words]
            indices[total + words : total + words + both] = paired[:both]
            total += words + both
        ends[row + 1] = total


@numba.njit(inline="always")
def _slots(window: Any) -> Any:
    """Places of a table of a window's tokens: a power of two, at least twice their number."""
    slots = 16
    while slots < window + 8:
        slots *= 2
    return slots


@numba.njit(inline="always")
def _distinct(hashes: Any, count: Any, kept: Any, last_in: Any, window: Any) -> Any:
    """How many of the first `count` hashes differ; `window` says which entries of the table are of this call."""
    mask, distinct = np.uint32(len(kept) - 1), 0
    for place in range(count):
        slot = hashes[place] & mask
        while last_in[slot] == window and kept[slot] != hashes[place]:
            slot = (slot + np.uint32(1)) & mask
        if last_in[slot] != window:
            last_in[slot], kept[slot] = window, hashes[place]
            distinct += 1
    return distinct


@numba.njit(cache=True, nogil=True)
def _score(
    data: Bytes, offsets: Integers, window: int, distinct: bool, buckets: int, word_bytes: Bytes,
    word_offsets: Integers, slots: Integers, tails: Words, sieve: Words, places: Integers, inputs: Floats,
    outputs: Floats, logits: Floats, types: Integers, counts: Integers,
) -> None:  # fmt: skip
    dim, labels = inputs.shape[1], outputs.shape[0]
    firsts, lasts = np.empty(labels, np.int64), np.empty(labels, np.int64)  # where a label's weights are not 0
    for label in range(labels):
        used = np.flatnonzero(outputs[label])
        firsts[label], lasts[label] = (used[0], used[-1] + 1) if len(used) else (0, 0)
    found, paired = np.empty(window + 8, np.int32), np.empty(window // 2 + 4, np.int32)
    hashes = np.empty(window // 2 + 4, np.uint32)
    last_in = np.zeros(_slots(window), np.int64)  # the window that a slot of the table of hashes was last used in, + 1
    kept = np.empty(len(last_in), np.uint32)
    hidden = np.empty(dim, np.float32)
    seen = np.full(inputs.shape[0], -1, np.int32)  # the last window that each feature was found in
    total = 0
    for row in range(len(offsets) - 1):
        start, stop = np.int64(offsets[row]), np.int64(offsets[row + 1])
        length = stop - start
        parts = (length + window - 1) // window
        part, before, position = np.int64(0), total, start
        while position < stop:
            limit = start + (part + 1) * length // parts
            words, both, tokens, position = _gather(
                data, position, limit, stop, buckets, word_bytes, word_offsets, slots, tails, sieve, places,
                found, paired, hashes,
            )  # fmt: skip
            found[words : words + both] = paired[:both]
            size = words + both
            if distinct:
                size = 0
                for feature in range(words + both):
                    index = found[feature]
                    found[size] = index
                    size += seen[index] != total
                    seen[index] = total
            hidden[:] = 0
            feature = 0
            while feature + 4 <= size:  # the order of the additions stays that of the features
                one, two = found[feature], found[feature + 1]
                three, four = found[feature + 2], found[feature + 3]
                for d in range(dim):
                    hidden[d] = (((hidden[d] + inputs[one, d]) + inputs[two, d]) + inputs[three, d]) + inputs[four, d]
                feature += 4
            while feature < size:
                for d in range(dim):
                    hidden[d] += inputs[found[feature], d]
                feature += 1
            size = max(size, 1)
            scale = np.float32(1 / np.sqrt(size)) if distinct else np.float32(1 / size)
            for label in range(labels):
                value = np.float32(0)
                for d in range(firsts[label], lasts[label]):
                    value += outputs[label, d] * (hidden[d] * scale)
                logits[total, label] = value
            types[total] = max(_distinct(hashes, tokens, kept, last_in, total + 1), 1)
            total += 1
            # A token longer than a window takes up the windows that it covers.
            part = max(part + 1, (position - start) * parts // length)
        counts[row] = total - before


def window_logits(
    model: FastTextModel,
    data: Bytes,
    offsets: Integers,
    window: int,
    outputs: Floats | None = None,
    distinct: bool = False,
) -> Windows:
    """Logits of every window of every tokenised row.

    A row of n bytes is cut at spaces into ceil(n / window) windows of about equal size, and each is scored as
    fastText scores a line, its end-of-line token included: the output matrix times the mean of the rows of
    its features. An empty row has no window. With `distinct`, each feature of a window counts once, however
    often it is repeated, and their sum is divided by the root of their number instead. `outputs` of shape
    (any, dim) stands in for the model's output matrix.
    """
    outputs = model.outputs if outputs is None else outputs
    lengths = np.diff(offsets).astype(np.int64)
    window = min(window, max(int(lengths.max(initial=0)), 1))  # memory is taken for a window
    most = int(np.sum((lengths + window - 1) // window))
    logits = np.empty((most, len(outputs)), np.float32)
    types = np.empty(most, np.int32)
    counts = np.empty(len(lengths), np.int32)
    v = model.vocabulary
    _score(
        data, offsets, window, distinct, v.buckets, v.word_bytes, v.word_offsets, v.slots, v.tails, v.sieve, v.places,
        model.inputs, outputs, logits, types, counts,
    )  # fmt: skip
    total = int(counts.sum())
    return Windows(logits[:total], types[:total], counts)


def features(vocabulary: Vocabulary, data: Bytes, offsets: Integers) -> Features:
    """The features of every tokenised row, each row read as one line."""
    indices = np.empty(int(offsets[-1] - offsets[0]) + 4 * len(offsets), np.int32)
    ends = np.zeros(len(offsets), np.int64)
    v = vocabulary
    _features(
        data, offsets, v.buckets, v.word_bytes, v.word_offsets, v.slots, v.tails, v.sieve, v.places, indices, ends
    )
    return Features(indices[: ends[-1]], ends)
