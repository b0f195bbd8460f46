"""Finding charters: the shipped ones by name, a community's own by the path of its YAML file."""

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import ValidationError

from ...schemas.charter import Charter
from ...schemas.errors import RecipeError
from ...schemas.recipe import Weighing
from .. import charters as shipped
from ..recipes import parse_yaml

__all__ = ["load_charter", "resolve_charters", "sentences", "shipped_charters"]

_SHIPPED = files(shipped)


def shipped_charters() -> tuple[str, ...]:
    """Names of the charters that come with Florilegium, sorted."""
    names = (entry.name for entry in _SHIPPED.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def load_charter(name_or_path: str | Path, folder: str | Path = ".") -> Charter:
    """A shipped charter by its name, or a YAML file by its path (relative ones from `folder`).

    Raises `RecipeError`: what is wrong, where, and the nearest known name.
    """
    name = str(name_or_path)
    if name in shipped_charters():
        return _parse(_SHIPPED.joinpath(f"{name}.yaml").read_text("utf-8"), f"charter {name}")
    path = Path(folder) / name_or_path
    if name and path.is_dir():
        raise RecipeError(f"charter {name!r}: this is a folder; name a file in it")
    if not path.is_file():
        nearest = get_close_matches(name, shipped_charters(), n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"these ship: {', '.join(shipped_charters())}"
        raise RecipeError(f"charter {name!r}: neither a file nor a shipped charter; {hint}")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    return _parse(text, str(path))


def resolve_charters(weighing: Weighing, folder: str | Path = ".") -> tuple[Weighing, dict[str, Charter]]:
    """The recipe's charters, loaded, and its weighing with every share under the charter's own name.

    A recipe may name a charter by path; nothing that is stored should depend on a path. Raises
    `RecipeError` where two entries carry one name.
    """
    charters: dict[str, Charter] = {}
    shares: dict[str, float] = {}
    for entry, share in weighing.charters.items():
        charter = load_charter(entry, folder)
        if charter.name in charters:
            raise RecipeError(f"weighing.charters: {entry!r} is a second charter named {charter.name!r}; rename one")
        charters[charter.name] = charter
        shares[charter.name] = share
    return weighing.model_copy(update={"charters": shares}), charters


def _parse(text: str, where: str) -> Charter:
    try:
        data = parse_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{where}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{where}: a charter is a mapping that starts with `version: 1` and `name:`")
    try:
        return Charter.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"{where}: {sentences(error)}") from error


def sentences(error: ValidationError) -> str:
    """Every mistake as `place: sentence`, without the branches of a union that were not meant."""
    mistakes = [item for item in error.errors() if item["type"] != "literal_error"] or error.errors()
    sentences = []
    for mistake in mistakes:
        place = ".".join(str(part) for part in mistake["loc"] if not str(part).startswith(("dict[", "literal[")))
        sentence = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "string_type" and isinstance(mistake["input"], bool):
            sentence = "YAML reads yes, no, on and off as true and false; put the word in quotes"
        elif mistake["type"] == "model_type":
            sentence = "write a mapping of keys to values here"
        sentences.append(f"{place}: {sentence}" if place else sentence)
    return "; ".join(sentences)
