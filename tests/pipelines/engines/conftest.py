"""Fixtures of the engines' tests."""

import subprocess

import pytest

from tests.pipelines.engines.clusters import MORE_SPLITS, checksums, command


@pytest.fixture(scope="session")
def expected_example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `local` writes of the embedded example, as `clusters.checksums` gives it."""
    output = tmp_path_factory.mktemp("run") / "local"
    subprocess.run(command(output, "local", *MORE_SPLITS), check=True, capture_output=True)
    return checksums(output)
