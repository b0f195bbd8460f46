from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from florilegium.classifiers import load
from florilegium.classifiers.select import select
from florilegium.schemas.errors import InputError
from florilegium.schemas.taxonomy import PROSOCIAL

SENTENCE = "the bread we baked with our neighbours was warm and the river rose over the old bridge by night"


def pool(rows: int = 160) -> pa.Table:
    random = np.random.default_rng(4)
    texts = [" ".join(random.choice(SENTENCE.split(), 25)) for _ in range(rows - 4)]
    texts += ["It is your choice, and either option can be right. Decide what you want, think it over."] * 2
    texts += ["Thank you all for your patience, I was wrong and I am sorry.", "  THE bread\n"]
    return pa.table({"id": [f"p{row:03d}" for row in range(rows)], "text": texts, "url": ["u"] * rows})


def test_the_same_choice_in_any_order() -> None:
    table, model = pool(), load("prosocial")
    chosen = select(table, model, 40)
    mixed = table.take(pa.array(np.random.default_rng(1).permutation(table.num_rows)))
    assert select(mixed, model, 40).equals(chosen)
    assert chosen.column_names == ["sampling", "id", "text", "url"]
    assert len(set(chosen["id"].to_pylist())) == 40
    assert not select(table, model, 40, seed=8)["id"].equals(chosen["id"])


def test_each_strategy_has_its_part() -> None:
    kinds = Counter(value.split(":")[-1] for value in select(pool(), load("prosocial"), 40)["sampling"].to_pylist())
    assert kinds["random"] == kinds["uncertain"] == kinds["diverse"] == 10
    assert sum(kinds.values()) == 40
    only = select(pool(), load("prosocial"), 30, shares={"random": 2, "diverse": 1})["sampling"].to_pylist()
    assert Counter(only) == {"random": 20, "active:diverse": 10}


def test_rare_finds_the_likely_positives() -> None:
    table, model = pool(), load("prosocial")
    chosen = select(table, model, len(PROSOCIAL) + 7, shares={"rare": 1}).to_pylist()
    found = next(row for row in chosen if row["sampling"] == "active:autonomy")
    scores = model.score(table["text"])
    assert (
        model.score([found["text"]]).prosocial[0, PROSOCIAL.index("autonomy")]
        >= np.sort(scores.prosocial[:, PROSOCIAL.index("autonomy")])[-len(chosen)]
    )
    assert "It is your choice" in " ".join(row["text"] for row in chosen)


def test_diverse_takes_no_near_twin() -> None:
    texts = [f"the bread we baked was warm and good {number}" for number in range(30)] + ["nothing alike at all here"]
    table = pa.table({"id": [f"{row:02d}" for row in range(31)], "text": texts})
    chosen = select(table, load("prosocial"), 2, shares={"diverse": 1})["text"].to_pylist()
    assert "nothing alike at all here" in chosen


def test_labelled_texts_and_twins_are_left_out() -> None:
    table = pa.table({"id": ["a", "b", "c", "d"], "text": ["One thing.", "one  THING.", "Two things.", " "]})
    assert select(table, load("prosocial"), 9)["id"].to_pylist() in (["a", "c"], ["c", "a"])
    assert select(table, load("prosocial"), 9, known=["ONE thing."])["id"].to_pylist() == ["c"]
    with pytest.raises(InputError, match="no document is left"):
        select(table, load("prosocial"), 9, known=["One thing.", "two things."])
    with pytest.raises(InputError, match="unknown strategy 'rand'"):
        select(table, load("prosocial"), 9, shares={"rand": 1})
