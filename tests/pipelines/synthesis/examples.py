"""The written examples as drafts with the reasons that a careful reader gives."""

from pathlib import Path

import yaml
from florilegium.pipelines.synthesis.gates import Draft
from florilegium.pipelines.synthesis.grid import Cell

DEFAULTS = {
    "index": 0, "id": "0" * 32, "backend": "test", "kind": "dialogue", "virtue": "compassion",
    "situation": "lost_wallet",
    "relation": "friends", "setting": "a village", "difficulty": "none", "quiet": None, "question": None,
    "falsehood": None, "length": "short", "register": "plain", "charter": None, "seed_source": None, "seed": None,
}  # fmt: skip


def cell(**values: object) -> Cell:
    """A cell with some values given."""
    return Cell(**{**DEFAULTS, **values})  # type: ignore[arg-type]


def examples(group: str, file: str = "examples.yaml") -> list[tuple[Draft, list[str]]]:
    """The examples of `passing` or `failing`."""
    entries = yaml.safe_load((Path(__file__).parent / file).read_text("utf-8"))[group]
    return [
        (
            Draft(
                entry.pop("text"),
                seed_text=entry.pop("seed", ""),
                finished=entry.pop("finished", True),
                **{"cell": cell(**{key: value for key, value in entry.items() if key not in ("fails",)})},
            ),
            entry.get("fails", []),
        )
        for entry in entries
    ]
