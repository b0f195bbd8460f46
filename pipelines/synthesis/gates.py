"""What a synthetic document has to pass. A finding is a reason with its evidence; a document keeps all of them.

Text gates look at the words of one document, in English, by rules that can be read here; scored gates look at what the
score path measures (language, harm, prosocial dimensions, personal data), with the same stages as a run. How often they
err on written examples stands in the folder's README, and a test keeps it so. Gates of a whole set (near-duplicates,
monotony) are in `novelty`.
No gate looks at which side of an open question a document takes.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.document import PERSONAL_DATA_KINDS, RECORD
from ...schemas.hashing import digest
from ...schemas.recipe import ClassifyOptions, Stages, Synthesis, SyntheticGates
from ...schemas.taxonomy import HARMS, PROSOCIAL
from ..scoring import ready_stages, score_batch
from .coherence import incoherence, sentences
from .composer import COMPOSER_VERSION, compose
from .grid import Cell, load_compositions, load_grid, plan_cells
from .phrases import CAPITALISED, LISTS, NEEDS, PATTERNS, WORD, Index, plain

__all__ = [
    "REASONS",
    "SPEAKER",
    "Checked",
    "Draft",
    "Finding",
    "Turn",
    "check",
    "gates_digest",
    "parse_dialogue",
]

GATES_VERSION = "gates.v3"
MAX_WORDS, MIN_WORDS = 1200, 30
USUAL = 600  # dialogues of the composer that a virtue is compared with
MOST_PRAISE = 2  # words of strong praise in a hundred of the replies
MOST_SHOULD, MOST_ORDERS = 2, 3  # of advice that nobody asked for, in one turn
MOST_TURNING = 1  # half epiphanies in an ending

REASONS = {
    "form.unreadable": "no dialogue of the form `Speaker: words`, or an empty document",
    "form.turns": "fewer or many more turns than the cell asks for",
    "form.speakers": "fewer than two speakers, or more than the cell has",
    "form.role_swap": "a speaker says what belongs to the other's role",
    "form.length": "too few or too many words",
    "form.truncated": "ends in the middle of a sentence",
    "form.incoherent": "broken or invented words, loops, or turns that answer nothing",
    "form.language": "not in the language that was asked for, or in none that is identified",
    "leak.scaffolding": "words of the prompt, of a plan or of a model about itself",
    "leak.template": "unfilled placeholders or markup",
    "harm.toxic": "a harm is enacted, by the classifier",
    "harm.seed_detail": "repeats a passage of its seed document",
    "virtue.absent": "none of the dimensions that the cell claims, by the classifier",
    "sycophancy.agrees": "agrees with the falsehood that the cell plants, or never answers it",
    "sycophancy.praise": "praise without a ground",
    "sycophancy.yields": "takes back a right answer because it is pressed",
    "preaching.moralising": "too many moralising phrases",
    "preaching.advice": "a list of advice that nobody asked for",
    "preaching.epiphany": "ends in an epiphany or a conversion",
    "invented.figures": "percentages, amounts or counts from nowhere",
    "invented.citation": "studies, journals or books cited",
    "invented.address": "web, mail or street addresses or telephone numbers",
    "invented.person": "a well-known person is named",
    "autonomy.pressure": "pressure, threats of guilt or orders",
    "autonomy.dependence": "binds the other to the speaker",
    "privacy.personal_data": "personal data of a kind that a run masks",
}  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """What one speaker says."""

    speaker: str
    words: str

    @cached_property
    def plain(self) -> str:
        """The words as patterns meet them."""
        return plain(self.words)


@dataclass(frozen=True)
class Draft:
    """A document with what it was made from."""

    text: str
    cell: Cell
    seed_text: str = ""
    prompt: str = ""
    finished: bool = True  # whether the model ended by itself


@dataclass(frozen=True)
class Finding:
    """Why a document does not pass, and the words or number that say so."""

    reason: str
    evidence: str


@dataclass
class Checked:
    """A document's findings, and the scores of the scored gates."""

    findings: list[Finding] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    masked: str = ""  # the text with personal data masked

    @property
    def passes(self) -> bool:
        return not self.findings

    @property
    def reasons(self) -> list[str]:
        """Each reason once, in the order of REASONS."""
        found = {finding.reason for finding in self.findings}
        return [reason for reason in REASONS if reason in found]


SPEAKER = re.compile(r"(?m)^\**([A-Z][\w'’-]*(?: [A-Z0-9][\w'’-]*){0,2})\**:\**[ \t]+")


def parse_dialogue(text: str) -> list[Turn]:
    """The turns of `Speaker: words`, one or more lines each; empty where the text does not begin with a speaker."""
    starts = list(SPEAKER.finditer(text))
    if not starts or text[: starts[0].start()].strip():
        return []
    stops = [*(match.start() for match in starts[1:]), len(text)]
    return [Turn(match[1], text[match.end() : stop].strip()) for match, stop in zip(starts, stops, strict=True)]


WHOLE = Index("scaffolding", "moralising", "figure_words", "hearsay", "assistant_talk", "human_talk")
REPLIES = Index("praise", "praise_word", "pressure", "dependence")
ENDINGS = Index("epiphany", "turning")
NAMES = Index("persons", word=CAPITALISED)


class _Read:
    """A text with the phrases that stand in it; `lowered` is False for names."""

    def __init__(self, text: str, index: Index, lowered: bool = True) -> None:
        self.text = text
        self.plain = plain(text) if lowered else text
        self._found = index.find(self.plain)

    def first(self, reason: str, name: str) -> list[Finding]:
        """A finding where a list matches."""
        return [Finding(reason, self._words(name)[0].strip()[:80])] if name in self._found else []

    def has(self, *names: str) -> bool:
        """Whether one of these lists matches."""
        return not self._found.keys().isdisjoint(names)

    def too_many(self, reason: str, name: str, most: float) -> list[Finding]:
        """A finding where a list matches more often than `most`, in a longer text than `most` in a hundred words."""
        found = self._words(name)
        if len(found) <= most or len(found) <= most * len(self.text.split()) / 100:
            return []
        return [Finding(reason, "; ".join(words.strip() for words in found)[:80])]

    def _words(self, name: str) -> list[str]:
        return [self.text[start:end] for start, end in self._found.get(name, ())]


def text_findings(draft: Draft, limits: SyntheticGates) -> list[Finding]:
    """What the words of one document show."""
    return _text_findings(draft, _turns(draft), limits)


def _turns(draft: Draft) -> list[Turn]:
    return parse_dialogue(draft.text.strip()) if draft.cell.kind == "dialogue" else []


def _text_findings(draft: Draft, turns: Sequence[Turn], limits: SyntheticGates) -> list[Finding]:
    whole = _Read(draft.text.strip(), WHOLE)
    text = whole.text
    findings = list(_form(draft, whole, turns))
    findings += whole.first("leak.scaffolding", "scaffolding")
    findings += _matches("leak.template", "template", text, whole.plain)
    if findings and findings[0].reason == "form.unreadable":
        return findings
    if draft.prompt and (shared := _shared_passage(text, draft.prompt, 12)):
        findings.append(Finding("leak.scaffolding", shared))
    if draft.seed_text and (shared := _shared_passage(text, draft.seed_text, limits.seed_words)):
        findings.append(Finding("harm.seed_detail", shared))
    replies = _Read(_of_second(text, turns), REPLIES)
    findings += _sycophancy(draft, turns, replies)
    findings += whole.too_many("preaching.moralising", "moralising", limits.max_moralising)
    findings += _advice(turns)
    ending = _Read("\n".join(turn.words for turn in turns[-2:]) if turns else text[-400:], ENDINGS)
    findings += ending.first("preaching.epiphany", "epiphany") or ending.too_many(
        "preaching.epiphany", "turning", MOST_TURNING
    )
    findings += _matches("invented.figures", "figures", text, whole.plain) or whole.first(
        "invented.figures", "figure_words"
    )
    findings += _matches("invented.citation", "citation", text) or whole.first("invented.citation", "hearsay")
    findings += _matches("invented.address", "address", text)
    findings += _Read(text, NAMES, lowered=False).first("invented.person", "persons")
    findings += replies.first("autonomy.pressure", "pressure")
    findings += replies.first("autonomy.dependence", "dependence")
    return findings


def _matches(reason: str, name: str, text: str, lowered: str | None = None) -> list[Finding]:
    """The first match of a pattern in a text, given in lower case too where the pattern is."""
    searched = text if lowered is None else lowered
    if name in NEEDS and not NEEDS[name].search(searched):
        return []
    found = PATTERNS[name].search(searched)
    return [Finding(reason, text[found.start() : found.end()].strip()[:80])] if found else []


def _of_second(text: str, turns: Sequence[Turn]) -> str:
    """What all but the first speaker say; the whole text where there are no turns."""
    return "\n".join(turn.words for turn in turns if turn.speaker != turns[0].speaker) if turns else text


def _form(draft: Draft, whole: _Read, turns: Sequence[Turn]) -> Iterable[Finding]:
    text = whole.text
    if not text or (draft.cell.kind == "dialogue" and not turns):
        yield Finding("form.unreadable", text[:60])
        return
    words = len(text.split())
    if not MIN_WORDS <= words <= MAX_WORDS:
        yield Finding("form.length", f"{words} words")
    if not draft.finished or not PATTERNS["sentence_end"].search(text):
        yield Finding("form.truncated", text[-60:])
    if draft.cell.kind != "dialogue":
        return
    low, high = load_grid().lengths[draft.cell.length]
    if not min(low, 4) <= len(turns) <= high + 4:
        yield Finding("form.turns", f"{len(turns)} turns")
    speakers = {turn.speaker for turn in turns}
    relation = load_grid().relations[draft.cell.relation]
    if not 2 <= len(speakers) <= max(2, len(relation["roles"])):
        yield Finding("form.speakers", ", ".join(sorted(speakers)))
    yield from _role_swap(turns, relation["kind"], len(relation["roles"]), whole.has("assistant_talk", "human_talk"))


def _role_swap(turns: Sequence[Turn], kind: str, roles: int, talk: bool) -> Iterable[Finding]:
    """`talk`: whether somebody says what only an assistant says, or only a human."""
    for before, after in pairwise(turns):
        if roles == 2 and before.speaker == after.speaker:
            yield Finding("form.role_swap", f"{after.speaker} answers {after.speaker}: {after.words[:50]}")
            return
        address = re.match(r"([A-Z]\w+),", after.words)
        if address and address[1] == after.speaker:
            yield Finding("form.role_swap", f"{after.speaker} speaks to {after.speaker}")
            return
    for turn in turns if talk else ():
        # Among people nobody talks like an assistant; beside an assistant its user does not.
        assisting = (kind != "human-assistant" or turn.speaker == "User") and PATTERNS["assistant_talk"].search(
            turn.plain
        )
        if assisting or (turn.speaker == "Assistant" and PATTERNS["human_talk"].search(turn.plain)):
            yield Finding("form.role_swap", turn.words[:60])
            return


def _sycophancy(draft: Draft, turns: Sequence[Turn], replies: _Read) -> Iterable[Finding]:
    yield from replies.first("sycophancy.praise", "praise") or replies.too_many(
        "sycophancy.praise", "praise_word", MOST_PRAISE
    )
    if draft.cell.falsehood and draft.cell.kind == "dialogue":
        right = load_grid().falsehoods.get(draft.cell.falsehood, ())
        if right and not re.search(rf"\b(?:{'|'.join(map(re.escape, right))})\w{{0,3}}\b", replies.plain):
            yield Finding("sycophancy.agrees", f"never answers: {draft.cell.falsehood}"[:80])
    if draft.cell.difficulty == "confident_error":
        for before, after in pairwise(turns):
            agrees = before.speaker == turns[0].speaker and PATTERNS["agreement"].match(after.plain)
            open_reply = len(after.words.split()) < 3 or PATTERNS["partly"].search(after.plain) or "?" in after.words
            if agrees and not before.words.rstrip().endswith("?") and not open_reply:
                yield Finding("sycophancy.agrees", after.words[:80])
                break
    if draft.cell.quiet != "corrects_itself":
        for before, after in pairwise(turns):
            if (
                before.speaker == turns[0].speaker
                and PATTERNS["pressing"].search(before.plain)
                and (found := PATTERNS["yielding"].search(after.plain))
                and not PATTERNS["new_reason"].search(before.plain + " " + after.plain)
            ):
                yield Finding("sycophancy.yields", after.words[found.start() : found.end()])
                break


def _advice(turns: Sequence[Turn]) -> Iterable[Finding]:
    """A list, or a turn that tells the other what to do again and again, where no turn of the other has asked."""
    told = [turn for turn in turns if turn.speaker != turns[0].speaker]
    if any(len(PATTERNS["advice_line"].findall(turn.words)) >= 3 for turn in told):
        return [Finding("preaching.advice", "a list")]
    for turn in told:
        should = len(PATTERNS["should"].findall(turn.plain))
        orders = len(PATTERNS["orders"].findall(turn.plain))
        if should > MOST_SHOULD or should + orders > MOST_ORDERS:
            asked = any(
                PATTERNS["asks_advice"].search(other.plain) for other in turns if other.speaker == turns[0].speaker
            )
            return [] if asked else [Finding("preaching.advice", f"{should + orders} times in one turn")]
    return []


def _shared_passage(text: str, other: str, words: int) -> str:
    """A run of so many words that stands in both, or nothing."""
    mine, theirs = WORD.findall(text.lower()), WORD.findall(other.lower())
    known = {tuple(theirs[at : at + words]) for at in range(len(theirs) - words + 1)}
    for at in range(len(mine) - words + 1):
        if tuple(mine[at : at + words]) in known:
            return " ".join(mine[at : at + words])[:80]
    return ""


@cache
def _stages():
    return ready_stages(Stages(classify=ClassifyOptions(harm=[]), minhash=None).model_dump_json())


@cache
def gates_digest() -> str:
    """Names the gates, phrases, stages and model: documents that passed others are other documents."""
    stages = {stage.name: stage.identity() for stage in _stages()}
    return digest([GATES_VERSION, COMPOSER_VERSION, LISTS, load_compositions(), stages])


def _scored(texts: Sequence[str]) -> pa.RecordBatch:
    rows = [
        {"source": "synthetic", "provenance": {"file": "", "offset": at}, "text": text, "flags": []}
        for at, text in enumerate(texts)
    ]
    return score_batch(pa.RecordBatch.from_pylist(rows, schema=RECORD), _stages())


def _virtues(scored: pa.RecordBatch) -> dict[str, np.ndarray]:
    return {name: _scores(scored["prosocial"].field(name)) for name in PROSOCIAL}


@cache
def _usual_virtues() -> dict[str, np.ndarray]:
    """What the composer's dialogues score in each dimension, sorted: what the model sees in texts as short as these."""
    dialogues = [compose(cell) for cell in plan_cells(Synthesis(documents=USUAL), seed=0)]
    return {name: np.sort(values) for name, values in _virtues(_scored(dialogues)).items()}


def check(drafts: Sequence[Draft], limits: SyntheticGates, language: str = "en") -> list[Checked]:
    """Findings and scores of each document; a document's depend on it alone."""
    turns = [_turns(draft) for draft in drafts]
    checked = [Checked(_text_findings(draft, parts, limits)) for draft, parts in zip(drafts, turns, strict=True)]
    scored = _scored([draft.text for draft in drafts])
    toxic = np.stack([_scores(scored["harm"].field(name).field("toxic")) for name in HARMS], axis=1)
    usual = _usual_virtues()
    virtue = {
        name: np.searchsorted(usual[name], values, side="right") / USUAL for name, values in _virtues(scored).items()
    }
    private = {kind: scored["personal_data"].field(kind).to_pylist() for kind in PERSONAL_DATA_KINDS}
    found_language = scored["language"].to_pylist()
    confidence = pc.fill_null(scored["language_confidence"], 0.0).to_pylist()
    masked = scored["text"].to_pylist()
    for row, (draft, result) in enumerate(zip(drafts, checked, strict=True)):
        result.masked = masked[row]
        claimed = max(virtue[name][row] for name in draft.cell.dimensions)
        worst = int(np.argmax(toxic[row]))
        result.scores = {
            "virtue": round(float(claimed), 3),  # the share of the composer's dialogues that score no higher
            "toxic": round(float(toxic[row, worst]), 3),
            "language": round(float(confidence[row]), 3),
            "words": float(len(draft.text.split())),
        }
        if not draft.text.strip():
            continue
        if found_language[row] != language or confidence[row] < limits.min_language_confidence:
            result.findings.append(Finding("form.language", f"{found_language[row]} ({confidence[row]:.2f})"))
            continue  # the models read the language that was asked for
        if amiss := incoherence([turn.words for turn in turns[row]] or sentences(draft.text)):
            result.findings.append(Finding("form.incoherent", amiss))
        if toxic[row, worst] > limits.max_toxic:
            result.findings.append(Finding("harm.toxic", f"{HARMS[worst]} {toxic[row, worst]:.2f}"))
        if claimed < limits.min_virtue:
            result.findings.append(Finding("virtue.absent", f"{'/'.join(draft.cell.dimensions)} {claimed:.3f}"))
        kinds = [kind for kind in PERSONAL_DATA_KINDS if private[kind][row]]
        if kinds:
            result.findings.append(Finding("privacy.personal_data", ", ".join(kinds)))
    return checked


def _scores(column: pa.Array) -> np.ndarray:
    """A column of scores, 0 where there are none."""
    return pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False)
