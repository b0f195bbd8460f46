"""What a run says about itself: the manifest and the ledger.

The manifest names everything that decides the shards (its `identity`) and everything that came out,
with checksums. The ledger accounts for every record: read + generated = kept + unweighted + rejected
+ duplicates + failed. Neither holds a clock or a path of the machine, apart from the recipe's own.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .document import SCHEMA_VERSION
from .recipe import Recipe

__all__ = ["ACTIONS", "Counts", "Ledger", "Manifest", "StoredTable", "add_counts"]

Action = Literal["kept", "unweighted", "rejected", "duplicates", "failed"]
ACTIONS: tuple[Action, ...] = ("kept", "unweighted", "rejected", "duplicates", "failed")

Counts = dict[str, dict[str, int]]  # name → source → number


def add_counts(total: Counts, more: Counts) -> None:
    """Add numbers by name and source in place."""
    for name, by_source in more.items():
        target = total.setdefault(name, {})
        for source, number in by_source.items():
            target[source] = target.get(source, 0) + number


class StoredTable(BaseModel):
    """One Parquet file of a run."""

    model_config = ConfigDict(extra="forbid")

    name: str
    rows: int
    bytes: int
    sha256: str
    tokens: int | None = None


class Ledger(BaseModel):
    """Documents by what became of them, each number by source; tokens where they count."""

    model_config = ConfigDict(extra="forbid")

    read: dict[str, int] = Field(default_factory=dict)
    generated: dict[str, int] = Field(default_factory=dict)
    kept: dict[str, int] = Field(default_factory=dict)
    unweighted: dict[str, int] = Field(default_factory=dict)
    rejected: dict[str, int] = Field(default_factory=dict)
    duplicates: dict[str, int] = Field(default_factory=dict)
    failed: dict[str, int] = Field(default_factory=dict)
    reasons: Counts = Field(default_factory=dict)  # a document counts under each of its reasons
    skipped: Counts = Field(default_factory=dict)  # records that are no documents, by kind
    boilerplate_lines: dict[str, int] = Field(default_factory=dict)  # lines removed from pages
    tokens: Counts = Field(default_factory=dict)  # tokens of kept and unweighted documents
    weighted_tokens: dict[str, float] = Field(default_factory=dict)  # Σ tokens · weight by source

    def total(self, action: str) -> int:
        """Documents of one column over all sources."""
        return sum(getattr(self, action).values())

    def imbalances(self) -> dict[str, int]:
        """Source → documents read or generated that are not accounted for; empty when it balances."""
        sources = {source for name in ("read", "generated", *ACTIONS) for source in getattr(self, name)}
        missing = {
            source: self.read.get(source, 0)
            + self.generated.get(source, 0)
            - sum(getattr(self, action).get(source, 0) for action in ACTIONS)
            for source in sorted(sources)
        }
        return {source: number for source, number in missing.items() if number}


class Manifest(BaseModel):
    """`manifest.json`: what was asked, what decides the result, what came out."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["running", "complete"] = "running"
    schema_version: int = SCHEMA_VERSION
    florilegium: str
    recipe: Recipe
    recipe_digest: str
    identity: dict[str, Any]
    charters: dict[str, dict[str, Any]]
    models: dict[str, str]
    environment: dict[str, str]
    inputs: list[dict[str, Any]]
    scored_in: str | None = None  # a re-weighed run reads the scored documents of this one
    scored: list[StoredTable] = Field(default_factory=list)  # those of other runs with their full address
    bands: list[StoredTable] = Field(default_factory=list)  # side files of `scored`, for near-duplicates
    shards: list[StoredTable] = Field(default_factory=list)
    rejects: list[StoredTable] = Field(default_factory=list)
    weights: list[StoredTable] = Field(default_factory=list)
