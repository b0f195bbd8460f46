"""Gates of a whole set: twins and monotony, in the order of the plan."""

from pathlib import Path

from florilegium.pipelines.synthesis.novelty import Corpus, _buckets, set_reasons
from florilegium.schemas.recipe import MinhashOptions, SyntheticGates

LONG = (
    "Ana: I brought back the ladder that you lent me in spring, and a rung of it is broken.\n\nBo: Did you fall? I'd "
    "rather hear that first, the rung can wait until the weekend.\n\nAna: No, it slid off the car."
)
OTHER = "Ana: The bus to the harbour has gone.\n\nBo: Then we walk along the canal and look for herons on the way."


def test_names_do_not_make_another_document() -> None:
    twin = LONG.replace("Ana:", "Mira:").replace("Bo:", "Tom:")
    assert set_reasons([LONG, OTHER, twin], ["a", "b", "c"], SyntheticGates()) == [[], [], ["novelty.twin"]]


def test_the_first_of_the_plan_stays_whatever_comes_later() -> None:
    alone = set_reasons([LONG, OTHER], ["a", "a"], SyntheticGates())
    assert set_reasons([LONG, OTHER, LONG], ["a", "a", "a"], SyntheticGates())[:2] == alone == [[], []]


def test_openings_and_endings_of_a_situation() -> None:
    texts = [f"Ana: I wanted to ask you about {what}.\n\nBo: Then ask me {how}, {what} or not." for what, how in (
        ("bees", "soon"), ("the hedge by the wall", "tomorrow evening"), ("our uncle in the north", "when it rains"),
        ("those nine letters", "after lunch")
    )]  # fmt: skip
    limits = SyntheticGates(max_same_opening=2)
    found = set_reasons(texts, ["x"] * 4, limits)
    assert [("monotony.opening" in reasons) for reasons in found] == [False, False, True, True]
    assert set_reasons(texts, ["x", "y", "z", "w"], limits) == [[]] * 4


def test_documents_of_the_corpus_are_refused(tmp_path: Path) -> None:
    options = MinhashOptions()
    import numpy as np

    corpus = Corpus(np.unique(np.array(_buckets([LONG], options)[0], np.uint64)), options)
    assert set_reasons([LONG, OTHER], ["a", "b"], SyntheticGates(), corpus) == [["novelty.corpus"], []]
