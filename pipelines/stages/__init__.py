"""Score stages: each takes a `pyarrow.RecordBatch` and returns it with columns added or replaced.

A stage is a small object. `setup()` loads what it needs, `apply(batch)` is pure: no I/O, no clock, no
engine, and a row's result never depends on its neighbours. One file a stage; the file's name is the
stage's name in the recipe and the prefix of its reasons. Rows with an `error` pass through: their
text is empty and every stage must accept empty text. A change of behaviour is a new `version`.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

import pyarrow as pa

from ...schemas.recipe import Stages

__all__ = ["ORDER", "Stage", "build_stages"]

ORDER = {
    "normalize": "Normalize",
    "language": "Language",
    "personal_data": "PersonalData",  # numbering plans go by language
    "statistics": "Statistics",
    "lexicon": "Lexicon",
    "tokens": "Tokens",
    "minhash": "Minhash",
    "classify": "Classify",
}


class Stage(Protocol):
    """What every score stage offers."""

    name: str
    version: str  # "language.v1": the name and the meaning that it had when a run was made

    def setup(self) -> None:
        """Load models and compile kernels; called once a process, before the first batch."""
        ...

    def identity(self) -> dict[str, str]:
        """What decides the results besides the code: version, options and model digests."""
        ...

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with this stage's columns added or replaced; as many rows, in the same order."""
        ...


def build_stages(options: Stages) -> Sequence[Stage]:
    """The stages of a recipe in their order, without those that are null, not yet set up."""
    return [
        getattr(import_module(f".{name}", __package__), class_name)(getattr(options, name))
        for name, class_name in ORDER.items()
        if getattr(options, name) is not None
    ]
