"""`synthesis:` in a run's recipe on clusters: the bytes of `local`, from the composer and from an endpoint at once.

The endpoint is a real server on this machine that asks for a key and is busy now and then; workers find the key in
their environment, and it is written nowhere.
"""

import hashlib
import importlib.util
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from florilegium.pipelines.storage import Folder

from tests.dataflow import key_file, service
from tests.object_stores import BUCKET, gcs_environment, gcs_server
from tests.pipelines.engines.clusters import Started, checksums, command, stored_checksums
from tests.pipelines.engines.one_node_slurm import OneNodeSlurm, missing
from tests.pipelines.synthesis.server import KEY, Server, serve

pytestmark = pytest.mark.engines

HAS_RAY = importlib.util.find_spec("ray") is not None
STATUSES = ("accepted", "refused", "failed")
EXAMPLES = Path(__file__).parents[3] / "pipelines/examples"
DOCUMENTS = 36


class Example:
    """The embedded example with synthetic documents, half of them from an endpoint, and what `local` makes of it."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.server, self.recipe = server, folder / "recipe.yaml"
        backends = [
            {"name": "composer"},
            {"name": "tiny", "endpoint": server.address, "model": "tiny-1", "concurrency": 3, "attempts": 12},
        ]
        values = {
            "extends": "quickstart",
            "synthesis": {
                "documents": DOCUMENTS, "allow_composer": True, "task_documents": 9, "revisions": 1,
                "charters": ["stoa", "care"], "kinds": {"dialogue": 0.7, "reasons": 0.3}, "backends": backends,
            },
            "weighing": {"synthetic": {"share": 0.05}},
        }  # fmt: skip
        self.recipe.write_text(json.dumps(values))
        subprocess.run(self.line(folder / "local", "local"), check=True, capture_output=True)
        self.expected = checksums(folder / "local") | _synthetic(str(folder / "local"))
        self.ledger = json.loads((folder / "local/synthetic/ledger.json").read_text())

    def line(self, output: Path | str, engine: str, *more: str) -> list[str]:
        line = command(output, engine, *more)
        return [str(self.recipe) if part == "quickstart" else part for part in line]

    def run(self, output: Path | str, engine: str, *more: str) -> str:
        """Run it to its end; what was said on the way."""
        asked = len(self.server.asked)
        code, _, errors = Started(self.line(output, engine, *more)).wait()
        assert code == 0, errors
        assert KEY not in errors
        drafts = sum(self.ledger["planned"].values()) // 2
        assert len(self.server.asked) - asked > 2 * drafts  # a draft and a critique of each, and what was tried again
        return errors


def _synthetic(url: str) -> dict[str, str]:
    folder = Folder(url)
    names = [name for status in STATUSES for name in folder.names(f"synthetic/{status}/*.parquet")]
    return {
        name: hashlib.sha256(folder.read_bytes(name)).hexdigest()
        for name in [*names, "synthetic/ledger.json", "synthetic/report.json"]
    }


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    faults = ["", "", "429", "", "", "500", "", ""]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLORILEGIUM_API_KEY", KEY)
        with serve(Server(lambda number: faults[number % len(faults)] if number > 2 else "")) as server:
            yield Example(tmp_path_factory.mktemp("synthesis"), server)


def holds_no_key(place: Path) -> bool:
    return not any(KEY.encode() in path.read_bytes() for path in place.rglob("*") if path.is_file())


def test_what_is_compared(example: Example) -> None:
    assert example.ledger["planned"] == {"synthetic.composer": DOCUMENTS // 2, "synthetic.tiny": DOCUMENTS // 2}
    assert all(example.ledger["accepted"].values())
    names = {f"synthetic/accepted/synthetic.{backend}-00000.parquet" for backend in ("composer", "tiny")}
    assert names <= example.expected.keys()


@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed; `make test-engines` installs it")
def test_on_ray(example: Example, tmp_path: Path) -> None:
    example.run(tmp_path / "run", "ray")
    assert checksums(tmp_path / "run") | _synthetic(str(tmp_path / "run")) == example.expected
    assert holds_no_key(tmp_path)


@pytest.mark.skipif(bool(missing()), reason=str(missing()))
def test_on_slurm(example: Example, tmp_path: Path) -> None:
    with OneNodeSlurm(array_size=10):
        example.run(tmp_path / "run", "slurm", "--", "--tasks-per-job=2", f"--logs={tmp_path}/logs")
    assert checksums(tmp_path / "run") | _synthetic(str(tmp_path / "run")) == example.expected
    assert holds_no_key(tmp_path)


def test_as_a_graph_that_the_client_of_dataflow_submits(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("gcsfs", "gcp_storage_emulator", "google.cloud.dataflow_v1beta3"):
        pytest.importorskip(package, reason=f"needs {package}; `make test-engines` has it")
    with gcs_server() as store, service() as cloud:
        for name, value in gcs_environment(store).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file(tmp_path, f"{cloud.url}/token")))
        place = f"gs://{BUCKET}"
        files = {"pages": "quickstart.warc.gz", "posts": "quickstart.jsonl.gz"}
        for file in files.values():
            Folder(f"{place}/examples").write_bytes(file, (EXAMPLES / file).read_bytes())
        inputs = [f"inputs.{name}.paths=[{place}/examples/{file}]" for name, file in files.items()]
        given = ["--project=my-project", "--region=europe-west4", f"--temp_location={place}/temp"]
        given += ["--sdk_container_image=europe-west4-docker.pkg.dev/my-project/images/florilegium:0.1.0"]
        given += [f"--dataflow_endpoint={cloud.url}"]
        sets = [part for value in inputs for part in ("--set", value)]
        example.run(f"{place}/run", "dataflow", *sets, "--", *given)
        found = stored_checksums(f"{place}/run") | _synthetic(f"{place}/run")
        assert found == example.expected
        (job,) = [job for job in cloud.jobs.values() if "-synthesize-" in job["name"]]
        graph = cloud.graph(job)
        steps = {part.unique_name for part in graph.components.transforms.values()}
        written = [name for name in steps if name.endswith("Synthesize/Write")]
        assert len(written) == 1
        parts = {name.rpartition("/")[2] for name in steps if name.rpartition("/")[0] == written[0].rpartition("/")[0]}
        assert parts >= {"Missing", "Spread", "Write", "Gather", "Store"}
        assert KEY.encode() not in graph.SerializeToString()
        assert KEY not in json.dumps(job)
