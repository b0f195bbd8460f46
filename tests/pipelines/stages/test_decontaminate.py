"""Planted passages are found however they are set; what shares fewer words than an n-gram is not."""

import dataclasses
import json
import random
import string
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from florilegium.pipelines.contamination import build_index
from florilegium.pipelines.decide import contamination_reasons
from florilegium.pipelines.stages import Stage
from florilegium.pipelines.stages.decontaminate import (
    PLACEHOLDER,
    Decontaminate,
    EvaluationIndex,
    counts,
    cut,
)
from florilegium.pipelines.stages.normalize import Normalize
from florilegium.schemas.document import scored_schema
from florilegium.schemas.errors import InputError
from florilegium.schemas.recipe import Decontamination, ExtractionOptions, NormalizeOptions
from hypothesis import given, settings
from hypothesis import strategies as st

RIVER = (
    "A ferry leaves the northern bank every forty minutes and carries nine wagons at a time; how many wagons "
    "can cross between seven in the morning and noon if the captain's crew rests for one whole crossing?"
)
TRUE = "The heron is a bird that waits for fish"  # nine words
PASSAGES = {
    "de": "Die Straße führt über den alten Fluß, an dem die Müllerin jeden Morgen ihre Körbe wäscht und trocknet.",
    "ru": "Старый паромщик каждое утро считает лодки, а вечером рассказывает детям о далёких островах, о ветрах.",
    "el": "Ο γέρος βαρκάρης μετρά κάθε πρωί τις βάρκες στην όχθη και το βράδυ λέει στα παιδιά ιστορίες για νησιά.",
    "ar": "يعد صاحب العبارة القديم القوارب كل صباح على ضفة النهر ويحكي للأطفال في المساء عن الجزر البعيدة والرياح",
    "hi": "बूढ़ा नाविक हर सुबह नदी के किनारे नावें गिनता है और शाम को बच्चों को दूर के द्वीपों की कहानियाँ सुनाता है",
    "ko": "늙은 뱃사공은 매일 아침 강가에서 배를 세고 저녁에는 아이들에게 먼 섬과 바람에 대한 옛날 이야기를 들려준다",
    "zh": "老船夫每天早上在河边数船，晚上给孩子们讲远方岛屿和海风的故事，直到月亮升起来才回家。",
    "ja": "年老いた渡し守は毎朝岸辺で舟を数え、夜になると子どもたちに遠い島と風の話をしてくれる。",
    "th": "คนแจวเรือชราทุกเช้านับเรือที่ริมฝั่งแม่น้ำและตอนเย็นเล่าเรื่องเกาะอันไกลโพ้นให้เด็กฟัง",
}
BEFORE, AFTER = "We spoke of other things that evening, mostly the weather. ", " And then everybody went home early."
UNSPACED = ("zh", "ja", "th")


def index_of(folder: Path, rows: list[dict[str, str]], **options: object) -> tuple[Decontamination, EvaluationIndex]:
    path = folder / f"{abs(hash(str(rows)))}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {"text": sorted({name for row in rows for name in row if name != "id"})}
    parsed = Decontamination.model_validate(
        {"sets": [{"name": "rivers", "paths": [str(path)], "fields": fields}], **options}
    )
    return parsed, build_index(parsed, ExtractionOptions())


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Decontaminate:
    rows = [{"id": "ferry", "question": RIVER, "answer": TRUE}]
    rows += [{"id": language, "question": text} for language, text in PASSAGES.items()]
    return Decontaminate(*index_of(tmp_path_factory.mktemp("sets"), rows))


def found(stage: Decontaminate, text: str) -> dict[str, tuple[int, float]]:
    """Item → different n-grams and share, of one document after cleaning."""
    return {entry["item"]: (entry["ngrams"], entry["share"]) for entry in entries(stage, text)[1]}


def entries(stage: Decontaminate, text: str) -> tuple[str, list[dict]]:
    names = ("source", "provenance", "text", "url", "flags", "error")
    row = ["test", {"file": "a", "offset": 0}, text, None, [], None]
    kinds = (pa.string(), None, pa.string(), pa.string(), pa.list_(pa.string()), pa.string())
    columns = [pa.array([value], kind) for value, kind in zip(row, kinds, strict=True)]
    batch = Normalize(NormalizeOptions()).apply(pa.RecordBatch.from_arrays(columns, list(names)))
    return batch["text"][0].as_py(), stage.apply(batch)["contamination"][0].as_py() or []


WORDS = RIVER.split()


@pytest.mark.parametrize(
    "text",
    [
        RIVER,
        BEFORE + RIVER + AFTER,
        RIVER + AFTER,
        BEFORE + RIVER,
        RIVER.upper(),
        "\n".join(WORDS),
        "\r\n\r\n".join([" ".join(WORDS[:9]), " ".join(WORDS[9:])]),
        RIVER.replace(" ", "   ").replace(";", " –").replace("?", "…"),
        "**" + RIVER.replace(" ", "_ ").replace("'", "’") + "**",
        RIVER.replace("captain's", "captains").replace(";", ""),
        "".join(f"{word}, " for word in WORDS),
        unicodedata.normalize("NFD", RIVER).replace("e", "e\u200b", 1),
        "".join(chr(ord(c) + 0xFEE0) if c in string.ascii_letters else c for c in RIVER),  # full width
    ],
)
def test_an_item_is_found_however_it_is_set(stage: Decontaminate, text: str) -> None:
    assert found(stage, text) == {"ferry": (len(WORDS) - 12, 1.0)}


@pytest.mark.parametrize("language", PASSAGES)
def test_every_script(stage: Decontaminate, language: str) -> None:
    text = PASSAGES[language]
    for variant in (text, text.upper(), BEFORE + text + AFTER, text.replace("，", "\n").replace("、", " ")):
        ngrams, share = found(stage, variant)[language]
        assert (ngrams > 0, share) == (True, 1.0)
    half = text[:25] if language in UNSPACED else " ".join(text.split()[:12])
    assert found(stage, half) == {}


def test_one_word_less_than_an_ngram_is_no_overlap(stage: Decontaminate) -> None:
    for start in (0, 5, len(WORDS) - 13):
        twelve, thirteen = (" ".join(WORDS[start : start + number]) for number in (12, 13))
        assert found(stage, f"{BEFORE} so {twelve} {AFTER}") == {}
        assert found(stage, f"{BEFORE} so {thirteen} {AFTER}") == {"ferry": (1, pytest.approx(1 / 25, abs=0.001))}
    broken = " ".join(word if number % 12 else f"not {word}" for number, word in enumerate(WORDS))
    assert found(stage, broken) == {}


def test_characters_without_spaces_are_half_words(stage: Decontaminate) -> None:
    plain = "".join(c for c in PASSAGES["zh"] if c.isalnum())
    assert found(stage, f"他说{plain[3:28]}吗") == {}
    assert found(stage, f"他说{plain[3:29]}吗")["zh"][0] == 1


def test_a_short_item_is_found_whole_only(stage: Decontaminate) -> None:
    assert found(stage, f"{BEFORE}{TRUE.upper()}, indeed{AFTER}") == {"ferry": (1, 1.0)}
    assert found(stage, f"{BEFORE}{' '.join(TRUE.split()[:8])}{AFTER}") == {}
    assert found(stage, TRUE.replace("bird", "wader")) == {}


def test_spans_are_bytes_of_the_clean_text(stage: Decontaminate) -> None:
    clean, listed = entries(stage, f"Große Vögel.\r\n{RIVER}\n\n\n\nÄhnlich: {TRUE}! {' '.join(WORDS[:14])} – Ende")
    parts = {
        entry["field"]: [clean.encode()[span["start"] : span["stop"]].decode() for span in entry["spans"]]
        for entry in listed
    }
    assert parts == {"question": [RIVER[:-1], " ".join(WORDS[:14])], "answer": [TRUE]}
    assert [entry["field"] for entry in listed] == ["answer", "question"]


def test_rows_are_independent(
    stage: Decontaminate,
    records: Callable[..., pa.RecordBatch],
    check_rows_are_independent: Callable[[Stage, pa.RecordBatch], None],
) -> None:
    texts = [RIVER, "", *PASSAGES.values(), TRUE, BEFORE, f"{RIVER} {TRUE} {RIVER}", "a " * 50, "x"]
    check_rows_are_independent(stage, records(texts))
    masking = Decontaminate(stage.options.model_copy(update={"action": "mask"}), stage.index)
    whole = masking.apply(records(texts)).to_pylist()
    assert [row for text in texts for row in masking.apply(records([text])).to_pylist()] == [
        {**row, "provenance": {"file": "part-0.jsonl", "offset": 0}} for row in whole
    ]


def test_masking(stage: Decontaminate, records: Callable[..., pa.RecordBatch]) -> None:
    masking = Decontaminate(stage.options.model_copy(update={"action": "mask"}), stage.index)
    texts = [f"Größe: {RIVER} — {TRUE}. Ende", "nothing", RIVER, f"{RIVER[:-1]} {RIVER}"]
    rows = masking.apply(records(texts)).to_pylist()
    assert [row["text"] for row in rows] == [
        f"Größe: {PLACEHOLDER}? — {PLACEHOLDER}. Ende",
        "nothing",
        f"{PLACEHOLDER}?",
        f"{PLACEHOLDER} {PLACEHOLDER}?",
    ]
    assert [row["flags"] for row in rows] == [["decontaminate.masked"], [], *[["decontaminate.masked"]] * 2]
    again = masking.apply(records([row["text"] for row in rows]))
    assert again["text"].to_pylist() == [row["text"] for row in rows]
    assert again["contamination"].null_count == 4


def test_thresholds(tmp_path: Path, records: Callable[..., pa.RecordBatch]) -> None:
    part = " ".join(WORDS[:20])
    rows = [{"id": "ferry", "text": RIVER}, {"id": "thirteen", "text": " ".join(PASSAGES["de"].split()[:13])}]
    documents = [RIVER, part, PASSAGES["de"], "nothing at all"]
    expected = {
        (1, 0.0): [True, True, True, False],
        (9, 0.0): [True, False, True, False],  # 8 of 25; an item found whole counts, however short
        (8, 0.33): [True, False, True, False],
        (8, 0.32): [True, True, True, False],
    }
    for (least, share), result in expected.items():
        options, index = index_of(tmp_path, rows, min_ngrams=least, min_share=share)
        table = pa.Table.from_batches([Decontaminate(options, index).apply(records(documents))])
        assert contamination_reasons(table, options).masks["decontaminate.rivers"].tolist() == result
        masked = Decontaminate(options.model_copy(update={"action": "mask"}), index).apply(records(documents))
        assert [PLACEHOLDER in text for text in masked["text"].to_pylist()] == result
    assert counts(np.array([3, 3]), np.array([0.5, 1.0]), options).tolist() == [False, True]


def test_what_is_ignored_does_not_count(tmp_path: Path, records: Callable[..., pa.RecordBatch]) -> None:
    licence = "Permission is hereby granted to every reader of this page to copy it and to pass it on to others"
    (tmp_path / "common.jsonl").write_text(json.dumps({"text": f"{licence}. {TRUE}."}))
    rows = [{"id": "a", "text": f"{RIVER} {licence}"}, {"id": "b", "text": TRUE}]
    ignore = [{"name": "common", "paths": [str(tmp_path / "common.jsonl")]}]
    options, index = index_of(tmp_path, rows, ignore=ignore)
    stage = Decontaminate(options, index)
    assert found(stage, licence) == found(stage, TRUE) == {}
    assert found(stage, RIVER) == {"a": (25, pytest.approx(25 / 37, abs=0.001))}  # twelve run from one into the other
    assert index.passages["ngrams"].to_pylist() == [37, 0]
    plain = index_of(tmp_path, rows)[1]
    assert plain.passages["ngrams"].to_pylist() == [37 + 8, 1]


def test_one_passage_in_many_rows_is_one(tmp_path: Path) -> None:
    rows = [
        {"id": str(number), "context": RIVER.upper() if number else RIVER, "question": f"{TRUE} {number}"}
        for number in range(5)
    ]
    index = index_of(tmp_path, rows)[1]
    named = [(row["item"], row["field"]) for row in index.passages.to_pylist()]
    assert named == [("0", "context"), *((str(number), "question") for number in range(5))]


def test_holes_in_a_set_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'text' of 'rivers' holds no new passage of at least 8 words"):
        index_of(tmp_path, [{"id": "a", "text": "too short"}])
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": RIVER}) + "\n{broken\n")
    options = Decontamination.model_validate({"sets": [{"name": "x", "paths": [str(tmp_path / "x.jsonl")]}]})
    with pytest.raises(InputError, match=r"x\.jsonl: the record at \d+ of 'x' cannot be read \(read.not_json\)"):
        build_index(options, ExtractionOptions())
    options = Decontamination.model_validate({"sets": [{"name": "x", "paths": [str(tmp_path / "none.jsonl")]}]})
    with pytest.raises(InputError, match="no such file"):
        build_index(options, ExtractionOptions())


def test_set_order_and_place_mean_nothing(tmp_path: Path) -> None:
    for name, text in (("a", RIVER), ("b", PASSAGES["de"])):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": text}))
    listed = [{"name": name, "paths": [str(tmp_path / f"{name}.jsonl")]} for name in "ab"]
    one, two = (
        build_index(Decontamination.model_validate({"sets": sets}), ExtractionOptions())
        for sets in (listed, listed[::-1])
    )
    assert (one.ngrams, one.passages) == (two.ngrams, two.passages)


def test_hashes_collide_as_often_as_chance_says() -> None:
    """So 64 bits give n · m / 2^64 false matches between n and m different n-grams."""
    source = random.Random(7)
    common = [f"w{number}" for number in range(40)]  # few words, so that n-grams are alike
    texts = [" ".join(source.choices(common, k=400)) for _ in range(500)]
    hashes = np.unique(cut(pa.array(texts), 13, 8)[1])
    grams = {tuple(words[i : i + 13]) for text in texts for words in [text.split()] for i in range(len(words) - 12)}
    assert len(hashes) == len(grams)  # none in 2 · 10^10 pairs
    for shift in (0, 16, 32):
        part = (hashes >> np.uint64(shift)) & np.uint64((1 << 32) - 1)
        pairs = len(hashes) - len(np.unique(part))
        expected = len(hashes) ** 2 / 2 / 2**32  # 4.4
        assert abs(pairs - expected) < 4 * expected**0.5 + 1
    short = (hashes & np.uint64((1 << 20) - 1)).astype(np.int64)
    filled = len(np.unique(short)) / (1 << 20)
    assert filled == pytest.approx(1 - np.exp(-len(hashes) / (1 << 20)), abs=0.002)


def test_short_hashes_are_looked_up_in_full(stage: Decontaminate) -> None:
    """The bit set alone lets one in twenty through; the sorted hashes let none."""
    source = random.Random(3)
    words = RIVER.split() + TRUE.split()
    for _ in range(20):
        assert found(stage, " ".join(source.choices(words, k=5000))) == {}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_finds_what_a_naive_search_finds(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    words = st.lists(st.sampled_from(["a", "b", "c", "日", "本"]), min_size=2, max_size=14)
    items = data.draw(st.lists(words, min_size=1, max_size=4))
    document = data.draw(st.lists(st.sampled_from(["a", "b", "c", "日", "本"]), max_size=40))
    weight = {"日": 1, "本": 1}

    def windows(tokens: list[str], least: int) -> set[tuple[str, ...]]:
        result = set()
        for end in range(1, len(tokens) + 1):
            start, total = end, 0
            while start > 0 and total < least:
                start -= 1
                total += weight.get(tokens[start], 2)
            if total >= least:
                result.add(tuple(tokens[start:end]))
        return result

    def whole(tokens: list[str]) -> int:
        return sum(weight.get(token, 2) for token in tokens)

    items = [item for item in items if whole(item) >= 4]
    if not items:
        return
    rows = [{"id": str(number), "text": " ".join(item)} for number, item in enumerate(items)]
    options, index = index_of(tmp_path_factory.mktemp("sets"), rows, ngram_words=4, min_words=2)
    expected = {}
    for number, item in reversed(list(enumerate(items))):
        if item in items[:number]:
            continue
        if whole(item) >= 8:
            both = windows(item, 8) & windows(document, 8)
        else:
            size = len(item)
            both = {tuple(item)} & {tuple(document[i : i + size]) for i in range(len(document) - size + 1)}
        if both:
            expected[str(number)] = len(both)
    assert {
        item: values[0] for item, values in found(Decontaminate(options, index), " ".join(document)).items()
    } == expected


def test_longest_ngrams(tmp_path: Path) -> None:
    text = " ".join(f"word{number}" for number in range(70))
    rows = [
        {"id": "long", "text": text},
        {"id": "zh", "text": "".join(chr(0x4E00 + 7 * number) for number in range(140))},
    ]
    options, index = index_of(tmp_path, rows, ngram_words=64)
    stage = Decontaminate(options, index)
    assert found(stage, text)["long"] == (7, 1.0)
    assert found(stage, rows[1]["text"])["zh"] == (13, 1.0)


def test_the_column_is_that_of_the_schema(stage: Decontaminate, records: Callable[..., pa.RecordBatch]) -> None:
    for texts in ([RIVER], ["nothing"], []):
        column = stage.apply(records(texts)).schema.field("contamination")
        assert column == scored_schema(["contamination"]).field("contamination")
    assert dataclasses.is_dataclass(stage.index)
