"""Where the files of a run lie in its folder, and the phases that write them.

It imports nothing, so that commands that only look into a run start without what it takes to make one.
"""

__all__ = [
    "BAND_INDEX",
    "CLUSTER_TABLE",
    "MANIFEST",
    "PHASE_NAMES",
    "REPEATED_LINES",
    "RUN_INDEX",
    "SPLITS",
    "WEIGHT_PLAN",
]

MANIFEST = "manifest.json"
SPLITS = "splits.json"
RUN_INDEX = "scored/index.json"
BAND_INDEX = "bands/index.json"
CLUSTER_TABLE = "dedup/clusters.parquet"
REPEATED_LINES = "boilerplate/repeated.parquet"
WEIGHT_PLAN = "weights/plan.json"

PHASE_NAMES = (
    "boilerplate",
    "score",
    "merge-scored",
    "merge-bands",
    "pair",
    "cluster",
    "rank",
    "merge-ranked",
    "keep",
    "merge-members",
    "decide",
    "weigh",
    "shard",
    "reject",
    "synthesize",
)
