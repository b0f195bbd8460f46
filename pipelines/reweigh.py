"""`florilegium weigh`: other charters over documents that are scored already.

Two ways to the same weights, to the bit. `reweigh` decides, weighs and writes shards anew, task by task,
into a folder of its own. `weigh_candidates` weighs a run's candidates in memory, a million of them in
about a second: enough for the side table and for questions that begin with "what if".
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.charter import Charter
from ..schemas.document import WEIGHT
from ..schemas.errors import RecipeError, RequestError, RunError
from ..schemas.hashing import hash64
from ..schemas.recipe import Recipe, Weighing
from .candidates import Candidates, available_cores
from .engines import Engine
from .layout import RUN_INDEX, WEIGHT_PLAN
from .phases import Outcome, execute
from .plan import Run, open_run, plan_reweighing
from .progress import SILENT, Listener
from .recipes import override_recipe
from .runs import write_parquet
from .storage import Folder
from .weighing.charters import resolve_charters
from .weighing.histogram import Histogram
from .weighing.plan import UNSCORED, WeightPlan, build_plan
from .weighing.pool import contribution_lists, repeats, total
from .weighing.rehydration import factors, masses
from .weighing.utility import ScoreTable, judge_all, quorum_rejects

__all__ = [
    "Reweighed",
    "Wish",
    "parse_charters",
    "reweigh",
    "weigh_candidates",
    "wish",
    "write_side_table",
]

SLICE_ROWS = 1 << 14
FREE_KEYS = (
    "shares",
    "budget_tokens",
    "epoch_cap",
    "quorum",
    "bridging",
    "unspent",
    "unscored",
    "rehydration",
    "synthetic",
)

Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Wish:
    """Who shall weigh a run's documents, and how."""

    charters: dict[str, Charter]
    weighing: Weighing


@dataclass(frozen=True, eq=False)
class Reweighed:
    """What every candidate of a run weighs by one wish."""

    plan: WeightPlan
    rejected: Bools  # (n,), by the quorum for harm; they weigh 0
    contributions: Floats  # (n, charters), charters sorted
    weight: Floats  # (n,)


def reweigh(
    run_url: str,
    charters: str | None,
    output: str,
    overrides: Sequence[str],
    engine: Engine,
    listener: Listener = SILENT,
) -> Outcome:
    """Decide, weigh and write shards anew from a run's scored documents, into a folder of its own.

    `charters` is as in `parse_charters`, None for the run's own. The run's scoring must be finished.
    """
    run = open_run(run_url)
    if not run.folder.exists(RUN_INDEX):
        raise RunError(f"{run_url} is not scored to the end; finish it with the command that began it")
    recipe, loaded = _asked(run, charters, overrides)
    return execute(plan_reweighing(run, recipe, loaded), output, engine, listener)


def wish(run: Run, charters: str | None = None, overrides: Sequence[str] = ()) -> Wish:
    """The run's own charters and weighing, with others laid over them.

    `charters` is as in `parse_charters`; `overrides` are `weighing.KEY=VALUE`, for keys that need neither
    texts nor URLs. Raises `RequestError` for others, which need a decision anew.
    """
    for override in overrides:
        key = override.partition("=")[0]
        if key.removeprefix("weighing.").partition(".")[0] not in FREE_KEYS or not key.startswith("weighing."):
            raise RequestError(
                f"--set {key}: decides more than weights; add --shards to decide anew, or set one of "
                f"{', '.join(f'weighing.{name}' for name in FREE_KEYS)}"
            )
    recipe, loaded = _asked(run, charters, overrides)
    return Wish(loaded, recipe.weighing)


def _asked(run: Run, charters: str | None, overrides: Sequence[str]) -> tuple[Recipe, dict[str, Charter]]:
    """The run's recipe with overrides and other charters laid over it, and these charters."""
    recipe = override_recipe(run.recipe, overrides)
    if charters is None:
        return recipe, run.charters
    weighing, loaded = resolve_charters(recipe.weighing.model_copy(update={"charters": parse_charters(charters)}))
    return override_recipe(recipe.model_copy(update={"weighing": weighing}), []), loaded


def parse_charters(text: str) -> dict[str, float]:
    """`NAME=SHARE,NAME=SHARE`, or a folder whose charters (*.yaml and *.yml) get equal shares."""
    folder = Path(text)
    if text and folder.is_dir():
        files = sorted(str(path) for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
        if not files:
            raise RecipeError(f"--charters {text}: no .yaml files in this folder")
        return {file: 1 / len(files) for file in files}
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, separator, share = item.partition("=")
        try:
            value = float(share) if separator else 1.0
        except ValueError:
            raise RecipeError(f"--charters {item!r}: write NAME=SHARE with a number, for example care=0.5") from None
        if not name.strip():
            raise RecipeError(f"--charters {text!r}: write a folder of charters, or NAME=SHARE,NAME=SHARE")
        if name.strip() in shares:
            raise RecipeError(f"--charters {text}: {name.strip()!r} is named twice; add its shares up")
        shares[name.strip()] = value
    return shares


def weigh_candidates(
    documents: Candidates, charters: Mapping[str, Charter], weighing: Weighing, seed: int
) -> Reweighed:
    """Both passes over a run's candidates in memory: the plan, and what every document weighs by it.

    Rows are judged in slices by as many threads as there are cores; neither slices nor threads decide
    any bit, since a row's judgement depends on no other row.
    """
    shares = dict(sorted(weighing.charters.items()))
    rows, names = len(documents), tuple(shares)
    utilities = np.empty((len(names), rows), np.int16).T
    rejected = np.empty(rows, np.bool_)

    unscored = ~documents.scores.scored
    mass = masses(documents.tokens, documents.cluster_size, unscored, weighing.rehydration)
    domain, domains = documents.domain, documents.domains
    if weighing.unscored == "neutral":  # as in `decide`, where these documents have a domain of their own
        domains = domains if UNSCORED in domains else (*domains, UNSCORED)
        domain = np.where(unscored, domains.index(UNSCORED), domain)
    histogram, adding = Histogram.empty(names, domains), Lock()
    workers = available_cores()

    def parts(worker: int) -> Iterator[slice]:
        for start in range(worker * SLICE_ROWS, rows, workers * SLICE_ROWS):
            yield slice(start, min(start + SLICE_ROWS, rows))

    def judge(worker: int) -> None:
        counted = Histogram.empty(names, domains)
        for part in parts(worker):
            judged, vetoes = judge_all(charters, _slice(documents.scores, part), weighing.bridging)
            utilities[part] = judged
            out, _ = quorum_rejects(vetoes, list(shares.values()), weighing.quorum)
            rejected[part] = out
            kept = ~out if out.any() else slice(None)
            counted.add(judged[kept], domain[part][kept], mass[part][kept], unscored[part][kept])
        with adding:
            histogram.include(counted)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(judge, range(workers)))
    present = np.bincount(domain[~rejected], minlength=len(domains)) > 0
    plan = build_plan(histogram.only(present), charters, weighing, seed)

    place = np.array([plan.domain_names.index(name) if name in plan.domain_names else 0 for name in domains], np.int32)
    contributions = np.empty((len(names), rows)).T
    weight = np.empty(rows)

    def weigh(worker: int) -> None:
        for part in parts(worker):
            given = plan.weights(utilities[part], place[domain[part]], unscored[part], out=contributions[part])
            if weighing.rehydration:
                given *= factors(mass[part], documents.tokens[part])[:, None]
            given[rejected[part]] = 0.0
            weight[part] = total(given)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(weigh, range(workers)))
    return Reweighed(plan, rejected, contributions, weight)


def _slice(scores: ScoreTable, part: slice) -> ScoreTable:
    language = scores.language
    return ScoreTable(
        scores.prosocial[part],
        scores.topical[part],
        scores.toxic[part],
        scores.quality[part],
        language[part.start : part.stop],
        scores.scored[part],
    )


def write_side_table(run: Run, documents: Candidates, weighed: Reweighed, output: str) -> str:
    """Write `weights/plan.json` and `weights/weights-00000-of-00001.parquet` (WEIGHT) to a folder; the table's name.

    The table has a row for every document that survives, weighed or not, in the order of the shards.
    """
    folder = Folder(output)
    if not folder.is_empty() and not folder.exists(WEIGHT_PLAN):
        raise RequestError(f"{output} holds files that are no weights of ours. Choose another --output")
    if folder.exists("manifest.json"):
        raise RequestError(f"{output} holds a run. Choose another --output for the side table, or add --shards")
    kept = np.flatnonzero(~weighed.rejected)
    table = side_table(documents, weighed, kept, run.recipe.seed)
    folder.write_bytes(WEIGHT_PLAN, weighed.plan.to_json().encode())
    name = "weights/weights-00000-of-00001.parquet"
    write_parquet(
        folder,
        name,
        table,
        row_group_bytes=8 << 20,
        sizes=np.full(table.num_rows, 128),
        dictionary=("domain",),
    )
    return name


def side_table(documents: Candidates, weighed: Reweighed, rows: np.ndarray[Any, Any], seed: int) -> pa.Table:
    """The rows of a side table id → weight, as WEIGHT."""
    high, low = documents.words[0][rows], documents.words[1][rows]
    digits = np.stack([high, low], axis=1).astype(">u8").tobytes().hex().encode()
    ids = pa.StringArray.from_buffers(
        len(rows), pa.py_buffer(np.arange(len(rows) + 1, dtype=np.int32) * 32), pa.py_buffer(digits)
    )
    weight = weighed.weight[rows]
    domains = np.where(documents.scores.scored[rows], documents.domain[rows], len(documents.domains))
    if weighed.plan.unscored == "exclude":
        domains = documents.domain[rows]
    names = pa.array([*documents.domains, UNSCORED], pa.string())
    return pa.table(
        {
            "id": ids,
            "key": pa.array(hash64(seed, "key", high, low)),
            "domain": pa.DictionaryArray.from_arrays(pa.array(domains.astype(np.int32)), names).dictionary_decode(),
            "weight": pa.array(weight),
            "repeats": pa.array(repeats(weight, high, low, seed)),
            "contributions": contribution_lists(weighed.contributions[rows], weighed.plan.charter_names),
        }
    ).cast(WEIGHT)
