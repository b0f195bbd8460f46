"""The main job as a whole: balanced, the same on every engine, whole after any kill."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import fsspec
import polars
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.layout import PHASE_NAMES
from florilegium.pipelines.phases import PHASES, Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.reweigh import reweigh
from florilegium.pipelines.validation import validate
from florilegium.schemas.document import REJECT, SHARD
from florilegium.schemas.errors import OutputError, RequestError, TaskError

SENTENCES = [
    "I was sure that the ladder would hold, and I was wrong about that.",
    "Thank you for telling me how it looked from where you stood.",
    "We measured the water every week and wrote down what we found.",
    "The committee heard both sides before it came to any decision.",
    "My neighbour lent us his saw, and in return we helped him with the fence.",
    "There is good evidence for the first claim and very little for the second.",
    "It is your choice, and these are the things that I would think about.",
    "She asked what the word meant to them, and then she listened.",
]


def make_corpus(folder: Path, documents: int = 90) -> Path:
    """Three files of posts: sound ones, twins, short ones, and two lines that are no documents."""
    folder.mkdir()
    source = random.Random(1)
    lines = []
    for number in range(documents):
        text = " ".join(source.choices(SENTENCES, k=source.randint(3, 12)))
        lines.append({"id": f"d{number}", "text": text, "community": source.choice(["a", "b"]), "license": "cc0-1.0"})
    lines += [{"id": f"twin{number}", "text": lines[number]["text"].upper()} for number in range(10)]
    lines += [{"id": f"short{number}", "text": f"Too short {number}."} for number in range(5)]
    written = [json.dumps(line) for line in lines] + ["{broken", "[1, 2]"]
    for index in range(3):
        (folder / f"posts-{index}.jsonl").write_text("\n".join(written[index::3]) + "\n")
    return folder


MORE_SPLITS = "reading.split_bytes=8192"  # nine instead of one a file


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "posts")


def options(corpus: Path, *more: str) -> list[str]:
    return [
        f"inputs.posts.paths=[{corpus}/*.jsonl]",
        "inputs.posts.fields.text=text",
        "inputs.posts.fields.created=null",
        "policy.gopher_repetition=null",  # the corpus has eight sentences
        "weighing.domain_column=group",
        "output.shard_bytes=16384",
        *more,
    ]


def run(corpus: Path, output: str, *more: str, engine: str = "local", workers: int = 1) -> Outcome:
    plan = plan_run(load_recipe("forum", options(corpus, *more)))
    return execute(plan, output, load_engine(engine, workers))


def checksums(outcome: Outcome) -> dict[str, str]:
    manifest = outcome.run.manifest
    return {table.name: table.sha256 for table in [*manifest.shards, *manifest.rejects, *manifest.weights]}


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(corpus, str(tmp_path_factory.mktemp("run") / "first"))


def test_who_looks_into_a_run_knows_every_phase() -> None:
    assert tuple(PHASES) == PHASE_NAMES


def test_the_ledger_balances(finished: Outcome) -> None:
    ledger = finished.ledger
    assert ledger.total("read") == 107
    assert ledger.imbalances() == {}
    assert ledger.reasons["read.not_json"] == {"posts": 1}
    assert ledger.reasons["read.not_an_object"] == {"posts": 1}
    assert ledger.total("failed") == 2
    assert ledger.reasons["statistics.too_few_words"] == {"posts": 5}
    assert ledger.reasons["dedup.exact"]["posts"] >= 10
    assert ledger.total("kept") + ledger.total("unweighted") == 107 - 2 - ledger.total("rejected") - ledger.total(
        "duplicates"
    )


def test_the_run_is_valid_and_damage_is_found(finished: Outcome, tmp_path: Path) -> None:
    assert [check.faults for check in validate(finished.run.folder.url)] == [[]] * 7
    shutil.copytree(finished.run.folder.url, tmp_path / "copy")
    shard = tmp_path / "copy" / finished.run.manifest.shards[0].name
    table = pq.read_table(shard)
    pq.write_table(table.set_column(table.schema.get_field_index("weight"), "weight", [[9.0] * table.num_rows]), shard)
    faults = {check.name: check.faults for check in validate(str(tmp_path / "copy"))}
    assert "differs from its checksum" in faults["checksums"][0]
    assert "differ from the side table" in faults["weights"][0]


def test_shards_have_the_promised_schema_and_order(finished: Outcome) -> None:
    folder = Path(finished.run.folder.url)
    assert len(finished.run.manifest.shards) > 1
    keys: list[int] = []
    for path in sorted(folder.glob("shards/*.parquet")):
        schema = pq.read_schema(path)
        assert schema.remove_metadata().equals(SHARD)
        assert schema.metadata[b"florilegium.recipe"].decode() == finished.run.manifest.recipe_digest
        keys += pq.read_table(path, columns=["key"])["key"].to_pylist()
    assert keys == sorted(keys)
    for path in folder.glob("rejects/*.parquet"):
        assert pq.read_schema(path).remove_metadata().equals(REJECT)


def test_other_readers_load_the_shards(finished: Outcome, tmp_path: Path) -> None:
    pattern = f"{finished.run.folder.url}/shards/*.parquet"
    kept = finished.ledger.total("kept")
    arrow = pq.read_table(f"{finished.run.folder.url}/shards")
    assert arrow.num_rows == kept
    weights = sorted(arrow["weight"].to_pylist())
    query = f"select count(*), sum(weight), max(prosocial.compassion) from '{pattern}'"
    found = duckdb.connect().execute(query).fetchone()
    assert found is not None
    assert found[0] == kept
    assert found[1] == pytest.approx(sum(weights))
    assert sorted(polars.read_parquet(pattern)["weight"].to_list()) == weights
    datasets = pytest.importorskip("datasets", reason="the Hugging Face extra is not installed")
    loaded = datasets.load_dataset("parquet", data_files=pattern, split="train", cache_dir=str(tmp_path))
    assert sorted(loaded["weight"]) == weights
    assert set(loaded.features) == set(SHARD.names)
    streamed = datasets.load_dataset("parquet", data_files=pattern, split="train", streaming=True)
    assert sorted(row["weight"] for row in streamed) == weights


def test_workers_splits_and_engines_change_no_byte(finished: Outcome, corpus: Path, tmp_path: Path) -> None:
    expected = checksums(finished)
    assert checksums(run(corpus, str(tmp_path / "two"), workers=2)) == expected
    assert checksums(run(corpus, str(tmp_path / "parts"), MORE_SPLITS)) == expected
    assert checksums(run(corpus, str(tmp_path / "small"), "reading.batch_rows=3")) == expected
    assert checksums(run(corpus, str(tmp_path / "beam"), engine="beam")) == expected
    assert checksums(run(corpus, f"memory://{tmp_path.name}/run")) == expected
    assert checksums(run(corpus, f"file://{tmp_path}/file")) == expected


def test_the_place_of_the_input_changes_no_byte(finished: Outcome, tmp_path: Path) -> None:
    elsewhere = make_corpus(tmp_path / "posts")
    assert checksums(run(elsewhere, str(tmp_path / "run"))) == checksums(finished)


def test_the_seed_changes_the_order_but_not_the_documents(finished: Outcome, corpus: Path, tmp_path: Path) -> None:
    other = run(corpus, str(tmp_path / "seed"), "seed=8")
    first, second = (pq.read_table(f"{outcome.run.folder.url}/shards") for outcome in (finished, other))
    assert first["id"].to_pylist() != second["id"].to_pylist()
    assert sorted(first["id"].to_pylist()) == sorted(second["id"].to_pylist())
    assert sorted(first["weight"].to_pylist()) == sorted(second["weight"].to_pylist())


def test_a_finished_run_is_left_alone_and_a_broken_one_mended(finished: Outcome, corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(finished.run.folder.url, output)
    again = run(corpus, str(output))
    assert again.resumed == again.tasks
    (output / "tasks/score/000001.json").unlink()
    (output / "tasks/shard/000000.json").unlink()
    mended = run(corpus, str(output))
    assert mended.tasks - mended.resumed == 2
    assert checksums(mended) == checksums(finished)


def test_another_recipe_in_the_folder_is_refused_with_the_difference(finished: Outcome, corpus: Path) -> None:
    with pytest.raises(OutputError, match=r"policy\.min_words is 20 there and 21 here"):
        run(corpus, finished.run.folder.url, "policy.min_words=21")


def test_other_inputs_in_the_folder_are_refused(finished: Outcome, corpus: Path, tmp_path: Path) -> None:
    fewer = make_corpus(tmp_path / "posts", documents=80)
    with pytest.raises(OutputError, match="its inputs differ"):
        run(fewer, finished.run.folder.url)


def test_a_folder_of_other_files_is_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="no run of ours"):
        run(corpus, str(tmp_path))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_memory_needs_a_single_process(corpus: Path) -> None:
    with pytest.raises(OutputError, match="--workers 1"):
        run(corpus, "memory://two-workers", workers=2)


def test_a_split_that_vanishes_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "posts")
    plan = plan_run(load_recipe("forum", options(corpus)))
    lost = corpus / "posts-1.jsonl"
    content = lost.read_text()
    lost.unlink()
    with pytest.raises(TaskError, match=r"posts-1\.jsonl"):
        execute(plan, str(tmp_path / "run"), load_engine("local", 1))
    lost.write_text(content)
    outcome = execute(plan, str(tmp_path / "run"), load_engine("local", 1))
    assert outcome.resumed > 0
    assert outcome.ledger.imbalances() == {}


def test_other_charters_without_scoring_equal_a_new_run(finished: Outcome, corpus: Path, tmp_path: Path) -> None:
    anew = reweigh(finished.run.folder.url, "care=0.7,uniform=0.3", str(tmp_path / "anew"), [], load_engine("local", 1))
    fresh = run(corpus, str(tmp_path / "fresh"), "weighing.charters={care: 0.7, uniform: 0.3}")
    assert checksums(anew) == checksums(fresh)
    assert checksums(anew) != checksums(finished)
    assert not list((tmp_path / "anew").glob("scored/*.parquet"))
    assert [check.faults for check in validate(str(tmp_path / "anew"))] == [[]] * 7
    stricter = reweigh(
        finished.run.folder.url, None, str(tmp_path / "b"), ["policy.min_words=60"], load_engine("local", 1)
    )
    assert checksums(stricter) == checksums(run(corpus, str(tmp_path / "c"), "policy.min_words=60"))
    with pytest.raises(RequestError, match="seed decides the scores"):
        reweigh(finished.run.folder.url, None, str(tmp_path / "d"), ["seed=3"], load_engine("local", 1))


def test_nothing_kept_is_no_crash(corpus: Path, tmp_path: Path) -> None:
    outcome = run(corpus, str(tmp_path / "run"), "policy.min_words=100000")
    assert outcome.ledger.total("kept") == 0
    assert outcome.run.manifest.shards == []
    assert [check.faults for check in validate(str(tmp_path / "run"))] == [[]] * 7


def command(corpus: Path, output: Path) -> list[str]:
    line = [sys.executable, "-m", "florilegium.pipelines", "run", "forum", "--workers", "2", "--output", str(output)]
    return line + [part for option in options(corpus, MORE_SPLITS) for part in ("--set", option)]


@pytest.mark.long
def test_two_runs_on_one_folder(finished: Outcome, corpus: Path, tmp_path: Path) -> None:
    """The second of two refuses and says whose run it is; the first is not disturbed."""
    process = subprocess.Popen(command(corpus, tmp_path / "run"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "run/manifest.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    with pytest.raises(OutputError, match=rf"is being written by process {process.pid} "):
        run(corpus, str(tmp_path / "run"))
    assert process.wait() == 0
    assert checksums(run(corpus, str(tmp_path / "run"), MORE_SPLITS)) == checksums(finished)


@pytest.mark.long
def test_killed_workers_are_replaced_and_their_tasks_run_again(finished: Outcome, corpus: Path, tmp_path: Path) -> None:
    """Workers are killed one after the other, at a task or waiting for one; the run goes on without them."""
    scratch = tmp_path / "temporary-" / ("x" * 100)  # too long for a socket's address, as clusters have them
    scratch.mkdir(parents=True)
    process = subprocess.Popen(
        command(corpus, tmp_path / "run"),
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    killed: list[int] = []
    while process.poll() is None and len(killed) < 4:
        for worker in set(_workers_of(process.pid)).difference(killed):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
        time.sleep(0.05 * len(killed))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    assert killed
    assert checksums(run(corpus, str(tmp_path / "run"), MORE_SPLITS)) == checksums(finished)


@pytest.mark.long
def test_workers_end_with_their_driver(corpus: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(command(corpus, tmp_path / "run"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (workers := _workers_of(process.pid)):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(_is_running(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _workers_of(driver: int) -> list[int]:
    """Children of the driver's fork server, which is its only child that has children."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    return [worker for child in children.get(driver, []) for worker in children.get(child, [])]


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("kills", [2, pytest.param(8, marks=pytest.mark.long)])
def test_sigkill_at_any_moment(finished: Outcome, corpus: Path, tmp_path: Path, kills: int) -> None:
    """The driver is killed again and again; what it leaves is always a run that can be finished."""
    output = tmp_path / "run"
    source = random.Random(int(os.environ.get("FLORILEGIUM_TEST_SEED", "4")))
    for _ in range(kills):
        process = subprocess.Popen(
            command(corpus, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(source.uniform(0.5, 6.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished_at_last = subprocess.run(command(corpus, output), capture_output=True, text=True, check=False)
    assert finished_at_last.returncode == 0, finished_at_last.stderr
    outcome = run(corpus, str(output), MORE_SPLITS)
    assert outcome.resumed == outcome.tasks
    assert checksums(outcome) == checksums(finished)
    assert not list(output.rglob("*.tmp"))


@pytest.fixture(autouse=True)
def _forget_memory() -> None:
    fsspec.filesystem("memory").store.clear()
