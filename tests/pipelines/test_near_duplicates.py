"""Clusters of near-duplicates: what is linked, who stays, and that no order or partition matters."""

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from florilegium.pipelines import phases
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.near_duplicates import (
    CLUSTERS,
    RANKED,
    choose_keepers,
    cluster_links,
    link_buckets,
    spanning_forest,
)
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.reweigh import reweigh
from florilegium.pipelines.runs import BANDS, KeyRange, write_parquet
from florilegium.pipelines.storage import Folder
from florilegium.pipelines.validation import validate
from florilegium.schemas.errors import OutputError, RecipeError, RequestError
from hypothesis import given, settings
from hypothesis import strategies as st

Pairs = Sequence[tuple[int, int]]
pairs = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda pair: pair[0] != pair[1]), max_size=60)


def columns(links: Pairs) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    array = np.array(links, np.uint64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def clusters(*parts: Pairs) -> dict[int, int]:
    tables = [spanning_forest(*columns(part)) for part in parts]
    table = cluster_links(tables, tables)
    assert table.schema == CLUSTERS
    return dict(zip(table["key"].to_pylist(), table["cluster"].to_pylist(), strict=True))


def by_hand(links: Pairs) -> dict[int, int]:
    """Components by spreading the smallest key until nothing changes."""
    label = {node: node for link in links for node in link}
    for _ in range(len(label)):
        for one, other in links:
            label[one] = label[other] = min(label[one], label[other])
    return label


@given(pairs, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_components_depend_on_no_order_and_no_partition(links: list[tuple[int, int]], source: random.Random) -> None:
    expected = by_hand(links)
    assert clusters(links) == expected
    shuffled = [link if source.random() < 0.5 else link[::-1] for link in source.sample(links, len(links))]
    cut = source.randint(0, len(links))
    assert clusters(shuffled[:cut], shuffled[cut:]) == expected


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_a_forest_connects_the_same_with_the_fewest_links(links: list[tuple[int, int]]) -> None:
    forest = spanning_forest(*columns(links))
    kept = list(zip(*(forest[name].to_pylist() for name in forest.column_names), strict=True))
    expected = by_hand(links)
    assert len(kept) == len(expected) - len(set(expected.values()))
    nodes = {node: expected[node] for link in kept for node in link}
    assert by_hand(kept) == nodes
    assert spanning_forest(*columns(kept)).equals(forest)


def bands(folder: Folder, *runs: Pairs) -> list[str]:
    names = []
    for index, run in enumerate(runs):
        table = pa.table(list(columns(sorted(set(run)))), schema=BANDS)
        names.append(write_parquet(folder, f"bands/{index}.parquet", table, row_group_bytes=640)["name"])
    return names


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_documents_of_one_bucket_are_linked_whatever_the_ranges(tmp_path: Path, parts: int) -> None:
    source = random.Random(3)
    step = 1 << 59
    rows = [(source.randrange(32) * step, source.randrange(1, 80)) for _ in range(60)]
    folder = Folder(str(tmp_path))
    names = bands(folder, rows[:20], rows[20:50], rows[50:])
    tables = [link_buckets(folder, names, KeyRange.part(part, parts)) for part in range(parts)]
    table = cluster_links(tables, tables)
    found = dict(zip(table["key"].to_pylist(), table["cluster"].to_pylist(), strict=True))
    links = [(one, other) for place, one in rows for where, other in rows if place == where and one != other]
    assert found == by_hand(links)


def test_nothing_to_link(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    assert link_buckets(folder, [], KeyRange.part(0, 1)).num_rows == 0
    names = bands(folder, [], [(5, 1), (6, 1), (7, 2)], [(5, 1)])  # an exact twin in another run
    assert link_buckets(folder, names, KeyRange.part(0, 1)).num_rows == 0
    assert cluster_links([], []).equals(CLUSTERS.empty_table())
    assert choose_keepers(RANKED.empty_table()).num_rows == 0


COPIES = 200_000
DEGENERATE = f"""
import json, resource, sys
import numpy as np, pyarrow as pa
from florilegium.pipelines.near_duplicates import cluster_links, link_buckets, spanning_forest
from florilegium.pipelines.runs import BANDS, KeyRange, write_parquet
from florilegium.pipelines.storage import Folder
folder, random = Folder(sys.argv[1]), np.random.default_rng(1)
key = np.sort(random.choice(1 << 40, {COPIES}, replace=False).astype(np.uint64))
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
spanning_forest(key[:2], key[1:3])
before = peak()
names = []
for run in range(4):  # each copy misses about one band in ten
    part = key[run::4]
    rows = [(np.full(n, b << 60, np.uint64), np.sort(random.choice(part, n, replace=False)))
            for b in range(14) for n in [len(part) * 9 // 10]]
    table = pa.table([np.concatenate(column) for column in zip(*rows)], schema=BANDS)
    names.append(write_parquet(folder, f"bands/{{run}}.parquet", table, 4 << 20)["name"])
links = [link_buckets(folder, names, KeyRange.part(part, 4)) for part in range(4)]
clusters = cluster_links(links, links)
print(json.dumps([peak() - before, [table.num_rows for table in links], clusters.num_rows,
                  len(clusters["cluster"].unique())]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_near_copies_by_the_hundred_thousand_take_linear_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DEGENERATE, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    memory, links, members, components = json.loads(ended.stdout)
    assert components == 1
    assert members > 0.999 * COPIES
    assert sum(links) < 4 * COPIES  # of 2 × 10^10 pairs
    assert memory < 14 * COPIES * 100


def ranked(cluster: int, key: int, survives: bool = True, quality: int = 500, size: int = 1) -> dict[str, Any]:
    return {"cluster": cluster, "key": key, "id": f"{key:032x}", "survives": survives, "quality": quality, "size": size}


@pytest.mark.parametrize(
    ("best", "other"),
    [
        ({"key": 9, "quality": 501}, {"key": 1}),
        ({"key": 1}, {"key": 9}),
        ({"key": 9, "quality": 1}, {"key": 1, "quality": -1}),
        ({"key": 9, "quality": 1}, {"key": 1, "survives": False, "quality": 999}),
        ({"key": 9, "size": 1}, {"key": 10, "size": 70}),
    ],
)
def test_keeper_rule(best: dict[str, Any], other: dict[str, Any]) -> None:
    rows = [ranked(4, **best), ranked(4, **other), ranked(7, 3, survives=False), ranked(7, 4, survives=False, size=2)]
    sizes = best.get("size", 1) + other.get("size", 1)
    for order in permutations(rows):
        members = choose_keepers(pa.Table.from_pylist(list(order), schema=RANKED)).to_pylist()
        assert [row["key"] for row in members] == sorted(row["key"] for row in rows)
        found = {row["key"]: (row["keeper"], row["cluster_size"]) for row in members}
        assert found[best["key"]] == found[other["key"]] == (f"{best['key']:032x}", sizes)
        assert found[3] == found[4] == (None, 3)


WORDS = [
    f"{first}{second}" for first in ("bar", "fen", "gul", "hom", "kes", "lod") for second in ("ta", "mi", "ro", "ne")
]


def sentence(source: random.Random, length: int = 60) -> str:
    return " ".join(source.choices(WORDS, k=length))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Posts on their own, an exact pair, chains of near copies, and copies of which some may not stay."""
    source = random.Random(5)
    lines = [{"id": f"alone{number}", "text": sentence(source)} for number in range(30)]
    base = sentence(source, 80)
    chain = [f"{base} {sentence(source, 4)}" for _ in range(3)]
    lines += [{"id": f"chain{number}", "text": text} for number, text in enumerate(chain)]
    lines += [{"id": "chain0-twin", "text": chain[0].upper()}]
    taken = sentence(source, 90)
    lines += [
        {"id": "taken", "text": taken},
        {"id": "fine", "text": f"{taken} fenro"},
        {"id": "wordy", "text": f"{sentence(source, 3)} {taken} {sentence(source, 3)}"},
    ]
    short = sentence(source, 95)
    lines += [
        {"id": "long-a", "text": f"{short} {sentence(source, 6)}"},
        {"id": "long-b", "text": f"{short} guler gul"},
    ]
    source.shuffle(lines)
    folder = tmp_path_factory.mktemp("near") / "posts"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[index::3]))
    return folder


def recipe(corpus: Path, *more: str) -> list[str]:
    return [
        f"inputs.posts.paths=[{corpus}]",
        "inputs.posts.fields={text: text, id: id, url: null, title: null, license: null}",
        "policy={languages: null, min_language_confidence: null, max_words: 96, takedown: {ids: [taken]}}",
        "weighing.charters={uniform: 1}",
        "weighing.unscored=neutral",
        "output.shard_bytes=4096",
        *more,
    ]


def run(corpus: Path, output: Path, *more: str, workers: int = 1) -> Outcome:
    plan = plan_run(load_recipe("forum", recipe(corpus, *more)))
    return execute(plan, str(output), load_engine("local", workers))


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(corpus, tmp_path_factory.mktemp("run") / "first")


def rows(outcome: Outcome, part: str, *names: str) -> dict[str, tuple[Any, ...]]:
    query = f"select source_id, {', '.join(names)} from '{outcome.run.folder.url}/{part}/*.parquet'"
    return {source_id: tuple(values) for source_id, *values in duckdb.connect().execute(query).fetchall()}


def checksums(outcome: Outcome) -> dict[str, str]:
    manifest = outcome.run.manifest
    return {table.name: table.sha256 for table in [*manifest.shards, *manifest.rejects, *manifest.weights]}


def test_clusters_keep_one_document_and_say_which(finished: Outcome) -> None:
    kept, left = rows(finished, "shards", "id", "cluster_size"), rows(finished, "rejects", "reasons", "duplicate_of")
    sizes = rows(finished, "rejects", "cluster_size")
    chain = {name for name in [*kept, *left] if name.startswith("chain")}
    (keeper,) = chain & set(kept)
    assert kept[keeper][1] == 4
    for name in chain - {keeper}:
        assert left[name][1] == kept[keeper][0]
        assert sizes[name] == (4,)
    assert sorted(left[name][0][0] for name in chain - {keeper}) == ["dedup.exact", "dedup.near", "dedup.near"]
    assert {f"alone{number}" for number in range(30)} <= set(kept)
    assert finished.ledger.reasons["dedup.near"] == {"posts": 3}  # two of the chain, and `wordy`
    assert finished.ledger.total("duplicates") == 4


def test_a_row_that_may_not_be_used_stands_for_nobody(finished: Outcome) -> None:
    kept, left = rows(finished, "shards", "cluster_size"), rows(finished, "rejects", "reasons", "cluster_size")
    assert kept["fine"] == (2,)  # itself and `wordy`, but not the one taken down
    assert left["taken"] == (["takedown.id"], 1)


def test_a_rejected_member_drops_nobody_and_stays_rejected(finished: Outcome) -> None:
    left = rows(finished, "rejects", "reasons", "duplicate_of", "action")
    rejected = (["statistics.too_many_words"], None, "rejected")
    assert left["long-a"] == left["long-b"] == rejected


def test_near_duplicates_may_stay(finished: Outcome, corpus: Path, tmp_path: Path) -> None:
    """Without scoring again, and the same as a run that never looked for them."""
    url = finished.run.folder.url
    anew = reweigh(url, None, str(tmp_path / "anew"), ["dedup.near=false"], load_engine("local", 1))
    assert "dedup.near" not in anew.ledger.reasons
    assert anew.ledger.total("duplicates") == 1
    unsigned = run(corpus, tmp_path / "never", "dedup.near=false", "stages.minhash=null")
    assert checksums(unsigned).keys() == checksums(anew).keys()
    assert rows(unsigned, "shards", "cluster_size", "weight") == rows(anew, "shards", "cluster_size", "weight")
    assert not list((tmp_path / "never").glob("bands/*.parquet"))
    assert [check.faults for check in validate(str(tmp_path / "anew"))] == [[]] * 7
    again = reweigh(url, None, str(tmp_path / "again"), [], load_engine("local", 1))
    assert checksums(again) == checksums(finished)


def test_what_needs_other_signatures_is_refused(finished: Outcome, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"stages\.minhash\.rows decides the scores"):
        reweigh(finished.run.folder.url, None, str(tmp_path), ["stages.minhash.rows=4"], load_engine("local", 1))
    with pytest.raises(RecipeError, match=r"dedup\.near needs the signatures of stages\.minhash"):
        run(corpus, tmp_path, "stages.minhash=null")
    with pytest.raises(OutputError, match=r"dedup\.near is True there and False here"):
        run(corpus, Path(finished.run.folder.url), "dedup.near=false")


@pytest.mark.long
def test_workers_splits_and_partitions_change_no_byte(
    finished: Outcome, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = checksums(finished)
    assert checksums(run(corpus, tmp_path / "two", "reading.split_bytes=1024", workers=2)) == expected
    monkeypatch.setattr(phases, "PAIR_ROWS", 100)
    monkeypatch.setattr(phases, "KEEP_ROWS", 3)
    many = run(corpus, tmp_path / "many")
    assert len(many.run.payloads("pair")) > 4
    assert len(many.run.payloads("keep")) > 2
    assert checksums(many) == expected


def test_what_is_kept_has_no_near_duplicates(finished: Outcome, tmp_path: Path) -> None:
    """A corpus that was cleaned once loses nothing the second time."""
    folder = tmp_path / "kept"
    folder.mkdir()
    texts = rows(finished, "shards", "text")
    lines = [json.dumps({"id": name, "text": text}) + "\n" for name, (text,) in texts.items()]
    (folder / "kept.jsonl").write_text("".join(lines))
    assert run(folder, tmp_path / "again").ledger.total("kept") == len(lines)


def test_damaged_bands_and_lost_keepers_are_found(corpus: Path, tmp_path: Path) -> None:
    outcome = run(corpus, tmp_path / "run")
    bands_file = tmp_path / "run" / outcome.run.manifest.bands[0].name
    bands_file.write_bytes(bands_file.read_bytes()[:-9] + b"damaged!!")
    faults = {check.name: check.faults for check in validate(str(tmp_path / "run"))}
    assert faults["checksums"] == [f"{outcome.run.manifest.bands[0].name} differs from its checksum in the manifest"]
