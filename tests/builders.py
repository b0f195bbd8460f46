"""Small scored tables for tests: rows say only what matters to them."""

from typing import Any

import pyarrow as pa
from florilegium.schemas.document import SCORED, STATISTIC_NAMES
from florilegium.schemas.hashing import document_id, hash64, id_words, raw_hash
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL

GOOD_STATISTICS = dict.fromkeys(STATISTIC_NAMES, 0) | {
    "characters": 600,
    "words": 100,
    "lines": 5,
    "mean_word_length": 5.0,
    "alphabetic_words": 1.0,
    "stop_words": 20,
    "gopher_tokens": 120,
    "gopher_words": 100,
    "gopher_word_length": 5.0,
    "gopher_alphabetic_words": 0.9,
    "gopher_stop_words": 5,
    "c4_lines": 5,
    "c4_sentences": 6,
    "fineweb_terminal_lines": 1.0,
}


def scored_row(text: str = "a document", seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A sound English document; `statistics`, `prosocial` and `toxic` take partial mappings."""
    statistics = GOOD_STATISTICS | changes.pop("statistics", {})
    prosocial = dict.fromkeys(PROSOCIAL, 0.0) | changes.pop("prosocial", {})
    toxic = dict.fromkeys(HARMS, 0.0) | changes.pop("toxic", {})
    scored = changes.pop("scored", True)
    document = changes.pop("id", document_id(text.casefold().encode()))
    high, low = id_words(pa.array([document]))
    row: dict[str, Any] = {
        "key": int(hash64(seed, "key", high, low)[0]),
        "id": document,
        "source": "posts",
        "source_id": None,
        "provenance": {"file": "a.jsonl", "offset": 0},
        "text": text,
        "title": None,
        "url": None,
        "group": None,
        "created": None,
        "language_hint": None,
        "license": None,
        "flags": [],
        "error": None,
        "raw_hash": raw_hash(text.encode()),
        "host": None,
        "language": "en",
        "language_confidence": 1.0,
        "statistics": statistics,
        "personal_data": None,
        "lexicon": None,
        "bytes": len(text.encode()),
        "tokens": 10,
        "quality": 0.5 if scored else None,
        "harm": {name: {"topical": 0.0, "toxic": toxic[name]} for name in HARMS} if scored else None,
        "prosocial": prosocial if scored else None,
        "scored_by": "test" if scored else None,
        "synthetic": False,
    }
    unknown = set(changes) - set(row)
    assert not unknown, f"no such columns: {unknown}"
    return row | changes


def scored_table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCORED)
