"""Signatures: which texts meet, how often, and that words are what counts."""

import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from florilegium.pipelines.stages import Stage, build_stages
from florilegium.pipelines.stages.minhash import Minhash
from florilegium.schemas.document import BUCKETS
from florilegium.schemas.recipe import MinhashOptions, Stages
from hypothesis import given
from hypothesis import strategies as st

Records = Callable[..., pa.RecordBatch]
stage = Minhash(MinhashOptions())


def buckets(*texts: str, of: Minhash = stage) -> list[list[int]]:
    return of.apply(pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.string())}))[BUCKETS].to_pylist()


def test_one_bucket_a_band_and_none_without_a_word() -> None:
    found = buckets("Six words stand in this sentence.", "one", "", " … !? — ")
    assert [len(row) for row in found] == [14, 14, 0, 0]
    assert len(set(found[0])) == 14


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It will rain, they say; take a coat!", "IT WILL RAIN - THEY SAY  take a\n\ncoat"),
        ("Über Äpfel lässt sich streiten, über Birnen nicht", "über äpfel lässt sich streiten über birnen nicht."),
        ("Дождь идёт, возьми пальто и зонт", "дождь идёт возьми пальто и ЗОНТ"),
        ("तूफ़ान के बाद पूरा मोहल्ला बाहर आया।", "तूफ़ान के बाद पूरा मोहल्ला बाहर आया"),
        ("雨が降るので、傘を持って行く。", "雨が降るので 傘を持って行く"),
        ("Thank you!", "thank you"),
    ],
)
def test_case_punctuation_and_spaces_make_no_difference(one: str, other: str) -> None:
    first, second = buckets(one, other)
    assert first == second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("thank you", "thank you all"),
        ("thank you", "you thank"),
        ("over there", "overthere"),
        ("one two three four", "one two three four five"),
        ("room 12 is free", "room 13 is free"),
    ],
)
def test_texts_shorter_than_a_shingle_meet_only_as_a_whole(one: str, other: str) -> None:
    first, second = buckets(one, other)
    assert not set(first) & set(second)


def test_a_character_of_a_script_without_spaces_is_a_word() -> None:
    """Shingles are five characters then, so that two texts share those that are the same in both."""
    narrow = Minhash(MinhashOptions(shingle=5, bands=64, rows=1))
    text = "暴风雨过后整条街的人都出来清理倒下的树木没有人要求他们这样做"
    first, second = buckets(text, text[:-1] + "的", of=narrow)
    assert 45 <= len(set(first) & set(second)) < 64
    latin, joined = buckets("雨rain雨rain雨", "雨 rain 雨 rain 雨")
    assert latin == joined


@pytest.mark.parametrize("shingles", [10, 60, 300])  # fewer and more than what is taken in one go
@pytest.mark.parametrize("jaccard", [0.5, 0.7, 0.9])
def test_bands_agree_as_often_as_theory_says(shingles: int, jaccard: float) -> None:
    source = random.Random(f"{shingles}:{jaccard}")
    common = round(2 * shingles * jaccard / (1 + jaccard))
    true, pairs = common / (2 * shingles - common), 800
    single = Minhash(MinhashOptions(shingle=1))
    texts = []
    for pair in range(pairs):
        words = [f"w{pair}x{source.getrandbits(40)}" for _ in range(2 * shingles - common)]
        texts += [" ".join(words[:shingles]), " ".join(words[shingles - common :])]
    found = np.array(buckets(*texts, of=single), np.uint64).reshape(pairs, 2, 14)
    agree = found[:, 0] == found[:, 1]
    for measured, expected, trials in (
        (agree.mean(), true**8, 14 * pairs),
        (agree.any(axis=1).mean(), 1 - (1 - true**8) ** 14, pairs),
    ):
        assert abs(measured - expected) < 4.5 * (expected * (1 - expected) / trials) ** 0.5 + 1e-3


def test_repeats_and_order_of_shingles_make_no_difference() -> None:
    single = Minhash(MinhashOptions(shingle=1))
    first, second, third = buckets("a b c d e", "e d c b a a b c", "a b c d f", of=single)
    assert first == second != third


def test_options_decide_the_buckets() -> None:
    text = "the ferry leaves at nine and comes back at noon"
    others = [{"shingle": 4}, {"seed": 1}, {"rows": 7}]
    found = [set(buckets(text, of=Minhash(MinhashOptions(**values)))[0]) for values in [{}, *others]]
    assert all(not found[0] & other for other in found[1:])
    assert len(buckets(text, of=Minhash(MinhashOptions(bands=3)))[0]) == 3
    assert len({str(Minhash(MinhashOptions(**values)).identity()) for values in [{}, *others]}) == 4


def test_buckets_of_a_version_never_change() -> None:
    found = buckets("the ferry leaves at nine and comes back at noon")
    assert found[0][:2] == [12570344120814408132, 9178579713461295815]


def test_rows_are_independent(
    records: Records, check_rows_are_independent: Callable[[Stage, pa.RecordBatch], None]
) -> None:
    long = " ".join(f"word{number % 700}" for number in range(2000))
    texts = ["", "one", "the ferry leaves at nine and comes back", "傘を持って行く", "", long, "…", "été " * 9]
    check_rows_are_independent(stage, records(texts))


@given(st.lists(st.text(max_size=60), max_size=8))
def test_any_text_is_taken(texts: list[str]) -> None:
    texts = [text.encode(errors="ignore").decode() for text in texts]
    assert {len(row) for row in buckets(*texts)} <= {0, 14}


def test_null_switches_the_stage_off() -> None:
    names = [built.name for built in build_stages(Stages(minhash=None))]
    assert "minhash" not in names
    assert names == [built.name for built in build_stages(Stages()) if built.name != "minhash"]
