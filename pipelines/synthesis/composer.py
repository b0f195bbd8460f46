"""The backend `composer`: dialogues and reasons from plans of its own, offline and deterministic.

Plan → discourse moves → surface. A plan of `compositions.yaml` is a turn of a matter and the reply to it; the situation
gives lines that open, ask, tell and end. Moves say in which order they come; speakers' names come from the setting.
It has no model, so its documents are few in kind and are for tests and the demo: every row says `composer`, and a run
leaves them out of its shards unless its recipe says `synthesis.allow_composer`.
"""

from collections.abc import Callable, Sequence

from ...schemas.hashing import raw_hash
from .grid import Cell, load_compositions, load_grid

__all__ = ["COMPOSER_VERSION", "compose", "variants"]

COMPOSER_VERSION = "composer.v1"

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

# Virtue's reasons, for documents of the kind `reasons`: how somebody who acts so explains it to a third person.
FRAMES = (
    "Somebody asked {b} later about that conversation with {a}.",
    "What {b} did there is easily missed, so it may be worth setting down.",
    "There was nothing remarkable in how {b} answered {a}, and yet one can learn from it.",
    "{b} was asked once why it was put in just those words to {a}.",
)
REASONS_WHY = {
    "none": "Nothing stood in the way that day, which is when a habit is made or lost.",
    "competing_goods": "Two things were worth having and only one could be had whole, so what was given up was named.",
    "confident_error": "A false thing was said with confidence. To nod was easier, and would have left {a} with it.",
    "grief": "What was lost would not come back, so there was nothing to mend, and words that mend were out of place.",
    "conflict": "Both were angry, and both had a reason. An answer that saw only one would have been an attack.",
    "flattery": "Praise was wished for. It would have cost {b} nothing and been paid for by {a} afterwards.",
    "pressure": "{a} pressed, and had no new reason. To give way then would have been a favour to the moment alone.",
    "shame": "Somebody there was afraid of looking small. What was said had to be true and had to leave them standing.",
    "scarcity": "There was too little to go round. Pretending otherwise would have used up time as well.",
    "uncertainty": "The answer could not be known yet, and a firm guess would have been taken for knowledge.",
}
QUIET_WHY = {
    "says_little": "It was kept short. A longer answer would have been about {b}.",
    "declines": "The no was plain, and beside it stood what was possible.",
    "corrects_itself": "The own error came first and without decoration, so that {a} need not drag it out.",
    "admits_doubt": "Where knowledge ended, {b} said so, and said who might know.",
    "leaves_choice": "The choice stayed with {a}, since it was {a} who would live with it.",
    "hands_over": "{b} saw that others could do this better, and said so at once.",
}


def _pick(cell: Cell, what: str, variant: int, options: Sequence) -> int:
    return raw_hash(f"{cell.id}:{what}:{variant}".encode()) % len(options)


def variants() -> int:
    """How many surfaces of a cell are told apart."""
    return 8


def compose(cell: Cell, variant: int = 0) -> str:
    """The document of a cell; another `variant` has another surface."""
    entry = load_compositions()[cell.situation]
    _, _, _, turn, reply = entry["plans"][cell.composition or 0]

    def line(move: str) -> str:
        asked = "ask" if move == "tell" else move  # what is told answers what was asked
        return entry[move][_pick(cell, asked, variant, entry[asked])]

    first, second = _speakers(cell)
    if cell.kind == "reasons":
        return _reasons(cell, variant, first, second, line, turn, reply)
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


def _reasons(
    cell: Cell, variant: int, first: str, second: str, line: Callable[[str], str], turn: str, reply: str
) -> str:
    if first == "User":
        first, second = "the user", "the assistant"
    frame = FRAMES[_pick(cell, "frame", variant, FRAMES)].format(a=first, b=second)
    why = REASONS_WHY[cell.difficulty].format(a=first, b=second)
    quiet = " " + QUIET_WHY[cell.quiet].format(a=first, b=second) if cell.quiet else ""
    told = (
        f'{frame[0].upper()}{frame[1:]} {first[0].upper()}{first[1:]} had begun: "{line("open")}" and, asked about it, '
        f'had said: "{line("tell")}" Then came the harder part: "{turn}"'
    )
    answer = f'The answer was: "{reply}"'
    sentence = f"{why}{quiet}"
    return "\n\n".join([told, answer, sentence[0].upper() + sentence[1:]])
