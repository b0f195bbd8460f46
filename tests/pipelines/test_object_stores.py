"""Runs on S3 and Google's store: the same bytes as on a disk, through outages, late listings and kills."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines import object_stores
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import Outcome, execute, run_task
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.sources import RecordReader, plan_splits
from florilegium.pipelines.storage import Folder
from florilegium.pipelines.validation import validate
from florilegium.schemas.errors import RequestError, StoreError
from florilegium.schemas.recipe import ExtractionOptions, Input, Reading

from tests.commandline import florilegium_here
from tests.object_stores import BUCKET, Proxy, gcs_environment, gcs_server, s3_environment, s3_server

for package in ("s3fs", "moto", "gcsfs", "gcp_storage_emulator"):
    pytest.importorskip(package, reason=f"needs {package}; `make test-engines` has it")

pytestmark = pytest.mark.engines

EXAMPLES = Path(__file__).parents[2] / "pipelines/examples"
FILES = {"pages": "quickstart.warc.gz", "posts": "quickstart.jsonl.gz"}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Proxy]]:
    with s3_server() as s3, gcs_server() as gs:
        yield {"s3": s3, "gs": gs}


@pytest.fixture(params=["s3", "gs"])
def protocol(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def proxies(servers: dict[str, Proxy], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Proxy]]:
    for name, value in (s3_environment(servers["s3"]) | gcs_environment(servers["gs"])).items():
        monkeypatch.setenv(name, value)
    yield servers
    for proxy in servers.values():
        proxy.fault, proxy.late_seconds = lambda request: None, 0.0


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return checksums(quickstart(str(EXAMPLES), str(tmp_path_factory.mktemp("local") / "run")))


def options(inputs: str) -> list[str]:
    return [f"inputs.{name}.paths=[{inputs}/{file}]" for name, file in FILES.items()]


def quickstart(inputs: str, output: str, workers: int = 1) -> Outcome:
    return execute(plan_run(load_recipe("quickstart", options(inputs))), output, load_engine("local", workers))


def checksums(outcome: Outcome) -> dict[str, str]:
    manifest = outcome.run.manifest
    return {table.name: table.sha256 for table in [*manifest.shards, *manifest.rejects, *manifest.weights]}


def uploaded(protocol: str) -> str:
    """The example in a store."""
    place = f"{protocol}://{BUCKET}/examples"
    for file in FILES.values():
        Folder(place).write_bytes(file, (EXAMPLES / file).read_bytes())
    return place


def test_a_folder_is_never_stale(protocol: str, tmp_path: Path) -> None:
    url = f"{protocol}://{BUCKET}/{tmp_path.name}"
    mine, theirs = Folder(url), Folder(url)
    assert mine.is_empty()
    assert mine.names("tasks/*.json") == []
    assert not mine.exists("tasks/1.json")
    program = f"from florilegium.pipelines.storage import Folder; Folder({url!r}).write_json('tasks/1.json', [1])"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert mine.exists("tasks/1.json")
    assert mine.names("tasks/*.json") == ["tasks/1.json"]
    assert not mine.is_empty()
    assert mine.read_jsons(["tasks/1.json", "tasks/2.json"]) == [[1], None]
    theirs.write_json("tasks/1.json", [1, 2, 3])
    assert mine.size("tasks/1.json") == theirs.size("tasks/1.json") == len(mine.read_bytes("tasks/1.json"))
    mine.remove("tasks/1.json")
    mine.remove("tasks/1.json")
    assert not theirs.exists("tasks/1.json")


def test_a_run_gives_the_bytes_of_a_disk(
    protocol: str, proxies: dict[str, Proxy], local: dict[str, str], tmp_path: Path
) -> None:
    inputs, output = uploaded(protocol), f"{protocol}://{BUCKET}/{tmp_path.name}"
    outcome = quickstart(inputs, output)
    assert checksums(outcome) == local
    assert all(not check.faults for check in validate(output))
    again = quickstart(inputs, output)
    assert again.resumed == again.tasks
    kept = json.loads(florilegium_here("query", output, "SELECT count(*) AS n FROM documents", "--json").stdout)
    assert kept[0]["n"] == sum(table.rows for table in outcome.run.manifest.shards)
    document = json.loads(florilegium_here("query", output, "SELECT id FROM documents LIMIT 1", "--json").stdout)
    told = florilegium_here("why", output, document[0]["id"])
    assert told.returncode == 0, told.stderr
    weighed = florilegium_here("weigh", output, "--charters", "care=0.5,ren=0.5", "--output", f"{output}-care")
    assert weighed.returncode == 0, weighed.stderr
    assert Folder(f"{output}-care").exists("weights/plan.json")
    reported = florilegium_here("report", output)
    assert reported.returncode == 0, reported.stderr
    assert Folder(output).exists("report/index.html")


def test_parquet_is_read_by_ranges(protocol: str, proxies: dict[str, Proxy], tmp_path: Path) -> None:
    rows = [f"document {number} says {number * 7919 % 104729}" * 200 for number in range(400)]
    padding = [os.urandom(16_000) for _ in rows]
    pq.write_table(pa.table({"text": rows, "padding": padding}), tmp_path / "a.parquet", row_group_size=50)
    Folder(f"{protocol}://{BUCKET}/{tmp_path.name}").write_bytes("a.parquet", (tmp_path / "a.parquet").read_bytes())
    source = Input.model_validate({"name": "a", "paths": [f"{protocol}://{BUCKET}/{tmp_path.name}/a.parquet"]})
    reading = Reading(split_bytes=1 << 20)
    with proxies[protocol].counted() as planning:
        splits = plan_splits(source, reading)
    assert len(splits) > 3
    assert len(planning) < 10, planning  # gcsfs asks three times what the input's name is
    with proxies[protocol].counted() as seen:
        batches = list(RecordReader(splits[1], source, reading, ExtractionOptions()))
    assert sum(batch.num_rows for batch in batches) == (splits[1].stop - splits[1].start) * 50
    ranges = [request.range for request in seen if request.range]
    read = sum(int(stop) - int(start) + 1 for start, stop in (r.removeprefix("bytes=").split("-") for r in ranges))
    assert ranges
    assert read < 300_000  # its row groups hold 50 kB of text and 800 kB of padding each, and the footer 64 kB


def test_a_store_that_is_away_for_a_minute(
    protocol: str, proxies: dict[str, Proxy], local: dict[str, str], tmp_path: Path
) -> None:
    inputs, output = uploaded(protocol), f"{protocol}://{BUCKET}/{tmp_path.name}"
    away: list[float] = []

    def fault(request: object) -> int | None:
        if "scored/" in request.path and not away:  # type: ignore[attr-defined]
            away.append(time.monotonic() + 60)
        return 503 if away and time.monotonic() < away[0] else None

    proxies[protocol].fault = fault
    assert checksums(quickstart(inputs, output)) == local
    assert time.monotonic() > away[0]
    assert Folder(output).names("tasks/*/failed-*.json") == []


def test_an_outage_that_lasts(protocol: str, proxies: dict[str, Proxy], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(f"{protocol}://{BUCKET}/outage")
    folder.write_json("a.json", 1)
    monkeypatch.setattr(object_stores, "PATIENCE_SECONDS", 0.1)
    proxies[protocol].fault = lambda request: 503
    with pytest.raises(StoreError, match=r"has failed for .* seconds .*run the same command again"):
        folder.read_bytes("a.json")
    if protocol == "s3":  # gcsfs tries each call for half a minute of its own
        assert not run_task(folder.url, "score", 0)  # nothing escapes, though no note can be left either


def test_refusals_say_the_remedy(protocol: str, proxies: dict[str, Proxy]) -> None:
    folder = Folder(f"{protocol}://{BUCKET}/refused")
    proxies[protocol].fault = lambda request: 403
    with pytest.raises(RequestError, match=r"may not do that .*Grant"):
        folder.read_bytes("a.json")
    proxies[protocol].fault = lambda request: 401
    with pytest.raises(RequestError, match=r"expired, or are refused\. Renew them"):
        folder.read_bytes("a.json")
    proxies[protocol].fault = lambda request: None
    with pytest.raises(RequestError, match=r"no such bucket\. Create it"):
        Folder(f"{protocol}://nowhere-to-be-found/run").write_json("a.json", 1)


def refused(environment: dict[str, str], output: str) -> str:
    """What the command line says when it cannot start; always with exit code 2."""
    command = [sys.executable, "-m", "florilegium.pipelines", "run", "quickstart", "--output", output]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GOOGLE_", "FSSPEC_"))}
    ended = subprocess.run(command, env=kept | environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1
    return ended.stderr


def test_missing_credentials_and_a_wrong_endpoint(proxies: dict[str, Proxy], tmp_path: Path) -> None:
    s3 = s3_environment(proxies["s3"])
    nobody = {name: value for name, value in s3.items() if "KEY" not in name} | {"HOME": str(tmp_path)}
    assert "no credentials were found" in refused(nobody, f"s3://{BUCKET}/x")
    nowhere = refused(s3 | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, f"s3://{BUCKET}/x")
    assert "cannot be reached" in nowhere
    assert "AWS_ENDPOINT_URL" in nowhere
    assert "no such bucket" in refused(s3, "s3://nowhere-to-be-found/x")


def test_late_listings_change_nothing(proxies: dict[str, Proxy], local: dict[str, str], tmp_path: Path) -> None:
    inputs, output = uploaded("s3"), f"s3://{BUCKET}/{tmp_path.name}"
    proxies["s3"].late_seconds = 0.0
    plan = plan_run(load_recipe("quickstart", options(inputs)))
    proxies["s3"].late_seconds = 3600.0
    assert checksums(execute(plan, output, load_engine("local", 1))) == local
    with proxies["s3"].counted() as seen:
        assert checksums(execute(plan, output, load_engine("local", 1))) == local
    stored = [request for request in seen if request.method == "PUT" and "/scored/" in request.path]
    assert stored == []  # nothing is redone, though no listing told of it


def corpus(folder: Folder, files: int) -> str:
    words = "I was sure that the ladder would hold, and I was wrong about that and said so to my neighbour."
    for number in range(files):
        lines = [
            json.dumps({"id": f"{number}-{line}", "text": f"{number} {line} {words} {words}"}) for line in range(5)
        ]
        folder.write_bytes(f"posts-{number:03d}.jsonl", "\n".join(lines).encode())
    return f"{folder.url}/*.jsonl"


def test_requests_grow_with_the_run_and_listings_do_not(
    protocol: str, proxies: dict[str, Proxy], tmp_path: Path
) -> None:
    counts = []
    for files in (6, 12):
        inputs = corpus(Folder(f"{protocol}://{BUCKET}/{tmp_path.name}-{files}"), files)
        changes = [
            f"inputs.posts.paths=['{inputs}']",
            "inputs.posts.fields={text: text}",
            "weighing.domain_column=source",
        ]
        with proxies[protocol].counted() as seen:
            plan = plan_run(load_recipe("forum", changes))
            planning = len(seen)
            execute(plan, f"{inputs.rpartition('/')[0]}-run", load_engine("local", 1))
            counts.append((planning, len(seen), Counter(request.method for request in seen)))
    (few_planning, few, _), (many_planning, many, methods) = counts
    assert many_planning <= few_planning + 6  # a listing tells size and checksum of every file
    assert many - few <= 6 * 28, methods  # 26 a split on S3, 25 on Google's
    assert many <= 2 * few


def test_a_driver_killed_in_an_upload(proxies: dict[str, Proxy], local: dict[str, str], tmp_path: Path) -> None:
    inputs, output = uploaded("s3"), f"s3://{BUCKET}/{tmp_path.name}"
    command = [sys.executable, "-m", "florilegium.pipelines", "run", "quickstart", "--workers", "2", "--output", output]
    command += [part for option in options(inputs) for part in ("--set", option)]
    driver: list[subprocess.Popen[bytes]] = []

    def fault(request: object) -> int | None:
        if driver and request.method == "PUT" and "/shards/" in request.path:  # type: ignore[attr-defined]
            os.killpg(driver.pop().pid, signal.SIGKILL)
            return 503
        return None

    proxies["s3"].fault = fault
    driver.append(subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL))
    driver[0].wait(timeout=240)
    assert driver == []
    assert Folder(output).names("shards/*") == []
    outcome = quickstart(inputs, output)
    assert checksums(outcome) == local
    assert outcome.resumed >= 2
