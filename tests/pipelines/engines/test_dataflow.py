"""Engine `dataflow`: the real client submits to a stand-in of the service, and what it was given is run.

The proof ends where Google's machines begin: their scheduler, their images' start and their quotas are not here.
"""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.storage import Folder
from florilegium.schemas.errors import InputError, OutputError, RequestError, RunError

from tests.commandline import florilegium_here
from tests.dataflow import Service, key_file, service
from tests.object_stores import BUCKET, gcs_environment, gcs_server

for package in ("gcsfs", "gcp_storage_emulator", "google.cloud.dataflow_v1beta3"):
    pytest.importorskip(package, reason=f"needs {package}; `make test-engines` has it")

pytestmark = pytest.mark.engines

IMAGE = "europe-west4-docker.pkg.dev/my-project/images/florilegium:0.1.0"
WORDS = "the river was high that year and we learned to ask before we gave advice to anyone"
GIVEN = ["--project=my-project", "--region=europe-west4", f"--temp_location=gs://{BUCKET}/temp"]
GIVEN += [f"--sdk_container_image={IMAGE}"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with gcs_server() as store, service() as jobs, pytest.MonkeyPatch.context() as patch:
        for name, value in gcs_environment(store).items():
            patch.setenv(name, value)
        key = key_file(tmp_path_factory.mktemp("key"), f"{jobs.url}/token")
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
        for part in range(2):
            texts = [f"{part} and {number}: {WORDS}. I think that {WORDS}, and so did they." for number in range(12)]
            lines = [json.dumps({"id": f"{part}-{number}", "text": text}) for number, text in enumerate(texts)]
            lines += [json.dumps({"id": f"{part}-twin", "text": texts[0].upper()}), "{broken"]
            Folder(f"gs://{BUCKET}/posts").write_bytes(f"posts-{part}.jsonl", "\n".join(lines).encode())
        yield jobs


@pytest.fixture(autouse=True)
def fresh(cloud: Service) -> None:
    cloud.jobs.clear()
    cloud.refuse, cloud.final_state = lambda job: None, None


def options(*more: str) -> list[str]:
    return [
        f"inputs.posts.paths=['gs://{BUCKET}/posts/*.jsonl']",
        "inputs.posts.fields.text=text",
        "inputs.posts.fields.created=null",
        "policy.gopher_repetition=null",
        "weighing.domain_column=source",
        "output.shard_bytes=2048",
        *more,
    ]


def run(output: Path | str, engine: str, *given: str) -> Outcome:
    return execute(plan_run(load_recipe("forum", options())), str(output), load_engine(engine, 1, given))


def checksums(outcome: Outcome) -> dict[str, str]:
    manifest = outcome.run.manifest
    return {table.name: table.sha256 for table in [*manifest.shards, *manifest.rejects, *manifest.weights]}


def test_what_the_client_submits_gives_the_bytes_of_engine_local(cloud: Service, tmp_path: Path) -> None:
    local = checksums(run(tmp_path / "local", "local"))
    output = f"gs://{BUCKET}/{tmp_path.name}"
    outcome = run(output, "dataflow", *GIVEN, f"--dataflow_endpoint={cloud.url}")
    assert checksums(outcome) == local
    names = [job["name"] for job in cloud.jobs.values()]
    assert len(names) == len(set(names)) >= 5
    assert all(name.startswith("florilegium-") for name in names)
    for job in cloud.jobs.values():
        images = {env.payload.decode("latin-1") for env in cloud.graph(job).components.environments.values()}
        assert all(IMAGE in image for image in images)
        assert not any(env.dependencies for env in cloud.graph(job).components.environments.values())
    score = next(job for job in cloud.jobs.values() if "-score-" in job["name"])
    steps = {transform.unique_name for transform in cloud.graph(score).components.transforms.values()}
    assert any(step.endswith("/normalize") for step in steps)

    submitted = len(cloud.jobs)
    again = run(output, "dataflow", *GIVEN, f"--dataflow_endpoint={cloud.url}")
    assert again.resumed == again.tasks
    assert len(cloud.jobs) == submitted


def test_a_cancelled_job_is_named_and_goes_on_elsewhere(cloud: Service, tmp_path: Path) -> None:
    output = f"gs://{BUCKET}/{tmp_path.name}"
    cloud.final_state = "JOB_STATE_CANCELLED"
    with pytest.raises(RunError, match=r"europe-west4/job-0\?project=my-project: .*cancelled.*same command"):
        run(output, "dataflow", *GIVEN, f"--dataflow_endpoint={cloud.url}")
    cloud.final_state = "JOB_STATE_FAILED"
    with pytest.raises(RunError, match=r"console\.cloud\.google\.com.*the job failed"):
        run(output, "dataflow", *GIVEN, f"--dataflow_endpoint={cloud.url}")
    assert checksums(run(output, "local")) == checksums(run(tmp_path / "local", "local"))


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (429, "Quota exceeded for quota metric 'Create requests'", r"a quota is used up"),
        (403, "Dataflow API has not been used in project my-project", r"not allowed .*Enable the Dataflow API"),
        (409, "There is already an active job", r"still runs\. Wait for it, or cancel it"),
        (400, "The workflow could not be created: machine type", r"refused .*Correct the options"),
    ],
)
def test_refusals_of_the_service_are_named(
    cloud: Service, tmp_path: Path, status: int, message: str, expected: str
) -> None:
    cloud.refuse = lambda job: (status, message)
    with pytest.raises((RequestError, RunError), match=expected):
        run(f"gs://{BUCKET}/{tmp_path.name}", "dataflow", *GIVEN, f"--dataflow_endpoint={cloud.url}")
    assert cloud.jobs == {}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], r"needs --project, --region, --temp-location"),
        (["--project=My Project", *GIVEN[1:]], r"no project id"),
        ([GIVEN[0], "--region=europe-west4-a", *GIVEN[2:]], r"not a zone"),
        ([*GIVEN[:2], "--temp_location=/tmp/x", GIVEN[3]], r"give a folder such as gs://"),
        (GIVEN[:3], r"needs --sdk-container-image"),
        ([*GIVEN, "--num_wokers=3"], r"did you mean --num_workers"),
        ([*GIVEN, "--runner=DirectRunner"], r"sets this by itself"),
    ],
)
def test_options_are_checked_first(given: list[str], expected: str) -> None:
    with pytest.raises(RequestError, match=expected):
        load_engine("dataflow", 1, given)


def test_what_workers_cannot_reach_is_refused(cloud: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match=r"choose an --output on gs://"):
        run(tmp_path / "run", "dataflow", *GIVEN, f"--dataflow_endpoint={cloud.url}")
    assert not (tmp_path / "run").exists()
    Path(tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    here = plan_run(load_recipe("forum", options(f"inputs.posts.paths=[{tmp_path}/a.jsonl]")))
    with pytest.raises(InputError, match=r"copy the inputs"):
        execute(here, f"gs://{BUCKET}/{tmp_path.name}", load_engine("dataflow", 1, GIVEN))
    with monkeypatch.context() as patch:
        patch.setenv("FLORILEGIUM_TAXONOMY", str(files("florilegium.schemas").joinpath("taxonomy.yaml")))
        with pytest.raises(RequestError, match=r"FLORILEGIUM_TAXONOMY is set, .*DataflowRunner"):
            run(f"gs://{BUCKET}/{tmp_path.name}", "dataflow", *GIVEN, f"--dataflow_endpoint={cloud.url}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "gone.json"))
    with pytest.raises(RequestError, match=r"no credentials were found .*gcloud auth"):
        run(f"gs://{BUCKET}/{tmp_path.name}-2", "dataflow", *GIVEN)
    assert cloud.jobs == {}
    assert Folder(f"gs://{BUCKET}").names(f"{tmp_path.name}*/*") == []  # nothing is written first


def test_the_command_line_takes_them(tmp_path: Path) -> None:
    ended = florilegium_here("run", "quickstart", "--engine", "dataflow", "--project", "my-project", "--region", "x")
    assert ended.returncode == 2
    assert "needs --temp-location" in ended.stderr
    ended = florilegium_here("run", "quickstart", "--project", "my-project", "--output", tmp_path / "run")
    assert "--project=my-project: unexpected" in ended.stderr
