"""Training a harm model on a set that we wrote: same bytes, the floor it promises, errors that name the remedy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from florilegium.classifiers import load
from florilegium.classifiers.harm_model import HarmModel
from florilegium.classifiers.train import config_path, train_any
from florilegium.schemas.errors import InputError, RecipeError
from florilegium.schemas.taxonomy import HARMS
from typer.testing import CliRunner

CARD = dict.fromkeys(("summary", "data", "licences", "use", "limits"), "Für einen Test geschrieben.")
RULES = [
    {"when": {"grim": [1, 1]}, "known": {"hate>=2": 1}},
    {"when": {"grim": [0, 0]}, "known": {"hate>=2": 0}},
]
CONFIG: dict[str, Any] = {
    "kind": "harm",
    "name": "mini",
    "version": "1",
    "languages": ["de"],
    "units": "parts",
    "outputs": ["hate>=2"],
    "buckets": 4096,
    "sets": [{"file": "mini.parquet", "rows": 10000, "importance": 1.0, "rules": RULES}],
    "groups": {"of weather": {"weather": [1, 1]}},
    "card": CARD,
}
PLACES = ["am Bahnhof", "im Garten", "auf dem Markt", "in der Schule", "am See", "im Zug", "beim Bäcker", "im Verein"]
GRIM = ["Gesindel", "Gesindels", "Drecksgesindel", "Lumpenpack", "Packes", "Gelump"]
CALM = ["Regen", "Sonnenschein", "Regenwetter", "Nachbarn", "Nachbarschaft", "Suppe"]


def write_set(folder: Path) -> Path:
    random = np.random.default_rng(3)
    rows = []
    for number in range(900):
        grim = int(random.random() < 0.4)
        words = [str(random.choice(GRIM if grim and random.random() < 0.9 else CALM)) for _ in range(2)]
        place, other = (str(random.choice(PLACES)) for _ in range(2))
        rows.append(
            {
                "id": f"mini-{number}",
                "text": f"Nummer {number}: {words[0]} {place}, und {words[1]} {other}.",
                "split": ("train", "train", "dev", "test")[number % 4],
                "labels": [("grim", float(grim)), ("weather", float("Regen" in words[0]))],
            }
        )
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("text", pa.string()),
            ("split", pa.string()),
            ("labels", pa.map_(pa.string(), pa.float64())),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "mini.parquet")
    return folder


def write_pages(folder: Path) -> Path:
    """Ordinary documents, one of them in another language and one of them with a word of its own, said often."""
    random = np.random.default_rng(4)
    rows = [
        {
            "id": f"page-{number}",
            "text": " ".join(f"Heute {random.choice(CALM)} {random.choice(PLACES)}." for _ in range(60)),
            "language": "de",
        }
        for number in range(200)
    ]
    rows += [{"id": "other", "text": "Gesindel", "language": "fr"}]
    rows += [{"id": "rare", "text": "Xanthippenzwirn liegt hier. " + "Der Xanthippenzwirn! " * 500, "language": "de"}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "pages.parquet")
    return folder / "pages.parquet"


def write_config(folder: Path, **changes: Any) -> Path:
    path = folder / "mini.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, **changes}, allow_unicode=True), "utf-8")
    return path


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def pages(sets: Path) -> Path:
    return write_pages(sets)


@pytest.fixture(scope="module")
def folder(sets: Path, pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("model")
    train_any(write_config(output), pages, output / "mini", sets)
    return output / "mini"


def test_it_learns_parts_of_words(folder: Path) -> None:
    model = load(folder)
    assert isinstance(model, HarmModel)
    assert (model.languages, model.known) == (("de",), ("hate>=2",))
    scores = model.score(["Das Gesindels im Zug.", "Ein Gesindelhaufen am See.", "Der Nachbarin Suppe im Garten."])
    hate = scores.toxic[:, HARMS.index("hate")]
    assert hate[0] > 0.5
    assert hate[1] > 10 * hate[2]  # neither word is in the set
    header = json.loads((folder / "model.json").read_text("utf-8"))
    measured = header["metrics"]["hate>=2"]
    assert measured["roc_auc"]["value"] >= 0.9
    assert measured["groups"]["of weather"]["rows"] > 0


def test_the_floor_is_where_the_configuration_puts_it(folder: Path) -> None:
    header = json.loads((folder / "model.json").read_text("utf-8"))
    assert header["training"]["ordinary_taught"] + header["training"]["ordinary_measured"] == 201
    assert header["metrics"]["hate>=2"]["ordinary_above"]["0.3"] <= 0.01
    assert header["rank_only"] == ["hate"]


def test_same_data_same_bytes_whatever_the_order_of_the_pages(
    folder: Path, sets: Path, pages: Path, tmp_path: Path
) -> None:
    table = pq.read_table(pages)
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(table.num_rows)))
    pq.write_table(shuffled, tmp_path / "pages.parquet")
    train_any(write_config(tmp_path), tmp_path / "pages.parquet", tmp_path / "mini", sets)
    for name in ("model.ftz", "model.json", "README.md"):
        assert (tmp_path / "mini" / name).read_bytes() == (folder / name).read_bytes()


def test_a_word_of_one_document_is_in_no_file(folder: Path) -> None:
    payload = (folder / "model.ftz").read_bytes()
    assert b"xant" not in payload
    assert b"_ges" in payload


def test_without_ordinary_documents_the_sets_decide(sets: Path, tmp_path: Path) -> None:
    header = train_any(write_config(tmp_path, threshold={"harmless": 0.05}), None, tmp_path / "mini", sets)
    assert header["training"]["ordinary_digest"] is None
    assert header["metrics"]["hate>=2"]["ordinary_above"] == {"0.3": None, "0.5": None}
    assert header["metrics"]["hate>=2"]["harmless_above"]["0.3"] <= 0.1
    card = (tmp_path / "mini" / "README.md").read_text("utf-8")
    assert header["digest"] in card
    assert "uncalibrated rank, not a probability" in card
    assert "ordinary documents" not in card


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"outputs": ["hate>=1"]}, InputError, "'hate>=1' is no toxic harm"),
        ({"outputs": ["hate>=2", "violence>=2"]}, InputError, "violence>=2: 0 toxic and 0 harmless rows"),
        ({"outputs": ["violence>=2"]}, RecipeError, "'hate>=2' is not a label"),
        ({"units": "letters"}, RecipeError, "units"),
        ({"minimum_documents": 1}, RecipeError, "minimum_documents"),
        ({"seeds": 3}, RecipeError, "seeds"),
        ({"sets": [{"file": "none.parquet", "rows": 9, "rules": RULES}]}, InputError, "name its folder with --sets"),
    ],
)
def test_bad_configurations_are_refused(
    sets: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train_any(write_config(tmp_path, **changes), None, tmp_path / "mini", sets)
    assert not (tmp_path / "mini").exists()


def test_bad_data_is_refused(sets: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs the columns id and text"):
        train_any(write_config(tmp_path), tmp_path / "absent.parquet", tmp_path / "mini", sets)
    with pytest.raises(InputError, match="learns from annotated documents; name their file with --data"):
        train_any(config_path("prosocial"), None, tmp_path / "mini", sets)


def test_the_command(sets: Path, tmp_path: Path) -> None:
    from florilegium.pipelines.cli import app

    line = ["train", str(write_config(tmp_path)), "--sets", str(sets), "-o", str(tmp_path / "mini")]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    assert "ROC-AUC on the test split of the sets:" in result.output
    assert (tmp_path / "mini" / "README.md").is_file()
