"""The embedded example, with near-duplicates, charters and weights: one set of checksums, wherever it runs and lies.

`test_ray.py` and `test_slurm.py` compare runs on a disk with the same set.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from florilegium.pipelines.storage import Folder

from tests.dataflow import key_file, service
from tests.object_stores import BUCKET, gcs_environment, gcs_server, s3_environment, s3_server
from tests.pipelines.engines.clusters import MORE_SPLITS, checksums, start, stored_checksums
from tests.pipelines.engines.one_node_slurm import OneNodeSlurm, missing

for package in ("s3fs", "moto", "gcsfs", "gcp_storage_emulator", "google.cloud.dataflow_v1beta3"):
    pytest.importorskip(package, reason=f"needs {package}; `make test-engines` has it")

pytestmark = pytest.mark.engines

EXAMPLES = Path(__file__).parents[3] / "pipelines/examples"
FILES = {"pages": "quickstart.warc.gz", "posts": "quickstart.jsonl.gz"}
PORTABLE = ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK")


def run(output: Path | str, engine: str, *more: str) -> None:
    code, _, errors = start(output, engine, *MORE_SPLITS, *more).wait()
    assert code == 0, errors


def uploaded(url: str) -> list[str]:
    """Put the example into a store; what makes a run read it there."""
    for file in FILES.values():
        Folder(url).write_bytes(file, (EXAMPLES / file).read_bytes())
    return [part for name, file in FILES.items() for part in ("--set", f"inputs.{name}.paths=[{url}/{file}]")]


@pytest.fixture
def on_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with s3_server() as store:
        for name, value in s3_environment(store).items():
            monkeypatch.setenv(name, value)
        yield


def test_it_finds_near_duplicates_and_weighs_by_two_charters(expected_example: dict[str, str]) -> None:
    assert "weights/plan.json" in expected_example
    assert {"dedup/clusters.parquet", "dedup/members-00000.parquet"} <= expected_example.keys()


@pytest.mark.parametrize("runner", [(), PORTABLE], ids=["FnApiRunner", "PortableRunner"])
def test_on_beam(expected_example: dict[str, str], tmp_path: Path, runner: tuple[str, ...]) -> None:
    run(tmp_path / "run", "beam", "--", *runner)
    assert checksums(tmp_path / "run") == expected_example


def test_as_graphs_that_the_client_of_dataflow_submits(
    expected_example: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gcs_server() as store, service() as cloud:
        for name, value in gcs_environment(store).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file(tmp_path, f"{cloud.url}/token")))
        given = ["--project=my-project", "--region=europe-west4", f"--temp_location=gs://{BUCKET}/temp"]
        given += ["--sdk_container_image=europe-west4-docker.pkg.dev/my-project/images/florilegium:0.1.0"]
        given += [f"--dataflow_endpoint={cloud.url}"]
        run(f"gs://{BUCKET}/run", "dataflow", *uploaded(f"gs://{BUCKET}/examples"), "--", *given)
        assert stored_checksums(f"gs://{BUCKET}/run") == expected_example
        phases = {phase for job in cloud.jobs.values() for phase in ("pair", "cluster", "keep") if phase in job["name"]}
    assert phases == {"pair", "cluster", "keep"}


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
def test_on_ray_from_a_store_to_a_store(expected_example: dict[str, str], on_s3: None) -> None:
    run(f"s3://{BUCKET}/run", "ray", *uploaded(f"s3://{BUCKET}/examples"))
    assert stored_checksums(f"s3://{BUCKET}/run") == expected_example


@pytest.mark.skipif(bool(missing()), reason=str(missing()))
def test_on_slurm_from_a_store_to_a_store(expected_example: dict[str, str], on_s3: None, tmp_path: Path) -> None:
    with OneNodeSlurm(array_size=10):
        more = uploaded(f"s3://{BUCKET}/examples")
        run(f"s3://{BUCKET}/run", "slurm", *more, "--", "--tasks-per-job=7", f"--logs={tmp_path}/logs")
    assert stored_checksums(f"s3://{BUCKET}/run") == expected_example
