"""Weighing scored documents again: seconds and memory by rows, `python -m tests.benchmarks.reweigh [ROWS …]`.

Synthetic candidates with scores shaped like those of web text are written as a run writes them; each
size is then read and weighed with all shipped charters in a process of its own. "weighed" ends with
every weight and repeat in memory, which is all that `--what-if` needs; "written" adds the side table.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from florilegium.pipelines.candidates import CANDIDATE, read_candidates, write_candidates
from florilegium.pipelines.reweigh import side_table, weigh_candidates
from florilegium.pipelines.runs import write_parquet
from florilegium.pipelines.storage import Folder
from florilegium.pipelines.weighing.charters import load_charter, shipped_charters
from florilegium.pipelines.weighing.pool import repeats
from florilegium.schemas.recipe import Weighing

ROWS = (1_000_000, 2_000_000)
PART_ROWS = 100_000
DOMAINS = [f"domain-{number:02d}" for number in range(16)]


def main() -> None:
    sizes = [int(text.replace("_", "")) for text in sys.argv[1:]] or ROWS
    print(f"{len(shipped_charters())} charters, {len(DOMAINS)} domains")
    print(f"{'rows':>10} {'read s':>8} {'weighed s':>10} {'written s':>10} {'cpu s':>7} {'peak MiB':>9} {'disk MB':>8}")
    for rows in sizes:
        with tempfile.TemporaryDirectory(prefix="florilegium-bench-") as scratch:
            disk = make_candidates(Folder(scratch), rows) / 1e6
            code = "import sys; from tests.benchmarks.reweigh import measure; measure(sys.argv[1])"
            best: dict[str, float] = {}
            for _ in range(3):
                done = subprocess.run([sys.executable, "-c", code, scratch], capture_output=True, text=True, check=True)
                found = json.loads(done.stdout)
                best = found if not best or found["weighed"] < best["weighed"] else best
            print(
                f"{rows:>10,} {best['read']:>8.2f} {best['weighed']:>10.2f} {best['written']:>10.2f} "
                f"{best['cpu']:>7.2f} {best['peak']:>9.0f} {disk:>8.1f}"
            )


def make_candidates(folder: Folder, rows: int) -> int:
    """Write candidates in parts as `decide` does; their bytes on disk."""
    generator = np.random.default_rng(0)
    for index, start in enumerate(range(0, rows, PART_ROWS)):
        count = min(PART_ROWS, rows - start)
        columns: dict[str, pa.Array] = {
            "id": pa.Array.from_buffers(pa.binary(16), count, [None, pa.py_buffer(generator.bytes(16 * count))]),
            "domain": pa.array(generator.choice(DOMAINS, count)),
            "language": pa.array(generator.choice(["en", "en", "en", "de"], count)),
            "tokens": pa.array(generator.lognormal(6, 1, count).astype(np.int32) + 1),
            "cluster_size": pa.array(np.minimum(generator.zipf(3, count), 10**6).astype(np.int32)),
        }
        for name in CANDIDATE.names[len(columns) :]:
            harmful = name.startswith("harm")
            scores = generator.beta(0.3, 6 if harmful else 1.5, count)
            columns[name] = pa.array(np.rint(scores * 1000).astype(np.int16))
        write_candidates(folder, index, pa.table(columns).select(CANDIDATE.names).cast(CANDIDATE))
    return sum(folder.size(name) for name in folder.names("decisions/*.parquet"))


def measure(url: str) -> None:
    """Read and weigh what lies at `url`; prints seconds and memory as JSON."""
    names = shipped_charters()
    charters = {name: load_charter(name) for name in names}
    weighing = Weighing(charters={name: 1 / len(names) for name in names})
    with tempfile.TemporaryDirectory(prefix="florilegium-bench-") as scratch:  # imports apart
        make_candidates(Folder(scratch), 100)
        weigh_candidates(read_candidates(Folder(scratch)), charters, weighing, seed=0)
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    documents = read_candidates(Folder(url))
    read = time.perf_counter()
    weighed = weigh_candidates(documents, charters, weighing, seed=0)
    repeats(weighed.weight, *documents.words, 0)
    done = time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_SELF)
    table = side_table(documents, weighed, np.flatnonzero(~weighed.rejected), seed=0)
    with tempfile.TemporaryDirectory(prefix="florilegium-bench-") as scratch:
        sizes = np.full(table.num_rows, 128)
        write_parquet(Folder(scratch), "weights.parquet", table, 8 << 20, sizes=sizes, dictionary=("domain",))
    figures = {
        "read": read - began,
        "weighed": done - began,
        "written": time.perf_counter() - began,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak": after.ru_maxrss / 1024,
        "documents": len(documents),
        "spent": weighed.plan.spent,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
