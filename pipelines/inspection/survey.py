"""What of a run is whole.

A run may be unfinished, or damaged on its way here. A survey names every file that can be read and
says a sentence for everything that cannot, so that what is whole can still be looked at.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pyarrow import ArrowException
from pydantic import BaseModel, ValidationError

from ...schemas.charter import Charter
from ...schemas.run import Ledger, Manifest
from ..layout import MANIFEST, WEIGHT_PLAN
from ..weighing.plan import WeightPlan
from .glance import LEDGER, Glance, TableFile, glance

__all__ = ["Survey", "survey"]

Read = TypeVar("Read", bound=BaseModel)


@dataclass
class Survey(Glance):
    """A run as far as it is whole, with the models of what it says about itself."""

    manifest: Manifest | None = None
    ledger: Ledger | None = None
    plan: WeightPlan | None = None

    @cached_property
    def charters(self) -> dict[str, Charter]:
        """The charters by name, sorted; empty where the manifest cannot be read."""
        stored = self.manifest.charters if self.manifest else {}
        return {name: Charter.model_validate(values) for name, values in sorted(stored.items())}


def survey(url: str, thorough: bool = False) -> Survey:
    """What `glance` sees, and closer: does each file have a whole footer, and is every model one of this version?

    Raises InputError where there is no run at all.
    """
    found = Survey(**vars(glance(url, thorough)))
    found.manifest = _model(found, MANIFEST, Manifest)
    found.ledger = _model(found, LEDGER, Ledger)
    found.plan = _model(found, WEIGHT_PLAN, WeightPlan)
    for kind, files in found.files.items():
        for file in list(files):
            if not _has_footer(file):
                files.remove(file)
                fault = f"{file.address} is damaged (it is not a whole Parquet file)"
                found.faults.append(f"{fault}; its rows are left out of `{kind}`")
    return found


def _model(found: Survey, name: str, model: type[Read]) -> Read | None:
    stored: Any = found.stored.get(name)
    if stored is None:
        return None
    try:
        return model.model_validate(stored)
    except ValidationError as error:
        reason = str(error).splitlines()[0]
        found.faults.append(f"{found.folder.address(name)} is damaged or of another version ({reason})")
        return None


def _has_footer(file: TableFile) -> bool:
    try:
        with file.folder.open_parquet(file.name):
            return True
    except (OSError, ArrowException):
        return False
