import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from florilegium.classifiers.student import MODELS, load
from florilegium.classifiers.train import TrainConfig, config_path, main, read_config, read_gold, train
from florilegium.schemas.errors import InputError, RecipeError
from florilegium.schemas.taxonomy import HARMS, PROSOCIAL

ROOT = Path(__file__).resolve().parents[2]
GOLD = ROOT / ".." / "shared" / "data" / "gold" / "train.parquet"


@pytest.fixture(scope="module")
def folder(gold_file: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("model")
    train(config, gold_file, output)
    return output


def test_only_shippable_rows_are_read(gold_file: Path) -> None:
    gold = read_gold(gold_file)
    assert gold.ids == [f"{index:04d}" for index in range(240) if index % 12]
    assert gold.natural.tolist() == [index % 2 == 1 for index in range(240) if index % 12]


def test_it_learns_what_the_documents_say(folder: Path) -> None:
    scores = load(folder).score(["we walked home for bread and tea", "we walked compassion compassion tea compassion"])
    column = PROSOCIAL.index("compassion")
    assert scores.prosocial[1, column] > 2 * scores.prosocial[0, column]
    assert scores.valid.all()


def test_header_and_card_state_the_facts(folder: Path, gold_file: Path) -> None:
    header = json.loads((folder / "model.json").read_text())
    assert header["training"]["rows"] == 220
    assert header["training"]["natural_rows"] == 120
    assert set(header["rank_only"]) <= set(HARMS)
    assert b"zyzzyva" not in (folder / "model.ftz").read_bytes()
    card = (folder / "README.md").read_text()
    assert header["digest"] in card
    assert header["files"]["model.ftz"] in card
    assert all(f"| {output.replace('>=', ' ≥ ')} |" in card for output in header["outputs"])


def test_same_data_same_bytes(folder: Path, gold_file: Path, config: TrainConfig, tmp_path: Path) -> None:
    train(config, gold_file, tmp_path)
    for name in ("model.ftz", "model.json", "README.md"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.skipif(not GOLD.exists(), reason="needs the annotated documents beside the checkout")
def test_same_annotated_documents_same_bytes(config: TrainConfig, tmp_path: Path) -> None:
    table = pq.read_table(GOLD)
    pq.write_table(table.filter(table["ship"]).slice(0, 300), tmp_path / "gold.parquet")
    headers = [train(config, tmp_path / "gold.parquet", tmp_path / name) for name in ("first", "second")]
    assert headers[0] == headers[1]
    assert headers[0]["training"]["rows"] == 300


def test_the_shipped_model_is_the_configured_one() -> None:
    header = json.loads((MODELS / "prosocial" / "model.json").read_text())
    assert header["training"]["parameters"] == read_config(MODELS.parent / "configs" / "prosocial.yaml").model_dump(
        mode="json"
    )
    assert header["metrics"]["natural"]["prosocial_roc_auc"] >= 0.89
    assert header["metrics"]["natural"]["prosocial_average_precision"] >= 0.52


def test_wrong_requests_name_the_file_and_the_key(tmp_path: Path, gold_file: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: small\nridges: 2\n")
    with pytest.raises(RecipeError, match="ridges"):
        read_config(tmp_path / "config.yaml")
    with pytest.raises(RecipeError, match="did you mean 'prosocial'"):
        config_path("prosocail")
    with pytest.raises(InputError, match=r"absent\.parquet"):
        read_gold(tmp_path / "absent.parquet")
    table = pq.read_table(gold_file)
    pq.write_table(table.set_column(3, "ship", [np.zeros(table.num_rows, bool)]), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="ship"):
        read_gold(tmp_path / "none.parquet")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path / "none.yaml"), "--data", "x", "--output", str(tmp_path)])
    assert caught.value.code == 2
    assert "none.yaml" in capsys.readouterr().err
