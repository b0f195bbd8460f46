from importlib.resources import files
from pathlib import Path

import pytest
from florilegium.schemas.errors import RecipeError
from florilegium.schemas.taxonomy import TAXONOMY_VARIABLE, load_taxonomy

SHIPPED = files("florilegium.schemas").joinpath("taxonomy.yaml").read_text("utf-8")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a copy that the variable names."""
    path = tmp_path / "taxonomy.yaml"
    monkeypatch.setenv(TAXONOMY_VARIABLE, str(path))
    return path


def load() -> tuple[str, ...]:
    return tuple(dimension.name for dimension in load_taxonomy.__wrapped__().prosocial)


def test_a_copy_with_one_more_dimension(copy: Path) -> None:
    copy.write_text(SHIPPED.replace("\nharm:\n", "    play:\n      definition: Plays.\n      not: Mocks.\n\nharm:\n"))
    assert load()[-1] == "play"
    assert load()[:-1] == tuple(dimension.name for dimension in load_taxonomy().prosocial)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\n", "guidance"),
        ("- a list\n", "not a taxonomy"),
        (SHIPPED.replace("    affinity:", "    hate:"), "'hate' stands for two things"),
        (SHIPPED.replace("    affinity:", "    Being Near:"), "'Being Near' is no name"),
        (SHIPPED.replace("      not: Saying", "      nor: Saying"), "not"),
        ("version: [", "not a taxonomy"),
    ],
)
def test_what_is_no_taxonomy_is_refused(copy: Path, text: str, message: str) -> None:
    copy.write_text(text)
    with pytest.raises(RecipeError, match=message):
        load()


def test_an_absent_file_is_named(copy: Path) -> None:
    with pytest.raises(RecipeError, match=rf"{TAXONOMY_VARIABLE}.*taxonomy\.yaml cannot be read"):
        load()
