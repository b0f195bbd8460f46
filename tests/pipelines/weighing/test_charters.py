from pathlib import Path

import pytest
from florilegium.pipelines.weighing.charters import load_charter, resolve_charters, shipped_charters
from florilegium.schemas.errors import RecipeError
from florilegium.schemas.recipe import Weighing


def test_what_ships():
    assert {"care", "inquiry", "uniform"} <= set(shipped_charters())


@pytest.mark.parametrize("name", shipped_charters())
def test_a_shipped_charter_says_whose_it_is_and_what_it_leaves_out(name):
    charter = load_charter(name)
    assert charter.name == name
    assert charter.example
    assert all(text.strip() for text in (charter.community, charter.tradition, charter.description, charter.leaves_out))


@pytest.mark.parametrize("name", sorted(set(shipped_charters()) - {"uniform"}))
def test_a_shipped_charter_never_refuses_a_topic(name):
    limits = load_charter(name).tolerance.harm
    assert limits
    assert all(limit.topical is None and limit.toxic for limit in limits.values())


def test_uniform_values_and_refuses_nothing():
    charter = load_charter("uniform")
    assert (charter.values, charter.tolerance.harm, charter.utility_floor, charter.quality_floor) == ({}, {}, 0, 0)


def _write(folder: Path, text: str) -> str:
    (folder / "ours.yaml").write_text(text, "utf-8")
    return "ours.yaml"


def test_a_path_is_read_from_the_folder(tmp_path):
    assert load_charter(_write(tmp_path, "version: 1\nname: ours\nvalues: {growth: 1}"), tmp_path).name == "ours"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "version: 1\nname: ours\nvalues: {grwth: 1}",
            "ours.yaml: values: unknown dimension 'grwth'; did you mean 'growth'?",
        ),
        ("version: 1\nname: ours\nfloor: 1", "unknown key 'floor'"),
        ("version: 1\nname: ours\nvalues: {growth: {wait: 1}}", "values.growth: unknown key 'wait'"),
        ("version: 1\nname: ours\nshares: {news: 0.5}", "shares: the shares sum to 0.5, not 1"),
        ("version: 1\nname: ours\nshares: {news: 2.0}", "shares.news: Input should be less than or equal to 1"),
        ("version: 1\nname: ours\nvalues: {growth: 1, growth: 2}", "the key 'growth' is given twice"),
        ("version: 1\nname: [", "not valid YAML"),
        ("version: 1\nname: ours\nlanguages: [no]", "languages.0: YAML reads yes, no, on and off as true and false"),
        ("version: 1\nname: ours\ntolerance: {harm: {hate: 0.3}}", "tolerance.harm.hate: write a mapping"),
        ("version: 1\nname: Our Charter", "name: 'Our Charter' is no name; write small letters"),
        ("- version", "a charter is a mapping"),
        ("name: ours", "version: Field required"),
    ],
)
def test_mistakes_name_the_file_and_the_place(tmp_path, text, sentence):
    with pytest.raises(RecipeError) as error:
        load_charter(_write(tmp_path, text), tmp_path)
    assert sentence in str(error.value)


def test_neither_name_nor_file(tmp_path):
    with pytest.raises(RecipeError, match="neither a file nor a shipped charter; did you mean 'care'"):
        load_charter("cares", tmp_path)
    with pytest.raises(RecipeError, match="this is a folder; name a file in it"):
        load_charter(tmp_path)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "ours.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read as UTF-8 text"):
        load_charter("ours.yaml", tmp_path)


def test_resolving_puts_shares_under_the_charters_own_names(tmp_path):
    path = _write(tmp_path, "version: 1\nname: ours")
    weighing, charters = resolve_charters(Weighing(charters={path: 0.4, "care": 0.6}), tmp_path)
    assert weighing.charters == {"ours": 0.4, "care": 0.6}
    assert set(charters) == {"ours", "care"}


def test_two_charters_of_one_name_are_refused(tmp_path):
    path = _write(tmp_path, "version: 1\nname: care")
    with pytest.raises(RecipeError, match="second charter named 'care'"):
        resolve_charters(Weighing(charters={"care": 0.5, path: 0.5}), tmp_path)
