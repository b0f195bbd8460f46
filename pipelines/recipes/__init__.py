"""Recipes: found by name or path, extended, overridden, checked.

A recipe file is YAML. `extends: NAME` starts from a shipped recipe (or a file beside it) and lays its
own keys over it; lists are replaced, mappings are merged. `--set a.b=c` lays single values over that.
"""

import difflib
import os
import re
from collections.abc import Callable, Hashable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ...schemas.errors import RecipeError
from ...schemas.recipe import Recipe

__all__ = ["explain_validation", "load_recipe", "override_recipe", "parse_yaml", "read_yaml", "shipped_recipes"]

PACKAGE = "florilegium.pipelines.recipes"


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, not a silent choice of the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        merged = "tag:yaml.org,2002:merge"  # `<<: *NAME`, whose keys may be given again
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != merged]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} is given twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """The plain values of a YAML text. Raises `yaml.YAMLError`, also for a key that is given twice."""
    return yaml.load(text, Loader=_Loader)  # builds what SafeLoader builds


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in files(PACKAGE).iterdir() if entry.name.endswith(".yaml")
    )


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """A checked recipe from a shipped name or a YAML file, with `key=value` overrides laid over it.

    Relative paths in a recipe file are relative to the file; in shipped recipes and overrides, to the
    working folder. Raises RecipeError with the place, the nearest known name and the remedy.
    """
    values, label = _load_values(name_or_path, seen=())
    return _checked(values, overrides, label)


def override_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A recipe with `key=value` overrides laid over it."""
    return _checked(recipe.model_dump(mode="json"), overrides, f"recipe {recipe.name}")


def _checked(values: dict[str, Any], overrides: Sequence[str], label: str) -> Recipe:
    for override in overrides:
        _apply_override(values, override)
    try:
        return _with_list_files(Recipe.model_validate(values), label)
    except ValidationError as error:
        raise RecipeError(f"{label}: {explain_validation(error, Recipe)}") from error


def read_yaml(path: Path | Any, label: str) -> dict[str, Any]:
    """A YAML mapping; RecipeError with line and remedy where it is none."""
    try:
        values = parse_yaml(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise RecipeError(f"{label} is not valid YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{label} is not UTF-8 text ({error})") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{label} holds no mapping of keys to values")
    return values


def _load_values(name_or_path: str, seen: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    path = Path(name_or_path)
    if name_or_path in shipped_recipes() and not path.suffix:
        label, values = f"recipe {name_or_path}", read_yaml(files(PACKAGE) / f"{name_or_path}.yaml", name_or_path)
        values = _expand_examples(values)
    elif path.is_file():
        label, values = str(path), read_yaml(path, str(path))
        _anchor_paths(values, path.parent)
    else:
        nearest = difflib.get_close_matches(name_or_path, shipped_recipes(), n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise RecipeError(
            f"{name_or_path}: no such recipe; {hint}Give a YAML file or one of: {', '.join(shipped_recipes())}"
        )
    parent = values.pop("extends", None)
    if parent is None:
        return values, label
    if parent in seen:
        raise RecipeError(f"{label}: `extends` goes round in a circle: {' → '.join([*seen, parent])}")
    base, _ = _load_values(_beside(str(parent), path), (*seen, str(parent)))
    return _merge(base, values), label


def _beside(parent: str, path: Path) -> str:
    candidate = path.parent / parent
    return str(candidate) if candidate.is_file() and parent not in shipped_recipes() else parent


def _expand_examples(values: dict[str, Any]) -> dict[str, Any]:
    """`example://NAME` in a shipped recipe is a file of the embedded example."""
    folder = Path(str(files("florilegium.pipelines.examples")))
    for item in values.get("inputs", []):
        item["paths"] = [
            str(folder / path.removeprefix("example://")) if path.startswith("example://") else path
            for path in item.get("paths", [])
        ]
    return values


def _anchor_paths(values: dict[str, Any], folder: Path) -> None:
    """Make the local paths of a recipe file relative to the file instead of the working folder."""

    def anchor(place: Any) -> Any:
        if not isinstance(place, str) or "://" in place or "::" in place:
            return place
        expanded = os.path.expandvars(os.path.expanduser(place))  # noqa: PTH111
        return expanded if Path(expanded).is_absolute() else os.path.normpath(folder / expanded)

    for item in _mappings(values.get("inputs")):
        _anchor_input(item, anchor)
    for decontamination in _mappings([values.get("decontamination")]):
        for item in [*_mappings(decontamination.get("sets")), *_mappings(decontamination.get("ignore"))]:
            _anchor_input(item, anchor)
    for policy in _mappings([values.get("policy")]):
        for takedown in _mappings([policy.get("takedown")]):
            takedown.update({key: anchor(entry) for key, entry in takedown.items() if isinstance(entry, str)})
    for stages in _mappings([values.get("stages")]):
        for language in _mappings([stages.get("language")]):
            language.update({key: anchor(entry) for key, entry in language.items() if key == "model"})
        for lexicon in _mappings([stages.get("lexicon")]):
            for item in _mappings(lexicon.get("lists")):
                item.update({key: anchor(entry) for key, entry in item.items() if key == "path"})
    for weighing in _mappings([values.get("weighing")]):
        for charters in _mappings([weighing.get("charters")]):
            weighing["charters"] = {
                anchor(name) if str(name).endswith((".yaml", ".yml")) else name: share
                for name, share in charters.items()
            }
    for output in _mappings([values.get("output")]):
        if "path" in output:
            output["path"] = anchor(output["path"])


def _anchor_input(item: dict[str, Any], anchor: Callable[[Any], Any]) -> None:
    if isinstance(item.get("paths"), str):
        item["paths"] = [item["paths"]]
    if isinstance(item.get("paths"), list):
        item["paths"] = [anchor(path) for path in item["paths"]]


def _mappings(values: Any) -> list[dict[str, Any]]:
    """Those of some values that are mappings; what is not will fail validation with a sentence."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _merge(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        whole = {"charters", "domains"}  # replaced, since half of a mix means nothing
        return {
            key: _merge(base[key], over[key]) if key in base and key in over and key not in whole
            else over.get(key, base.get(key))
            for key in [*base, *(key for key in over if key not in base)]
        }  # fmt: skip
    return over


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise RecipeError(f"--set {override!r}: write it as key=value, for example policy.min_words=50")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is not valid YAML ({error})") from error
    target: Any = values
    *parents, last = key.split(".")
    for part in parents:
        target = _step(target, part, override)
    if isinstance(target, list):
        target[_position(target, last, override)] = value
    else:
        target[last] = value


def _step(target: Any, part: str, override: str) -> Any:
    if isinstance(target, list):
        return target[_position(target, part, override)]
    if target.get(part) is None:
        target[part] = {}
    if not isinstance(target[part], dict | list):
        raise RecipeError(f"--set {override!r}: {part} is a single value and has no parts")
    return target[part]


def _position(items: list[Any], part: str, override: str) -> int:
    """A list's element by number, or by its `name`."""
    for index, item in enumerate(items):
        if part == str(index) or (isinstance(item, dict) and item.get("name") == part):
            return index
    raise RecipeError(f"--set {override!r}: no element {part!r} in a list of {len(items)}")


def _with_list_files(recipe: Recipe, label: str) -> Recipe:
    """The recipe with takedown lists read from their files."""
    takedown = recipe.policy.takedown
    lists = {key: _read_list(getattr(takedown, key), label) for key in ("ids", "urls", "hosts")}
    policy = recipe.policy.model_copy(update={"takedown": takedown.model_copy(update=lists)})
    return recipe.model_copy(update={"policy": policy})


def _read_list(entries: list[str] | str, label: str) -> list[str]:
    if isinstance(entries, list):
        return sorted(set(entries))
    try:
        lines = Path(entries).read_text("utf-8").splitlines()
    except OSError as error:
        raise RecipeError(f"{label}: policy.takedown: cannot read {entries} ({error.strerror})") from error
    return sorted({line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")})


def explain_validation(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of a pydantic error as one sentence, with the nearest name for unknown keys."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _known_keys(model, fault["loc"][:-1])
        nearest = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known keys here: {', '.join(known)}"
        return f"unknown key {place!r}; {hint}"
    message = re.sub(r"^Value error, ", "", fault["msg"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {message}{more}" if place and not message.startswith(f"{place}.") else f"{message}{more}"


def _known_keys(model: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """Field names at a place in a model's tree."""
    annotation: Any = model
    for part in place:
        if isinstance(part, int):
            continue
        candidates = [item for item in _flatten(annotation) if isinstance(item, type) and issubclass(item, BaseModel)]
        fields = [candidate.model_fields[part] for candidate in candidates if part in candidate.model_fields]
        if not fields:
            return []
        annotation = fields[0].annotation
    return [
        name
        for item in _flatten(annotation)
        if isinstance(item, type) and issubclass(item, BaseModel)
        for name in item.model_fields
    ]


def _flatten(annotation: Any) -> list[Any]:
    arguments = get_args(annotation)
    return [annotation] if not arguments else [leaf for item in arguments for leaf in _flatten(item)]
