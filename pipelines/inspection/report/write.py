"""`florilegium report`: index.html, README.md and croissant.json in a run's report/, or elsewhere."""

from collections.abc import Mapping
from typing import Any

import orjson

from ...storage import Folder
from ..survey import survey
from .datasheet import croissant, render_card
from .figures import collect
from .page import render_page

__all__ = ["FILES", "write_report"]

FILES = ("index.html", "README.md", "croissant.json")


def write_report(
    url: str, against: str | None = None, output: str | None = None, fairness: Mapping[str, Any] | None = None
) -> tuple[Folder, list[str]]:
    """Write the report of the run at `url`; returns its folder and what of the run could not be read.

    `against` is another run to compare with; `output` a folder other than the run's report/. An unfinished
    or damaged run is reported as far as it is whole, and the report says so.
    """
    found = survey(url)
    figures = collect(found)
    other = None
    if against is not None:
        there = survey(against)
        other = there, collect(there)
    folder = Folder(output or found.folder.address("report"))
    folder.write_bytes("index.html", render_page(found, figures, other, fairness).encode("utf-8"))
    folder.write_bytes("README.md", render_card(found, figures).encode("utf-8"))
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    folder.write_bytes("croissant.json", orjson.dumps(croissant(found, figures), option=options))
    return folder, [
        *found.faults,
        *figures.faults,
        *(f"{against}: {fault}" for fault in (other[0].faults if other else [])),
    ]
