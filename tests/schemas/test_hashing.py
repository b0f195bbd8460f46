import hashlib

import numpy as np
import pyarrow as pa
from florilegium.schemas.hashing import digest, document_id, hash64, id_words, raw_hash, uniform
from hypothesis import given
from hypothesis import strategies as st


def test_ids_and_hashes_are_blake2b() -> None:
    assert document_id(b"") == "cae66941d9efbd404e4d88758ea67670"
    assert raw_hash(b"") == 0xE4A6A0577479B2B4
    assert document_id(memoryview(b"abc")[1:]) == hashlib.blake2b(b"bc", digest_size=16).hexdigest()


def test_a_digest_is_of_the_meaning_not_of_the_layout() -> None:
    assert digest({"a": 1, "b": [2, "é"]}) == digest({"b": [2, "é"], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
    assert len(digest(None)) == 16


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=6), st.integers(0, 6))
def test_words_are_the_two_halves_of_an_id(values: list[bytes], start: int) -> None:
    ids = pa.array([value.hex() for value in values], pa.string()).slice(min(start, len(values)))
    high, low = id_words(ids)
    assert [int(word) for word in high] == [int(value.hex()[:16], 16) for value in values[start:]]
    assert [int(word) for word in low] == [int(value.hex()[16:], 16) for value in values[start:]]


def test_words_of_chunks_are_words_of_the_whole() -> None:
    first, second = document_id(b"1"), document_id(b"2")
    chunked = pa.chunked_array([[first], [second]])
    assert np.array_equal(id_words(chunked), id_words(pa.array([first, second])))


def test_a_random_choice_depends_on_seed_purpose_and_id_alone() -> None:
    high, low = id_words(pa.array([document_id(bytes([byte])) for byte in range(100)]))
    keys = hash64(7, "key", high, low)
    assert np.array_equal(keys[::-1], hash64(7, "key", high[::-1], low[::-1]))
    assert len(set(keys.tolist())) == 100
    for other in (hash64(8, "key", high, low), hash64(7, "repeats", high, low), hash64(7, "key", low, high)):
        assert not np.any(other == keys)


def test_hashes_are_uniform() -> None:
    words = np.arange(20_000, dtype=np.uint64)
    numbers = uniform(hash64(0, "test", words, words))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.bincount((numbers * 20).astype(int), minlength=20)
    assert abs(counts - 1000).max() < 150  # five standard deviations
    assert uniform(np.array([0, 2**64 - 1], np.uint64)).tolist() == [0.0, 1 - 2**-53]
