"""What another model changes in a run is what a run with it would do."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from florilegium.classifiers.student import MODELS
from florilegium.pipelines.compare import compare, render_comparison
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import Outcome
from florilegium.schemas.hashing import digest

from tests.pipelines.test_phases import make_corpus, run

KEEP = ("weighing.charters={care: 0.5, inquiry: 0.5}",)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("compare")
    return run(make_corpus(folder / "posts"), str(folder / "run"), *KEEP)


@pytest.fixture(scope="module")
def altered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model with a shyer calibration of compassion and a bolder one of reasoning."""
    folder = tmp_path_factory.mktemp("altered") / "model"
    shutil.copytree(MODELS / "prosocial", folder)
    header = json.loads((folder / "model.json").read_text())
    for entry in header["calibration"]:
        entry["bias"] += {"compassion>=2": -2.0, "reasoning>=2": 2.0, "quality>=3": -6.0}.get(entry["output"], 0.0)
    header.pop("digest")
    (folder / "model.json").write_text(json.dumps({**header, "digest": digest(header)}))
    return folder


def test_the_same_model_changes_nothing(outcome: Outcome) -> None:
    """Scored again in one of the two cases: the digest of a renamed copy differs."""
    url = outcome.run.folder.url
    result = compare(url, "prosocial", "prosocial", load_engine("local", 1))
    assert result["documents"] == 105
    assert result["decisions"]["flipped"] == 0
    assert result["weights"]["moved"] == 0
    assert result["most_moved"] == []
    assert all(entry["mean_distance"] == 0 for entry in result["scores"].values())


def test_another_model_changes_what_a_run_with_it_would(outcome: Outcome, altered: Path, tmp_path: Path) -> None:
    result = compare(outcome.run.folder.url, "prosocial", str(altered), load_engine("local", 1))
    corpus = Path(outcome.run.folder.url).parent / "posts"
    other = run(corpus, str(tmp_path / "run"), *KEEP, f"stages.classify.model={altered}")
    for name in ("kept", "unweighted", "rejected", "failed"):
        assert result["decisions"]["new"].get(name, 0) == other.ledger.total(name)
        assert result["decisions"]["old"].get(name, 0) == outcome.ledger.total(name)
    weights = [
        dict(duckdb.sql(f"select id, weight from '{each.run.folder.url}/weights/*.parquet'").fetchall())
        for each in (outcome, other)
    ]
    tokens = dict(
        duckdb.sql(f"select id, tokens from '{outcome.run.folder.url}/decisions/decisions-*.parquet'").fetchall()
    )
    moved = sum(
        tokens[i] * abs(weights[0].get(i, 0) - weights[1].get(i, 0)) for i in weights[0].keys() | weights[1].keys()
    )
    total = sum(tokens[i] * side.get(i, 0) for side in weights for i in side)
    assert result["weights"]["moved"] == pytest.approx(moved / total, abs=1e-4) > 0.01
    assert result["scores"]["compassion"]["mean_change"] < 0 < result["scores"]["reasoning"]["mean_change"]
    assert result["scores"]["affinity"]["mean_distance"] == 0
    assert sum(domain["new"] for domain in result["domains"].values()) == pytest.approx(result["weights"]["new"], abs=1)
    assert result["old"]["digest"] != result["new"]["digest"]
    assert "Weight moved" in render_comparison(result)


def test_the_command_leaves_the_run_as_it_was(outcome: Outcome, altered: Path) -> None:
    folder = Path(outcome.run.folder.url)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    command = [
        sys.executable,
        "-m",
        "florilegium.pipelines",
        "compare",
        "prosocial",
        str(altered),
        "--run",
        str(folder),
    ]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["weights"]["moved"] > 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
