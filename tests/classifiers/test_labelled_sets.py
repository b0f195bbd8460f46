from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.classifiers.configs import CONFIGS
from florilegium.classifiers.labelled_sets import LabelledSet, read_contrasts, read_labelled_sets
from florilegium.classifiers.tokens import tokenize
from florilegium.classifiers.train import LABELS
from florilegium.schemas.errors import InputError, RecipeError

MAP = pa.map_(pa.string(), pa.float64())
RULES = [{"when": {"bad": (1, 1)}, "known": {"hate>=2": 1}}, {"when": {"bad": (0, 0.5)}, "known": {"hate>=2": 0}}]


def write(folder: Path, order: list[int]) -> None:
    rows = [("train", [("bad", float(row % 2))]) for row in range(20)]
    rows += [("test", [("bad", 1.0)]), ("train", [("x", 1.0)])]
    table = pa.table(
        {
            "id": [f"en-{row}" if row != 4 else "de-4" for row in range(22)],
            "text": [f"Text number {'i' * (row + 1)}!" for row in range(22)],
            "split": [split for split, _ in rows],
            "labels": pa.array([labels for _, labels in rows], MAP),
        }
    )
    pq.write_table(table.take(order), folder / "set.parquet")


def test_contrasts_name_labels_that_there_are(tmp_path: Path) -> None:
    path = tmp_path / "contrasts.yaml"
    path.write_text("fillers: {}\neach: 1\ntemplates: [{known: {hatred>=1: 1}, texts: [A text.]}]\n")
    with pytest.raises(RecipeError, match="contrasts: 'hatred>=1' is not a label"):
        read_labelled_sets([], tmp_path, LABELS, set(), read_contrasts(path))


def test_each_rule_has_its_share_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    item = LabelledSet(file="set.parquet", rows=8, importance=0.25, rules=RULES)  # type: ignore[arg-type]
    found = []
    for order in (list(range(22)), list(range(22))[::-1]):
        write(tmp_path, order)
        found.append(read_labelled_sets([item], tmp_path, LABELS, set()))
    first, second = found
    assert first.lines == second.lines
    column = first.targets[:, LABELS.index("hate>=2")]
    assert column.tolist() == [1.0] * 4 + [0.0] * 4
    assert np.isnan(np.delete(first.targets, LABELS.index("hate>=2"), axis=1)).all()
    assert (first.importance.tolist(), first.sources) == ([0.25] * 8, ["set"] * 8)


def test_texts_of_the_annotated_documents_and_other_languages_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, list(range(22)))
    item = LabelledSet(file="set.parquet", rows=100, id_prefix="en-", rules=RULES)  # type: ignore[arg-type]
    present, foreign = tokenize(pa.array(["Text number iii!", "Text number iiiii!"])).to_pylist()
    lines = read_labelled_sets([item], tmp_path, LABELS, {present}).lines
    assert len(lines) == 18
    assert not {present, foreign} & set(lines)


def test_wrong_rules_and_absent_files_are_named(tmp_path: Path) -> None:
    item = LabelledSet(file="set.parquet", rows=8, rules=RULES)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"set\.parquet.*--sets"):
        read_labelled_sets([item], tmp_path, LABELS, set())
    wrong = LabelledSet(file="set.parquet", rows=8, rules=[{"when": {}, "known": {"spite>=1": 1}}])  # type: ignore[list-item]
    with pytest.raises(RecipeError, match="spite>=1"):
        read_labelled_sets([wrong], tmp_path, LABELS, set())
    (tmp_path / "contrasts.yaml").write_text("templates: 3")
    with pytest.raises(RecipeError, match=r"contrasts\.yaml"):
        read_contrasts(tmp_path / "contrasts.yaml")


def test_the_shipped_contrasts_name_every_group_on_both_sides() -> None:
    contrasts = read_contrasts(CONFIGS / "contrasts.yaml")
    sentences = contrasts.sentences()
    assert sentences == read_contrasts(CONFIGS / "contrasts.yaml").sentences()
    assert not [text for text, _ in sentences if "{" in text]
    assert {label for _, known in sentences for label in known} <= set(LABELS)
    for group in contrasts.fillers["groups"]:
        assert {known["hate>=2"] for text, known in sentences if group in text} == {0, 1}
