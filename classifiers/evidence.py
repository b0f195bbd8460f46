"""Which spans of a text speak for a score: exact, since the model is linear.

The logit of an output in a window is the sum of what its features (words and word pairs) contribute, plus an
intercept (bias and length). A feature counts once however often it occurs, so its contribution is shared among its
occurrences, and a pair's between its two words. What falls on a word becomes a span of the original text;
neighbours that pull the same way are merged. Nothing is estimated or sampled: spans, unplaced part (the end-of-line
token and tokens that are no part of the text) and intercept add up to the logit.

A harm that is greater in the copy of a text without disguise (unmask.py) has its evidence there: `Evidence.text` is
what was read, and spans are places in it.

    explain(load("prosocial"), text, "compassion").strongest(3)
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..schemas.arrays import string_buffers
from ..schemas.errors import InputError
from ..schemas.taxonomy import HARMS, PROSOCIAL, load_taxonomy
from .calibration import OUTPUTS
from .fasttext_file import Vocabulary, window_logits
from .harm_model import HarmModel
from .student import Classifier
from .tokens import tokenize

if TYPE_CHECKING:
    from .cascade import Cascade

__all__ = ["Evidence", "Span", "Window", "explain"]

EDGE = 1e-12
PIECE = re.compile(r"[^ \t\n\r\f\v]+")
CLOSING = frozenset(".!?")
LONG_PIECE = 400  # characters without white space that are taken as one span


@dataclass(frozen=True)
class Span:
    """A stretch of the original text and what it adds to the logit of its window."""

    start: int  # characters
    end: int
    contribution: float


@dataclass(frozen=True)
class Window:
    """One scored window: its logit = sum of its spans + unplaced + intercept."""

    start: int  # characters
    end: int
    logit: float
    probability: float
    intercept: float  # bias and length
    unplaced: float  # what belongs to no place in the text
    spans: tuple[Span, ...]  # in the order of the text


@dataclass(frozen=True)
class Evidence:
    """Why a text has its score on one output."""

    output: str  # as in the model's header, such as "compassion>=2"
    score: float  # of the document: the mean or the highest probability of its windows
    windows: tuple[Window, ...]
    text: str  # what the windows and spans are places in
    unmasked: bool = False  # whether that is a copy of the document, with disguised words as what they look like

    @property
    def spans(self) -> tuple[Span, ...]:
        """All spans, in the order of the text."""
        return tuple(span for window in self.windows for span in window.spans)

    def strongest(self, number: int = 5) -> tuple[Span, ...]:
        """The spans that speak most for the output, at most `number`; those that speak against it never."""
        speaking = [span for span in self.spans if span.contribution > 0]
        return tuple(sorted(speaking, key=lambda span: (-span.contribution, span.start))[:number])


def explain(model: "Classifier | Cascade | HarmModel", text: str, output: str) -> Evidence:
    """The evidence for one output of a model in a text; of a cascade that of its student, which has such weights.

    `output` is one of the model's ("compassion>=2", "hate>=1", "hate>=2", "quality>=3") or a dimension's name, which
    means its usual grade: clearly there, topical or worse, quality ≥ 3. A text without tokens has no windows and the
    score 0. Raises `InputError` for an unknown output, and for a harm model, whose words are no spans of the text.
    """
    if isinstance(model, HarmModel):
        raise InputError(f"{model.name}: a harm model has no evidence to show; name a student or a cascade")
    model = model if isinstance(model, Classifier) else model.student
    name = _output(output)
    found = _as_written(model, text, name)
    if name.split(">=")[0] in HARMS:
        for copy in model.unmasker.copies(pa.array([text], pa.string()))[1]:
            other = _as_written(model, copy, name)
            if other.score > found.score:
                return replace(other, unmasked=True)
    return found


def _as_written(model: Classifier, text: str, name: str) -> Evidence:
    """The evidence in a text as it is, disguised or not."""
    column = OUTPUTS.index(name)
    tokens = _first_sentences(_locate(text))
    if not tokens:
        return Evidence(name, 0.0, (), text)
    line = pa.array([" ".join(token.text for token in tokens)], pa.string())
    data, offsets = string_buffers(line)
    scored = window_logits(model.model, data, offsets, model.window, model.outputs, distinct=True)
    probabilities = model.calibration.apply_projected(scored.logits, scored.types)
    linear, bias = scored.logits[:, column].astype(np.float64), float(model.calibration.bias[column])
    intercepts = np.log(scored.types) * model.calibration.weights[column, -1] + bias
    words = {word: row for row, word in enumerate(model.model.vocabulary.words)}
    windows = []
    for index, part in enumerate(_windows(tokens, model.window)):
        contributions, unplaced = _contributions(model, words, part, column)
        windows.append(
            Window(
                start=part[0].start,
                end=part[-1].end,
                logit=float(linear[index] + intercepts[index]),
                probability=float(probabilities[index, column]),
                intercept=float(intercepts[index]),
                unplaced=unplaced,
                spans=tuple(_merge(part, contributions)),
            )
        )
    shown = probabilities[:, column]
    score = shown.max() if name.split(">=")[0] in HARMS else shown.mean()
    return Evidence(name, float(score), tuple(windows), text)


@dataclass(frozen=True)
class _Token:
    text: str
    start: int
    end: int


def _output(name: str) -> str:
    if name in OUTPUTS:
        return name
    usual = load_taxonomy().positive_grade if name in PROSOCIAL else 3 if name == "quality" else 1
    if f"{name}>={usual}" in OUTPUTS:
        return f"{name}>={usual}"
    known = ", ".join((*PROSOCIAL, *HARMS, "quality"))
    raise InputError(f"unknown output {name!r}; name a dimension ({known}) or one with its grade, such as hate>=2")


def _locate(text: str) -> list[_Token]:
    """The tokens of a text with their places, whatever the tokeniser folds or splits.

    ASCII white space always separates tokens, so each piece between it is tokenised apart; a token ends where the
    shortest beginning of its piece yields it.
    """
    pieces = [found.span() for found in PIECE.finditer(text)]
    whole = _tokens(text[start:end] for start, end in pieces)
    beginnings = [
        (index, length)
        for index, (start, end) in enumerate(pieces)
        if len(whole[index]) > 1 and end - start <= LONG_PIECE
        for length in range(1, end - start + 1)
    ]
    partial = _tokens(text[pieces[index][0] : pieces[index][0] + length] for index, length in beginnings)
    ends: list[list[int]] = [[] for _ in pieces]
    for (index, length), found in zip(beginnings, partial, strict=True):
        while len(ends[index]) < len(whole[index]):
            reached = len(ends[index]) + 1
            if found[:reached] != whole[index][:reached]:
                break
            ends[index].append(length)
    located = []
    for index, (start, end) in enumerate(pieces):
        before = 0
        for position, token in enumerate(whole[index]):
            if len(ends[index]) == len(whole[index]):
                located.append(_Token(token, start + before, start + ends[index][position]))
                before = ends[index][position]
            else:
                located.append(_Token(token, start, end))
    return located


def _tokens(texts: Iterable[str]) -> list[list[str]]:
    return [line.split(" ") if line else [] for line in tokenize(pa.array(list(texts), pa.string())).to_pylist()]


def _first_sentences(tokens: Sequence[_Token]) -> list[_Token]:
    """The tokens less those of repeated sentences, as `without_repeats` leaves them in the line."""
    kept: list[_Token] = []
    seen: set[tuple[str, ...]] = set()
    first = 0
    for place, token in enumerate(tokens, start=1):
        if place < len(tokens) and (token.text not in CLOSING or tokens[place].text in CLOSING):
            continue
        sentence = tuple(other.text for other in tokens[first:place])
        if sentence not in seen:
            seen.add(sentence)
            kept += tokens[first:place]
        first = place
    return kept


def _windows(tokens: Sequence[_Token], window: int) -> list[list[_Token]]:
    """The tokens of each window, cut as `window_logits` cuts the tokenised line."""
    sizes = [len(token.text.encode()) for token in tokens]
    starts = np.cumsum([0, *(size + 1 for size in sizes)]).tolist()
    length = starts[-1] - 1
    parts = -(-length // window)
    windows: list[list[_Token]] = []
    part = position = 0
    while position < length:
        limit = (part + 1) * length // parts
        first = starts.index(position)
        last = first
        while last < len(tokens) and starts[last] < limit:
            last += 1
        windows.append(list(tokens[first:last]))
        position = starts[last]
        part = max(part + 1, position * parts // length)
    return windows


def _contributions(
    model: Classifier, words: Mapping[bytes, int], tokens: Sequence[_Token], column: int
) -> tuple[list[float], float]:
    """What each token of a window adds to the linear part of the logit, and what its end-of-line token does.

    `words` are the rows of the vocabulary's words.
    """
    vocabulary = model.model.vocabulary
    hashes = [_hash(token.text.encode()) for token in tokens] + [_hash(b"</s>")]
    occurrences: dict[int, list[tuple[int, ...]]] = {}
    for place in range(len(hashes)):
        word = tokens[place].text.encode() if place < len(tokens) else b"</s>"
        if word in words:
            occurrences.setdefault(words[word], []).append((place,))
        if place:
            row = _pair_row(vocabulary, hashes[place - 1], hashes[place])
            if row is not None:
                occurrences.setdefault(row, []).append((place - 1, place))
    scale = max(len(occurrences), 1) ** -0.5
    shares = [0.0] * len(hashes)
    for row, places in occurrences.items():
        value = float(model.model.inputs[row].astype(np.float64) @ model.outputs[column].astype(np.float64)) * scale
        for found in places:
            for place in found:
                shares[place] += value / len(places) / len(found)
    return shares[:-1], shares[-1]


def _hash(word: bytes) -> int:
    """fastText's hash of a word, widened from signed 32 bits to 64."""
    value = 2166136261
    for byte in word:
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return value if value < 1 << 31 else value | 0xFFFFFFFF00000000


def _pair_row(vocabulary: Vocabulary, first: int, second: int) -> int | None:
    """The row of a pair of words, None where it was left out of the model."""
    bucket = (first * 116049371 + second & 0xFFFFFFFFFFFFFFFF) % vocabulary.buckets
    if len(vocabulary.kept):
        bucket = int(vocabulary.kept[bucket])
    return len(vocabulary.words) + bucket if bucket >= 0 else None


def _merge(tokens: Sequence[_Token], contributions: Sequence[float]) -> Iterable[Span]:
    """Neighbours that pull the same way as one span; tokens that pull no way are left out at the rims."""
    held: list[Any] | None = None  # start, end, sum
    for token, value in zip(tokens, contributions, strict=True):
        if abs(value) < EDGE:
            continue
        if held is not None and (held[2] > 0) == (value > 0):
            held[1], held[2] = token.end, held[2] + value
            continue
        if held is not None:
            yield Span(*held)
        held = [token.start, token.end, value]
    if held is not None:
        yield Span(*held)
