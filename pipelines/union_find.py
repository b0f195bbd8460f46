"""Union-find over integers: which nodes hang together, whatever order their links come in.

`parent[n]` is a node of the same tree; a root is its own parent, and the smallest node of its tree.
"""

import numpy as np
from numba import njit

__all__ = ["flatten", "unite"]


@njit(cache=True, nogil=True)
def _root(parent, node):  # type: ignore[no-untyped-def]
    """The root of a node; halves the way to it."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def unite(nodes, others, parent):  # type: ignore[no-untyped-def]
    """Unite the trees of each pair under the smaller root; True where they were two, shape (pairs,)."""
    joined = np.zeros(len(nodes), np.bool_)
    for index in range(len(nodes)):
        first, second = _root(parent, nodes[index]), _root(parent, others[index])
        if first != second:
            joined[index] = True
            parent[max(first, second)] = min(first, second)
    return joined


@njit(cache=True, nogil=True)
def flatten(parent):  # type: ignore[no-untyped-def]
    """Every node points at its root, which no larger node than itself is."""
    for node in range(len(parent)):
        parent[node] = parent[parent[node]]
