"""Dimensions of one's own: how a run names them, and whether those here are the same.

The taxonomy is read only where there are some, since most runs have none and reading it takes longer than most
questions about a run.
"""

from collections.abc import Mapping
from os import environ

from .errors import RequestError

__all__ = ["DIMENSIONS", "TAXONOMY_VARIABLE", "check_dimensions"]

TAXONOMY_VARIABLE = "FLORILEGIUM_TAXONOMY"
DIMENSIONS = "dimensions"  # in a manifest's environment: those that the shipped taxonomy lacks


def check_dimensions(environment: Mapping[str, str], url: str) -> None:
    """RequestError where the run at `url` has other dimensions than the taxonomy here; `environment` is its own."""
    theirs = environment.get(DIMENSIONS, "").split()
    if not theirs and not environ.get(TAXONOMY_VARIABLE):
        return
    from .taxonomy import own_dimensions

    here = own_dimensions().split()
    if missing := [name for name in theirs if name not in here]:
        raise RequestError(
            f"{url}: its documents are scored by the dimension {missing[0]}, which the taxonomy here lacks. Set "
            f"{TAXONOMY_VARIABLE} to the file that the run was made with"
        )
    if more := [name for name in here if name not in theirs]:
        raise RequestError(
            f"{url}: its documents are not scored by the dimension {more[0]}. Unset {TAXONOMY_VARIABLE}, or set it "
            "to the file that the run was made with"
        )
