"""The files of synthetic documents: one row a cell, accepted, refused or failed, with its whole provenance."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ...schemas.charter import Charter
from ...schemas.recipe import COMPOSER, Generated, Recipe
from .composer import COMPOSER_VERSION
from .drafting import Written
from .gates import gates_digest
from .grid import CELL, Cell, load_grid
from .prompts import prompts_digest

__all__ = ["SYNTHETIC", "generated_by", "rows_table"]

SYNTHETIC = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),  # in the plan
        pa.field("text", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reasons", pa.list_(pa.string()), nullable=False),
        pa.field("evidence", pa.list_(pa.string()), nullable=False),
        pa.field("synthetic", pa.bool_(), nullable=False),
        pa.field("composer", pa.bool_(), nullable=False),
        pa.field("license", pa.string()),
        pa.field("cell", CELL, nullable=False),
        pa.field("dimensions", pa.list_(pa.string()), nullable=False),  # what the cell claims
        pa.field("grid", pa.string(), nullable=False),  # digests and versions
        pa.field("prompts", pa.string(), nullable=False),
        pa.field("gates", pa.string(), nullable=False),
        pa.field("backend", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("parameters", pa.string(), nullable=False),  # JSON
        pa.field("charter", pa.string()),
        pa.field("charter_digest", pa.string()),
        pa.field(
            "seed",
            pa.struct(
                [
                    pa.field("source", pa.string()),
                    pa.field("source_id", pa.string()),
                    pa.field("file", pa.string()),
                    pa.field("offset", pa.int64()),
                ]
            ),
        ),
        pa.field("revisions", pa.int32(), nullable=False),
        pa.field("versions", pa.list_(pa.string()), nullable=False),
        pa.field("critiques", pa.list_(pa.string()), nullable=False),
        pa.field(
            "gate_scores",
            pa.list_(pa.struct([pa.field("name", pa.string()), pa.field("value", pa.float64())])),
            nullable=False,
        ),
        pa.field("requests", pa.int32(), nullable=False),
        pa.field("prompt_tokens", pa.int64(), nullable=False),
        pa.field("completion_tokens", pa.int64(), nullable=False),
        pa.field("error", pa.string()),
    ]
)


def generated_by(cell: Cell) -> Generated:
    """The backend and the source of seeds of a cell's document."""
    return Generated(backend=cell.backend, seeds=cell.seed_source)


def rows_table(
    cells: Sequence[Cell],
    written: Sequence[Written],
    recipe: Recipe,
    charters: Mapping[str, Charter],
    seeds: Mapping[tuple[str, int], Mapping[str, Any]],
) -> pa.Table:
    """What became of cells, as SYNTHETIC; `charters` by their names in the plan, `seeds` by source and number."""
    assert recipe.synthesis is not None
    backends = {backend.name: backend for backend in recipe.synthesis.backends}
    rows = []
    for cell, result in zip(cells, written, strict=True):
        backend = backends[cell.backend]
        composer = backend.name == COMPOSER
        parameters = {} if composer else backend.model_dump(include={"temperature", "top_p", "max_tokens"})
        seed = None if cell.seed_source is None or cell.seed is None else seeds[cell.seed_source, cell.seed]
        charter = charters.get(cell.charter or "")
        rows.append(
            {
                **{name: getattr(result, name) for name in ("id", "index", "text", "status", "reasons", "evidence")},
                "synthetic": True,
                "composer": composer,
                "license": recipe.synthesis.license,
                "cell": cell.meaning(),
                "dimensions": list(cell.dimensions),
                "grid": load_grid().digest,
                "prompts": COMPOSER_VERSION if composer else prompts_digest(),
                "gates": gates_digest(),
                "backend": backend.name,
                "model": COMPOSER_VERSION if composer else backend.model,
                "parameters": json.dumps(parameters, sort_keys=True),
                "charter": charter and charter.name,
                "charter_digest": charter and charter.digest(),
                "seed": seed and {name: seed[name] for name in ("source", "source_id", "file", "offset")},
                "revisions": len(result.versions),
                "versions": result.versions,
                "critiques": result.critiques,
                "gate_scores": [{"name": name, "value": value} for name, value in result.scores.items()],
                **{name: getattr(result, name) for name in ("requests", "prompt_tokens", "completion_tokens", "error")},
            }
        )
    return pa.Table.from_pylist(rows, schema=SYNTHETIC)
