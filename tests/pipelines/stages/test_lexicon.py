import itertools
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from florilegium.pipelines.decide import POLICY_COLUMNS, REASONS
from florilegium.pipelines.plan import recipe_digest
from florilegium.pipelines.stages import ORDER, Stage
from florilegium.pipelines.stages.lexicon import (
    CLOSING,
    LEAST_LEET,
    LEET,
    LONGEST,
    LOOK_ALIKES,
    MOST_SOFT,
    MOST_WORDS,
    SOFT,
    UNSPACED,
    Lexicon,
    Matcher,
    fold,
    read_terms,
)
from florilegium.schemas.document import LEXICON, SCORED
from florilegium.schemas.errors import InputError
from florilegium.schemas.recipe import LexiconOptions, Recipe
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

Records = Callable[..., pa.RecordBatch]

# The plain reading of what `Matcher` promises: every term tried at every place.


def reference(
    terms: Sequence[str], text: str, leetspeak: bool = True, look_alikes: bool = True, repeats: bool = True
) -> int:
    """How often the terms occur in the text."""
    symbols = "".join(character for character in LEET if not character.isdigit()) if leetspeak else ""

    def is_symbol(character: str) -> bool:
        return fold(character) != "" and fold(character) in symbols

    def is_plain(character: str) -> bool:
        form = fold(character)
        unspaced = any(first <= ord(form) < end for first, end in UNSPACED) if form else True
        return not unspaced and not is_symbol(character) and (form.isalnum() or unicodedata.category(form)[0] == "M")

    def split(line: str) -> list[tuple[str, str]]:
        """(separator before, run of word characters and symbols), and a last separator with an empty run."""
        parts, run = [], False
        separator = word = ""
        for character in line:
            inside = is_plain(character) or is_symbol(character) or (fold(character) == "" and run)
            if inside:
                word += character
            elif fold(character) == "" and not run:
                separator += character
            else:
                if word:
                    parts.append((separator, word))
                    separator = word = ""
                separator += character
            run = inside
        return [*parts, (separator, word), ("", "")] if word else [*parts, (separator, "")]

    def folded(word: str) -> str:
        return "".join(map(fold, word))

    def joins(separator: str) -> bool:
        characters = [character for character in separator if fold(character)]
        return len(characters) == 1 or (1 < len(characters) <= MOST_SOFT and set(characters) <= set(SOFT))

    by_words: set[tuple[str, ...]] = set()
    as_written: set[str] = set()
    for term in terms:
        *parts, last = split(term)
        words = tuple(folded(word) for _, word in parts)
        whole = not last[0].strip("\u200b") and not parts[0][0].strip("\u200b") if parts else False
        closed = any("".join(filter(fold, word))[-1] in CLOSING and leetspeak for _, word in parts)
        visible = ["".join(filter(fold, separator)) for separator, _ in parts[1:]]
        scripts = any(first <= ord(character) < end for character in term for first, end in UNSPACED)
        if whole and not closed and not scripts and all(map(joins, visible)) and len(words) <= MOST_WORDS:
            by_words.add(words)
        else:
            as_written.add(folded(term))
    vocabulary = sorted({word for words in by_words for word in words})

    def stands_for(character: str, letter: str, leet: bool, mixed: bool) -> bool:
        look = LOOK_ALIKES.get(letter, letter) if look_alikes else letter
        if character == letter or (mixed and LOOK_ALIKES.get(character, character) == look):
            return True
        return leet and look in LEET.get(character, "") and look != ""

    def spells(spelling: str, word: str) -> bool:
        digits = sum(character in "0123456789" for character in spelling)
        letters = len(spelling) - digits - sum(character in symbols for character in spelling)
        leet = leetspeak and letters > 0 and letters >= digits and len(word) >= LEAST_LEET
        latin = any("a" <= character <= "z" for character in spelling)
        mixed = look_alikes and latin and any("\u0370" <= character < "\u0530" for character in spelling)
        if len(spelling) == len(word) and all(
            stands_for(one, other, leet, mixed) for one, other in zip(spelling, word, strict=True)
        ):
            return True
        runs = [(character, len(list(group))) for character, group in itertools.groupby(spelling)]
        wanted = [(letter, len(list(group))) for letter, group in itertools.groupby(word)]
        return (
            repeats
            and len(runs) == len(wanted)
            and all(
                (have == want or have >= max(3, want + 1)) and stands_for(character, letter, leet, mixed)
                for (character, have), (letter, want) in zip(runs, wanted, strict=True)
            )
        )

    def find(word: str) -> str | None:
        spelling = folded(word)
        if len(spelling) > LONGEST or spelling in vocabulary:
            return spelling if spelling in vocabulary else None
        return next((term for term in vocabulary if spells(spelling, term)), None)

    tokens: list[tuple[str, str | None]] = []  # separator before it, and the list's word
    separator = ""
    for before, run in split(text):
        separator += before
        bare = run.rstrip(CLOSING) if leetspeak else run
        if any(map(is_symbol, run)):
            if bare and find(bare):
                tokens.append((separator, find(bare)))
                separator = run[len(bare) :]
                continue
            for symbol, group in itertools.groupby(run, is_symbol):
                part = "".join(group)
                if symbol or not folded(part):
                    separator += part
                else:
                    tokens.append((separator, find(part)))
                    separator = ""
        elif folded(run):
            tokens.append((separator, find(run)))
            separator = ""

    total = 0
    for words in by_words:
        for place in range(len(tokens) - len(words) + 1):
            window = tokens[place : place + len(words)]
            same = tuple(word for _, word in window) == words
            total += same and all(joins(separator) for separator, _ in window[1:])

    plain = [character for character in text if fold(character)]
    line = folded(text)
    for term in as_written:
        for place in range(len(line) - len(term) + 1):
            if not line.startswith(term, place):
                continue
            end = place + len(term)
            before = place > 0 and is_plain(plain[place - 1]) and is_plain(term[0])
            after = end < len(plain) and is_plain(plain[end]) and is_plain(term[-1])
            total += not before and not after
    return total


def count(terms: Sequence[str], *texts: str, **options: bool) -> list[int]:
    return Matcher([terms], **options).count(pa.array(texts, pa.string()))[:, 0].tolist()


def test_words_have_borders() -> None:
    terms = ["ham", "tea", "art", "ear", "pig", "hen", "owl", "lead"]
    innocent = [
        "Birmingham", "hamster shame", "team steak", "start a party", "hear the bear", "a pigeon, pigs", "kitchen",
        "bowls growl", "misleading", "hаmлет", "hamé", "t34m", "3a5y", "4rt15t", "ｔｅａm", "h3n5", "p16 934", "cl34d",
    ]  # fmt: skip
    assert count(terms, *innocent) == [0] * len(innocent)
    bare = ["ham", "(ham)", "a ham.", "ham-tea", "ham's", "\nham\n", "«ham»", "看ham看", "ham_1"]
    assert count(terms, *bare) == [1, 1, 1, 2, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("term", "text", "matches"),
    [
        ("turnip", "TURNIP Turnip turnip", 3),
        ("straße", "STRASSE Straße STRAẞE", 2),
        ("ἄνθρωπος", "ΆΝΘΡΩΠΟΣ ἄνθρωπος", 1),
        ("turnip", "turn1p t|_|rnip tµrnip ｔｕｒｎｉｐ 𝓽𝓾𝓻𝓷𝓲𝓹", 4),
        ("turnip", "turnip!!! +urn!p +urn1p", 3),
        ("silly", "s1lly $i11y si||y s!lly 5111y", 4),  # the last has more digits than letters
        ("oats", "04t5 0ats o@ts oat$ o@t$! o4t5", 5),
        ("at", "4t @t a+", 0),  # too short for other than letters
        ("c4", "c4 C4 ca", 2),
        ("4chan", "4chan achan", 1),
        ("a$$", "a$$ a$$! A$$. ass", 3),
        ("turnip", "yes!turnip turnip@home turnip+leek", 3),
        ("turnip leek", "turnip!leek turnip leek, turn1p-l33k, turnip – leek, turnip\n\u00a0leek", 5),
        ("turnip leek", "turnip. leek, turnip leeks, turnip a leek, turnip    leek", 0),
        ("turnip-leek", "turnip leek", 1),
        ("l'eau", "L’EAU", 1),
        ("a/s/l", "a/s/l a-s-l asl", 2),
        ("so", "so soo sooo SOOOOO ssoo", 3),
        ("soon", "soooon sooon soon son", 3),
        ("turnip", "tur\u200bnip \u2060turnip\ufe0f tur\u00adnip", 3),
        ("turnip", "turnіp тurnip turnιp", 3),  # Cyrillic, Greek
        ("cop", "сор cор", 1),  # the first is a Russian word
        ("сор", "cop cор сор", 2),
        ("हिन्दी", "हिन्दी हिन्दीभाषी", 1),
        ("कि", "किताब कि", 1),
        ("한국", "한국 한국어", 1),
        ("漢字", "古い漢字の本、漢字漢字", 3),
        ("ผัก", "ฉันกินผักทุกวัน", 1),
        ("ﾃｽﾄ", "テスト", 1),
        ("Tシャツ", "白tシャツとABTシャツ", 1),
        ("無料 動画", "無料　動画と無料動画", 1),
        ("🥕", "🥕🥕 and 🥕", 3),
        ("8==D", "8==d 18==D 8==DD", 1),
        (":-)", "well :-):-)", 2),
        ("ab ab", "ab ab ab", 2),
    ],
)
def test_spellings(term: str, text: str, matches: int) -> None:
    assert count([term], text) == [matches] == [reference([term], text)]


def test_foldings_can_be_switched_off() -> None:
    assert count(["turnip"], "turn1p", "turnіp", "turniiip", "turnip!") == [1, 1, 1, 1]
    assert count(["turnip"], "turn1p", "turnіp", "turniiip", "turnip!", leetspeak=False) == [0, 1, 1, 1]
    assert count(["turnip"], "turn1p", "turnіp", "turniiip", "turnip!", look_alikes=False) == [1, 0, 1, 1]
    assert count(["turnip"], "turn1p", "turnіp", "turniiip", "turnip!", repeats=False) == [1, 1, 0, 1]
    assert count(["a$$"], "a$$", "a", "ass", "a$$!", leetspeak=False) == [1, 0, 0, 1]


def test_terms_overlap_and_lists_are_apart() -> None:
    matcher = Matcher([["leek", "leek soup", "leek soup bowl"], ["soup", "leek soup"], ["bowls"]])
    texts = pa.array(["a leek soup bowl", "soup leek", "", "leek leek soup"])
    assert matcher.count(texts).tolist() == [[3, 2, 0], [1, 1, 0], [0, 0, 0], [3, 2, 0]]


def test_an_ambiguous_word_is_the_one_it_equals_or_the_first() -> None:
    matcher = Matcher([["fall"], ["fail"], ["god"], ["good"]])
    texts = pa.array(["fall", "fail", "fa1l", "f@ll", "goood", "good", "god"])
    rows = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    assert matcher.count(texts).tolist() == rows


TERMS = [
    "ab", "abba", "ab ba", "ba-ab", "illa", "l'il", "a$s", "bass", "so so", "1a", "ааб", "баs", "σας", "ab ba ab",
    "字", "字b", "b字 字", "🥕", "b!", "!b", "a..b", "ß", "öl", "i", "sss", "b,  a", "หก", "a\u0301b", "ll",
]  # fmt: skip
PIECES = [*TERMS, *"abilos 1450!$@|+.,-_'’\n\u00a0\u200b\u0301字AÖ🥕ｂ²", "аbbа", "іll", "SS"]


@settings(max_examples=400, deadline=None)
@given(
    terms=st.lists(st.sampled_from(TERMS), min_size=1, max_size=8, unique=True),
    text=st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    leetspeak=st.booleans(),
    look_alikes=st.booleans(),
    repeats=st.booleans(),
)
@example(["ab ba"], "ab\u200b \u200bba", True, True, True)
@example(["ab"], "ab\u200b!", True, True, True)
@example(["!b"], "!b\u200bab", False, False, False)
def test_counts_are_those_of_the_plain_reading(
    terms: list[str], text: str, leetspeak: bool, look_alikes: bool, repeats: bool
) -> None:
    text = unicodedata.normalize("NFC", text)
    options = {"leetspeak": leetspeak, "look_alikes": look_alikes, "repeats": repeats}
    assert count(terms, text, **options) == [reference(terms, text, **options)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4), st.text(max_size=60), st.data())
def test_any_text_and_terms(terms: list[str], text: str, data: st.DataObject) -> None:
    terms = [" ".join(unicodedata.normalize("NFC", term).split()) for term in terms]
    terms = [term for term in terms if "".join(map(fold, term)).strip()]
    for term in list(terms):
        place = data.draw(st.integers(0, len(text)))
        text = text[:place] + " " + term + " " + text[place:]
    if terms:
        text = unicodedata.normalize("NFC", text)
        assert count(terms, text) == [reference(terms, text)]


def test_fold() -> None:
    assert [fold(character) for character in "AaÄßẞＡ²\u200b\t\u3000字ﾃ𝓐ſİ"] == [*"aaäßßa2", "", *"  字テasİ"]
    for point in range(0x3000):
        assert fold(fold(chr(point))[:1] or "a") == (fold(chr(point)) or "a")


WALLS = {
    "one word": "a",
    "leetspeak": "4$$",
    "leet word": "b4$$!",
    "symbols": "!",
    "emoji": "🥕",
    "invisible": "\u200b",
    "nearly a term": "ab ",
    "half a term": "字",
    "spaces": " ",
    "repeats": "abbb ",
    "mixed": "аb",
    "marks": "a\u0301",
}


@pytest.mark.parametrize("name", WALLS)
def test_time_is_linear_whatever_the_text(name: str) -> None:
    terms = [*TERMS, "字" * 100 + "b", "aa a", *("a" * size for size in range(1, 30))]
    terms += [f"{'ab ' * size}c" for size in range(1, 15)]
    matcher = Matcher([terms])
    steps = []
    for size in (10_000, 40_000, 160_000):
        text = pa.array([(WALLS[name] * size)[:size]])
        steps.append(matcher.measure(text)[1] / pa.compute.binary_length(text)[0].as_py())
    assert max(steps) <= 60
    assert steps[2] <= 1.1 * steps[0] + 0.01


def write(folder: Path, name: str, content: str) -> str:
    path = folder / name
    path.write_text(content, "utf-8")
    return str(path)


def test_lists_are_files_of_terms(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "\ufeff# roots\nturnip\n\n  Leek   soup \nturnip\nCafe\u0301\n#tag\n\u200b\n")
    assert read_terms(path) == ["Café", "Leek soup", "turnip"]
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'none.txt'}")):
        read_terms(tmp_path / "none.txt")
    with pytest.raises(InputError, match="holds no term"):
        read_terms(write(tmp_path, "empty.txt", "# nothing\n"))
    with pytest.raises(InputError, match="line 2: a term has at most 128"):
        read_terms(write(tmp_path, "long.txt", "a\n" + "b" * 129))
    (tmp_path / "latin.txt").write_bytes("Rübe".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_terms(tmp_path / "latin.txt")


@pytest.fixture
def stage(tmp_path: Path) -> Lexicon:
    lists = [
        {"name": "roots", "path": write(tmp_path, "en.txt", "turnip\nswede"), "language": "en"},
        {"name": "roots", "path": write(tmp_path, "de.txt", "Rübe"), "language": "de"},
        {"name": "bulbs", "path": write(tmp_path, "bulbs.txt", "leek\nонион\n玉ねぎ")},
        {"name": "herbs", "path": write(tmp_path, "herbs.txt", "dill"), "language": "de"},
    ]
    return Lexicon(LexiconOptions.model_validate({"lists": lists}))


def test_rows_have_the_lists_that_match(stage: Lexicon, records: Records) -> None:
    texts = ["turnip, LEEK and leek", "Rübe und turnip", "玉ねぎ", "nothing", "Rübe", "dill", ""]
    batch = records(texts, error=[None] * 6 + ["read.encoding"])
    language = pa.array(["en", "de", None, "en", "en", "de", None], pa.string())
    result = stage.apply(batch.append_column("language", language))
    assert result["lexicon"].to_pylist() == [
        [{"list": "bulbs", "matches": 2}, {"list": "roots", "matches": 1}],
        [{"list": "roots", "matches": 1}],
        [{"list": "bulbs", "matches": 1}],
        [],
        [],
        [{"list": "herbs", "matches": 1}],
        None,
    ]
    assert result["lexicon"].type == LEXICON == SCORED.field("lexicon").type


def test_without_a_list_that_applies_the_column_is_null(tmp_path: Path, records: Records) -> None:
    batch = records(["turnip", ""]).append_column("language", pa.array(["en", None], pa.string()))
    assert Lexicon(LexiconOptions()).apply(batch)["lexicon"].to_pylist() == [None, None]
    lists = [{"name": "roots", "path": write(tmp_path, "de.txt", "turnip"), "language": "de"}]
    other = Lexicon(LexiconOptions.model_validate({"lists": lists}))
    assert other.apply(batch)["lexicon"].to_pylist() == [None, None]


def test_rows_are_independent(
    stage: Lexicon, records: Records, check_rows_are_independent: Callable[[Stage, pa.RecordBatch], None]
) -> None:
    batch = records(["turn", "ip turnip", "leek", "", "turnip leek", "玉", "ねぎ 玉ねぎ"])
    language = pa.array(["en", "en", "de", None, "en", "ja", "ja"], pa.string())
    check_rows_are_independent(stage, batch.append_column("language", language))


def test_identity_is_what_lists_say_and_not_where_they_lie(tmp_path: Path) -> None:
    def identity(content: str, name: str = "a.txt", **options: bool) -> dict[str, str]:
        lists = [{"name": "roots", "path": write(tmp_path, name, content)}]
        return Lexicon(LexiconOptions.model_validate({"lists": lists, **options})).identity()

    first = identity("turnip\nswede")
    assert identity("# other\nswede\nturnip\n", "b.txt") == first
    assert identity("turnip") != first
    assert identity("turnip\nswede", repeats=False) != first
    assert Lexicon(LexiconOptions()).identity()["version"] == "lexicon.v2"

    def recipe(path: str) -> Recipe:
        stages = {"lexicon": {"lists": [{"name": "roots", "path": path}]}}
        return Recipe.model_validate({"name": "r", "inputs": [{"name": "x", "paths": ["y"]}], "stages": stages})

    assert recipe_digest(recipe("a.txt"), {}) == recipe_digest(recipe("b.txt"), {})


def test_two_lists_of_one_name_and_language_are_refused() -> None:
    item = {"name": "roots", "path": "a.txt"}
    with pytest.raises(ValidationError, match="one name and one language"):
        LexiconOptions.model_validate({"lists": [item, {**item, "path": "b.txt"}]})


def test_it_never_convicts() -> None:
    assert "lexicon" not in POLICY_COLUMNS
    assert not [reason for reason in REASONS if reason.startswith("lexicon")]


def test_it_stands_after_what_chooses_the_lists() -> None:
    order = list(ORDER)
    assert order.index("lexicon") > max(order.index("language"), order.index("personal_data"))
