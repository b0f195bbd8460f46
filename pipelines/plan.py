"""What a run is: its splits, its identity, and the folder that holds it.

The identity covers meaning (inputs by content, recipe, stage versions, model and charter digests) and
never engine, workers or paths. A folder holds one identity; another one is refused with the first
difference named. A finished task is a marker under `tasks/` whose key hashes what decides its result.
"""

import importlib.metadata
import platform
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..schemas.charter import Charter
from ..schemas.dimensions import DIMENSIONS, check_dimensions
from ..schemas.document import SCHEMA_VERSION
from ..schemas.errors import InputError, OutputError, RecipeError, RequestError, RunError
from ..schemas.hashing import digest
from ..schemas.recipe import Input, Recipe
from ..schemas.run import Manifest
from ..schemas.taxonomy import own_dimensions
from .decide import DECIDE_VERSION
from .dedup import DEDUP_VERSION
from .layout import MANIFEST, SPLITS
from .near_duplicates import NEAR_VERSION
from .sources import Split, plan_splits
from .storage import Folder
from .weighing.charters import resolve_charters

if TYPE_CHECKING:
    from .stages.decontaminate import EvaluationIndex

__all__ = ["Run", "RunPlan", "describe_difference", "open_run", "plan_reweighing", "plan_run", "start_run"]

# Phases whose tasks look at one split only: what decides their results besides the split and its input's fields. What
# another run finished of them can be taken over.
SPLIT_PHASES = {
    "boilerplate": ("schema", "extraction"),
    "score": ("schema", "seed", "extraction", "boilerplate", "decontamination", "stages", "runs"),
}

# Parts of an identity whose keys in the recipe have other names.
RECIPE_KEYS = {
    "splits": ("reading.split_bytes",),
    "extraction": ("extraction", "reading.max_document_bytes"),
    "fields": ("inputs",),
    "runs": ("output.run_bytes",),
    "policy": ("policy", "decontamination"),
}


@dataclass(frozen=True)
class RunPlan:
    """A recipe resolved against the world: nothing was written yet."""

    recipe: Recipe
    splits: list[Split]
    charters: dict[str, Charter]
    identity: dict[str, Any]
    models: dict[str, str]
    scored_in: str | None = None  # the folder of another run whose scored documents are weighed anew
    since: str | None = None  # the folder of another run whose finished splits are not scored again
    evaluation: "EvaluationIndex | None" = None  # the passages that documents are compared with

    def manifest(self) -> Manifest:
        return Manifest(
            florilegium=importlib.metadata.version("florilegium"),
            recipe=self.recipe,
            recipe_digest=recipe_digest(self.recipe, self.charters),
            identity=self.identity,
            charters={name: charter.model_dump(mode="json") for name, charter in sorted(self.charters.items())},
            models=self.models,
            scored_in=self.scored_in,
            environment=_environment(),
            inputs=[
                {"source": split.source, "file": split.file, "fingerprint": split.fingerprint}
                for index, split in enumerate(self.splits)
                if index == 0
                or (split.source, split.file) != (self.splits[index - 1].source, self.splits[index - 1].file)
            ],
        )


def plan_run(recipe: Recipe, since: str | None = None) -> RunPlan:
    """List the inputs, cut them into splits and take every digest. Raises RequestErrors, writes nothing.

    `since` is the folder of another run: what it scored of the same files is not scored again. It is refused
    when it was made with other settings, or shares no file.
    """
    # With numba, which whoever looks into a run need not wait for.
    from .contamination import build_index, index_digest
    from .stages import build_stages
    from .stages.decontaminate import Decontaminate

    recipe, charters = _with_charters(_with_synthetic(recipe))
    splits = [split for item in recipe.inputs for split in plan_splits(item, recipe.reading)]
    earlier = None if since is None else open_run(since)
    if earlier is not None:
        splits = _cut_alike(splits, [Split(**values) for values in earlier.folder.read_json(SPLITS)], earlier)
    stages = {stage.name: stage.identity() for stage in build_stages(recipe.stages)}
    evaluation, contamination = None, {}
    if recipe.decontamination is not None:
        evaluation = build_index(recipe.decontamination, recipe.extraction)
        meaning = Decontaminate(recipe.decontamination, evaluation).identity()
        contamination = {"decontamination": {**index_digest(evaluation), **meaning}}
    extraction = [recipe.extraction.model_dump(mode="json"), recipe.reading.max_document_bytes]
    identity = {
        "schema": SCHEMA_VERSION,
        "seed": recipe.seed,
        "inputs": digest(sorted({(split.source, split.file, split.fingerprint) for split in splits})),
        "splits": digest([(split.source, split.file, split.start, split.stop) for split in splits]),
        "extraction": digest(extraction),
        "fields": {item.name: digest(_fields(item)) for item in recipe.inputs},
        "boilerplate": digest(recipe.model_dump(mode="json")["boilerplate"]),
        **contamination,
        "stages": {name: digest(values) for name, values in stages.items()},
        "runs": recipe.output.run_bytes,
        **_decision_identity(recipe, charters),
    }
    models = {name: values["model"] for name, values in stages.items() if "model" in values}
    plan = RunPlan(recipe, splits, charters, identity, models, evaluation=evaluation)
    if earlier is None:
        return plan
    plan = replace(plan, since=earlier.folder.absolute_url())
    found = _difference_in_scores(earlier.manifest, plan.manifest())
    if found:
        raise RequestError(
            f"--since {since}: its documents were scored otherwise ({found}). Make the settings equal, or leave "
            "--since out"
        )
    return plan


def _cut_alike(splits: Sequence[Split], theirs: Sequence[Split], earlier: "Run") -> list[Split]:
    """The splits, files that an earlier run has read cut as it did.

    A file is the same by its input's name, its name below the input's folder, and its content. InputError where
    there is none.
    """
    cuts: dict[tuple[str, ...], list[Split]] = defaultdict(list)
    for split in theirs:
        cuts[_file_identity(split)].append(split)
    alike: dict[tuple[str, ...], list[Split]] = {}
    for split in splits:
        known = cuts.get(_file_identity(split))
        if known is None:
            alike.setdefault(_file_identity(split), []).append(split)
        else:
            alike[_file_identity(split)] = [replace(part, url=split.url) for part in known]
    if not alike.keys() & cuts.keys():
        raise InputError(
            f"--since {earlier.folder.url}: no file of this recipe was read there; a file is the same by its input's "
            "name, its name below the input's folder and its content. Check the inputs, or leave --since out"
        )
    return [split for parts in alike.values() for split in parts]


def _file_identity(split: Split) -> tuple[str, ...]:
    return split.source, split.format, split.file, split.fingerprint


def _difference_in_scores(there: Manifest, here: Manifest) -> str | None:
    """The first difference in what decides the scores of the inputs that two runs share."""
    fields = [manifest.identity.get("fields", {}) for manifest in (there, here)]
    shared = sorted(fields[0].keys() & fields[1].keys())
    reduced = [
        manifest.model_copy(
            update={
                "identity": {part: manifest.identity.get(part) for part in SPLIT_PHASES["score"]}
                | {"fields": {name: own[name] for name in shared}}
            }
        )
        for manifest, own in zip((there, here), fields, strict=True)
    ]
    return describe_difference(*reduced)


def plan_reweighing(run: "Run", recipe: Recipe, charters: dict[str, Charter]) -> RunPlan:
    """The plan of a run over another run's scored documents; `recipe` may differ in what comes after scoring."""
    there, here = run.recipe.model_dump(mode="json"), recipe.model_dump(mode="json")
    for part in ("seed", "inputs", "reading", "extraction", "boilerplate", "stages"):
        found = _first_difference(there[part], here[part], part)
        if found:
            raise RequestError(f"{found[0]} decides the scores; change it in the recipe and run it anew")
    before, now = (each and each.scoring() for each in (run.recipe.decontamination, recipe.decontamination))
    found = _first_difference(before, now, "decontamination")
    if found:
        raise RequestError(f"{found[0]} decides the scores; change it in the recipe and run it anew")
    splits = [Split(**values) for values in run.folder.read_json(SPLITS)]
    identity = {**run.manifest.identity, **_decision_identity(recipe, charters)}
    return RunPlan(recipe, splits, charters, identity, run.manifest.models, scored_in=run.scored_url)


def _decision_identity(recipe: Recipe, charters: Mapping[str, Charter]) -> dict[str, Any]:
    """The parts of an identity that come after scoring."""
    policy = [DECIDE_VERSION, recipe.policy.model_dump(mode="json")]
    if recipe.decontamination is not None:
        policy.append(recipe.decontamination.model_dump(mode="json", include={"action", "min_ngrams", "min_share"}))
    return {
        "dedup": digest([DEDUP_VERSION, NEAR_VERSION, recipe.dedup.model_dump(mode="json")]),
        "policy": digest(policy),
        "weighing": digest(recipe.weighing.meaning()),
        "charters": {name: charter.digest() for name, charter in sorted(charters.items())},
        "output": digest(recipe.output.model_dump(mode="json", exclude={"path", "run_bytes"})),
    }


def _with_charters(recipe: Recipe) -> tuple[Recipe, dict[str, Charter]]:
    """The recipe with its charters under their own names, and the charters."""
    weighing, charters = resolve_charters(recipe.weighing)
    return recipe.model_copy(update={"weighing": weighing}), charters


def _with_synthetic(recipe: Recipe) -> Recipe:
    """The recipe with its synthetic inputs named to the weigher. RecipeError where there is nothing beside them."""
    sources = {item.name: item.synthetic for item in recipe.inputs if item.synthetic is not None}
    if not any(item.synthetic is None for item in recipe.inputs):
        raise RecipeError(
            f"recipe {recipe.name}: a run needs inputs that are not synthetic; add some, or use `synthesize`"
        )
    budget = recipe.weighing.synthetic.model_copy(update={"sources": sources})
    return recipe.model_copy(update={"weighing": recipe.weighing.model_copy(update={"synthetic": budget})})


def recipe_digest(recipe: Recipe, charters: Mapping[str, Charter]) -> str:
    """Digest of what a recipe means, without the places where its inputs, lists and output lie."""
    values = recipe.model_dump(mode="json", exclude={"output": {"path"}, "name": True, "description": True})
    for item in values["inputs"]:
        item.pop("paths")
        if item["synthetic"] is None:
            item.pop("synthetic")
    values["weighing"] = recipe.weighing.meaning()
    if values["synthesis"] is None:
        values.pop("synthesis")
    values.pop("reading")
    if values["decontamination"] is None:  # a recipe without it means what it meant before there was one
        values.pop("decontamination")
    else:
        for item in [*values["decontamination"]["sets"], *values["decontamination"]["ignore"]]:
            item.pop("paths")
    values["stages"]["language"].pop("model")
    for item in values["stages"]["lexicon"]["lists"]:
        item.pop("path")
    values["charters"] = {name: charter.digest() for name, charter in sorted(charters.items())}
    return digest(values)


def _fields(item: Input) -> list[Any]:
    """How an input's records become documents."""
    fields = [item.fields.model_dump(mode="json"), item.license, item.language]
    return fields if item.synthetic is None else [*fields, item.synthetic.model_dump(mode="json")]


def _environment() -> dict[str, str]:
    packages = ("pyarrow", "numpy", "numba", "fastwarc", "resiliparse", "py3langid", "datatrove", "apache-beam")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": _cpu_class(),
        **{name: importlib.metadata.version(name) for name in packages},
        **({DIMENSIONS: own} if (own := own_dimensions()) else {}),
    }


def _cpu_class() -> str:
    """The processor's model, recorded because vector units may round differently."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


class Run:
    """An open run: its folder, its manifest, and the markers of finished tasks."""

    def __init__(self, folder: Folder, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @property
    def recipe(self) -> Recipe:
        return self.manifest.recipe

    @property
    def scored_url(self) -> str:
        """The folder that holds the scored documents: this run's own, or the one that it weighs anew."""
        return self.manifest.scored_in or self.folder.absolute_url()

    @cached_property
    def charters(self) -> dict[str, Charter]:
        """The charters by name, sorted."""
        return {name: Charter.model_validate(values) for name, values in sorted(self.manifest.charters.items())}

    @cached_property
    def shares(self) -> dict[str, float]:
        """Charter → share of the budget, sorted by name."""
        return dict(sorted(self.recipe.weighing.charters.items()))

    def payloads(self, phase: str) -> list[dict[str, Any]]:
        """What each task of a phase is to do."""
        return self.folder.read_json(f"tasks/{phase}/plan.json")

    def plan_tasks(self, phase: str, payloads: list[dict[str, Any]]) -> None:
        """Write a phase's tasks down for whoever runs them."""
        self.store_once(f"tasks/{phase}/plan.json", payloads)

    def store_once(self, name: str, value: Any) -> None:
        """Write JSON unless the same is there already."""
        if not self.folder.exists(name) or self.folder.read_json(name) != value:
            self.folder.write_json(name, value)

    def task_key(self, phase: str, payload: dict[str, Any]) -> str:
        """Hash of all that decides a task's result."""
        identity = self.manifest.identity
        parts = {part: identity[part] for part in SPLIT_PHASES.get(phase, tuple(identity)) if part in identity}
        task = dict(payload)
        if "split" in task:  # the same file elsewhere, or beside other inputs, is the same task
            task["split"] = {name: value for name, value in task["split"].items() if name != "url"}
            task["fields"] = identity["fields"][task["split"]["source"]]
        return digest([phase, parts, task])

    def marker_name(self, phase: str, index: int) -> str:
        return f"tasks/{phase}/{index:06d}.json"

    def finished(self, phase: str, count: int, tried: Collection[int] = ()) -> dict[int, dict[str, Any]]:
        """Index → marker of the tasks that are done; a marker of another key is refused.

        Markers of tasks in `tried` are looked for by their names, since a store may list them late.
        """
        payloads = self.payloads(phase)
        listed = {_index(name): name for name in self.folder.names(f"tasks/{phase}/[0-9]*.json")}
        listed |= {index: self.marker_name(phase, index) for index in tried}
        for index, name in listed.items():
            if index >= count:
                raise OutputError(f"{self.folder.address(name)} belongs to another run; choose another --output")
        markers: dict[int, dict[str, Any]] = {}
        for index, marker in zip(listed, self.folder.read_jsons(listed.values()), strict=True):
            if marker is None:
                continue
            if marker["key"] != self.task_key(phase, payloads[index]):
                raise OutputError(
                    f"{self.folder.address(listed[index])} was made from other inputs or settings; choose another "
                    "--output"
                )
            markers[index] = marker
        return markers

    def adopt(self, phase: str, url: str) -> int:
        """Take over what another run finished of a phase's tasks, with its files where they lie; how many are new."""
        other = Folder(url)
        markers = other.read_jsons(other.names(f"tasks/{phase}/[0-9]*.json"))
        finished = {marker["key"]: marker for marker in markers if marker is not None}
        adopted = 0
        for index, payload in enumerate(self.payloads(phase)):
            marker = finished.get(self.task_key(phase, payload))
            if marker is not None and not self.folder.exists(self.marker_name(phase, index)):
                self.folder.write_json(self.marker_name(phase, index), _with_absolute_names(marker, other))
                adopted += 1
        return adopted


def _index(marker: str) -> int:
    """The task that a marker's name tells."""
    return int(marker.rsplit("/", 1)[-1].removesuffix(".json"))


def _with_absolute_names(value: Any, folder: Folder) -> Any:
    """A marker in which the stored files that it tells of are named so that any run finds them."""
    if isinstance(value, list):
        return [_with_absolute_names(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    stored = "name" in value and "sha256" in value
    return {
        key: folder.absolute(item) if stored and key == "name" else _with_absolute_names(item, folder)
        for key, item in value.items()
    }


def open_run(url: str) -> Run:
    """Open a run's folder; InputError where there is none."""
    folder = Folder(url)
    if not folder.exists(MANIFEST):
        raise InputError(f"{url}: no run here (no {MANIFEST}); give the folder that `florilegium run` wrote")
    try:
        manifest = Manifest.model_validate(folder.read_json(MANIFEST))
        check_dimensions(manifest.environment, url)
        return Run(folder, manifest)
    except ValidationError as error:
        raise RunError(
            f"{folder.address(MANIFEST)} is not a manifest of this version: {error.errors()[0]['msg']}"
        ) from error


def start_run(plan: RunPlan, url: str) -> Run:
    """Open `url` for this plan: a new folder, or the same run to be continued.

    Raises OutputError when it holds anything else, naming the first difference.
    """
    folder = Folder(url)
    manifest = plan.manifest()
    if folder.exists(MANIFEST):
        run = open_run(url)
        difference = describe_difference(run.manifest, manifest)
        if difference:
            raise OutputError(
                f"{url} holds another run ({difference}). Choose another --output, or remove the folder to start anew"
            )
        folder.remove_temporaries()
    elif folder.is_empty():
        run = Run(folder, manifest)
        folder.write_json(MANIFEST, manifest.model_dump(mode="json"))
    else:
        raise OutputError(f"{url} holds files that are no run of ours. Choose another --output")
    run.store_once(SPLITS, [asdict(split) for split in plan.splits])
    return run


def describe_difference(there: Manifest, here: Manifest) -> str | None:
    """The first part in which two runs' meanings differ, with both values where the recipe shows them."""
    if there.identity == here.identity:
        return None
    names = [*here.identity, *(name for name in there.identity if name not in here.identity)]
    part = next(name for name in names if there.identity.get(name) != here.identity.get(name))
    theirs, ours = there.recipe.model_dump(mode="json"), here.recipe.model_dump(mode="json")
    for key in RECIPE_KEYS.get(part, (part,)):
        found = _first_difference(_value_at(theirs, key), _value_at(ours, key), key)
        if found:
            return f"{found[0]} is {found[1]!r} there and {found[2]!r} here"
    place, *_ = _first_difference(there.identity.get(part), here.identity.get(part), part) or (part,)
    return f"its {place} differ"


def _value_at(recipe: dict[str, Any], key: str) -> Any:
    """A recipe's value at a dotted key, None where there is none; of `inputs` their fields by name."""
    if key == "inputs":
        return {item["name"]: {name: item[name] for name in ("fields", "license", "language")} for item in recipe[key]}
    value: Any = recipe
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _first_difference(there: Any, here: Any, place: str) -> tuple[str, Any, Any] | None:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            found = _first_difference(there.get(key), here.get(key), f"{place}.{key}")
            if found and found[0] != "output.path":
                return found
        return None
    return None if there == here else (place, there, here)
