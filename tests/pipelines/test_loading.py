"""The loader gives what the weights say, whatever ranks and workers, and goes on in the middle."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.loading import WeightedDocuments
from florilegium.schemas.errors import InputError, RequestError
from florilegium.schemas.hashing import document_id

DOCUMENTS = 600


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of five row groups; weights from 0 to 3.5, with the repeats that a run would write."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "shards").mkdir()
    generator = np.random.default_rng(1)
    weight = np.round(generator.uniform(0, 3.5, DOCUMENTS), 2)
    weight[:20] = 0
    repeats = np.floor(weight) + (generator.random(DOCUMENTS) < weight - np.floor(weight))
    table = pa.table(
        {
            "id": [document_id(f"document {number}".encode()) for number in range(DOCUMENTS)],
            "text": [f"document {number}" for number in range(DOCUMENTS)],
            "weight": weight,
            "repeats": pa.array(repeats.astype(np.int32)),
            "tokens": pa.array(generator.integers(1, 50, DOCUMENTS).astype(np.int32)),
        }
    )
    for index in range(3):
        pq.write_table(table.slice(index * 200, 200), folder / f"shards/train-{index}.parquet", row_group_size=40)
    return folder


def _table(shards: Path) -> pa.Table:
    return pq.read_table(shards / "shards")


def _ids(documents: WeightedDocuments) -> list[str]:
    return [document["id"] for document in documents]


def test_an_epoch_holds_each_document_as_often_as_it_repeats(shards):
    table = _table(shards)
    expected = Counter(dict(zip(table["id"].to_pylist(), table["repeats"].to_pylist(), strict=True)))
    documents = WeightedDocuments(str(shards), ["id", "text"])
    for epoch in (0, 1):
        documents.set_epoch(epoch)
        assert Counter(_ids(documents)) == +expected
        assert len(documents) == expected.total()


def test_epochs_differ_in_order_and_repeat_themselves(shards):
    documents = WeightedDocuments(str(shards))
    first = _ids(documents)
    assert _ids(documents) == first == _ids(WeightedDocuments(str(shards)))
    documents.set_epoch(1)
    assert _ids(documents) != first
    assert _ids(WeightedDocuments(str(shards), seed=1)) != first
    plain = _ids(WeightedDocuments(str(shards), shuffle=False))
    table = _table(shards)
    assert plain == [
        i for i, n in zip(table["id"].to_pylist(), table["repeats"].to_pylist(), strict=True) for _ in range(n)
    ]


def test_copies_of_a_document_are_not_neighbours(shards):
    order = _ids(WeightedDocuments(str(shards)))
    neighbours = sum(left == right for left, right in pairwise(order))
    assert neighbours < len(order) / 20


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_ranks_share_an_epoch(shards, world):
    whole = _ids(WeightedDocuments(str(shards)))
    parts = [WeightedDocuments(str(shards), rank=rank, world=world) for rank in range(world)]
    given = [_ids(part) for part in parts]
    for rank, ids in enumerate(given):
        assert ids == whole[rank::world]
        assert len(ids) == len(parts[rank])
    even = [_ids(WeightedDocuments(str(shards), rank=rank, world=world, even=True)) for rank in range(world)]
    assert {len(ids) for ids in even} == {len(whole) // world}


def test_workers_share_a_rank(shards, monkeypatch):
    whole = _ids(WeightedDocuments(str(shards), rank=1, world=2))
    given = []
    for worker in range(3):
        monkeypatch.setattr("florilegium.pipelines.loading._workers", lambda worker=worker: (worker, 3))
        given.append(_ids(WeightedDocuments(str(shards), rank=1, world=2)))
    assert given == [whole[worker::3] for worker in range(3)]


@pytest.mark.parametrize("stop", [0, 1, 57, 400])
@pytest.mark.parametrize("realise", ["repeats", "weight"])
def test_it_goes_on_in_the_middle(shards, stop, realise):
    def make() -> WeightedDocuments:
        documents = WeightedDocuments(str(shards), ["id"], realise=realise, rank=0, world=2, shuffle_blocks=3)
        documents.set_epoch(4)
        return documents

    whole = _ids(make())
    interrupted = make()
    passing = iter(interrupted)
    begun = [next(passing)["id"] for _ in range(stop)]
    state = interrupted.state_dict()
    resumed = WeightedDocuments(str(shards), ["id"], realise=realise, rank=0, world=2, shuffle_blocks=3)
    resumed.load_state_dict(state)
    assert begun + _ids(resumed) == whole
    assert resumed.epoch == 4


def _batches(documents: WeightedDocuments, workers: int, size: int, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What a DataLoader makes of it: workers batch their own samples, and give a batch in turn."""
    parts = []
    for worker in range(workers):
        monkeypatch.setattr("florilegium.pipelines.loading._workers", lambda worker=worker: (worker, workers))
        ids = _ids(documents)
        parts.append([ids[first : first + size] for first in range(0, len(ids), size)])
    monkeypatch.undo()
    turns = range(max(len(part) for part in parts))
    return [part[turn] for turn in turns for part in parts if turn < len(part)]


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_it_goes_on_after_the_batches_that_workers_gave(shards, monkeypatch, workers, size):
    def make() -> WeightedDocuments:
        return WeightedDocuments(str(shards), ["id"], rank=1, world=2, shuffle_blocks=3)

    first = make()
    first.set_epoch(4)
    whole = _batches(first, workers, size, monkeypatch)
    assert Counter(i for batch in whole for i in batch) == Counter(_ids(first))
    for stop in (0, 1, 2, 5, len(whole) - 1, len(whole)):
        state = first.state_after(stop, size, workers)
        resumed = make()
        resumed.load_state_dict(state)
        resumed.set_epoch(resumed.epoch)
        assert resumed.state_after(stop, size, workers) == state
        assert _batches(resumed, workers, size, monkeypatch) == whole[stop:]
        resumed.set_epoch(4)
        assert _batches(resumed, workers, size, monkeypatch) == whole


def test_what_workers_read_ahead_is_no_state(shards, monkeypatch):
    documents = WeightedDocuments(str(shards), ["id"])
    _batches(documents, 2, 8, monkeypatch)
    with pytest.raises(RequestError, match="take state_after"):
        documents.state_dict()
    documents.load_state_dict(documents.state_after(3, 8, 2))
    with pytest.raises(RequestError, match="1 ranks with 2 workers"):
        _ids(documents)
    with pytest.raises(RequestError, match="1 ranks with 2 workers"):
        _batches(documents, 3, 8, monkeypatch)
    monkeypatch.undo()
    documents = WeightedDocuments(str(shards), ["id"])
    begun = iter(documents)
    next(begun)
    documents.load_state_dict(documents.state_dict())
    with pytest.raises(RequestError, match="1 ranks with 1 workers"):
        _batches(documents, 2, 8, monkeypatch)
    monkeypatch.undo()
    with pytest.raises(RequestError, match="at least 1"):
        documents.state_after(1, 0, 2)


def test_a_worker_takes_its_own_state(shards, monkeypatch):
    """As torchdata's StatefulDataLoader asks for it and gives it back."""
    monkeypatch.setattr("florilegium.pipelines.loading._workers", lambda: (1, 2))
    whole = _ids(WeightedDocuments(str(shards), ["id"]))
    documents = WeightedDocuments(str(shards), ["id"])
    passing = iter(documents)
    begun = [next(passing)["id"] for _ in range(9)]
    resumed = WeightedDocuments(str(shards), ["id"])
    resumed.load_state_dict(documents.state_dict())
    assert begun + _ids(resumed) == whole == _ids(resumed)
    with pytest.raises(RequestError, match="where the DataLoader is made"):
        resumed.load_state_dict(documents.state_after(9, 1, 2))


def test_the_epoch_that_was_loaded_may_be_named(shards):
    documents = WeightedDocuments(str(shards), ["id"])
    documents.set_epoch(2)
    whole = _ids(documents)
    passing = iter(documents)
    begun = [next(passing)["id"] for _ in range(9)]
    state = documents.state_dict()
    resumed = WeightedDocuments(str(shards), ["id"])
    resumed.load_state_dict(state)
    resumed.set_epoch(2)
    assert begun + _ids(resumed) == whole
    resumed.set_epoch(2)
    assert _ids(resumed) == whole
    resumed.load_state_dict(state)
    resumed.set_epoch(3)
    assert len(_ids(resumed)) == len(whole)


def test_a_real_loader_goes_on_and_its_workers_see_the_epoch(shards):
    data = pytest.importorskip("torch.utils.data", reason="PyTorch is not installed")

    def loader(documents: WeightedDocuments, **options):
        return data.DataLoader(documents, batch_size=8, num_workers=2, collate_fn=_identity, **options)

    documents = WeightedDocuments(str(shards), ["id"], rank=0, world=2)
    lasting = loader(documents, persistent_workers=True)
    epochs = []
    for epoch in range(2):
        documents.set_epoch(epoch)
        epochs.append(list(lasting))
    assert epochs[0] != epochs[1]
    state = documents.state_after(11, 8, 2)
    resumed = WeightedDocuments(str(shards), ["id"], rank=0, world=2)
    resumed.load_state_dict(state)
    assert list(loader(resumed)) == epochs[1][11:]


def _identity(batch):
    return batch


def test_what_was_passed_is_not_read_again(shards, monkeypatch):
    documents = WeightedDocuments(str(shards), shuffle_blocks=1)
    state = documents.state_dict() | {"given": len(documents) - 3}
    read: list[int] = []
    plain = WeightedDocuments._read
    monkeypatch.setattr(WeightedDocuments, "_read", lambda self, block: read.append(block) or plain(self, block))
    documents.load_state_dict(state)
    assert len(_ids(documents)) == 3
    assert len(read) == 1


def test_memory_is_bounded_by_the_blocks_that_are_shuffled_together(shards, monkeypatch):
    read: list[int] = []
    plain = WeightedDocuments._read
    monkeypatch.setattr(WeightedDocuments, "_read", lambda self, block: read.append(block) or plain(self, block))
    documents = iter(WeightedDocuments(str(shards), shuffle_blocks=2))
    next(documents)
    assert len(read) == 2
    list(documents)
    assert sorted(read) == list(range(15))


def test_weights_are_met_over_epochs(shards):
    table = _table(shards)
    documents = WeightedDocuments(str(shards), ["id"], realise="weight")
    seen: Counter[str] = Counter()
    for epoch in range(40):
        plan = documents.plan(epoch)
        for block, counts in zip(documents.blocks, plan.counts, strict=True):
            assert (np.abs(counts - block.weight) < 1).all()
        documents.set_epoch(epoch)
        seen.update(_ids(documents))
    weight = dict(zip(table["id"].to_pylist(), table["weight"].to_pylist(), strict=True))
    errors = [seen[i] / 40 - w for i, w in weight.items()]
    assert max(map(abs, errors)) < 5 * 0.5 / 40**0.5
    assert abs(sum(errors)) < 4 * (DOCUMENTS * 0.25 / 40) ** 0.5


def test_repeat_and_proportion_set_the_size(shards):
    table = _table(shards)
    weighted = sum(w * t for w, t in zip(table["weight"].to_pylist(), table["tokens"].to_pylist(), strict=True))
    twice = WeightedDocuments(str(shards), repeat=2.0)
    assert twice.plan(0).tokens == pytest.approx(2 * weighted, rel=0.02)
    half = WeightedDocuments(str(shards), proportion=0.5)
    assert half.plan(0).tokens == pytest.approx(0.5 * sum(table["tokens"].to_pylist()), rel=0.05)


@pytest.mark.parametrize("choose", [1, 100, 577, 3000, 50_000])
def test_choose_is_exact_and_stays_near_the_weights(shards, choose):
    documents = WeightedDocuments(str(shards), choose=choose)
    assert len(_ids(documents)) == choose == len(documents)
    scale = choose / sum(float(block.weight.sum()) for block in documents.blocks)
    for block, counts in zip(documents.blocks, documents.plan(0).counts, strict=True):
        assert (np.abs(counts - block.weight * scale) < 2).all()
        assert (counts[block.weight == 0] == 0).all()


def test_a_state_of_something_else_is_refused(shards):
    documents = WeightedDocuments(str(shards), rank=0, world=2)
    state = documents.state_dict()
    with pytest.raises(RequestError, match="other shards, or of other options"):
        WeightedDocuments(str(shards), rank=0, world=2, seed=5).load_state_dict(state)
    with pytest.raises(RequestError, match="2 ranks with 1 workers"):
        WeightedDocuments(str(shards)).load_state_dict(state)
    with pytest.raises(RequestError, match="another version"):
        documents.load_state_dict(state | {"version": 0})


def test_wrong_requests_get_a_sentence(shards, tmp_path):
    with pytest.raises(InputError, match=r"no shards/\*\.parquet"):
        WeightedDocuments(str(tmp_path))
    with pytest.raises(InputError, match="no column 'txt'"):
        WeightedDocuments(str(shards), ["txt"])
    for options, sentence in (
        ({"repeat": 2.0, "choose": 3}, "give one of"),
        ({"choose": 0}, "above 0"),
        ({"shuffle_blocks": 0}, "at least 1"),
        ({"rank": 1}, "together"),
        ({"rank": 2, "world": 2}, "rank < world"),
    ):
        with pytest.raises(RequestError, match=sentence):
            WeightedDocuments(str(shards), **options)


def test_nothing_to_choose_from(tmp_path):
    (tmp_path / "shards").mkdir()
    row = {"id": document_id(b"x"), "text": "x", "weight": 0.0, "tokens": 1}
    table = pa.Table.from_pylist([row]).append_column("repeats", pa.array([0], pa.int32()))
    pq.write_table(table, tmp_path / "shards/train-0.parquet")
    assert _ids(WeightedDocuments(str(tmp_path))) == []
    with pytest.raises(InputError, match="none can be chosen"):
        _ids(WeightedDocuments(str(tmp_path), choose=3))
