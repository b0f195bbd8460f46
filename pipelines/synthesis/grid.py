"""Plans: which cells of the coverage grid are written, by seed, evenly or where a corpus lacks most.

A cell is one value of every axis of `grid.yaml`. Every axis is balanced on its own: the value that was used least,
in proportion to its weight, comes next, ties broken by hash of (seed, axis, round, value). So a plan of n cells uses
each value of a free axis n / k times, one more or less, and a longer plan begins with the shorter one.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from ...schemas.document import GRID, to_thousandths
from ...schemas.errors import RecipeError
from ...schemas.hashing import digest, document_id, raw_hash
from ...schemas.recipe import COMPOSER, Synthesis
from ...schemas.taxonomy import PROSOCIAL, load_taxonomy

__all__ = ["CELL", "Cell", "Grid", "Situation", "cells_table", "lacking", "load_grid", "plan_cells"]

OPEN_QUESTION_EVERY = 6  # one cell in so many holds a question that is left open
LEAST_SHARE = 0.01  # of tokens; what a corpus has less of than this is not planned for even more

CELL = pa.struct(
    [
        pa.field(name, pa.string())
        for name in (
            "kind", "virtue", "situation", "relation", "setting", "difficulty", "quiet", "question", "falsehood",
            "length", "register",
        )
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Situation:
    """What a dialogue is about."""

    area: str
    about: str


@dataclass(frozen=True)
class Grid:
    """The axes of `grid.yaml`; virtues are the taxonomy's dimensions and the character strengths."""

    version: int
    digest: str
    virtues: dict[str, tuple[str, tuple[str, ...]]]  # name → what it does, the dimensions that show it
    situations: dict[str, Situation]
    relations: dict[str, dict[str, Any]]
    settings: tuple[str, ...]
    difficulties: dict[str, str]
    quiet: dict[str, str]
    questions: tuple[str, ...]
    falsehoods: dict[str, tuple[str, ...]]  # claim → words of which a right answer uses one
    lengths: dict[str, tuple[int, int]]  # turns
    registers: dict[str, str]


@dataclass(frozen=True)
class Cell:
    """What one document is to be."""

    index: int
    id: str
    backend: str
    kind: str
    virtue: str
    situation: str
    relation: str
    setting: str
    difficulty: str
    quiet: str | None
    question: str | None
    falsehood: str | None
    length: str
    register: str
    charter: str | None
    seed_source: str | None
    seed: int | None  # the number of the seed document in its source
    composition: int | None = None  # for `composer`: which plan of the situation

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions of the taxonomy in which the virtue shows."""
        return load_grid().virtues[self.virtue][1]

    def meaning(self) -> dict[str, str | None]:
        """The values of CELL."""
        return {field.name: getattr(self, field.name) for field in CELL}


def read_data(name: str) -> dict[str, Any]:
    """A data file of this package."""
    return yaml.safe_load(files("florilegium.pipelines.synthesis").joinpath(name).read_text("utf-8"))


@cache
def load_grid() -> Grid:
    """The shipped grid."""
    raw = read_data("grid.yaml")
    virtues = {item.name: (item.definition, (item.name,)) for item in load_taxonomy().prosocial}
    virtues |= {name: (entry["does"], tuple(entry["dimensions"])) for name, entry in raw["strengths"].items()}
    return Grid(
        version=raw["version"],
        digest=digest(raw),
        virtues=virtues,
        situations={name: Situation(**entry) for name, entry in raw["situations"].items()},
        relations=raw["relations"],
        settings=tuple(raw["settings"]),
        difficulties=raw["difficulties"],
        quiet=raw["quiet"],
        questions=tuple(raw["open_questions"]),
        falsehoods={entry["claim"]: tuple(entry["says"]) for entry in raw["falsehoods"]},
        lengths={name: (low, high) for name, (low, high) in raw["lengths"].items()},
        registers=raw["registers"],
    )


@cache
def load_compositions() -> dict[str, Any]:
    """What `composer` composes from, by situation."""
    return read_data("compositions.yaml")["situations"]


class _Axis:
    """Deals the values of one axis: the least used next, by weight."""

    def __init__(self, seed: int, name: str, values: Iterable[Any], weights: Mapping[Any, float] | None = None) -> None:
        self.seed, self.name = seed, name
        self.weights = {value: (weights or {}).get(value, 1.0) for value in values}
        self.used = dict.fromkeys(self.weights, 0)
        self._ties: dict[tuple[int, Any], int] = {}

    def deal(self, among: Sequence[Any] | None = None) -> Any:
        """The next value, of those in `among`."""
        chosen = min(among or self.used, key=self._rank)
        self.used[chosen] += 1
        return chosen

    def _rank(self, value: Any) -> tuple[float, int]:
        count = self.used[value]
        tie = self._ties.get((count, value))
        if tie is None:
            tie = self._ties[count, value] = raw_hash(f"{self.seed}:{self.name}:{count}:{value}".encode())
        return (count + 0.5) / self.weights[value], tie


def plan_cells(
    options: Synthesis,
    seed: int,
    seed_counts: Mapping[str, int] | None = None,
    weights: Mapping[str, float] | None = None,
) -> list[Cell]:
    """The cells of a recipe, `options.documents` of them.

    `seed_counts` says how many documents each source of seeds holds, `weights` how much each virtue is wanted beside
    the others (`lacking`). Raises RecipeError where documents are to be recontextualised and too few seeds are there.
    """
    grid, counts = load_grid(), dict(seed_counts or {})
    axes = {
        "backend": _Axis(seed, "backend", *_shares({item.name: item.share for item in options.backends})),
        "virtue": _Axis(seed, "virtue", options.dimensions or grid.virtues, weights),
        "situation": _Axis(seed, "situation", grid.situations),
        "relation": _Axis(seed, "relation", grid.relations),
        "setting": _Axis(seed, "setting", grid.settings),
        "difficulty": _Axis(seed, "difficulty", grid.difficulties),
        "quiet": _Axis(seed, "quiet", grid.quiet),
        "is_quiet": _Axis(seed, "is_quiet", *_shares({True: options.quiet_share, False: 1 - options.quiet_share})),
        "question": _Axis(seed, "question", grid.questions),
        "asks": _Axis(seed, "asks", range(OPEN_QUESTION_EVERY)),
        "falsehood": _Axis(seed, "falsehood", grid.falsehoods),
        "length": _Axis(seed, "length", grid.lengths),
        "register": _Axis(seed, "register", grid.registers),
        "charter": _Axis(seed, "charter", options.charters),
        "seeds": _Axis(seed, "seeds", counts),
        "composition": _Axis(seed, "composition", _compositions()),
    }
    kinds = {
        item.name: _Axis(seed, f"kind.{item.name}", *_shares(_kinds(item.name, options))) for item in options.backends
    }
    return [_cell(index, options, seed, grid, axes, kinds, counts) for index in range(options.documents)]


def _shares(weights: Mapping[Any, float]) -> tuple[list[Any], Mapping[Any, float]]:
    """The values of positive weight, and the weights."""
    return [value for value, weight in weights.items() if weight > 0], weights


def _kinds(backend: str, options: Synthesis) -> Mapping[Any, float]:
    return {kind: share for kind, share in options.kinds.items() if backend != COMPOSER or kind != "recontextualised"}


def _compositions() -> list[tuple[str, int]]:
    return [(name, plan) for name, entry in load_compositions().items() for plan in range(len(entry["plans"]))]


def _cell(
    index: int,
    options: Synthesis,
    seed: int,
    grid: Grid,
    axes: Mapping[str, _Axis],
    kinds: Mapping[str, _Axis],
    counts: Mapping[str, int],
) -> Cell:
    backend = axes["backend"].deal()
    values: dict[str, Any] = {
        "backend": backend,
        "kind": kinds[backend].deal(),
        "virtue": axes["virtue"].deal(),
        "setting": axes["setting"].deal(),
        "length": axes["length"].deal(),
        "register": axes["register"].deal(),
        "charter": axes["charter"].deal() if options.charters else None,
        "quiet": None, "question": None, "falsehood": None, "seed_source": None, "seed": None, "composition": None,
    }  # fmt: skip
    if backend == COMPOSER:
        values |= _composed(values["virtue"], grid, axes)
    else:
        situation = axes["situation"].deal()
        area = grid.situations[situation].area
        values["situation"] = situation
        values["relation"] = axes["relation"].deal(
            [name for name, entry in grid.relations.items() if area in entry["areas"]]
        )
        values["difficulty"] = axes["difficulty"].deal()
        if axes["is_quiet"].deal():
            values["quiet"] = axes["quiet"].deal()
        if axes["asks"].deal() == 0:
            values["question"] = axes["question"].deal()
        if values["difficulty"] == "confident_error":
            values["falsehood"] = axes["falsehood"].deal()
        if values["kind"] == "recontextualised":
            values["seed_source"], values["seed"] = _seed(axes["seeds"], counts, options)
    identity = json.dumps([seed, grid.digest, index, values], sort_keys=True)
    return Cell(index=index, id=document_id(identity.encode()), **values)


def _composed(virtue: str, grid: Grid, axes: Mapping[str, _Axis]) -> dict[str, Any]:
    """A plan of the composer's that shows the virtue, and what it fixes."""
    wanted = grid.virtues[virtue][1]
    compositions = load_compositions()
    fitting = [
        (name, plan)
        for name, entry in compositions.items()
        for plan, values in enumerate(entry["plans"])
        if set(wanted) & set(values[1].split())
    ]
    situation, plan = axes["composition"].deal(fitting)
    difficulty, _, quiet, _, _ = compositions[situation]["plans"][plan]
    relation = compositions[situation]["relation"]
    for name, value in (("situation", situation), ("relation", relation), ("difficulty", difficulty)):
        axes[name].used[value] += 1
    return {
        "situation": situation, "relation": relation, "difficulty": difficulty, "quiet": quiet, "composition": plan,
    }  # fmt: skip


def _seed(axis: _Axis, counts: Mapping[str, int], options: Synthesis) -> tuple[str, int]:
    """A seed document that was not used yet. A source gives each of its documents once, and only so many."""
    most = options.max_documents_per_seed_source
    open_sources = [name for name, count in counts.items() if axis.used[name] < min(count, most)]
    if not open_sources:
        given = {name: min(count, most) for name, count in counts.items()}
        raise RecipeError(
            f"synthesis: seeds give {sum(given.values())} documents ({given}), and more are planned: a seed is used "
            f"once, and a source at most {most} times. Add sources, plan fewer `documents`, or lower the share of "
            "`recontextualised` in `kinds`"
        )
    source = axis.deal(open_sources)
    return source, axis.used[source] - 1


def cells_table(cells: Sequence[Cell]) -> pa.Table:
    """A plan as a table, a column for each field of a cell."""
    return pa.Table.from_pylist([asdict(cell) for cell in cells], schema=_PLAN)


_PLAN = pa.schema(
    [
        pa.field(name, pa.int64() if name in ("index", "seed", "composition") else pa.string())
        for name in Cell.__dataclass_fields__
    ]
)


def cells_from(table: pa.Table) -> list[Cell]:
    """The cells that `cells_table` made a table of."""
    return [Cell(**row) for row in table.to_pylist()]


def lacking(tables: Iterable[pa.Table]) -> dict[str, float]:
    """Virtue → how much it is wanted, from shards with the columns `prosocial`, `tokens` and `weight`.

    A dimension is wanted in inverse proportion to the share of weighted tokens in which it is clearly there, by its
    calibrated probability, a strength as the mean of its dimensions; the mean over virtues is 1.
    """
    found, total = np.zeros(len(PROSOCIAL)), 0.0
    for table in tables:
        mass = table["tokens"].to_numpy() * table["weight"].to_numpy()
        column = table["prosocial"].combine_chunks()
        for at, name in enumerate(PROSOCIAL):
            scores = to_thousandths(column.field(name).to_numpy(zero_copy_only=False))
            found[at] += (mass * np.maximum(scores, 0)).sum() / GRID
        total += mass.sum()
    shares = dict(zip(PROSOCIAL, found / total if total else found, strict=True))
    wanted = {name: 1 / max(share, LEAST_SHARE) for name, share in shares.items()}
    by_virtue = {
        name: float(np.mean([wanted[dimension] for dimension in dimensions]))
        for name, (_, dimensions) in load_grid().virtues.items()
    }
    mean = float(np.mean(list(by_virtue.values())))
    return {name: round(value / mean, 6) for name, value in by_virtue.items()}
