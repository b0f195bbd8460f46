"""How diverse a set of documents is, and how much of the grid was reached.

The Vendi score (Friedman and Dieng, arXiv 2210.02410) is exp of the entropy of the eigenvalues of K / n: how many
documents that share nothing it is worth. Here K is the cosine of TF-IDF vectors of word 1- and 2-grams hashed into
4,096 dimensions, so no model is needed; scores of sets of unlike size do not compare, so a human set is cut to size.
distinct-n is the share of different n-grams, self-BLEU the mean BLEU-4 of a document against the others (lower is
more diverse).
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.hashing import raw_hash
from ...schemas.recipe import Synthesis
from .gates import SPEAKER
from .grid import Cell, load_grid
from .phrases import WORD

__all__ = ["distinct", "diversity_report", "render_report", "self_bleu", "vendi"]

WIDTH = 4096
MOST_FOR_VENDI, MOST_FOR_BLEU = 400, 120
AXES = ("kind", "virtue", "situation", "relation", "setting", "difficulty", "quiet", "length", "register")


def _words(text: str) -> list[str]:
    return WORD.findall(SPEAKER.sub("", text).lower())


def _ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


def vendi(texts: Sequence[str]) -> float:
    """The Vendi score of texts, between 1 and their number; 0 for none."""
    if not texts:
        return 0.0
    places: dict[tuple[str, ...], int] = {}
    vectors = np.zeros((len(texts), WIDTH))
    for row, text in enumerate(texts):
        words = _words(text)
        for gram in [*_ngrams(words, 1), *_ngrams(words, 2)]:
            if gram not in places:
                places[gram] = raw_hash(" ".join(gram).encode()) % WIDTH
            vectors[row, places[gram]] += 1
    vectors = np.log1p(vectors) * np.log((1 + len(texts)) / (1 + (vectors > 0).sum(axis=0)) + 1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    values = np.linalg.eigvalsh(vectors @ vectors.T / len(texts))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams by all n-grams."""
    grams = [gram for text in texts for gram in _ngrams(_words(text), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU-4 of each text against all others, smoothed by adding one to each n-gram count above 1."""
    if len(texts) < 2:
        return 0.0
    counts = [[Counter(_ngrams(_words(text), n)) for n in range(1, 5)] for text in texts]
    best: list[dict[tuple[str, ...], tuple[int, int, int]]] = []  # gram → most, whose, second most
    for n in range(4):
        table: dict[tuple[str, ...], tuple[int, int, int]] = {}
        for at, grams in enumerate(counts):
            for gram, count in grams[n].items():
                most, whose, second = table.get(gram, (0, -1, 0))
                if count > most:
                    table[gram] = (count, at, most)
                elif count > second:
                    table[gram] = (most, whose, count)
        best.append(table)
    scores = []
    for at, grams in enumerate(counts):
        logs = []
        for n in range(4):
            total = sum(grams[n].values())
            matched = 0
            for gram, count in grams[n].items():
                most, whose, second = best[n][gram]
                matched += min(count, second if whose == at else most)
            add = 1 if n else 0
            logs.append(math.log(max(matched + add, 1e-9) / max(total + add, 1)))
        scores.append(math.exp(sum(logs) / 4))
    return float(np.mean(scores))


def _sample(texts: Sequence[str], most: int) -> list[str]:
    return sorted(texts, key=lambda text: raw_hash(text.encode()))[:most]


def _figures(texts: Sequence[str]) -> dict[str, Any]:
    few, fewer = _sample(texts, MOST_FOR_VENDI), _sample(texts, MOST_FOR_BLEU)
    return {
        "documents": len(texts),
        "vendi": round(vendi(few), 2),
        "vendi_of": len(few),
        "distinct_1": round(distinct(few, 1), 4),
        "distinct_2": round(distinct(few, 2), 4),
        "distinct_3": round(distinct(few, 3), 4),
        "self_bleu": round(self_bleu(fewer), 4),
        "self_bleu_of": len(fewer),
    }


def diversity_report(
    table: pa.Table, cells: Sequence[Cell], options: Synthesis, human: Sequence[str]
) -> dict[str, Any]:
    """Figures of the accepted rows of SYNTHETIC beside a human set, the grid planned and reached, claims and scores."""
    statuses = table["status"].to_pylist()
    texts = [text for text, status in zip(table["text"].to_pylist(), statuses, strict=True) if status == "accepted"]
    report: dict[str, Any] = {"synthetic": _figures(texts)}
    if human and texts:
        size = min(len(texts), len(human))
        report["human"] = _figures(_sample(human, size))
        report["vendi_beside_human"] = {
            "documents": min(size, MOST_FOR_VENDI),
            "synthetic": round(vendi(_sample(texts, min(size, MOST_FOR_VENDI))), 2),
            "human": round(vendi(_sample(human, min(size, MOST_FOR_VENDI))), 2),
        }
    report["grid"] = {axis: _coverage(axis, cells, statuses) for axis in AXES}
    report["claims"] = _claims(table, cells, statuses)
    report["gates"] = _gates(table)
    return report


def _coverage(axis: str, cells: Sequence[Cell], statuses: Sequence[str]) -> dict[str, Any]:
    values = {
        "virtue": list(load_grid().virtues), "situation": list(load_grid().situations),
        "quiet": list(load_grid().quiet), "relation": list(load_grid().relations),
        "setting": list(load_grid().settings),
        "difficulty": list(load_grid().difficulties), "length": list(load_grid().lengths),
        "register": list(load_grid().registers), "kind": ["dialogue", "recontextualised", "reasons"],
    }[axis]  # fmt: skip
    planned = Counter(value for cell in cells if (value := getattr(cell, axis)) is not None)
    reached = Counter(
        value
        for cell, status in zip(cells, statuses, strict=True)
        if status == "accepted" and (value := getattr(cell, axis)) is not None
    )
    return {
        "values": len(values),
        "planned": len(planned),
        "reached": len(reached),
        "by_value": {name: [planned[name], reached[name]] for name in values if planned[name]},
    }


def _claims(table: pa.Table, cells: Sequence[Cell], statuses: Sequence[str]) -> dict[str, Any]:
    """Virtue → accepted documents, and the median share of the composer's that score no higher in what they claim."""
    found: dict[str, list[float]] = {}
    for cell, status, scores in zip(cells, statuses, table["gate_scores"].to_pylist(), strict=True):
        value = next((score["value"] for score in scores if score["name"] == "virtue"), None)
        if status == "accepted" and value is not None:
            found.setdefault(cell.virtue, []).append(value)
    return {
        name: {"documents": len(values), "share_no_higher": round(float(np.median(values)), 3)}
        for name, values in sorted(found.items())
    }


def _gates(table: pa.Table) -> dict[str, int]:
    """Reason → documents, the commonest first."""
    counted = Counter(reason for reasons in table["reasons"].to_pylist() for reason in reasons)
    return dict(counted.most_common())


def render_report(report: dict[str, Any], ledger: dict[str, Any]) -> str:
    """The report as Markdown."""
    planned = sum(ledger["planned"].values())
    totals = {name: sum(ledger[name].values()) for name in ("accepted", "refused", "failed")}
    lines = ["# Synthetic documents", ""]
    lines += [f"{planned:,} planned = " + " + ".join(f"{count:,} {name}" for name, count in totals.items()), ""]
    lines += ["| gate | documents |", "|---|---:|"]
    lines += [f"| {reason} | {count:,} |" for reason, count in report["gates"].items()] or ["| none | 0 |"]
    lines += ["", "## Diversity", "", "| | synthetic | human |", "|---|---:|---:|"]
    human = report.get("human", {})
    lines += [
        f"| {name.replace('_', ' ')} | {value} | {human.get(name, '–')} |"
        for name, value in report["synthetic"].items()
    ]
    if beside := report.get("vendi_beside_human"):
        lines += [
            "",
            f"Vendi score of {beside['documents']} each: {beside['synthetic']} synthetic, {beside['human']} human.",
        ]
    lines += ["", "## Grid", "", "| axis | values | planned | reached |", "|---|---:|---:|---:|"]
    lines += [
        f"| {axis} | {entry['values']} | {entry['planned']} | {entry['reached']} |"
        for axis, entry in report["grid"].items()
    ]
    lines += ["", "## What cells claim and the classifier sees", ""]
    lines += ["| virtue | accepted | of the composer's dialogues, that score no higher |", "|---|---:|---:|"]
    lines += [
        f"| {name.replace('_', ' ')} | {entry['documents']} | {entry['share_no_higher']:.0%} |"
        for name, entry in report["claims"].items()
    ]
    return "\n".join(lines) + "\n"
