"""The hashes that everything deterministic rests on.

`document_id`, `raw_hash` and `digest` are BLAKE2b (RFC 7693), so nobody can craft a page that takes another's id.
`hash64` mixes (seed, purpose, id) with the finaliser of MurmurHash3 (Appleby, public domain): every
random choice in Florilegium is such a hash, never a position, rank, process or time.
"""

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa

from .arrays import string_buffers

__all__ = ["digest", "document_id", "hash64", "id_words", "raw_hash", "uniform"]

Words = np.ndarray[Any, np.dtype[np.uint64]]


def document_id(normalised: bytes | memoryview) -> str:
    """128-bit BLAKE2b of a document's normalised content, as 32 hex digits."""
    return hashlib.blake2b(normalised, digest_size=16).hexdigest()


def raw_hash(raw: bytes | memoryview) -> int:
    """64-bit BLAKE2b of a document's text as read (UTF-8), as an unsigned integer."""
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big")


def digest(value: Any) -> str:
    """Digest of a JSON-like value's meaning: 16 hex digits, independent of key order and layout."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def id_words(ids: pa.Array | pa.ChunkedArray) -> tuple[Words, Words]:
    """High and low 64 bits of hex ids without nulls, two arrays of shape (rows,)."""
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    data, offsets = string_buffers(array)
    digits = data[offsets[0] : offsets[-1]].tobytes().decode()
    words = np.frombuffer(bytes.fromhex(digits), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return words[:, 0], words[:, 1]


def _mix(value: Words) -> Words:
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


def hash64(seed: int, purpose: str, high: Words, low: Words) -> Words:
    """Uniform 64-bit hashes of (seed, purpose, id), shape (rows,)."""
    salt = int.from_bytes(hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest(), "big")
    return _mix(_mix(high ^ np.uint64(salt)) ^ low)


def uniform(hashes: Words) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Hashes as numbers in [0, 1), from their upper 53 bits."""
    return (hashes >> np.uint64(11)).astype(np.float64) / float(1 << 53)
