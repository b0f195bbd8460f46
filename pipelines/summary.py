"""The last words of a run: what was read, kept, left out and upweighted, and where to look."""

import json
from typing import Any

from .phases import Outcome
from .weighing.words import remarks

__all__ = ["summarize"]

MOST_REASONS = 8


def summarize(outcome: Outcome, as_json: bool = False) -> None:
    """Print a finished run's figures to standard output."""
    print(json.dumps(_figures(outcome), indent=2) if as_json else "\n".join(_lines(outcome)))


def _figures(outcome: Outcome) -> dict[str, Any]:
    ledger = outcome.ledger
    names = ("read", "generated", "kept", "unweighted", "rejected", "duplicates", "failed")
    return {
        "run": outcome.run.folder.url,
        "documents": {name: ledger.total(name) for name in names},
        "upweighted": outcome.upweighted,
        "reasons": {reason: sum(by_source.values()) for reason, by_source in ledger.reasons.items()},
        "skipped": {kind: sum(by_source.values()) for kind, by_source in ledger.skipped.items()},
        "tokens": {name: sum(by_source.values()) for name, by_source in ledger.tokens.items()},
        "weighted_tokens": sum(ledger.weighted_tokens.values()),
        "shards": len(outcome.run.manifest.shards),
        "remarks": remarks(outcome.plan, outcome.run.charters),
        "tasks": {"all": outcome.tasks, "finished_before": outcome.resumed},
    }


def _lines(outcome: Outcome) -> list[str]:
    figures = _figures(outcome)
    documents, folder = figures["documents"], outcome.run.folder
    reasons = sorted(figures["reasons"].items(), key=lambda item: (-item[1], item[0]))
    shards, tokens, weighted = figures["shards"], figures["tokens"].get("kept", 0), figures["weighted_tokens"]
    lines = [
        f"Read        {documents['read']:>12,} documents ({sum(figures['skipped'].values()):,} other records skipped)",
        *([f"Generated   {documents['generated']:>12,} synthetic documents"] if documents["generated"] else []),
        f"Kept        {documents['kept']:>12,} in {shards} shards: {tokens:,} tokens, {weighted:,.0f} weighted",
        f"Upweighted  {figures['upweighted']:>12,} (weight above 1)",
        f"Unweighted  {documents['unweighted']:>12,} (no charter asks for them)",
        f"Rejected    {documents['rejected']:>12,}",
        f"Duplicates  {documents['duplicates']:>12,}",
        f"Failed      {documents['failed']:>12,}",
    ]
    if reasons:
        lines.append("Reasons")
        lines += [f"            {number:>12,} {reason}" for reason, number in reasons[:MOST_REASONS]]
        if len(reasons) > MOST_REASONS:
            lines.append(f"                         … and {len(reasons) - MOST_REASONS} more in ledger.json")
    if figures["tasks"]["finished_before"]:
        lines.append(f"Of {figures['tasks']['all']} tasks {figures['tasks']['finished_before']} were finished before.")
    if figures["remarks"]:
        lines += ["Remarks", *(f"            {sentence}" for sentence in figures["remarks"])]
    looks = [*(["shards"] if shards else []), "rejects", "weights/plan.json"]
    lines.append(f"Look at     {' · '.join(folder.address(name) for name in looks)}")
    if not shards:
        return lines
    query = f"select weight, left(text, 60) from '{folder.address('shards/*.parquet')}' order by weight desc limit 5"
    return [*lines, f'            duckdb -c "{query}"']
