"""Near-duplicates: documents that meet in a bucket of `stages/minhash.py`, directly or through others.

    pair      owns a range of buckets: reads it out of every run's side file in bands/ and links the documents
              of each bucket to the first of them, so that a million copies are a million links, not pairs
    cluster   joins all links to connected components (union-find in one task)
    rank      owns a range of keys: which members of clusters could stay, judged by the policy (shards.py)
    keep      owns a range of clusters: chooses the document that stays and counts the cluster

Meeting in a bucket is the whole test: what it finds at which similarity is known in advance (minhash.py),
and nothing is compared again. The document that stays is the best that would survive: by quality (thousandths,
higher first), then the smallest id. Members that a rule rejects are rejected by that rule and drop nobody;
rows that may not be used whatever they say (takedowns, licences) count for nothing, but what they link stays linked.
Exact twins are one document here. Documents go by their 64-bit key: among 10^9 of them about one pair is taken
for each other with a chance of 3 %, and five or so share a bucket by accident.

Results depend on no partition: components are what they are, whatever order links come in. Memory is
that of one range of buckets (40 bytes a row and 100 more where it links; all rows of one bucket lie in one
range), of one range of clusters, and in `cluster` about 50 bytes for each document that has a link.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.document import SCORED
from ..schemas.hashing import id_words
from .runs import BANDS, KeyRange, read_range
from .storage import Folder

__all__ = [
    "CLUSTERS",
    "LINKS",
    "MEMBERS",
    "NEAR_VERSION",
    "RANKED",
    "choose_keepers",
    "cluster_links",
    "link_buckets",
    "spanning_forest",
]

NEAR_VERSION = "near.v1"
KEY = SCORED.field("key")
LINKS = pa.schema([pa.field("key", pa.uint64(), nullable=False), pa.field("other", pa.uint64(), nullable=False)])
CLUSTERS = pa.schema([KEY, pa.field("cluster", pa.uint64(), nullable=False)])  # the smallest key of its members
RANKED = pa.schema(  # a document that may be used and has a link; sorted by cluster
    [
        pa.field("cluster", pa.uint64(), nullable=False),
        KEY,
        SCORED.field("id"),
        pa.field("survives", pa.bool_(), nullable=False),  # if it were alone
        pa.field("quality", pa.int32(), nullable=False),  # thousandths, -1 without a score
        pa.field("size", pa.int32(), nullable=False),  # rows of the document: itself and its exact twins
    ]
)
MEMBERS = pa.schema(  # what RANKED becomes; sorted by key
    [
        KEY,
        pa.field("keeper", pa.string()),  # id of the document that stays; null where none survives
        pa.field("cluster_size", pa.int32(), nullable=False),  # rows, exact twins included
    ]
)
Keys = np.ndarray[Any, np.dtype[np.uint64]]


def link_buckets(folder: Folder, names: Sequence[str], buckets: KeyRange) -> pa.Table:
    """LINKS between documents that share a bucket in the range, as few as connect them; sorted.

    `names` are files of schema BANDS. The documents of a bucket are linked to its smallest key.
    """
    parts = [BANDS.empty_table(), *(read_range(folder, name, buckets, "bucket", BANDS.names) for name in names)]
    table = pa.concat_tables(parts)
    bucket, key = table["bucket"].to_numpy(), table["key"].to_numpy()
    del table, parts
    order = np.lexsort((key, bucket))
    bucket, key = bucket[order], key[order]
    del order
    starts = np.ones(len(bucket), bool)
    starts[1:] = bucket[1:] != bucket[:-1]
    first = np.repeat(key[starts], np.diff(np.flatnonzero(np.append(starts, True))))
    linked = ~starts & (key != first)
    return spanning_forest(first[linked], key[linked])


def spanning_forest(keys: Keys, others: Keys) -> pa.Table:
    """The links out of (keys, others) that connect all that they connect, without a circle; LINKS, sorted."""
    from .union_find import unite  # with numba, which whoever looks into a run need not wait for

    nodes = np.unique(np.concatenate([keys, others]))
    needed = unite(np.searchsorted(nodes, keys), np.searchsorted(nodes, others), np.arange(len(nodes)))
    keys, others = keys[needed], others[needed]
    order = np.lexsort((others, keys))
    return pa.table([keys[order], others[order]], schema=LINKS)


def cluster_links(files: Iterable[pa.Table], again: Iterable[pa.Table]) -> pa.Table:
    """CLUSTERS of all documents that have a link, sorted by key; `again` yields the same LINKS as `files`."""
    from .union_find import flatten, unite

    nodes = _distinct(column.to_numpy() for table in files for column in (table["key"], table["other"]))
    parent = np.arange(len(nodes))
    for table in again:
        one, other = (np.searchsorted(nodes, table[name].to_numpy()) for name in LINKS.names)
        unite(one, other, parent)
    flatten(parent)
    return pa.table([nodes, nodes[parent]], schema=CLUSTERS)


def _distinct(arrays: Iterator[Keys]) -> Keys:
    """Sorted distinct keys; what is collected is made distinct whenever it has doubled."""
    distinct = np.zeros(0, np.uint64)
    waiting: list[Keys] = []
    size = 0
    for array in arrays:
        waiting.append(array)
        size += len(array)
        if size > max(len(distinct), 1 << 20):
            distinct, waiting, size = np.unique(np.concatenate([distinct, *waiting])), [], 0
    return np.unique(np.concatenate([distinct, *waiting]))


def choose_keepers(ranked: pa.Table) -> pa.Table:
    """MEMBERS of whole clusters given as RANKED."""
    if not ranked.num_rows:
        return MEMBERS.empty_table()
    cluster, survives = ranked["cluster"].to_numpy(), ranked["survives"].to_numpy()
    high, low = id_words(ranked["id"])
    order = np.lexsort((low, high, -ranked["quality"].to_numpy(), ~survives, cluster))
    starts = np.ones(len(order), bool)
    starts[1:] = cluster[order][1:] != cluster[order][:-1]
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(starts) - 1
    best = order[starts]
    keeper = ranked["id"].take(pa.array(best, mask=~survives[best])).take(pa.array(group))
    sizes = np.bincount(group, ranked["size"].to_numpy()).astype(np.int32)
    members = pa.table([ranked["key"], keeper, pa.array(sizes[group])], schema=MEMBERS)
    return members.take(pa.array(np.argsort(ranked["key"].to_numpy(), kind="stable")))
