"""Arrow schemas of a document on its way: record → scored document → shard row.

    RECORD    what a reader yields: one row per input record, whatever its format
    SCORED    a row of a sorted run: everything measured, nothing dropped, nothing decided
    SHARD     a row of a training shard (architecture: "A shard's row")
    REJECT    SHARD plus `action`, `reasons` and `duplicate_of`

A record that could not become a document keeps its row: `error` holds the reason, `text` is empty,
and it is counted as failed. Scores are stored on a grid of 1/1000 (`to_grid`), so that decisions do
not depend on the last bits of a vector unit. In languages that a model does not cover `quality`,
`harm` and `prosocial` are null, never zero. Where a harm model covers the language, `harm` is there and
holds what that model knows: `toxic` of some harms, **a rank that nobody has calibrated**; every other leaf
of it is null, as are `quality` and `prosocial`, and `scored_by` names the harm model.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from .taxonomy import HARMS, PROSOCIAL

__all__ = [
    "BUCKETS",
    "CONTAMINATION",
    "GENERATED_KEY",
    "GRID",
    "HARM",
    "LEXICON",
    "PERSONAL_DATA",
    "PERSONAL_DATA_KINDS",
    "PROSOCIAL_SCORES",
    "PROVENANCE",
    "RECORD",
    "REJECT",
    "SCHEMA_VERSION",
    "SCORED",
    "SHARD",
    "STATISTICS",
    "STATISTIC_NAMES",
    "TIMESTAMP",
    "WEIGHT",
    "scored_schema",
    "to_grid",
    "to_thousandths",
]

SCHEMA_VERSION = 1
GRID = 1000

GENERATED_KEY = b"florilegium.synthetic"  # of a Parquet file's metadata: which backend and seeds, as JSON
TIMESTAMP = pa.timestamp("ms", tz="UTC")
PROVENANCE = pa.struct([pa.field("file", pa.string()), pa.field("offset", pa.int64())])
PROSOCIAL_SCORES = pa.struct([pa.field(name, pa.float32()) for name in PROSOCIAL])
HARM = pa.struct(
    [pa.field(name, pa.struct([pa.field("topical", pa.float32()), pa.field("toxic", pa.float32())])) for name in HARMS]
)
PERSONAL_DATA_KINDS = ("email", "ip", "phone", "iban", "card", "national_id", "address")
PERSONAL_DATA = pa.struct([pa.field(kind, pa.int32()) for kind in PERSONAL_DATA_KINDS])

# Evidence of topic, never a ground to reject: lists with a match only, sorted by name.
LEXICON = pa.list_(pa.struct([pa.field("list", pa.string()), pa.field("matches", pa.int32())]))

STATISTIC_NAMES = (
    "characters",  # Unicode code points
    "words",  # maximal runs of non-space characters that hold a letter or digit
    "lines",  # non-empty lines
    "mean_word_length",  # code points per word
    "alphabetic_words",  # share of words with a letter
    "symbols_per_word",  # '#' and ellipses per word
    "bullet_lines",  # share of lines that start with a bullet
    "ellipsis_lines",  # share of lines that end with an ellipsis
    "terminal_lines",  # share of lines that end with . ! ? or a closing quote
    "duplicate_lines",  # share of characters in lines seen before in the document
    "uppercase",  # share of cased ASCII letters in upper case
    "digits",  # share of characters that are ASCII digits
    "stop_words",  # occurrences of the eight words of Gopher's English list
    # What the published rule sets compare, as datatrove 0.10 counts it. A token is a word or a punctuation
    # mark as spaCy's English tokenizer splits them; lines here may be empty.
    "gopher_tokens",  # words and punctuation marks
    "gopher_words",  # tokens that are not punctuation alone
    "gopher_word_length",  # code points per such word
    "gopher_hashes",  # '#' per token
    "gopher_ellipses",  # "..." and "…" per token
    "gopher_bullet_lines",  # share of lines that start with • or -
    "gopher_ellipsis_lines",  # share of lines that end with an ellipsis
    "gopher_alphabetic_words",  # share of tokens with a letter
    "gopher_stop_words",  # how many of the eight stop words occur, in lower case
    "repeated_lines",  # share of lines seen before in the document
    "repeated_line_characters",  # their characters by those of the document
    "repeated_paragraphs",  # the same for paragraphs, which end at an empty line
    "repeated_paragraph_characters",
    *(f"top_{n}_gram_characters" for n in range(2, 5)),  # of the commonest n-gram of tokens, by the document's
    *(f"repeated_{n}_gram_characters" for n in range(5, 11)),  # of n-grams seen before, by the document's
    "c4_lines",  # lines that C4's rules keep
    "c4_sentences",  # sentences in them
    "c4_lorem_ipsum_lines",  # lines that speak for leaving the document out
    "c4_curly_bracket_lines",
    "c4_unterminated_lines",  # lines that C4 leaves out, each by the first rule that fails
    "c4_few_words_lines",
    "c4_long_word_lines",
    "c4_javascript_lines",
    "c4_policy_lines",
    "fineweb_terminal_lines",  # share of lines with text that end in punctuation of any script
    "fineweb_short_lines",  # share of lines with text of at most 30 characters
    "fineweb_duplicate_characters",  # share of characters in lines seen before
    "fineweb_newlines",  # line feeds per token
)
_INTEGER_STATISTICS = {
    "characters",
    "words",
    "lines",
    "stop_words",
    "gopher_tokens",
    "gopher_words",
    "gopher_stop_words",
}
_INTEGER_STATISTICS |= {name for name in STATISTIC_NAMES if name.startswith("c4_")}
STATISTICS = pa.struct(
    [pa.field(name, pa.int32() if name in _INTEGER_STATISTICS else pa.float32()) for name in STATISTIC_NAMES]
)

BUCKETS = "buckets"  # the column of near-duplicates' hashes, which goes beside `scored/`, not into it

# Passages of evaluation sets that a document holds; a column of `scored/` and `rejects/` in runs that look for them.
CONTAMINATION = pa.field(
    "contamination",
    pa.list_(
        pa.struct(
            [
                pa.field("set", pa.string()),
                pa.field("item", pa.string()),
                pa.field("field", pa.string()),
                pa.field("ngrams", pa.int32()),  # different n-grams of the passage that are found
                pa.field("share", pa.float32()),  # of all that it has
                pa.field(
                    "spans", pa.list_(pa.struct([pa.field("start", pa.int32()), pa.field("stop", pa.int32())]))
                ),  # bytes of the clean text
            ]
        )
    ),
)

RECORD = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),  # the input's name in the recipe
        pa.field("source_id", pa.string()),  # the input's own id
        pa.field("provenance", PROVENANCE, nullable=False),  # file below the input's folder; byte offset or row
        pa.field("text", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("url", pa.string()),
        pa.field("group", pa.string()),  # a column that the recipe may define domains by
        pa.field("created", TIMESTAMP),
        pa.field("language_hint", pa.string()),  # what the page declares: a primary subtag such as `en`
        pa.field("license", pa.string()),
        pa.field("flags", pa.list_(pa.string()), nullable=False),
        pa.field("error", pa.string()),  # reason why there is no document; null when there is one
    ]
)

_SCORES = [
    pa.field("quality", pa.float32()),
    pa.field("harm", HARM),
    pa.field("prosocial", PROSOCIAL_SCORES),
]

SCORED = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        *RECORD,
        pa.field("raw_hash", pa.uint64(), nullable=False),  # of the text as read, before normalisation
        pa.field("host", pa.string()),
        pa.field("language", pa.string()),
        pa.field("language_confidence", pa.float32()),
        pa.field("statistics", STATISTICS),
        pa.field("personal_data", PERSONAL_DATA),
        pa.field("lexicon", LEXICON),  # null where no list applies
        pa.field("bytes", pa.int32(), nullable=False),  # of the text in UTF-8
        pa.field("tokens", pa.int32(), nullable=False),
        *_SCORES,
        pa.field("scored_by", pa.string()),
        pa.field("synthetic", pa.bool_(), nullable=False),
    ]
)


def scored_schema(names: Iterable[str]) -> pa.Schema:
    """SCORED, with CONTAMINATION where it is among the `names` of a table's columns."""
    return SCORED.append(CONTAMINATION) if CONTAMINATION.name in names else SCORED


CONTRIBUTIONS = pa.list_(pa.struct([pa.field("charter", pa.string()), pa.field("weight", pa.float64())]))

SHARD = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("source_id", pa.string()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("host", pa.string()),
        pa.field("domain", pa.string()),
        pa.field("language", pa.string()),
        pa.field("created", TIMESTAMP),
        pa.field("license", pa.string()),
        pa.field("tokens", pa.int32(), nullable=False),
        *_SCORES,
        pa.field("cluster_size", pa.int32(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
        pa.field("repeats", pa.int32(), nullable=False),
        pa.field("contributions", CONTRIBUTIONS, nullable=False),
        pa.field("scored_by", pa.string()),
        pa.field("synthetic", pa.bool_(), nullable=False),
        pa.field("provenance", PROVENANCE, nullable=False),
        pa.field("flags", pa.list_(pa.string()), nullable=False),
    ]
)

# Beside the shards: what each document got, and from whom.
WEIGHT = pa.schema([SHARD.field(name) for name in ("id", "key", "domain", "weight", "repeats", "contributions")])

REJECT = pa.schema(
    [
        *SHARD,
        pa.field("action", pa.string(), nullable=False),  # rejected, duplicate or failed
        pa.field("reasons", pa.list_(pa.string()), nullable=False),
        pa.field("duplicate_of", pa.string()),  # id of the document that stands for a duplicate
    ]
)


def to_grid(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Probabilities clamped to [0, 1] and rounded to thousandths, as float32 of any shape."""
    return (np.rint(np.clip(values, 0.0, 1.0) * GRID) / GRID).astype(np.float32)


def to_thousandths(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The integers 0..1000 behind values on the grid; NaN (an absent score) becomes -1."""
    return np.where(np.isnan(values), -1, np.rint(np.nan_to_num(values) * GRID)).astype(np.int32)
