"""`florilegium report`: index.html, README.md and croissant.json in a run's report/, or elsewhere."""

from collections.abc import Sequence

import orjson

from ....schemas.errors import FlorilegiumError
from ...fairness import Fared, Pair, audit_pairs, shipped_pairs
from ...storage import Folder
from ..survey import survey
from .datasheet import croissant, render_card
from .figures import collect
from .page import render_page

__all__ = ["FILES", "write_report"]

FILES = ("index.html", "README.md", "croissant.json")


def write_report(
    url: str, against: str | None = None, output: str | None = None, pairs: Sequence[Pair] | None = None
) -> tuple[Folder, list[str]]:
    """Write the report of the run at `url`; returns its folder and what of the run could not be read.

    `against` is another run to compare with; `output` a folder other than the run's report/; `pairs` are texts
    that ought to fare alike, by default the shipped ones. An unfinished or damaged run is reported as far as
    it is whole, and the report says so.
    """
    found = survey(url)
    figures = collect(found)
    other = None
    if against is not None:
        there = survey(against)
        other = there, collect(there)
    fairness, missing = _fairness(url, pairs)
    folder = Folder(output or found.folder.address("report"))
    folder.write_bytes("index.html", render_page(found, figures, other, fairness).encode("utf-8"))
    folder.write_bytes("README.md", render_card(found, figures).encode("utf-8"))
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    folder.write_bytes("croissant.json", orjson.dumps(croissant(found, figures), option=options))
    return folder, [
        *found.faults,
        *figures.faults,
        *missing,
        *(f"{against}: {fault}" for fault in (other[0].faults if other else [])),
    ]


def _fairness(url: str, pairs: Sequence[Pair] | None) -> tuple[dict[str, Fared] | None, list[str]]:
    """How pairs fare, or why that is not known: pairs of the user's own raise, the shipped ones are left out."""
    try:
        return audit_pairs(url, shipped_pairs() if pairs is None else pairs), []
    except (FlorilegiumError, OSError, ValueError, LookupError) as error:  # of a damaged run, whatever it lacks
        if pairs is not None:
            raise
        return None, [f"matched pairs were not compared: {error}"]
