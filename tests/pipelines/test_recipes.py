"""Recipes: shipped ones are whole, files extend them, and every mistake gets a sentence with its remedy."""

from pathlib import Path

import pytest
from florilegium.pipelines.recipes import load_recipe, shipped_recipes
from florilegium.schemas.errors import RecipeError


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_shipped_recipes_load() -> None:
    assert shipped_recipes() == ["common_crawl", "dialogues", "forum", "midtraining", "quickstart"]
    quickstart = load_recipe("quickstart")
    assert [item.name for item in quickstart.inputs] == ["pages", "posts"]
    assert all(Path(path).is_file() for item in quickstart.inputs for path in item.paths)
    for name in ("common_crawl", "forum"):
        with pytest.raises(RecipeError, match="needs `paths`"):
            load_recipe(name)


def test_a_recipe_extends_a_shipped_one(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.yaml",
        "extends: forum\nname: mine\nseed: 5\npolicy: {min_words: 7}\n"
        "inputs:\n  - {name: posts, paths: [data/*.parquet]}\nweighing: {charters: {uniform: 1}}\n",
    )
    recipe = load_recipe(path)
    assert (recipe.name, recipe.seed, recipe.policy.min_words) == ("mine", 5, 7)
    assert recipe.policy.min_stop_words == 2
    assert recipe.weighing.charters == {"uniform": 1.0}
    assert recipe.inputs[0].paths == [str(tmp_path / "data/*.parquet")]


def test_set_reaches_into_mappings_and_lists() -> None:
    recipe = load_recipe(
        "forum",
        ["inputs.posts.paths=[a.parquet]", "policy.max_toxic.hate=0.25", "inputs.0.fields.text=body", "seed=9"],
    )
    assert recipe.inputs[0].paths == ["a.parquet"]
    assert recipe.inputs[0].fields.text == "body"
    assert recipe.policy.max_toxic["hate"] == 0.25
    assert recipe.policy.max_toxic["violence"] == 0.5
    assert recipe.seed == 9


def test_takedown_lists_may_be_files(tmp_path: Path) -> None:
    (tmp_path / "hosts.txt").write_text("# asked for in March\nb.example\n\na.example\n")
    path = write(
        tmp_path / "r.yaml",
        "name: r\ninputs: [{name: x, paths: [y.jsonl]}]\npolicy: {takedown: {hosts: hosts.txt, ids: [k]}}\n",
    )
    takedown = load_recipe(path).policy.takedown
    assert (takedown.hosts, takedown.ids) == (["a.example", "b.example"], ["k"])


def test_files_of_stages_lie_beside_the_recipe(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.yaml",
        "name: r\ninputs: [{name: x, paths: [y.jsonl]}]\n"
        "stages: {language: {model: lid.ftz}, lexicon: {lists: [{name: roots, path: lists/en.txt, language: en}]}}\n",
    )
    stages = load_recipe(path).stages
    assert stages.language.model == str(tmp_path / "lid.ftz")
    assert stages.lexicon.lists[0].path == str(tmp_path / "lists/en.txt")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "name: r\ninputs: [{name: x, paths: [y]}]\npolicy: {min_wrods: 3}",
            r"'policy\.min_wrods'; did you mean 'min_words'",
        ),
        ("name: r\ninputs: [{name: x, paths: [y], feilds: {}}]", r"'inputs\.0\.feilds'; did you mean 'fields'"),
        ("name: r\ninputs: []", "inputs"),
        ("name: r\ninputs: [{name: x}]", "needs `paths`"),
        ("name: r\ninputs: [{name: x, paths: [y]}, {name: x, paths: [z]}]", "two inputs have one name"),
        ("name: r\ninputs: [{name: x, paths: [y]}]\nweighing: {charters: {a: 0.5}}", "sum to 0.5, not 1"),
        ("name: r\ninputs: [{name: x, paths: [y]}]\npolicy: {max_toxic: {rudeness: 1}}", "unknown harm 'rudeness'"),
        ("extends: r.yaml", "circle"),
        ("extends: quickstrt", "did you mean 'quickstart'"),
        ("- a\n- b", "no mapping"),
        ("a: [", "not valid YAML"),
        (
            "name: r\ninputs: [{name: x, paths: [y]}]\nweighing: {charters: {care: 0.5, care: 1.0}}",
            "the key 'care' is given twice",
        ),
        (
            "name: r\ninputs: [{name: x, paths: [y]}]\nweighing: {charters: {a: 0.5}}",
            r"r\.yaml: weighing\.charters: the",
        ),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        load_recipe(write(tmp_path / "r.yaml", text))


@pytest.mark.parametrize("override", ["seed", "=3", "inputs.nobody.name=x", "seed.deeper=1", "seed=[", "seed=-1"])
def test_bad_overrides_are_explained(override: str) -> None:
    with pytest.raises(RecipeError, match=r"--set|seed"):
        load_recipe("quickstart", [override])


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(RecipeError, match="did you mean 'forum'"):
        load_recipe("forun")


def test_keys_may_be_taken_over_from_elsewhere_in_the_file(tmp_path: Path) -> None:
    text = "name: r\ninputs:\n  - &one {name: x, paths: [y], license: cc0-1.0}\n  - {<<: *one, name: z}\n"
    first, second = load_recipe(write(tmp_path / "r.yaml", text)).inputs
    assert (first.name, second.name) == ("x", "z")
    assert first.license == second.license
