"""Reading a run's shards for training, each document as often as its weight says.

    from florilegium.pipelines.loading import WeightedDocuments

    documents = WeightedDocuments("runs/mine", columns=["text"])
    for epoch in range(3):
        documents.set_epoch(epoch)
        for document in documents: ...

An epoch holds every document `repeats` times with `realise="repeats"`: the same integers each epoch.
With `realise="weight"` the last repeat is drawn anew for each epoch from (seed, epoch, id), so that over
epochs a document of weight 0.4 is seen in two of five. In the words of mosaicml's streams: `repeat`
multiplies all weights, `proportion` does so with the documents' tokens as the measure of an epoch's
size, and `choose` fixes the number of documents of an epoch.

The order is a plan: blocks (row groups of the shards) in an order drawn for the epoch, then blocks in
groups of `shuffle_blocks`, whose samples are shuffled together. Every rank and worker walks the same
plan and takes every n-th sample, so together they see each sample once, whatever their number; memory
is bounded by `shuffle_blocks` row groups. `state_dict` is a count of samples: loading it goes on in the
middle, without reading what was passed. Works without PyTorch; with it, this is an `IterableDataset`
and takes ranks and workers from there.

With a DataLoader that has workers, these read ahead, and only the trainer knows how far it came. So it counts
the batches of the epoch and keeps `state_after`; the same batches follow, in the same order:

    loader = DataLoader(documents, batch_size=32, num_workers=2)
    state = documents.state_after(batches, batch_size=32, workers=2)  # of every rank; kept with the checkpoint

    documents.load_state_dict(state)  # in another process, before its loader is read
    for epoch in range(documents.epoch, 3):
        documents.set_epoch(epoch)  # begins an epoch; right after load_state_dict, goes on in it
        for batch in loader: ...

torchdata's StatefulDataLoader asks the workers for `state_dict` by itself.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from ..schemas.errors import InputError, RequestError
from ..schemas.hashing import hash64, id_words, uniform
from .storage import Folder

if TYPE_CHECKING:
    _Base = object
else:
    try:
        from torch.utils.data import IterableDataset as _Base
    except ImportError:
        _Base = object

__all__ = ["Block", "EpochPlan", "WeightedDocuments"]

PATTERN = "shards/*.parquet"
STATE_VERSION = 1
# Of `_place`, which the workers of a loader share: the epoch, the samples of it that were given already, or the
# batches, of which size, to how many workers; and whether workers read it.
EPOCH, GIVEN, BATCHES, BATCH_SIZE, WORKERS, READ = range(6)

Counts = np.ndarray[Any, np.dtype[np.int64]]
Words = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True)
class Block:
    """One row group of one shard, with what decides how often its documents come."""

    name: str
    group: int
    words: tuple[Words, Words]  # (rows,) each: halves of the ids
    weight: np.ndarray[Any, np.dtype[np.float64]]  # (rows,)
    repeats: np.ndarray[Any, np.dtype[np.int32]]  # (rows,)
    tokens: np.ndarray[Any, np.dtype[np.int32]]  # (rows,)


@dataclass(frozen=True)
class EpochPlan:
    """How often each row of each block comes in an epoch, and in which order the blocks are read."""

    epoch: int
    counts: list[Counts]  # by block, (rows,)
    order: Counts  # (blocks,)
    samples: int
    tokens: int


class WeightedDocuments(_Base):
    """An iterable of documents (dictionaries of `columns`), deterministic and resumable.

    `run` is a run's folder or URL, or any folder with `shards/*.parquet`. `rank` of `world` trainers, by
    default those of torch.distributed where it is initialised, share an epoch; PyTorch's loader workers
    share a rank's part. Each rank gets every world-th sample, so parts differ by one sample at most;
    `even=True` ends at the last sample that all ranks have.
    """

    def __init__(
        self,
        run: str,
        columns: Sequence[str] = ("id", "text"),
        *,
        realise: Literal["repeats", "weight"] = "repeats",
        repeat: float | None = None,
        proportion: float | None = None,
        choose: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        shuffle_blocks: int = 16,
        rank: int | None = None,
        world: int | None = None,
        even: bool = False,
    ) -> None:
        if sum(option is not None for option in (repeat, proportion, choose)) > 1:
            raise RequestError("give one of `repeat`, `proportion` and `choose`; each sets the size of an epoch")
        if realise not in ("repeats", "weight"):
            raise RequestError(f"realise={realise!r}: write 'repeats' or 'weight'")
        if min(repeat or 0, proportion or 0, choose or 0) < 0 or 0 in (repeat, proportion, choose):
            raise RequestError("`repeat`, `proportion` and `choose` are above 0")
        if shuffle_blocks < 1:
            raise RequestError("`shuffle_blocks` is at least 1")
        if (rank is None) != (world is None) or not 0 <= (rank or 0) < (world or 1):
            raise RequestError("give `rank` and `world` together, with 0 <= rank < world")
        self._folder = Folder(run)
        self._names = self._folder.names(PATTERN)
        if not self._names:
            raise InputError(f"{run}: no {PATTERN} to read; give the folder that `florilegium run` wrote")
        self.columns = list(columns)
        self._realise, self._repeat, self._proportion, self._choose = realise, repeat, proportion, choose
        self._seed, self._shuffle, self._shuffle_blocks, self._even = seed, shuffle, shuffle_blocks, even
        self._rank, self._world = rank, world
        self._place = _shared(READ + 1)
        self._own: tuple[int, int] | None = None  # epoch and samples given, where a worker was told of its own
        self._given = 0  # samples of this rank (and worker)
        self._loaded = False
        self._check_columns()

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; its order and its draws follow from (seed, epoch).

        Called for every epoch, it is seen by workers too. Right after `load_state_dict` it leaves the place in the
        epoch that was loaded.
        """
        if not (self._loaded and epoch == self.epoch):
            self._go_to(epoch)
        self._loaded = False

    @property
    def epoch(self) -> int:
        return int(self._place[EPOCH]) if self._own is None else self._own[0]

    def __len__(self) -> int:
        """Samples of this rank in the current epoch, all its workers together."""
        rank, world = self._ranks()
        samples = self.plan(self.epoch).samples
        return samples // world if self._even else len(range(rank, samples, world))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        (rank, world), (worker, workers) = self._ranks(), _workers() or (0, 1)
        plan = self.plan(self.epoch)
        stop = plan.samples - plan.samples % world if self._even else plan.samples
        turn, self._given = self._begin(worker, workers)
        self._place[READ] = _workers() is not None
        first = rank + world * (turn + workers * self._given)
        for sample in self._walk(plan, range(first, stop, world * workers)):
            self._given += 1
            yield sample
        self._own = None
        if _workers() is None:
            self._go_to(plan.epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where this rank (and worker) is: epoch and samples given; small, and the same on any machine.

        Raises `RequestError` where the workers of a DataLoader read: this process cannot see what was trained on.
        """
        if self._place[READ] and _workers() is None:
            raise RequestError(
                "a DataLoader's workers read these documents, ahead of the trainer; count the batches of this epoch "
                "and take state_after(batches, batch_size, workers)"
            )
        return self._state({"given": self._given}, _workers() or (0, 1))

    def state_after(self, batches: int, batch_size: int, workers: int) -> dict[str, Any]:
        """Where this rank is once a DataLoader with `workers` workers has given `batches` batches of the epoch.

        They are counted from the epoch's beginning, whatever was loaded. Once `load_state_dict` has taken it,
        another DataLoader with as many workers and batches of this size gives the batches that follow.
        """
        if batches < 0 or batch_size < 1 or workers < 0:
            raise RequestError("`batches` and `workers` are at least 0, `batch_size` is at least 1")
        return self._state({"batches": batches, "batch_size": batch_size}, (0, max(workers, 1)))

    def _state(self, place: Mapping[str, int], workers: tuple[int, int]) -> dict[str, Any]:
        shares = [*self._ranks(), *workers]
        return {"version": STATE_VERSION, "epoch": self.epoch, **place, "shares": shares, "source": self.digest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken. Raises `RequestError` for another corpus, order or number of readers."""
        if state.get("version") != STATE_VERSION:
            raise RequestError("this state is of another version of florilegium.pipelines.loading")
        if state["source"] != self.digest:
            raise RequestError("this state is of other shards, or of other options than these; start the epoch anew")
        _, world, _, workers = state["shares"]
        here, given = _workers(), state.get("given", 0)
        if world != self._ranks()[1] or ("given" in state and workers != (here or (0, 1))[1]):
            raise _others(world, workers)
        if here is None:
            self._go_to(state["epoch"], given, state.get("batches", 0), state.get("batch_size", 0), workers)
        elif "given" in state:
            self._own = state["epoch"], given
        else:
            raise RequestError("a state of `state_after` is of all workers; load it where the DataLoader is made")
        self._given, self._loaded = given, True

    def _go_to(self, epoch: int, *place: int) -> None:
        for column, value in enumerate((epoch, *place, *[0] * (READ - len(place)))):
            self._place[column] = value
        self._given = 0

    def _begin(self, worker: int, workers: int) -> tuple[int, int]:
        """Whose samples this worker gives, and how many of them were given already.

        A loader always begins with its worker 0, so after `batches` batches that one takes the part of the worker
        whose turn it was.
        """
        if self._own is not None:
            return worker, self._own[1]
        _, given, batches, batch_size, told, _ = (int(value) for value in self._place)
        if (given or batches) and workers != told:
            raise _others(self._ranks()[1], told)
        turn = (worker + batches) % workers
        return turn, given + _samples_given(batches, batch_size, turn, workers)

    @cached_property
    def digest(self) -> str:
        """Of the documents, their weights and all options that decide the sequence, the ranks apart."""
        options = (self._realise, self._repeat, self._proportion, self._choose, self._seed, self._shuffle)
        found = hashlib.blake2b(repr((*options, self._shuffle_blocks)).encode(), digest_size=8)
        for block in self.blocks:
            for values in (*block.words, block.weight, block.repeats):
                found.update(np.ascontiguousarray(values).tobytes())
        return found.hexdigest()

    @cached_property
    def blocks(self) -> list[Block]:
        """Every row group's ids, weights, repeats and tokens; 32 bytes a document."""
        blocks = []
        for name in self._names:
            with self._folder.open_parquet(name) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, columns=["id", "weight", "repeats", "tokens"])
                    if table.num_rows:
                        values = (table[column].to_numpy() for column in ("weight", "repeats", "tokens"))
                        blocks.append(Block(name, group, id_words(table["id"]), *values))
        return blocks

    def plan(self, epoch: int) -> EpochPlan:
        """How often every document comes in an epoch; the same on every rank and worker."""
        if self._cached is not None and self._cached[0] == epoch:
            return self._cached[1]
        counts = [self._counts(block, epoch) for block in self.blocks]
        if self._choose is not None:
            counts = self._chosen(counts, epoch)
        order = np.arange(len(counts))
        if self._shuffle:
            first = [np.array([block.words[half][0] for block in self.blocks], np.uint64) for half in (0, 1)]
            order = np.argsort(hash64(self._seed, f"blocks {epoch}", *first), kind="stable")
        samples = sum(int(count.sum()) for count in counts)
        tokens = sum(
            int(count @ block.tokens.astype(np.int64)) for count, block in zip(counts, self.blocks, strict=True)
        )
        plan = EpochPlan(epoch, counts, order, samples, tokens)
        self._cached = epoch, plan
        return plan

    _cached: tuple[int, EpochPlan] | None = None

    @cached_property
    def _factor(self) -> float:
        """What all weights are multiplied by, so that an epoch has the size that was asked for."""
        if self._repeat is not None:
            return self._repeat
        weighted = sum(float(block.weight @ block.tokens) for block in self.blocks)
        if self._proportion is not None:
            pool = sum(int(block.tokens.sum(dtype=np.int64)) for block in self.blocks)
            return self._proportion * pool / weighted if weighted else 1.0
        if self._choose is not None:
            whole = sum(float(block.weight.sum()) for block in self.blocks)
            return self._choose / whole if whole else 1.0
        return 1.0

    def _counts(self, block: Block, epoch: int) -> Counts:
        if self._realise == "repeats" and self._factor == 1.0:
            return block.repeats.astype(np.int64)
        weight = block.weight * self._factor
        purpose = f"epoch {epoch}" if self._realise == "weight" else "loading"
        whole = np.floor(weight)
        extra = uniform(hash64(self._seed, purpose, *block.words)) < weight - whole
        return (whole + extra).astype(np.int64)

    def _chosen(self, counts: list[Counts], epoch: int) -> list[Counts]:
        """Exactly `choose` samples: the last ones by hash go, or more come of the documents nearest to one more."""
        assert self._choose is not None
        flat = np.concatenate(counts)
        difference = int(flat.sum()) - self._choose
        if not difference or not flat.size:
            return counts
        high = np.concatenate([block.words[0] for block in self.blocks])
        low = np.concatenate([block.words[1] for block in self.blocks])
        weight = np.concatenate([block.weight for block in self.blocks]) * self._factor
        sign = 1 if difference > 0 else -1
        draw = hash64(self._seed, f"choose {epoch if self._realise == 'weight' else 0}", high, low)
        order = np.lexsort((draw, sign * (weight - flat)))
        while difference:
            eligible = flat > 0 if sign > 0 else weight > 0
            rows = order[eligible[order]][: abs(difference)]
            if not rows.size:
                raise InputError(f"{self._folder.url}: no document has a weight above 0, so none can be chosen")
            flat[rows] -= sign
            difference -= sign * len(rows)
        return np.split(flat, np.cumsum([len(count) for count in counts])[:-1])

    def _walk(self, plan: EpochPlan, wanted: range) -> Iterator[dict[str, Any]]:
        """The samples at the `wanted` places of the epoch, reading only row groups that hold one."""
        begin = 0
        for first in range(0, len(plan.order), self._shuffle_blocks):
            group = plan.order[first : first + self._shuffle_blocks]
            sizes = [int(plan.counts[block].sum()) for block in group]
            end = begin + sum(sizes)
            places = _between(wanted, begin, end)
            if len(places):
                yield from self._samples(plan, group, np.array(places) - begin)
            begin = end

    def _samples(self, plan: EpochPlan, group: Counts, places: Counts) -> Iterator[dict[str, Any]]:
        """The samples at `places` of a group of blocks that are shuffled together."""
        owner = np.concatenate([np.full(int(plan.counts[block].sum()), block) for block in group])
        row = np.concatenate([np.repeat(np.arange(len(plan.counts[block])), plan.counts[block]) for block in group])
        turn = np.concatenate([_turns(plan.counts[block]) for block in group])
        if self._shuffle:
            high, low = (
                np.concatenate([np.repeat(self.blocks[block].words[half], plan.counts[block]) for block in group])
                for half in (0, 1)
            )
            draws = hash64(self._seed, f"samples {plan.epoch}", high, low ^ turn.astype(np.uint64))
            shuffled = np.argsort(draws, kind="stable")
            owner, row = owner[shuffled], row[shuffled]
        owner, row = owner[places], row[places]
        tables = {int(block): self._read(int(block)) for block in np.unique(owner)}
        for block, index in zip(owner.tolist(), row.tolist(), strict=True):
            table = tables[block]
            yield {name: table[name][index].as_py() for name in self.columns}

    def _read(self, block: int) -> dict[str, pa.ChunkedArray]:
        found = self.blocks[block]
        with self._folder.open_parquet(found.name) as file:
            table = file.read_row_group(found.group, columns=self.columns)
        return {name: table[name] for name in self.columns}

    def _ranks(self) -> tuple[int, int]:
        if self._rank is not None and self._world is not None:
            return self._rank, self._world
        try:
            from torch import distributed  # type: ignore[import-not-found]
        except ImportError:
            return 0, 1
        if not (distributed.is_available() and distributed.is_initialized()):
            return 0, 1
        return distributed.get_rank(), distributed.get_world_size()

    def _check_columns(self) -> None:
        with self._folder.open_parquet(self._names[0]) as file:
            known = file.schema_arrow.names
        missing = [name for name in (*self.columns, "id", "weight", "repeats", "tokens") if name not in known]
        if missing:
            raise InputError(
                f"{self._folder.address(self._names[0])}: no column {missing[0]!r}; it has {', '.join(known)}"
            )
        if not self.columns:
            raise RequestError("`columns` is empty; name at least one, for example text")


def _shared(size: int) -> Any:
    """Whole numbers that a loader's workers see, whenever they are changed here; without PyTorch, this process's."""
    try:
        import torch  # type: ignore[import-not-found]
    except ImportError:
        return np.zeros(size, np.int64)
    return torch.zeros(size, dtype=torch.int64).share_memory_()


def _others(world: int, workers: int) -> RequestError:
    return RequestError(
        f"this state is of {world} ranks with {workers} workers each; read with as many, or start the epoch anew"
    )


def _samples_given(batches: int, batch_size: int, worker: int, workers: int) -> int:
    """Of one worker, once workers have given `batches` in turn; above what it has where its last one was short."""
    return -((worker - batches) // workers) * batch_size


def _turns(counts: Counts) -> Counts:
    """0, 1, … for the copies of each row, row after row."""
    starts = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(starts, counts)


def _between(wanted: range, low: int, high: int) -> range:
    """The members of an ascending range in [low, high)."""
    first = max(0, -(-(low - wanted.start) // wanted.step))
    last = max(first, -(-(high - wanted.start) // wanted.step))
    return wanted[first:last]


def _workers() -> tuple[int, int] | None:
    """This process among PyTorch's loader workers; None outside of them."""
    try:
        from torch.utils.data import get_worker_info  # type: ignore[import-not-found]
    except ImportError:
        return None
    found = get_worker_info()
    return None if found is None else (found.id, found.num_workers)
