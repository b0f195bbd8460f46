"""What pyproject.toml promises agrees with the folders, and the layers import only downwards."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAYERS = {"schemas": set(), "classifiers": {"schemas"}, "pipelines": {"schemas", "classifiers"}}


def test_every_package_is_listed() -> None:
    folders = {
        "florilegium." + ".".join(path.parent.relative_to(ROOT).parts)
        for layer in LAYERS
        for path in (ROOT / layer).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_import_downwards(layer: str) -> None:
    for path in (ROOT / layer).rglob("*.py"):
        depth = len(path.relative_to(ROOT / layer).parts)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level > depth:
                above = (node.module or "").split(".")[0]
                assert above in LAYERS[layer], f"{path.relative_to(ROOT)} imports {above}"


def test_the_lock_names_no_host_and_no_cuda() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "http://" not in lock
    assert "https://" not in lock
    assert "nvidia" not in lock
    assert not [line for line in lock.splitlines() if line.startswith(("torch==", "--index", "--extra", "--find"))]


def test_help_is_light() -> None:
    code = "import florilegium.pipelines.cli, sys; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"pyarrow", "numpy", "numba", "apache_beam", "datatrove", "fasttext", "pydantic"} & set(loaded)
    assert heavy == set()
