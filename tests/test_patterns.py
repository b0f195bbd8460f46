"""Every regular expression of the packages is linear, by a count of steps and not of seconds.

`re` does not say what it does, so the patterns are run by `Matcher`, a plain backtracking matcher over `re`'s own
parse tree that counts each step; its matches are compared with those of `re`. It tries everything that `re` tries
(`re` only skips places where a match cannot begin), so its count bounds the work of `re` up to a constant.
Attacks are derived from the pattern itself: each of its repeats, pumped, with what stands before it and without
what would end it. Twice the text must take about twice the steps.
"""

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import florilegium.pipelines as pipelines
import florilegium.schemas as schemas
import pytest

parser: Any = re._parser  # type: ignore[attr-defined]
constants: Any = re._constants  # type: ignore[attr-defined]

LENGTH = 150
MAX_GROWTH = 2.3  # of the steps, for twice the text
FREE = 3_000  # steps below which nothing is judged
EXHAUSTED = 100_000  # steps at which a pattern is given up

# Patterns that are only ever given a text of bounded length, and the characters of it at most.
WINDOWS = {
    "http.STATUS": 0,  # 0: matched at one place, never searched for
    "dataflow.PROJECT": 0,
    "dataflow.REGION": 0,
    "http.CHUNK": 0,
    "warc.LINE_ENDS": 0,
    "extraction_metadata.LANGUAGE": 0,
    "extraction_blocks.PHRASE": 120,
    "extraction_blocks.COOKIE": 600,
    "extraction_blocks.SENTENCE_END": 8,
    "national_ids._PLAIN": 64,
    "personal_data._NO_LOCAL": 64,
    "phones._WORD_BEFORE": 64,
    "phones._OTHER_BEFORE": 64,
}


class Exhausted(Exception):
    """More steps than anything linear takes."""


class Matcher:
    """Finds what `re` finds, and counts its steps. `then` is what is left to match."""

    def __init__(self, pattern: re.Pattern[Any], text: Any) -> None:
        self.steps = 0
        self.text = text
        self.chars = [ord(c) for c in text] if isinstance(text, str) else list(text)
        self.bytes = isinstance(text, bytes)
        self.tree = parser.parse(pattern.pattern, pattern.flags)
        self.flags = pattern.flags
        self.groups: dict[int, tuple[int, int]] = {}
        self.classes: dict[tuple[int, int], bool] = {}

    def spans(self) -> list[tuple[int, int]]:
        """Like `finditer`."""
        found: list[tuple[int, int]] = []
        at, empty_at = 0, -1
        while at <= len(self.chars):
            self.groups = {}
            end = self.run(list(self.tree), 0, at, self.flags, lambda end, last=empty_at: end if end != last else None)
            if end is None:
                at, empty_at = at + 1, -1
            else:
                found.append((at, end))
                empty_at = end if end > at else -1
                at = end if end > at else at + 1
        return found

    def count(self) -> None:
        self.steps += 1
        if self.steps > EXHAUSTED:
            raise Exhausted

    def run(self, items: Any, index: int, at: int, flags: int, then: Callable[[int], int | None]) -> int | None:
        """Match items[index:] at a position, then what is left; the end of it all, or None."""
        while True:
            self.count()
            if index == len(items):
                return then(at)
            op, value = items[index]
            name = str(op)
            if name in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
                if at >= len(self.chars) or not self.accepts(name, value, self.chars[at], flags):
                    return None
                index, at = index + 1, at + 1
            elif name == "AT":
                if not self.holds(str(value), at, flags):
                    return None
                index += 1
            elif name in ("ASSERT", "ASSERT_NOT"):
                direction, inner = value
                begin = at if direction > 0 else at - inner.getwidth()[1]
                found = begin >= 0 and self.run(list(inner), 0, begin, flags, lambda end: end) is not None
                if found != (name == "ASSERT"):
                    return None
                index += 1
            elif name == "GROUPREF":
                begin, end = self.groups.get(value, (-1, -1))
                if begin < 0 or self.chars[at : at + end - begin] != self.chars[begin:end]:
                    return None
                index, at = index + 1, at + end - begin
            elif name == "ATOMIC_GROUP":
                end = self.run(list(value), 0, at, flags, lambda end: end)
                if end is None:
                    return None
                index, at = index + 1, end
            else:
                break
        rest = lambda end: self.run(items, index + 1, end, flags, then)  # noqa: E731
        if name == "SUBPATTERN":
            number, added, dropped, inner = value
            before = self.groups.get(number)

            def closed(end: int) -> int | None:
                self.groups[number] = (at, end)
                return rest(end)

            end = self.run(list(inner), 0, at, (flags | added) & ~dropped, closed if number is not None else rest)
            if end is None and number is not None:
                self.groups.pop(number, None)
                if before is not None:
                    self.groups[number] = before
            return end
        if name == "BRANCH":
            return next((end for arm in value[1] if (end := self.run(list(arm), 0, at, flags, rest)) is not None), None)
        low, high, inner = value
        inner = list(inner)
        if len(inner) == 1 and str(inner[0][0]) in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            return self.simple(name, low, high, inner[0], at, flags, rest)
        if name == "POSSESSIVE_REPEAT":
            return self.possessive(low, high, inner, at, flags, rest)
        return self.repeat(name == "MIN_REPEAT", low, high, inner, at, flags, rest)

    def simple(self, name: str, low: int, high: Any, item: Any, at: int, flags: int, rest: Any) -> int | None:
        """A repeat of one character: as far as it goes, then back (or the other way round)."""
        limit = len(self.chars) if high == constants.MAXREPEAT else min(len(self.chars), at + high)
        end = at
        lazy = name == "MIN_REPEAT"
        while end < limit and (not lazy or end - at < low):
            self.count()
            if not self.accepts(str(item[0]), item[1], self.chars[end], flags):
                break
            end += 1
        if lazy:
            while end - at >= low:
                if (found := rest(end)) is not None:
                    return found
                self.count()
                if end >= limit or not self.accepts(str(item[0]), item[1], self.chars[end], flags):
                    return None
                end += 1
            return None
        while end - at >= low:
            if (found := rest(end)) is not None or name == "POSSESSIVE_REPEAT":
                return found
            end -= 1
        return None

    def possessive(self, low: int, high: Any, inner: Any, at: int, flags: int, rest: Any) -> int | None:
        times = 0
        while high == constants.MAXREPEAT or times < high:
            end = self.run(inner, 0, at, flags, lambda end: end)
            if end is None or end == at:
                break
            at, times = end, times + 1
        return rest(at) if times >= low else None

    def repeat(
        self, lazy: bool, low: int, high: Any, inner: Any, at: int, flags: int, rest: Any, times: int = 0
    ) -> int | None:
        def again(end: int) -> int | None:
            if end == at and times >= low:  # nothing matched: `re` does not go round again
                return None
            return self.repeat(lazy, low, high, inner, end, flags, rest, times + 1)

        more = high == constants.MAXREPEAT or times < high
        tries = [lambda: rest(at) if times >= low else None]
        tries.insert(len(tries) if lazy else 0, lambda: self.run(inner, 0, at, flags, again) if more else None)
        return next((end for attempt in tries if (end := attempt()) is not None), None)

    def accepts(self, name: str, value: Any, char: int, flags: int) -> bool:
        """Whether one character is one of an item, as `re` itself sees it."""
        key = (id(value) if name in ("IN", "ANY") else hash((name, value)), char << 10 | flags & 1023)
        if key not in self.classes:
            state = parser.State()
            state.str, state.flags = "", flags
            tree = parser.SubPattern(state, [(getattr(constants, name), value)])
            compiled = _compiled(tree, flags, self.bytes)
            self.classes[key] = compiled.match(bytes([char]) if self.bytes else chr(char)) is not None
        return self.classes[key]

    def holds(self, name: str, at: int, flags: int) -> bool:
        """Whether an anchor or a border holds at a position; it looks at two characters."""
        pattern = {
            "AT_BEGINNING": "^", "AT_BEGINNING_STRING": r"\A", "AT_END": "$", "AT_END_STRING": r"\Z",
            "AT_BOUNDARY": r"\b", "AT_NON_BOUNDARY": r"\B",
        }[name]  # fmt: skip
        source: Any = pattern.encode() if self.bytes else pattern
        kept = flags & (re.ASCII | re.MULTILINE | re.IGNORECASE)
        return re.compile(source, kept).match(self.text, at) is not None


def _compiled(tree: Any, flags: int, in_bytes: bool) -> re.Pattern[Any]:
    """A pattern of one item, through its own notation."""
    (op, value) = tree.data[0]
    kept = flags & (re.ASCII | re.DOTALL | re.IGNORECASE)
    source = {"LITERAL": lambda: re.escape(chr(value)), "ANY": lambda: "."}.get(str(op), lambda: _notation(op, value))()
    return re.compile(source.encode("latin-1") if in_bytes else source, kept)


def _notation(op: Any, value: Any) -> str:
    if str(op) == "NOT_LITERAL":
        return f"[^{re.escape(chr(value))}]"
    categories = {
        "CATEGORY_DIGIT": r"\d", "CATEGORY_NOT_DIGIT": r"\D", "CATEGORY_SPACE": r"\s",
        "CATEGORY_NOT_SPACE": r"\S", "CATEGORY_WORD": r"\w", "CATEGORY_NOT_WORD": r"\W",
    }  # fmt: skip
    parts = []
    for kind, what in value:
        if str(kind) == "NEGATE":
            parts.append("^")
        elif str(kind) == "LITERAL":
            parts.append(re.escape(chr(what)))
        elif str(kind) == "RANGE":
            parts.append("-".join(re.escape(chr(end)) for end in what))
        else:
            parts.append(categories[str(what)])
    return f"[{''.join(parts)}]"


# Attacks.


def sample(items: Any, flags: int, attack: int) -> tuple[str, list[str]]:
    """A text that the items match (as short as they allow), and what to pump: prefix + repeated part, one a repeat."""
    text, pumps = "", []
    for op, value in items:
        name = str(op)
        if name == "LITERAL":
            text += chr(value)
        elif name in ("IN", "NOT_LITERAL", "ANY"):
            text += _member(op, value, flags, attack)
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, inner = value
            part, inside = sample(inner, flags, attack)
            pumps += [text + "\0" + pump if "\0" not in pump else text + pump for pump in inside]
            if high == constants.MAXREPEAT or high > 4:
                pumps.append(text + "\0" + part)
            text += part * max(low, min(1, high))
        elif name == "SUBPATTERN":
            part, inside = sample(value[3], flags, attack)
            pumps += [text + pump for pump in inside]
            text += part
        elif name == "ATOMIC_GROUP":
            part, inside = sample(value, flags, attack)
            pumps += [text + pump for pump in inside]
            text += part
        elif name == "BRANCH":
            parts = [sample(arm, flags, attack) for arm in value[1]]
            pumps += [text + pump for _, inside in parts for pump in inside]
            text += parts[attack % len(parts)][0]
    return text, pumps


def _member(op: Any, value: Any, flags: int, attack: int) -> str:
    """A character that an item accepts; not the same for each attack."""
    pattern = re.compile(
        "." if str(op) == "ANY" else _notation(op, value), flags & (re.ASCII | re.IGNORECASE | re.DOTALL)
    )
    candidates = "1aA .-@/é<x:,0B(\n'\"“я中\x80\xff"
    candidates = "\u3000" * (attack == 2) + candidates
    candidates = candidates[attack % 5 * (attack != 2) :] + candidates[: attack % 5 * (attack != 2)]
    found = next((char for char in candidates if pattern.match(char)), None)
    return found or next(char for char in map(chr, range(1, 0x3000)) if pattern.match(char))


def attacks(pattern: re.Pattern[Any]) -> Iterator[tuple[str, str]]:
    """(prefix, unit): texts are prefix + unit + unit + …, and (prefix + unit) over and over."""
    seen = set()
    for attack in range(3):
        whole, pumps = sample(list(parser.parse(pattern.pattern, pattern.flags)), pattern.flags, attack)
        for pump in [*pumps, "\0" + whole, "\0" + whole[:-1], "\0 ", "\0a", "\0<", "\0" + "1"]:
            prefix, _, unit = pump.rpartition("\0")
            prefix = prefix.replace("\0", "")
            for choice in ((prefix, unit), ("", prefix + unit)):
                if choice[1] and choice not in seen:
                    seen.add(choice)
                    yield choice


def collect() -> dict[str, re.Pattern[Any]]:
    """Every pattern that a module holds, in whatever it holds it."""
    found: dict[str, re.Pattern[Any]] = {}

    def visit(name: str, value: Any, depth: int = 0) -> None:
        if isinstance(value, re.Pattern):
            if value not in found.values():
                found[name] = value
        elif isinstance(value, dict) and depth < 4:
            for key, item in value.items():
                visit(f"{name}[{key}]", item, depth + 1)
        elif isinstance(value, list | tuple | frozenset | set) and depth < 4:
            for index, item in enumerate(value):
                visit(f"{name}[{index}]", item, depth + 1)

    for package in (pipelines, schemas):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith(("__main__", ".beam", "examples.build")):
                loaded = importlib.import_module(module.name)
                for name, value in vars(loaded).items():
                    visit(f"{module.name.removeprefix('florilegium.')}.{name}", value)
    return found


PATTERNS = collect()


def inner_parts(op: Any, value: Any) -> list[Any]:
    """What an item of a parse tree is made of."""
    name = str(op)
    if name.endswith("REPEAT"):
        return [value[2]]
    parts = {"SUBPATTERN": lambda: [value[3]], "ATOMIC_GROUP": lambda: [value], "BRANCH": lambda: value[1]}
    parts |= dict.fromkeys(("ASSERT", "ASSERT_NOT"), lambda: [value[1]])
    return parts.get(name, list)()


def is_unbounded(items: Any) -> bool:
    """Whether a match may be of any length; where it may not, a text costs a constant for each of its characters."""
    return any(
        (str(op).endswith("REPEAT") and value[1] == constants.MAXREPEAT)
        or any(is_unbounded(part) for part in inner_parts(op, value))
        for op, value in items
    )


def shorten(items: Any) -> None:
    """Lower the bounds of long repeats, so that a text of LENGTH characters is long beside them."""
    for index, (op, value) in enumerate(items):
        if str(op).endswith("REPEAT"):
            low, high, inner = value  # where there is no upper bound, a high lower one is never reached: the worst case
            high = high if high == constants.MAXREPEAT else min(high, 32)
            low = low if low <= 16 else 4 * LENGTH if high == constants.MAXREPEAT else 16
            items[index] = (op, (low, high, inner))
        for part in inner_parts(op, value):
            shorten(part)


UNBOUNDED = {
    name: pattern
    for name, pattern in PATTERNS.items()
    if is_unbounded(parser.parse(pattern.pattern, pattern.flags)) and not any(window in name for window in WINDOWS)
}


def test_all_patterns_are_seen() -> None:
    """Each is made once, at the top of its module, where `collect` finds it."""
    assert len(PATTERNS) > 100
    assert all(any(window in name for name in PATTERNS) for window in WINDOWS)
    assert {name.rpartition(".")[2] for name in UNBOUNDED} >= {
        "LONE",
        "LONG_TAG",
        "SITE_NAME",
        "FOREIGN",
        "META",
        "_NUMBER",
    }


def steps(pattern: re.Pattern[Any], text: str, short: bool = True) -> int:
    matcher = Matcher(pattern, text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text)
    if short:
        shorten(matcher.tree)
    try:
        matcher.spans()
    except (Exhausted, RecursionError):
        return EXHAUSTED
    return matcher.steps


def growths(pattern: re.Pattern[Any]) -> Iterator[tuple[float, tuple[str, str]]]:
    """How many times the steps twice the text takes, for each attack that takes any to speak of."""
    for prefix, unit in attacks(pattern):
        once, twice = (steps(pattern, (prefix + unit * size)[:size]) for size in (LENGTH, 2 * LENGTH))
        if twice > FREE:
            yield twice / once if twice < EXHAUSTED else float("inf"), (prefix, unit)


@pytest.fixture(autouse=True)
def deep_recursion() -> Iterator[None]:
    """The matcher goes one call deeper for each round of a group."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize("name", UNBOUNDED)
def test_twice_the_text_takes_twice_the_steps(name: str) -> None:
    growth, attack = max(growths(UNBOUNDED[name]), default=(0.0, ("", "")))
    assert growth <= MAX_GROWTH, attack


@pytest.mark.parametrize("name", UNBOUNDED)
def test_the_matcher_finds_what_re_finds(name: str) -> None:
    pattern = UNBOUNDED[name]
    for prefix, unit in attacks(pattern):
        text: Any = (prefix + unit * 40)[:80]
        text = text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text
        assert Matcher(pattern, text).spans() == [match.span() for match in pattern.finditer(text)], (prefix, unit)


@pytest.mark.parametrize(
    "slow", [r"(a+)+b", r"\s+\|", r"(?:a|aa)*b", r">(\s*[\u0800-\ud7ff]\s*)<", r"<([a-z]*)[^<>]{65536,}", r"a*a*b"]
)
def test_the_attacks_find_what_is_not_linear(slow: str) -> None:
    assert any(growth > MAX_GROWTH for growth, _ in growths(re.compile(slow)))
