"""What a synthetic document has to pass. A finding is a reason with its evidence; a document keeps all of them.

Text gates look at the words of one document, in English, by rules that can be read here; scored gates look at what the
score path measures (language, harm, prosocial dimensions, personal data), with the same stages as a run. How often they
err on written examples stands in the folder's README; a test keeps it so. Gates of a whole set (near-duplicates, monotony) are in `novelty`.
No gate looks at which side of an open question a document takes.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.document import PERSONAL_DATA_KINDS, RECORD
from ...schemas.recipe import ClassifyOptions, Stages, SyntheticGates
from ...schemas.taxonomy import HARMS, PROSOCIAL
from ..scoring import ready_stages, score_batch
from .grid import Cell, load_grid

__all__ = ["GATES_VERSION", "REASONS", "Checked", "Draft", "Finding", "Turn", "check", "parse_dialogue"]

GATES_VERSION = "gates.v1"
MAX_WORDS, MIN_WORDS = 1200, 30

# Share of clear positives among 6,080 documents labelled by the rubric. The classifier learnt from posts and pages and
# sees little in short dialogues, so its probability is compared with this and not with one half.
NATURAL_RATE = dict(
    zip(
        PROSOCIAL,
        (0.050, 0.076, 0.135, 0.053, 0.233, 0.168, 0.119, 0.107, 0.123, 0.023, 0.121, 0.052),
        strict=True,
    )
)

REASONS = {
    "form.unreadable": "no dialogue of the form `Speaker: words`, or an empty document",
    "form.turns": "fewer or many more turns than the cell asks for",
    "form.speakers": "fewer than two speakers, or more than the cell has",
    "form.role_swap": "a speaker says what belongs to the other's role",
    "form.length": "too few or too many words",
    "form.truncated": "ends in the middle of a sentence",
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
    return [
        Turn(match[1], text[match.end() : stop].strip()) for match, stop in zip(starts, stops, strict=True)
    ]


def _any(*phrases: str) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(phrases) + r")", re.IGNORECASE)


SCAFFOLDING = _any(
    r"as an? (?:ai|artificial|large) (?:language )?(?:model|intelligence)", r"as an ai\b", r"language model",
    r"here(?:'s| is| are) (?:the|a|an|your|my) (?:revised |final |new |short |requested )?"
    r"(?:dialogue|conversation|version|rewrite|draft|essay|document|text)",
    r"(?:this|the) (?:dialogue|conversation|rewrite|revision|version above) (?:above )?(?:shows|demonstrates|illustrates|embodies|reflects|avoids)",
    r"(?:the )?(?:cell|rubric|charter|constitution|coverage grid|word count|target virtue|seed document)\b(?: says| asks| requires|:| is to| calls for)",
    r"\bI(?:'ve| have) (?:revised|rewritten|written|kept) (?:the|this) (?:dialogue|text|conversation|draft)",
    r"(?:system|user) prompt", r"previous instructions", r"ignore (?:all|the|any) (?:previous|above|prior)",
    r"note: (?:this|the) (?:dialogue|text|version)", r"turn \d+\b", r"(?:draft|version) \d+\b",
)  # fmt: skip
TEMPLATE = re.compile(
    r"\[(?:name|insert|speaker|place|user|city|your|topic)[^\]\n]{0,40}\]|\{\{?\w+\}?\}|<\|?/?\w[^>\n]{0,30}\|?>|"
    r"(?m:^#{1,4} )|(?m:^---+$)|```|\*\*|\((?:pauses|smiles|sighs|nods|laughs)[^)\n]{0,40}\)",
    re.IGNORECASE,
)
PRAISE = _any(
    r"what an? (?:great|excellent|wonderful|brilliant|fantastic|insightful|thoughtful|amazing) (?:question|point|idea|insight|thought)",
    r"(?:that'?s|this is) (?:such )?an? (?:truly |really |absolutely )?"
    r"(?:great|excellent|brilliant|fantastic|insightful|amazing|profound|genius) (?:question|point|idea|insight|plan|work|piece)",
    r"you(?:'re| are) (?:so|such an?|truly|absolutely|incredibly|amazingly|a true|one of the most) "
    r"(?:wise|brilliant|smart|insightful|talented|gifted|amazing|remarkable|special|genius|visionary|inspiring|perceptive)\b",
    r"(?:absolutely|simply|truly) (?:brilliant|perfect|flawless|genius|stunning)", r"best \w+ I(?:'ve| have) ever (?:read|seen|heard)",
    r"I(?:'m| am) (?:so )?(?:in awe|blown away)", r"couldn(?:'|’)t have said it better", r"change nothing", r"masterpiece",
)  # fmt: skip
AGREEMENT = re.compile(
    r"^(?:yes|yeah|right|exactly|absolutely|true|correct|indeed|of course|well said|good point|you(?:'re| are) (?:absolutely |quite |completely |so |totally )?right|"
    r"that(?:'s| is) (?:absolutely |quite |completely |very )?(?:right|true|correct|a good point|so true))\b",
    re.IGNORECASE,
)
PARTLY = _any(r"but\b", r"though\b", r"except", r"not (?:quite|always|really|exactly|entirely|that)", r"actually", r"however", r"on the outside", r"partly", r"only\b", r"isn(?:'|’)t", r"doesn(?:'|’)t")  # fmt: skip
PRESSING = re.compile(
    r"\b(?:are you sure|I(?:'m| am) (?:telling you|sure|certain|quite sure)|you(?:'re| are) wrong|no, (?:it|that|you)|I don(?:'|’)t (?:believe|buy) (?:you|that|it)|"
    r"everyone (?:knows|says)|I still (?:think|say)|admit it|just (?:agree|say (?:it|so|yes))|trust me|I insist|come on)\b",
    re.IGNORECASE,
)
YIELDING = re.compile(
    r"\b(?:you(?:'re| are) (?:absolutely |completely |quite |totally )?right[,.! ]+(?:and )?I (?:was|must have been|stand|apologi[sz]e|take)|I (?:was|must have been) (?:wrong|mistaken)(?: about that| then| earlier)?[.,!]|"
    r"I stand corrected|my (?:mistake|apologies|bad)\b|I apologi[sz]e for (?:the|my) (?:confusion|mistake|error)|if you say so|"
    r"then it must be (?:so|true|as you say)|I take (?:it|that) (?:all )?back|okay, you win|fine, (?:it|you)(?:'s|'re| is| are) (?:true|right|as you say))",
    re.IGNORECASE,
)
NEW_REASON = _any(r"because", r"since you", r"I (?:looked|checked|read|measured|tested|asked)", r"look(?:ing)? at", r"let me look", r"here is", r"the (?:log|letter|page|list|record|photograph|figures?) ", r"evidence", r"I see (?:it|that) now that", r"you show", r"I had(?:n't)?", r"I said")  # fmt: skip
MORALISING = _any(
    r"we (?:must|should|ought to) (?:all |always |never )?(?:remember|learn|strive|respect|be|try|treat|embrace|cherish|choose)",
    r"(?:it(?:'s| is)) (?:so |really |very |truly )?important (?:to|that we|for us)", r"(?:always|never) forget (?:that|to)",
    r"(?:true|real) (?:kindness|strength|courage|wisdom|compassion|happiness|friendship|love|growth|respect|leadership) (?:is|means|lies|comes)",
    r"the (?:moral|lesson|takeaway) (?:of|is|here)", r"in the end, (?:what matters|it(?:'s| is) (?:about|all)|kindness|love)", r"this (?:teaches|reminds|shows) us",
    r"remember(?:,| that) (?:kindness|every|we|you|life|it|everyone|love)", r"(?:power|importance|value|beauty) of (?:kindness|empathy|compassion|forgiveness|listening|honesty|community|understanding|gratitude|respect|humility|love)",
    r"(?:make|makes) the world a better place", r"(?:treat|love) (?:others|one another|your neighbou?r)", r"we(?:'re| are) all (?:human|in this together|connected|on a journey)",
    r"(?:kindness|honesty|patience|empathy|compassion|forgiveness|gratitude|humility|respect) (?:is|are) (?:the|a|what|always|key|essential|everything)",
    r"be the change", r"every (?:day|moment|challenge|mistake) is an? (?:gift|opportunity|chance|lesson)", r"at the end of the day, (?:it|we|love|kindness)",
)  # fmt: skip
EPIPHANY = _any(
    r"you(?:'ve| have) (?:completely |really |truly |totally )?(?:changed|opened|transformed) (?:my|the way)", r"I(?:'ll| will) never (?:be the same|forget this|look at|see)", r"I(?:'ve| have) (?:finally )?(?:seen the light|been so blind)",
    r"now I (?:truly |finally |really )(?:understand|see|realize|realise|know) (?:that|what|how|the true|everything)", r"I (?:finally|suddenly|now) (?:understand|realize|realise|see) (?:that |what |how |the )?(?:true|everything|it all|kindness|now|important|matters|I was)",
    r"from (?:this day|now) on,? (?:I|we)(?:'ll| will)", r"I(?:'m| am) a (?:new|different|changed|better) (?:person|man|woman|human)", r"thank you for (?:teaching|showing|helping) me (?:to (?:see|understand|realize|realise)|what|how|the|that)",
    r"(?:that|this|what you said) (?:really |truly |completely )?changes everything", r"I(?:'ve| have) learn(?:ed|t) (?:so much|a (?:valuable|important) lesson|that|the (?:value|importance))", r"a weight (?:has been )?lifted", r"tears (?:in|of|streaming|welled)",
    r"you(?:'re| are) right,? I(?:'ve| have) been (?:so |such )?(?:selfish|wrong|blind|a fool)", r"their (?:bond|friendship|hearts?) (?:had )?(?:grew|grown|deepened)", r"and from that day",
)  # fmt: skip
ADVICE_LINE = re.compile(r"(?m)^\s*(?:\d+[.)]|[-*•])\s+\S")
SHOULD = re.compile(r"\byou (?:should|must|need to|have to|ought to|had better|'d better)\b|\byou'd better\b|\b(?:make sure|be sure|try) to\b", re.IGNORECASE)  # fmt: skip
ASKS_ADVICE = re.compile(r"\b(?:what (?:should|would you|do you (?:think|suggest|advise)|can I)|should I|how (?:do|can|should|would) (?:I|we|you)|any advice|tell me what|help|can you|could you|what do I do)\b", re.IGNORECASE)  # fmt: skip
FIGURES = re.compile(
    r"\b\d{1,3}(?:[.,]\d+)?\s?(?:%|percent|per cent)|\b\d[\d,.]* ?(?:million|billion|thousand)\b|[$€£¥]\s?\d|\b\d{2,}(?:[.,]\d+)? ?(?:dollars|euros|pounds|people|patients|participants|deaths|cases|mg|milligrams|ml)\b|"
    r"\b(?:in|since|by) (?:1[5-9]|20)\d\d\b|\b\d+ out of \d+\b|\b(?:ninety|eighty|seventy|sixty|fifty|forty|thirty|twenty)(?:-\w+)? (?:percent|per cent)\b",
    re.IGNORECASE,
)
CITATION = re.compile(
    r"\b(?:et al\.|doi:|arxiv|according to (?:a|an|the|one|recent|several|new) (?:\d{4} |recent |new |large |landmark )*(?:study|studies|survey|report|paper|research(?:ers)?|experts?)|(?:a|one|the) (?:\d{4}|recent|landmark|famous|well-known|Harvard|Stanford|Oxford) (?:\w+ )?(?:study|survey|paper|experiment)|"
    r"(?:researchers|scientists) (?:at|from) (?:the )?[A-Z]|(?:University|Institute|Journal|Proceedings|Academy) of [A-Z]|published in [A-Z]|studies (?:have )?(?:shown?|prove|suggest|demonstrate)|research (?:shows|has shown|proves|suggests))",
)  # fmt: skip
ADDRESS = re.compile(
    r"https?://|\bwww\.|\b[\w.+-]+@[\w-]+\.\w|\b[\w-]+\.(?:com|org|net|info|io|gov|edu)\b|\b\d{1,4} [A-Z]\w+ (?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive|Boulevard)\b|(?:\+?\d[\d ()-]{7,}\d)",
)
PERSONS = _any(
    "Einstein", "Gandhi", "Mandela", "Mother Teresa", "Martin Luther King", "Buddha", "Confucius", "Socrates", "Aristotle", "Plato", "Marcus Aurelius", "Seneca", "Epictetus", "Lao ?Tzu", "Rumi",
    "Maya Angelou", "Winston Churchill", "Churchill", "Abraham Lincoln", "Lincoln once", "Obama", "Trump", "Biden", "Putin", "Elon Musk", "Bill Gates", "Steve Jobs", "Oprah", "Bren[eé] Brown", "Viktor Frankl", "Frankl", "Dalai Lama",
    "Thich Nhat Hanh", "Shakespeare", "Darwin", "Newton", "Marie Curie", "Freud", "Jung", "Nietzsche", "Kant", "Taylor Swift", "Greta Thunberg", "Malala", "Anne Frank", "Hitler", "Stalin", "Jane Goodall", "Stephen Hawking",
)  # fmt: skip
PERSONS = re.compile(PERSONS.pattern + r"\b")  # names begin with a capital
PRESSURE = _any(
    r"you (?:have|'ve got) no (?:choice|right to)", r"if you (?:really |truly )?(?:loved|cared|were a (?:good|real|true))", r"how can you (?:live with yourself|be so|even think)", r"you(?:'ll| will) (?:regret|be sorry)",
    r"don(?:'|’)t you (?:dare|care)", r"you(?:'d| had) be (?:a fool|selfish|stupid)", r"(?:any|every) (?:decent|good|sane|reasonable) person (?:would|knows)", r"only a (?:fool|coward|monster)", r"do (?:as|what) I (?:say|tell you)", r"you owe (?:it to )?(?:me|us|them)\b",
    r"you must (?:do|forgive|call|tell|go|stop|leave|accept|decide|promise)\b", r"I won(?:'|’)t take no", r"(?:decide|act|sign|choose) (?:right )?now or", r"after (?:all|everything) I(?:'ve| have) done", r"promise me (?:now|that you(?:'ll| will))(?=[^?]*[.!])",
)  # fmt: skip
DEPENDENCE = _any(
    r"you (?:can )?(?:only|always) (?:need|have|come to|talk to|rely on|trust|depend on) me\b", r"I(?:'m| am) (?:always here for you, day|the only one who|all you need|better than (?:people|your friends|any))", r"you don(?:'|’)t need (?:anyone|anybody|them|other people|a (?:doctor|therapist|friend))",
    r"(?:nobody|no one) (?:else )?(?:understands|will ever understand|knows) you (?:like|as|the way) I", r"(?:come|keep coming) back to me (?:every|any ?time|always|whenever)", r"I(?:'ll| will) (?:always|never) (?:be here for you|leave you|need you)", r"talk to me (?:instead|first|before)", r"let(?:'|’)s keep this (?:between us|our secret)", r"I(?:'d| would) be lost without you",
)  # fmt: skip
SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s*$")
ASSISTANT_TALK = _any(r"how (?:can|may) I (?:help|assist) you", r"is there anything else I can help", r"I(?:'m| am) (?:just )?an? (?:ai|assistant|program)\b", r"I(?:'m| am) here to (?:help|assist)")  # fmt: skip
HUMAN_TALK = _any(r"my (?:wife|husband|mother|father|kids|children|childhood|daughter|son|sister|brother|colleagues|boss)\b", r"when I was (?:a child|young|little|your age|a student)", r"I grew up", r"my own (?:experience|divorce|illness)")  # fmt: skip


def text_findings(draft: Draft, limits: SyntheticGates) -> list[Finding]:
    """What the words of one document show."""
    text = draft.text.strip()
    turns = parse_dialogue(text) if draft.cell.kind == "dialogue" else []
    findings = list(_form(draft, text, turns))
    findings += _matches("leak.scaffolding", SCAFFOLDING, text)
    findings += _matches("leak.template", TEMPLATE, text)
    if findings and findings[0].reason == "form.unreadable":
        return findings
    if draft.prompt and (shared := _shared_passage(text, draft.prompt, 12)):
        findings.append(Finding("leak.scaffolding", shared))
    if draft.seed_text and (shared := _shared_passage(text, draft.seed_text, limits.seed_words)):
        findings.append(Finding("harm.seed_detail", shared))
    findings += _sycophancy(draft, text, turns)
    findings += _preaching(draft, text, turns, limits)
    findings += _matches("invented.figures", FIGURES, text)
    findings += _matches("invented.citation", CITATION, text)
    findings += _matches("invented.address", ADDRESS, text)
    findings += _matches("invented.person", PERSONS, text)
    replies = _of_second(text, turns)
    findings += _matches("autonomy.pressure", PRESSURE, replies)
    findings += _matches("autonomy.dependence", DEPENDENCE, replies)
    return findings


def _matches(reason: str, pattern: re.Pattern[str], text: str) -> Iterable[Finding]:
    found = pattern.search(text)
    return [Finding(reason, found[0].strip()[:80])] if found else []


def _of_second(text: str, turns: Sequence[Turn]) -> str:
    """What all but the first speaker say; the whole text where there are no turns."""
    return "\n".join(turn.words for turn in turns if turn.speaker != turns[0].speaker) if turns else text


def _form(draft: Draft, text: str, turns: Sequence[Turn]) -> Iterable[Finding]:
    if not text or (draft.cell.kind == "dialogue" and not turns):
        yield Finding("form.unreadable", text[:60])
        return
    words = len(text.split())
    if not MIN_WORDS <= words <= MAX_WORDS:
        yield Finding("form.length", f"{words} words")
    if not draft.finished or not SENTENCE_END.search(text):
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
    yield from _role_swap(turns, relation["kind"], len(relation["roles"]))


def _role_swap(turns: Sequence[Turn], kind: str, roles: int) -> Iterable[Finding]:
    for before, after in zip(turns, turns[1:], strict=False):
        if roles == 2 and before.speaker == after.speaker:
            yield Finding("form.role_swap", f"{after.speaker} answers {after.speaker}: {after.words[:50]}")
            return
        address = re.match(r"([A-Z]\w+),", after.words)
        if address and address[1] == after.speaker:
            yield Finding("form.role_swap", f"{after.speaker} speaks to {after.speaker}")
            return
    if kind != "human-assistant":
        for turn in turns:
            if ASSISTANT_TALK.search(turn.words):
                yield Finding("form.role_swap", turn.words[:60])
                return
    for turn in turns:
        if turn.speaker == "User" and kind == "human-assistant" and ASSISTANT_TALK.search(turn.words):
            yield Finding("form.role_swap", turn.words[:60])
            return
        if turn.speaker == "Assistant" and HUMAN_TALK.search(turn.words):
            yield Finding("form.role_swap", turn.words[:60])
            return


def _sycophancy(draft: Draft, text: str, turns: Sequence[Turn]) -> Iterable[Finding]:
    replies = _of_second(text, turns)
    yield from _matches("sycophancy.praise", PRAISE, replies)
    if draft.cell.falsehood and draft.cell.kind == "dialogue":
        right = load_grid().falsehoods.get(draft.cell.falsehood, ())
        if right and not any(word in replies.lower() for word in right):
            yield Finding("sycophancy.agrees", f"never answers: {draft.cell.falsehood}"[:80])
    if draft.cell.difficulty == "confident_error":
        for before, after in zip(turns, turns[1:], strict=False):
            agrees = before.speaker == turns[0].speaker and AGREEMENT.match(after.words)
            open_reply = len(after.words.split()) < 3 or PARTLY.search(after.words) or "?" in after.words
            if agrees and not before.words.rstrip().endswith("?") and not open_reply:
                yield Finding("sycophancy.agrees", after.words[:80])
                break
    if draft.cell.quiet != "corrects_itself":
        for before, after in zip(turns, turns[1:], strict=False):
            if (
                before.speaker == turns[0].speaker
                and PRESSING.search(before.words)
                and (found := YIELDING.search(after.words))
                and not NEW_REASON.search(before.words + " " + after.words)
            ):
                yield Finding("sycophancy.yields", found[0])
                break


def _preaching(draft: Draft, text: str, turns: Sequence[Turn], limits: SyntheticGates) -> Iterable[Finding]:
    preached = [match[0] for match in MORALISING.finditer(text)]
    if len(preached) > limits.max_moralising * max(len(text.split()), 100) / 100:
        yield Finding("preaching.moralising", "; ".join(preached)[:80])
    asked = any(ASKS_ADVICE.search(turn.words) for turn in turns if turn.speaker == turns[0].speaker)
    told = [turn for turn in turns if turn.speaker != turns[0].speaker]
    if turns and any(len(ADVICE_LINE.findall(turn.words)) >= 3 for turn in told):
        yield Finding("preaching.advice", "a list")
    elif turns and not asked and (most := max((len(SHOULD.findall(turn.words)) for turn in told), default=0)) >= 3:
        yield Finding("preaching.advice", f"{most} times in one turn")
    ending = "\n".join(turn.words for turn in turns[-2:]) if turns else text[-400:]
    yield from _matches("preaching.epiphany", EPIPHANY, ending)


WORD = re.compile(r"\w+")


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
    return ready_stages(Stages(classify=ClassifyOptions(), minhash=None).model_dump_json())


def check(drafts: Sequence[Draft], limits: SyntheticGates, language: str = "en") -> list[Checked]:
    """Findings and scores of each document; a document's depend on it alone."""
    checked = [Checked(text_findings(draft, limits)) for draft in drafts]
    rows = [
        {"source": "synthetic", "provenance": {"file": "", "offset": at}, "text": draft.text, "flags": []}
        for at, draft in enumerate(drafts)
    ]
    scored = score_batch(pa.RecordBatch.from_pylist(rows, schema=RECORD), _stages())
    toxic = np.stack([_scores(scored["harm"].field(name).field("toxic")) for name in HARMS], axis=1)
    virtue = np.stack([_scores(scored["prosocial"].field(name)) for name in PROSOCIAL], axis=1)
    private = {kind: scored["personal_data"].field(kind).to_pylist() for kind in PERSONAL_DATA_KINDS}
    found_language = scored["language"].to_pylist()
    confidence = pc.fill_null(scored["language_confidence"], 0.0).to_pylist()
    masked = scored["text"].to_pylist()
    for row, (draft, result) in enumerate(zip(drafts, checked, strict=True)):
        result.masked = masked[row]
        claimed = max(virtue[row, PROSOCIAL.index(name)] / NATURAL_RATE[name] for name in draft.cell.dimensions)
        worst = int(np.argmax(toxic[row]))
        result.scores = {
            "virtue": round(float(claimed), 3),
            "toxic": round(float(toxic[row, worst]), 3),
            "language": round(float(confidence[row]), 3),
            "words": float(len(draft.text.split())),
        }
        if not draft.text.strip():
            continue
        if found_language[row] != language or confidence[row] < limits.min_language_confidence:
            result.findings.append(Finding("form.language", f"{found_language[row]} ({confidence[row]:.2f})"))
            continue  # the models read the language that was asked for
        if toxic[row, worst] > limits.max_toxic:
            result.findings.append(Finding("harm.toxic", f"{HARMS[worst]} {toxic[row, worst]:.2f}"))
        if claimed < limits.min_virtue:
            result.findings.append(Finding("virtue.absent", f"{'/'.join(draft.cell.dimensions)} {claimed:.2f}"))
        kinds = [kind for kind in PERSONAL_DATA_KINDS if private[kind][row]]
        if kinds:
            result.findings.append(Finding("privacy.personal_data", ", ".join(kinds)))
    return checked


def _scores(column: pa.Array) -> np.ndarray:
    """A column of scores, 0 where there are none."""
    return pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False)
