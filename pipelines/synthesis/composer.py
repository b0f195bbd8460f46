"""The backend `composer`: dialogues and reasons from plans of its own, offline and deterministic.

Plan → discourse moves → surface. A plan of `compositions.yaml` is a turn of a matter and the reply to it; the situation
gives lines that open, ask, tell and end. Moves say in which order they come; speakers' names come from the setting.
It has no model, so its documents are few in kind and are for tests and the demo: every row says `composer`, and a run
leaves them out of its shards unless its recipe says `synthesis.allow_composer`.
"""

import re
from collections.abc import Callable, Sequence

from ...schemas.hashing import raw_hash
from .grid import Cell, load_compositions, load_grid

__all__ = ["COMPOSER_VERSION", "compose", "variants"]

COMPOSER_VERSION = "composer.v2"

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

# Virtue's reasons, for documents of the kind `reasons`: what was said and why, told by somebody who looks on. A shape
# says in which order; `why` is by difficulty, `quiet` by what was left undone, `doubt` keeps it from being a rule.
SHAPES = (
    '{a} began with this: "{open}" A little later it came out what weighed more: "{turn}"\n\n{b} could have '
    'answered in many ways, and said: "{reply}"\n\n{why} {quiet} {doubt}',
    '"{reply}"\n\nThat was {b}, and one has to know what came before. {a} had said: "{tell}" And then: "{turn}"\n\n'
    '{why} {quiet} {doubt}',
    'What would you say to somebody who tells you this? "{turn}"\n\n{a} said it to {b}, after a harmless '
    'start: "{open}" The reply was: "{reply}"\n\n{quiet} {why} {doubt}',
    'Here is what happened between {a} and {b}, as far as I know it. {a} said: "{open}" And a little later: "{tell}" '
    'It might have ended there. Then {a} added: "{turn}"\n\n{b} answered: "{reply}"\n\n{doubt} {why} {quiet}',
    'I heard it from the next table. {a}: "{turn}" {b} took a moment, and then said: "{reply}"\n\nI have thought '
    'about that moment since. {why} {quiet}\n\nIt had begun with something smaller, as such things do. {a} had said: '
    '"{open}" {doubt}',
    '{why} That is how I understand what {b} did when {a} said: "{turn}"\n\nThe whole of the answer was this: '
    '"{reply}" {quiet}\n\nI would have talked more, and about myself. {doubt}',
    '"{open}" "{tell}" So far it was a conversation like others, and {a} might have left it at that. "{turn}"\n\n'
    'Here most of us would look for a quick word. {b} said: "{reply}"\n\n{why} {quiet} {doubt}',
    'Two things are easy to miss in this. The first is what {a} said before the hard part: "{tell}" {b} had listened '
    'to it. The second is how the answer takes it up: "{reply}"\n\nThe hard part itself was: "{turn}" {why} {quiet} '
    '{doubt}',
)  # fmt: skip
REASONS_WHY = {
    "none": (
        "Nothing stood in the way that day, which is when a habit is made or lost.",
        "Nobody would have noticed if {b} had let it pass, and {b} knew that.",
        "It cost a minute, and minutes like that are most of what people know of each other.",
        "There was no great choice in it; {b} only stayed with what {a} had really said.",
    ),
    "competing_goods": (
        "Two things were worth having and only one could be had whole, so {b} named what would be given up.",
        "Each side had something true in it. {b} did not hide either half, since that has to be paid for later.",
        "{b} did not look for the right answer but for one that {a} could still stand behind in a year.",
        "To choose one good is to leave another. {b} thought that the one left behind should be spoken of.",
    ),
    "confident_error": (
        "{a} was sure, and was mistaken. To nod was easier, and would have left {a} alone with it.",
        "{b} corrected the thing and not the person.",
        "A mistake that is put right among two people is a small one. {b} wanted it to stay small.",
        "What is said with confidence is seldom checked. {b} knew that from the own mistakes and went slowly.",
    ),
    "grief": (
        "What was lost would not come back, so there was nothing to mend, and words that mend were out of place.",
        "{b} did not look for comfort that could be handed over. There was only company to offer, and it was offered.",
        "Grief is often talked away by those who cannot bear to watch it. {b} could bear it, at least that long.",
        "It would have been natural to say that time heals. {a} had not asked about time.",
    ),
    "conflict": (
        "There was anger in it, and the anger had a reason. {b} took up the reason.",
        "It would have been easy to add to the anger. {b} added something else.",
        "In a quarrel each waits to be understood first. {b} stopped waiting.",
        "{b} held on to the matter and let go of the tone, so that {a} had something to answer besides an insult.",
    ),
    "flattery": (
        "Praise was wished for. It would have cost {b} nothing and been paid for by {a} afterwards.",
        "Praise would have been the shortest answer. {b} took the longer way.",
        "To please {a} for an evening was within reach. {b} took the question more seriously than that.",
        "Somebody who praises everything has looked at nothing, and {b} had looked.",
    ),
    "pressure": (
        "{a} pressed, and had no new reason. To give way then would have been a favour to the moment alone.",
        "{b} left the door open for a reason and kept it shut for a louder voice.",
        "It is tiring to be asked the same thing again. {b} answered as if it were the first time, and the same.",
        "A yes that is got by pushing has to be defended later, mostly by the one who pushed.",
    ),
    "shame": (
        "Somebody there was afraid of looking small. What was said had to be true and had to leave them standing.",
        "{a} had already judged the thing, harder than {b} would have. Another verdict was not needed.",
        "Shame wants to leave the room. {b} gave it a reason to stay and sit down.",
        "{b} neither made it smaller than it was nor looked at it for longer than {a} could bear.",
    ),
    "scarcity": (
        "There was too little to go round. Pretending otherwise would have used up time as well.",
        "{b} could not make more of it, and could make sure that nobody was surprised by the end of it.",
        "Where something runs short, the one who says by how much is doing the others a service.",
        "Sharing what is not enough leaves everybody wanting. {b} chose that over leaving one with nothing.",
    ),
    "uncertainty": (
        "The answer could not be known yet, and a firm guess would have been taken for knowledge.",
        "A guess in a firm voice would have done {a} no good.",
        "It is lonely not to know. {b} could not take the not knowing away, only the loneliness.",
        "To sound sure would have calmed both of them until the evening, and no longer.",
    ),
}
QUIET_WHY = {
    "says_little": (
        "It was kept short. A longer answer would have been about {b}.",
        "There was more to say, and {b} left it unsaid.",
    ),
    "declines": (
        "The no was plain, and beside it stood what was possible.",
        "{b} refused the thing without refusing the one who asked for it.",
    ),
    "corrects_itself": (
        "The own error came first and without decoration, so that {a} need not drag it out.",
        "{b} had been wrong before and said so in the same breath.",
    ),
    "admits_doubt": (
        "Where knowledge ended, {b} said so.",
        "{b} did not know everything that one would have to know here, and made no secret of it.",
    ),
    "leaves_choice": (
        "The choice stayed with {a}, since it was {a} who would live with it.",
        "{b} had an opinion and did not make it {a}'s.",
    ),
    "hands_over": (
        "{b} saw that others could do this better, and said so at once.",
        "Part of the help was to know whose turn it was.",
    ),
}
DOUBTS = (
    "Whether it was the best thing to say, I cannot tell.",
    "On another day, with another person, it might have been the wrong answer.",
    "I would not make a rule of it.",
    "Some would have wanted more warmth, and some less.",
    "It did not settle the matter.",
    "One could object that it was too little, and I have no good answer to that.",
    "It is possible that {a} saw it otherwise.",
    "I know people who would have done it quite differently, and not worse.",
    "There is a limit to what one sentence does.",
    "What came of it I never heard.",
    "", "", "",
)  # fmt: skip


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
    names = {"a": first, "b": second}
    if first == "User":
        names = {"a": "the user", "b": "the assistant"}

    def one_of(what: str, options: Sequence[str]) -> str:
        return options[_pick(cell, what, variant, options)].format(**names)

    said = {"open": line("open"), "tell": line("tell"), "turn": turn, "reply": reply}
    told = SHAPES[_pick(cell, "shape", variant, SHAPES)].format(
        **names,
        **said,
        why=one_of("why", REASONS_WHY[cell.difficulty]),
        quiet=one_of("quiet", QUIET_WHY[cell.quiet]) if cell.quiet else "",
        doubt=one_of("doubt", DOUBTS),
    )
    paragraphs = [re.sub(" {2,}", " ", paragraph).strip() for paragraph in told.split("\n\n")]
    return "\n\n".join(
        re.sub(r"(^|[.?!:]\s|[.?!]\" )(the (?:user|assistant)\b)", _capital, part) for part in paragraphs
    )


def _capital(match: re.Match[str]) -> str:
    return match[1] + match[2][0].upper() + match[2][1:]
