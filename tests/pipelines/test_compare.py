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

FEW_TASKS = ("output.shard_bytes=4194304", "reading.split_bytes=4194304")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("compare")
    return run(make_corpus(folder / "posts"), str(folder / "run"), *FEW_TASKS)


def changed(folder: Path, bias: dict[str, float]) -> Path:
    """The shipped model under another version, with shifted logits."""
    shutil.copytree(MODELS / "prosocial", folder)
    header = json.loads((folder / "model.json").read_text())
    for entry in header["calibration"]:
        entry["bias"] += bias.get(entry["output"], 0.0)
    header.pop("digest")
    header["version"] = "changed"
    (folder / "model.json").write_text(json.dumps({**header, "digest": digest(header)}))
    return folder


@pytest.fixture(scope="module")
def altered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shyer about compassion and quality, bolder about reasoning."""
    shifts = {"compassion>=2": -2.0, "reasoning>=2": 2.0, "quality>=3": -6.0}
    return changed(tmp_path_factory.mktemp("altered") / "model", shifts)


def test_scoring_again_alike_changes_nothing(outcome: Outcome, tmp_path: Path) -> None:
    twin = changed(tmp_path / "twin", {})
    result = compare(outcome.run.folder.url, "prosocial", str(twin), load_engine("local", 1))
    assert result["old"]["digest"] != result["new"]["digest"]
    assert result["documents"] == 107
    assert result["decisions"]["flipped"] == 0
    assert result["weights"]["moved"] == 0
    assert result["most_moved"] == []
    assert all(entry["mean_distance"] == 0 for entry in result["scores"].values())


def test_another_model_changes_what_a_run_with_it_would(outcome: Outcome, altered: Path, tmp_path: Path) -> None:
    result = compare(outcome.run.folder.url, "prosocial", str(altered), load_engine("local", 1))
    corpus = Path(outcome.run.folder.url).parent / "posts"
    other = run(corpus, str(tmp_path / "run"), *FEW_TASKS, f"stages.classify.model={altered}")
    for name in ("kept", "unweighted", "rejected", "failed"):
        assert result["decisions"]["new"].get(name, 0) == other.ledger.total(name)
        assert result["decisions"]["old"].get(name, 0) == outcome.ledger.total(name)
    masses = []
    for each in (outcome, other):
        folder = each.run.folder.url
        weights, decisions = f"{folder}/weights/weights-*.parquet", f"{folder}/decisions/decisions-*.parquet"
        query = f"select id, tokens * weight from '{weights}' join '{decisions}' using (id) where action = 'survivor'"
        masses.append(dict(duckdb.sql(query).fetchall()))
    ids = masses[0].keys() | masses[1].keys()
    moved = sum(abs(masses[0].get(name, 0) - masses[1].get(name, 0)) for name in ids)
    total = sum(sum(side.values()) for side in masses)
    assert moved / total > 0.01
    assert result["weights"]["moved"] == pytest.approx(moved / total, abs=1e-4)
    assert result["scores"]["compassion"]["mean_change"] < 0 < result["scores"]["reasoning"]["mean_change"]
    assert result["scores"]["affinity"]["mean_distance"] == 0
    assert sum(domain["new"] for domain in result["domains"].values()) == pytest.approx(result["weights"]["new"], abs=1)
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
