"""The commands about models, as a user meets them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.classifiers.conftest import CARD, write_gold
from tests.commandline import florilegium, florilegium_here

COMMANDS = ["train", "evaluate", "audit", "annotate", "select", "compare"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotated documents cut in two, a small configuration, and the model that `train` makes of them."""
    folder = tmp_path_factory.mktemp("models")
    table = pq.read_table(write_gold(folder / "gold.parquet"))
    pq.write_table(table.slice(0, 180), folder / "train.parquet")
    pq.write_table(table.slice(180), folder / "dev.parquet")
    config = {"name": "small", "version": "1", "languages": ["en"], "buckets": 5000, "folds": 3, "card": CARD}
    (folder / "small.yaml").write_text(yaml.safe_dump(config))
    done = florilegium("train", folder / "small.yaml", "--data", folder / "train.parquet", "-o", folder / "model")
    assert done.returncode == 0, done.stderr
    assert "Held out" in done.stdout
    assert "Train small 1" in done.stderr
    return folder


def test_train_again_gives_the_same_bytes(folder: Path) -> None:
    arguments = ["train", folder / "small.yaml", "--data", folder / "train.parquet", "--json"]
    done = florilegium_here(*arguments, "-o", folder / "again")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["natural"]["rows"] > 0
    for name in ("model.ftz", "model.json", "README.md"):
        assert (folder / "again" / name).read_bytes() == (folder / "model" / name).read_bytes()


def test_a_learning_curve_instead_of_a_model(folder: Path) -> None:
    arguments = ["train", folder / "small.yaml", "--data", folder / "train.parquet", "--learning-curve"]
    done = florilegium_here(*arguments, "-o", folder / "curve")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (folder / "curve").iterdir()) == ["learning_curve.json", "learning_curve.md"]
    rows = json.loads((folder / "curve" / "learning_curve.json").read_text())["rows"]
    assert rows == sorted(rows)
    assert done.stdout.startswith("# Learning curve of small 1")


def test_evaluate_beside_the_baseline(folder: Path) -> None:
    suite = {"name": "ours", "output": "compassion>=2", "tests": {}}
    for name, positive, word in (("named", True, "compassion"), ("absent", False, "bread")):
        cases = [f"we walked {word} home {word} tea {word} day {word} road {number}" for number in range(6)]
        suite["tests"][name] = {"positive": positive, "cases": cases}
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    arguments = ["evaluate", folder / "model", folder / "dev.parquet", folder / "suite.yaml"]
    done = florilegium_here(
        *arguments, "--baseline", folder / "train.parquet", "-o", folder / "report", "--resamples", "50"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "report" / "evaluation.json").read_text())
    assert (folder / "report" / "evaluation.md").read_text().rstrip() == done.stdout.rstrip()
    dev, tests = result["sets"]
    quality = dev["groups"]["quality"]["roc_auc"]
    assert quality["value"] > 0.7
    assert quality["baseline"] > 0.7
    assert quality["difference"] == pytest.approx(quality["value"] - quality["baseline"], abs=2e-4)
    assert quality["interval"][0] <= quality["value"] <= quality["interval"][1]
    assert tests["tests"]["named"]["roc_auc_against_others"] == 1
    assert "of TF-IDF" not in done.stdout
    assert "Δ" in done.stdout


def test_select_then_audit(folder: Path) -> None:
    done = florilegium_here(
        "select", folder / "dev.parquet", "--count", 8, "--labelled", folder / "train.parquet",
        "--model", folder / "model", "-o", folder / "next.parquet", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == pq.read_table(folder / "next.parquet").num_rows == 8
    done = florilegium_here("audit", folder / "model", "--resamples", 20, "--json", "-o", folder / "report")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["dialects"]["all"]["pairs"] >= 60
    assert (folder / "report" / "audit.md").read_text().startswith("# Audit")


def test_annotate_says_what_it_would_take(folder: Path) -> None:
    arguments = ["annotate", folder / "dev.parquet", "--endpoint", "https://host.example/v1", "--model", "tiny"]
    done = florilegium_here(*arguments, "-o", folder / "labels.parquet", "--dry-run", "--price-in", 1, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == 60
    assert json.loads(done.stdout)["cost"] > 0
    assert not (folder / "labels.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["train", "no.yaml", "--data", "x", "-o", "m"], 2, "no.yaml"),
        (["evaluate", "prosocial", "no.parquet"], 2, "no.parquet"),
        (["evaluate", "no-such-model", "no.parquet"], 1, "no-such-model"),
        (["evaluate", "prosocial", "plain.parquet"], 2, "has no labels"),
        (["evaluate", "prosocial", "scale.parquet"], 2, "hate is 3, off the scale 0–2"),
        (["evaluate", "prosocial", "suite.yaml"], 2, "unknown output 'kindness>=2'"),
        (["audit", "no-such-model"], 1, "no-such-model"),
        (["select", "plain.parquet", "-o", "x.parquet", "--strategies", "rarest=1"], 2, "unknown strategy 'rarest'"),
        (["annotate", "plain.parquet", "--endpoint", "host", "--model", "m", "-o", "x"], 2, "not an HTTP address"),
        (["compare", "prosocial", "prosocial", "--run", "no-run"], 2, "no run here"),
    ],
)
def test_wrong_requests_get_a_sentence(arguments: list[str], code: int, sentence: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "text": ["A text."]}), tmp_path / "plain.parquet")
    grades = [0] * 12 + [3] + [0] * 7
    pq.write_table(pa.table({"id": ["a"], "text": ["A text."], "annotations": [[grades]]}), tmp_path / "scale.parquet")
    suite = {"name": "s", "tests": {"t": {"output": "kindness>=2", "positive": True, "cases": ["x"]}}}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    done = florilegium_here(*arguments, folder=tmp_path)
    assert done.returncode == code, done.stderr
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    done = florilegium_here(command, "--help")
    assert done.returncode == 0
    assert f"florilegium {command}" in done.stdout
    assert "Example" in done.stdout
