"""The backend `composer`: dialogues and reasons from plans of its own, offline and deterministic.

Plan → discourse moves → surface. A plan of `compositions.yaml` is a turn of a matter and the reply to it; the situation
gives lines that open, ask, tell and end. Moves say in which order they come; speakers' names come from the setting.
An essay of the kind `reasons` tells of such a moment, and why somebody acted so, in the words of `reflections.yaml`.
It has no model, so its documents are few in kind and are for tests and the demo: every row says `composer`, and a run
leaves them out of its shards unless its recipe says `synthesis.allow_composer`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ...schemas.hashing import raw_hash
from .grid import Cell, load_compositions, load_grid, read_data

__all__ = ["COMPOSER_VERSION", "compose", "load_reflections", "variants"]

COMPOSER_VERSION = "composer.v3"

NAMES = (
    ("Ines", "Oscar", "Mirja", "Tomas"), ("Amara", "Yusuf", "Lin", "Pedro"), ("Dana", "Kofi", "Ruth", "Milan"),
    ("Salma", "Jonas", "Noor", "Ewa"), ("Sigrid", "Arne", "Bente", "Leif"), ("Chi", "Rosa", "Emeka", "Hanna"),
    ("Leilani", "Marc", "Tiare", "Ben"), ("Greta", "Ivan", "Olga", "Stan"), ("Priya", "Lukas", "Mei", "Hamid"),
    ("Mila", "Andrei", "Zsofi", "Petra"), ("Aigul", "Timur", "Saule", "Dana"), ("Nadia", "Farid", "Samira", "Karim"),
    ("Luz", "Abebe", "Fatou", "Viktor"), ("Tenzin", "Clara", "Miriam", "Paul"),
)  # fmt: skip

# Short lines that may come between, by register: the first speaker takes a reply up, the second answers.
TAKING_UP = {
    "plain": (
        ("I hadn't looked at it from there.", "Nor had I, until you said it."),
        ("And that would be enough?", "For today it would be."),
        ("Let me think about that.", "Do. It keeps."),
    ),
    "warm": (
        ("That's kind of you.", "It isn't much."),
        ("I needed to hear that from somebody.", "I'm glad it was me."),
        ("You always did listen.", "I've had to learn it, believe me."),
    ),
    "dry": (
        ("You've thought about it, then.", "It was that or the dishes."),
        ("I was hoping for something easier.", "So was I."),
        ("That's almost reasonable.", "Don't tell anybody."),
    ),
    "formal": (
        ("I understand. May I think it over?", "Of course. Take what time you need."),
        ("Thank you for putting it so clearly.", "Thank you for asking."),
        ("I would not have expected that answer.", "I was not sure of it either."),
    ),
    "young": (
        ("Okay, wait, let me think.", "Sure, no hurry."),
        ("Huh. Okay.", "You don't have to agree."),
        ("I kind of hate that you're right about some of it.", "Some of it is plenty."),
    ),
}


def _pick(cell: Cell, what: str, variant: int, options: Sequence) -> int:
    return raw_hash(f"{cell.id}:{what}:{variant}".encode()) % len(options)


def variants() -> int:
    """How many surfaces of a cell are told apart."""
    return 8


def compose(cell: Cell, variant: int = 0) -> str:
    """The document of a cell; another `variant` has another surface."""
    entry = load_compositions()[cell.situation]
    _, dimensions, _, turn, reply = entry["plans"][cell.composition or 0]

    def line(move: str) -> str:
        asked = "ask" if move == "tell" else move  # what is told answers what was asked
        return entry[move][_pick(cell, asked, variant, entry[asked])]

    first, second = _speakers(cell)
    if cell.kind == "reasons":
        names = {"a": first, "b": second} if first != "User" else {"a": "the user", "b": "the assistant"}
        said = {"open": line("open"), "tell": line("tell"), "turn": turn, "reply": reply}
        return _reasons(cell, variant, dimensions.split(), names | said)
    moves = [(first, line("open")), (second, line("ask")), (first, f"{line('tell')} {turn}"), (second, reply)]
    if cell.length == "medium":
        moves[2:3] = [(first, line("tell")), (second, _acknowledge(cell, variant)), (first, turn)]
    if cell.length == "long" and cell.quiet != "says_little":
        lines = TAKING_UP[cell.register]
        taken, answered = lines[_pick(cell, "taking_up", variant, lines)]
        moves[2:3] = [(first, line("tell")), (second, _acknowledge(cell, variant)), (first, turn)]
        moves += [(first, taken), (second, answered)]
    moves.append((first, line("end")))
    return "\n\n".join(f"{speaker}: {words}" for speaker, words in moves)


ACKNOWLEDGING = {
    "plain": ("I see.", "Right.", "Go on.", "All right. And?", "Mm. And then?"),
    "warm": ("Oh.", "I can imagine.", "Tell me more.", "That's a lot.", "I'm listening."),
    "dry": ("As bad as that.", "Ah.", "I was afraid so.", "Naturally.", "Go on, I'm sitting."),
    "formal": ("I understand.", "Please go on.", "Thank you, that helps me.", "I follow you.", "Do continue."),
    "young": ("Okay.", "Oh no.", "Right, right.", "Wait, really?", "Okay, and?"),
}


def _acknowledge(cell: Cell, variant: int) -> str:
    solemn = cell.difficulty == "grief" or cell.quiet == "says_little"
    words = ACKNOWLEDGING["warm" if solemn else cell.register]
    return words[_pick(cell, "acknowledge", variant, words)]


def _speakers(cell: Cell) -> tuple[str, str]:
    relation = load_grid().relations[cell.relation]
    if relation["kind"] == "human-assistant":
        return "User", "Assistant"
    names = NAMES[load_grid().settings.index(cell.setting) % len(NAMES)]
    at = _pick(cell, "names", 0, names)
    return names[at], names[(at + 1) % len(names)]


@cache
def load_reflections() -> dict[str, Any]:
    """What essays are made of."""
    return read_data("reflections.yaml")


def _reasons(cell: Cell, variant: int, dimensions: Sequence[str], words: Mapping[str, str]) -> str:
    """An essay about a moment: `words` are the lines of its plan and who said them."""
    pools = load_reflections()

    def part(name: str) -> str:
        if name == "quiet" and not cell.quiet:
            return ""
        options = pools[name]
        if name == "shown":
            options = options[dimensions[_pick(cell, "dimension", variant, dimensions)]]
        elif name in ("why", "quiet"):
            options = options[cell.difficulty if name == "why" else cell.quiet]
        return options[_pick(cell, name, variant, options)].format(**words)

    order = pools["orders"][_pick(cell, "order", variant, pools["orders"])]
    paragraphs = [" ".join(filter(None, map(part, names))) for names in order]
    return "\n\n".join(
        re.sub(r"(^|[.?!:]\s|[.?!]\" )(the (?:user|assistant)\b)", _capital, paragraph)
        for paragraph in filter(None, paragraphs)
    )


def _capital(match: re.Match[str]) -> str:
    return match[1] + match[2][0].upper() + match[2][1:]
