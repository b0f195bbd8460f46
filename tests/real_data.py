"""The main job on real data beside the checkout, end to end: `python -m tests.real_data [--kills N]`.

Runs every web archive and all forum posts, validates both runs, reads the shards with four libraries,
then kills forum runs with SIGKILL at random moments and resumes them until they are done: the shards
must have the same checksums, and no finished task may run again. Prints what it saw; exits 1 otherwise.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow.parquet as pq

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
COMMAND = [sys.executable, "-m", "florilegium.pipelines"]
WEB = ["common_crawl", "--set", f"inputs.crawl.paths=[{DATA / 'web'}/**/*.warc*]", "--set", "policy.languages=null"]
FORUM = ["forum", "--set", f"inputs.posts.paths=[{DATA / 'forum'}]", "--set", "weighing.domain_column=source"]
FORUM += ["--set", "output.shard_bytes=16777216", "--set", "reading.split_bytes=4194304"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=3, help="how often a run is killed before it may finish")
    parser.add_argument("--workers", type=int, nargs="+", default=[2], help="worker counts that must agree with one")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"no real data at {DATA.parent.name}/{DATA.name} beside the checkout: skipped")
        return
    scratch = Path(tempfile.mkdtemp(prefix="florilegium-real-"))
    try:
        for name, recipe in (("web", WEB), ("forum", FORUM)):
            _whole_run(name, recipe, scratch / name)
        expected = _checksums(scratch / "forum")
        for workers in arguments.workers:
            output = scratch / f"forum-{workers}"
            _run(FORUM, output, workers)
            _check(_checksums(output) == expected, f"{workers} workers gave other shards than one")
            print(f"forum: {workers} workers, the same {len(expected)} checksums")
            shutil.rmtree(output)
        _killed_run(scratch / "killed", expected, arguments.kills, random.Random(arguments.seed))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _whole_run(name: str, recipe: list[str], output: Path) -> None:
    started = time.monotonic()
    figures = _run(recipe, output, workers=1)
    documents, seconds = figures["documents"], time.monotonic() - started
    counted = sum(number for action, number in documents.items() if action not in ("read", "generated"))
    _check(documents["read"] == counted, f"{name}: {documents['read']} read, {counted} accounted for")
    subprocess.run([*COMMAND, "validate", str(output)], check=True, stdout=subprocess.DEVNULL)
    kept = documents["kept"]
    pattern = f"{output}/shards/*.parquet"
    counts = {
        "pyarrow": pq.read_table(output / "shards").num_rows,
        "DuckDB": (duckdb.connect().execute(f"select count(*) from '{pattern}'").fetchone() or [0])[0],
        "Polars": polars.scan_parquet(pattern).select(polars.len()).collect().item(),
        "datasets": _rows_in_datasets(pattern, output.parent),
    }
    _check(set(counts.values()) == {kept}, f"{name}: {kept} documents kept, but read {counts}")
    print(f"{name}: {documents} in {seconds:.0f} s with one worker; valid; read by {', '.join(counts)}")


def _rows_in_datasets(pattern: str, scratch: Path) -> int:
    import datasets

    datasets.disable_progress_bars()
    return len(datasets.load_dataset("parquet", data_files=pattern, split="train", cache_dir=str(scratch / "cache")))


def _killed_run(output: Path, expected: dict[str, str], kills: int, source: random.Random) -> None:
    """Kill a run again and again; once done, it must be the undisturbed one, with every marker kept."""
    markers: dict[str, str] = {}
    killed = 0
    while killed < kills:
        process = subprocess.Popen(
            _command(FORUM, output, workers=2),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(source.uniform(0.3, 9.0))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL) if source.random() < 0.5 else process.kill()
            killed += 1
        process.wait()
        now = _markers(output)
        _check(markers.items() <= now.items(), "a finished task ran again after a kill")
        if _is_complete(output):  # done too early: begin anew, so that every kill meets work
            _check(_checksums(output) == expected, "a killed and resumed run gave other shards")
            shutil.rmtree(output)
            now = {}
        markers = now
    figures = _run(FORUM, output, workers=2)
    _check(markers.items() <= _markers(output).items(), "a finished task ran again after the last kill")
    _check(_checksums(output) == expected, "a killed and resumed run gave other shards")
    before, tasks = figures["tasks"]["finished_before"], figures["tasks"]["all"]
    print(f"forum: killed {killed} times and resumed: the same checksums; {before} of {tasks} tasks were done before")


def _command(recipe: list[str], output: Path, workers: int) -> list[str]:
    return [*COMMAND, "run", *recipe, "--output", str(output), "--workers", str(workers), "--json"]


def _run(recipe: list[str], output: Path, workers: int) -> dict[str, Any]:
    done = subprocess.run(_command(recipe, output, workers), capture_output=True, text=True, check=False)
    _check(done.returncode == 0, f"florilegium run {' '.join(recipe)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def _checksums(output: Path) -> dict[str, str]:
    manifest = json.loads((output / "manifest.json").read_text())
    return {table["name"]: table["sha256"] for part in ("shards", "rejects", "weights") for table in manifest[part]}


def _is_complete(output: Path) -> bool:
    path = output / "manifest.json"
    return path.exists() and json.loads(path.read_text())["status"] == "complete"


def _markers(output: Path) -> dict[str, str]:
    """Every finished task with the time its marker was written, which a second run of it would change."""
    return {str(path): str(path.stat().st_mtime_ns) for path in output.glob("tasks/*/[0-9]*.json")}


def _check(holds: bool, sentence: str) -> None:
    if not holds:
        print(f"FAILED: {sentence}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
