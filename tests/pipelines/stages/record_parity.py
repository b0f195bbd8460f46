"""What datatrove's own filters decide; run as a script, it records that for the texts of `parity_texts.py`.

    pip install "datatrove[processing]==0.10.1" spacy==3.8.18
    python -m tests.pipelines.stages.record_parity

writes `parity.json` beside it: per text the reason that each filter gives (null: it keeps the text), and
the rules that drop it when they stand alone, so that the comparison needs neither package.
"""

import json
import math
import sys
from functools import cache
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).with_name("parity.json")

OFF = {
    "gopher_quality": {
        "min_doc_words": None,
        "max_doc_words": None,
        "min_avg_word_length": None,
        "max_avg_word_length": None,
        "max_symbol_word_ratio": None,
        "max_bullet_lines_ratio": None,
        "max_ellipsis_lines_ratio": None,
        "max_non_alpha_words_ratio": None,
        "min_stop_words": None,
    },
    "gopher_repetition": {
        "dup_line_frac": None,
        "dup_para_frac": None,
        "dup_line_char_frac": None,
        "dup_para_char_frac": None,
        "top_n_grams": (),
        "dup_n_grams": (),
    },
    "c4": {"min_num_sentences": -1, "filter_lorem_ipsum": False, "filter_curly_bracket": False},
    "fineweb": {
        "line_punct_thr": -1,
        "short_line_thr": math.inf,
        "char_duplicates_ratio": math.inf,
        "new_line_ratio": math.inf,
    },
}
# Our rule → the one argument that switches it on alone; the published value where it is not the default.
RULES: dict[str, dict[str, dict[str, Any]]] = {
    "gopher_quality": {
        "min_words": {"min_doc_words": 50},
        "max_words": {"max_doc_words": 100_000},
        "min_word_length": {"min_avg_word_length": 3},
        "max_word_length": {"max_avg_word_length": 10},
        "max_hashes": {"max_symbol_word_ratio": 0.1},
        "max_ellipses": {"max_symbol_word_ratio": 0.1},
        "max_bullet_lines": {"max_bullet_lines_ratio": 0.9},
        "max_ellipsis_lines": {"max_ellipsis_lines_ratio": 0.3},
        "min_alphabetic_words": {"max_non_alpha_words_ratio": 0.8},
        "min_stop_words": {"min_stop_words": 2},
    },
    "gopher_repetition": {
        "max_repeated_lines": {"dup_line_frac": 0.3},
        "max_repeated_line_characters": {"dup_line_char_frac": 0.2},
        "max_repeated_paragraphs": {"dup_para_frac": 0.3},
        "max_repeated_paragraph_characters": {"dup_para_char_frac": 0.2},
        **{
            f"max_top_{n}_gram_characters": {"top_n_grams": ((n, share),)}
            for n, share in ((2, 0.2), (3, 0.18), (4, 0.16))
        },
        **{
            f"max_repeated_{n}_gram_characters": {"dup_n_grams": ((n, share),)}
            for n, share in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))
        },
    },
    "c4": {
        "min_sentences": {"min_num_sentences": 5},
        "max_lorem_ipsum_lines": {"filter_lorem_ipsum": True},
        "max_curly_bracket_lines": {"filter_curly_bracket": True},
    },
    "fineweb": {
        "min_terminal_lines": {"line_punct_thr": 0.12},
        "max_short_lines": {"short_line_thr": 0.67},
        "max_duplicate_characters": {"char_duplicates_ratio": 0.01},
        "max_newlines": {"new_line_ratio": 0.3},
    },
}
# Two rules of ours are one argument of datatrove's; its reason tells them apart.
REASON_OF = {"max_hashes": "gopher_too_many_hashes", "max_ellipses": "gopher_too_many_ellipsis"}


@cache
def filters() -> dict[str, Any]:
    """datatrove's filters as published, and one per rule ("c4.min_sentences")."""
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    kinds = {
        "gopher_quality": GopherQualityFilter,
        "gopher_repetition": GopherRepetitionFilter,
        "c4": C4QualityFilter,
        "fineweb": FineWebQualityFilter,
    }
    made: dict[str, Any] = {group: kind() for group, kind in kinds.items()}
    for group, rules in RULES.items():
        for rule, arguments in rules.items():
            made[f"{group}.{rule}"] = kinds[group](**{**OFF[group], **arguments})
    return made


def decide(name: str, text: str) -> str | None:
    """The reason for which the filter or single rule drops the text; None if it keeps it."""
    from datatrove.data import Document

    try:
        verdict = filters()[name].filter(Document(text=text, id=""))  # a new one: C4 changes its text
    except ZeroDivisionError:  # a single rule on a text without words
        return "no words"
    reason = None if verdict is True else verdict[1] if isinstance(verdict, tuple) else "dropped"
    return reason if REASON_OF.get(name.split(".")[-1], reason) == reason else None


def decisions(text: str) -> dict[str, Any]:
    """Per filter its reason or None, and under "rules" those that drop the text when they stand alone."""
    found: dict[str, Any] = {name: decide(name, text) for name in filters()}
    rules = [name for name, reason in found.items() if "." in name and reason]
    return {group: found[group] for group in RULES} | {"rules": rules}


if __name__ == "__main__":
    from tests.pipelines.stages.parity_texts import texts

    recorded = [decisions(text) for text in texts()]
    GOLDEN.write_text("[\n" + ",\n".join(map(json.dumps, recorded)) + "\n]\n")
    print(f"{len(recorded)} texts, {GOLDEN.stat().st_size} bytes", file=sys.stderr)
