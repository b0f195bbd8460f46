"""The ledger: every record accounted for, from what the tasks of each phase counted on their own.

Reading, deciding, weighing and writing count independently, so that a document lost between two
phases shows as an imbalance instead of vanishing from both sides.
"""

from collections.abc import Iterable
from typing import Any

from ..schemas.errors import BalanceError
from ..schemas.run import Counts, Ledger, add_counts

__all__ = ["build_ledger", "check_balance"]

Marker = dict[str, Any]


def build_ledger(score: Iterable[Marker], decide: Iterable[Marker], weigh: Iterable[Marker]) -> Ledger:
    """Add up the markers of the three counting phases."""
    ledger = Ledger()
    for marker in score:
        _add(ledger.read, marker["read"])
        _add(ledger.generated, marker.get("generated", {}))
        add_counts(ledger.skipped, marker["skipped"])
        _add(ledger.boilerplate_lines, marker["boilerplate_lines"])
    for marker in decide:
        for action in ("rejected", "duplicates", "failed"):
            _add(getattr(ledger, action), marker[action])
        add_counts(ledger.reasons, marker["reasons"])
    for marker in weigh:
        _add(ledger.kept, marker["kept"])
        _add(ledger.unweighted, marker["unweighted"])
        add_counts(ledger.tokens, marker["tokens"])
        for source, tokens in marker["weighted_tokens"].items():
            ledger.weighted_tokens[source] = ledger.weighted_tokens.get(source, 0.0) + tokens
    return Ledger.model_validate(_sorted(ledger.model_dump()))


def check_balance(ledger: Ledger, shard_rows: int, reject_rows: int) -> None:
    """Raise BalanceError unless every record is accounted for and lies in a file."""
    missing = ledger.imbalances()
    if missing:
        source, number = next(iter(missing.items()))
        raise BalanceError(
            f"the ledger does not balance: {number:+d} documents of {source!r} are unaccounted for. "
            "Please report this with ledger.json; remove the run's folder to start anew"
        )
    left_out = ledger.total("rejected") + ledger.total("duplicates") + ledger.total("failed")
    for kind, rows, expected in (("shards", shard_rows, ledger.total("kept")), ("rejects", reject_rows, left_out)):
        if rows != expected:
            raise BalanceError(
                f"{kind}/ holds {rows} rows, but the ledger counts {expected}; run `florilegium validate`"
            )


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    counts: Counts = {"": total}
    add_counts(counts, {"": more})


def _sorted(value: Any) -> Any:
    return {key: _sorted(value[key]) for key in sorted(value)} if isinstance(value, dict) else value
