from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from florilegium.classifiers.labelled import TARGETS, read_labelled
from florilegium.schemas.errors import InputError, RecipeError

ZEROS = [0] * 20


def annotated(path: Path, annotations: list[Any], **columns: list[Any]) -> Path:
    count = len(annotations)
    table = {"id": [f"r{row}" for row in range(count)], "text": ["A text."] * count, "annotations": annotations}
    pq.write_table(pa.table({**table, **columns}), path)
    return path


def test_means_are_rounded_to_the_nearest_grade(tmp_path: Path) -> None:
    high, low = [2, *ZEROS[1:]], [1, *ZEROS[1:]]
    path = annotated(tmp_path / "gold.parquet", [[high, low], [low, low], [[*ZEROS[:19], 3]]])
    labelled = read_labelled(path)
    assert labelled.targets["affinity>=2"].tolist() == [1, 0, 0]
    assert labelled.targets["quality>=3"].tolist() == [0, 0, 1]
    assert set(labelled.targets) == set(TARGETS)
    assert labelled.natural.all()


def test_sampling_and_sources(tmp_path: Path) -> None:
    path = annotated(tmp_path / "gold.parquet", [[ZEROS]] * 2, sampling=["random", "active:hate"], source=["a/b", "c"])
    labelled = read_labelled(path)
    assert labelled.natural.tolist() == [True, False]
    assert labelled.sources == ["a", "c"]


def test_what_was_not_judged_is_unknown(tmp_path: Path) -> None:
    path = annotated(tmp_path / "gold.parquet", [[[*ZEROS[:19], None]], [[3, *ZEROS[1:]], [None, *ZEROS[1:]]]])
    targets = read_labelled(path).targets
    assert np.isnan(targets["quality>=3"][0])
    assert targets["quality>=3"][1] == 0
    assert targets["affinity>=2"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        ([[ZEROS], [[4, *ZEROS[1:]]]], "row 'r1': affinity is 4, off the scale 0–3"),
        ([[[*ZEROS[:12], -1, *ZEROS[13:]]]], "hate is -1"),
        ([[[*ZEROS[:19], 6]]], "quality is 6, off the scale 0–5"),
        ([[ZEROS], [[None] * 20]], "row 'r1': holds no grade"),
        ([[ZEROS[:19]]], "row 'r0': needs annotations of 20 grades"),
        ([[]], "needs annotations"),
    ],
)
def test_labels_off_the_scale_are_named(annotations: list[Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        read_labelled(annotated(tmp_path / "gold.parquet", annotations))


def labelled_set(path: Path, name: str, labels: list[list[tuple[str, float]]], ids: list[str] | None = None) -> Path:
    count = len(labels)
    columns = {
        "id": ids or [str(row) for row in range(count)],
        "text": ["A text."] * count,
        "labels": pa.array(labels, pa.map_(pa.string(), pa.float64())),
        "split": ["test"] * (count - 1) + ["train"],
        "set": [name] * count,
    }
    pq.write_table(pa.table(columns), path)
    return path


def test_public_labels_in_our_terms(tmp_path: Path) -> None:
    classes = [[("class", float(value))] for value in (0, 1, 2)] + [[], [("class", 0.0)]]
    labelled = read_labelled(labelled_set(tmp_path / "d.parquet", "davidson", classes))
    assert labelled.targets["hate>=1"].tolist()[:3] == [1, 0, 0]
    assert labelled.targets["any>=1"].tolist()[:3] == [1, 1, 0]
    assert np.isnan(labelled.targets["hate>=1"][3])
    assert len(labelled) == 4
    assert len(read_labelled(tmp_path / "d.parquet", "all")) == 5
    with pytest.raises(InputError, match="no row of the split 'dev'"):
        read_labelled(tmp_path / "d.parquet", "dev")


def test_rows_of_one_document_stay_together(tmp_path: Path) -> None:
    rows = [[("hate", 1.0)], [("hate", 0.0)], [("hate", 0.0)], [("hate", 0.0)]]
    path = labelled_set(tmp_path / "s.parquet", "stormfront", rows, ["12_1", "12_2", "13_1", "13_2"])
    assert read_labelled(path, "all").documents == ["12", "12", "13", "13"]


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the set 'mystery'"):
        read_labelled(labelled_set(tmp_path / "m.parquet", "mystery", [[], []]))
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "no-text.parquet")
    with pytest.raises(InputError, match="no column 'text'"):
        read_labelled(tmp_path / "no-text.parquet")
    (tmp_path / "not.parquet").write_text("PAR")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_labelled(tmp_path / "not.parquet")
    (tmp_path / "suite.yaml").write_text("name: x\n")
    with pytest.raises(RecipeError, match="not a suite"):
        read_labelled(tmp_path / "suite.yaml")


def test_suites_in_yaml_and_parquet_agree(tmp_path: Path) -> None:
    tests = {"insult": {"positive": True, "cases": ["a", "b"]}, "praise": {"positive": False, "cases": ["c"]}}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"name": "s", "output": "hate>=1", "tests": tests}))
    rows = {"id": ["1", "2", "3"], "text": ["a", "b", "c"], "test": ["insult", "insult", "praise"]}
    table = pa.table({**rows, "positive": [True, True, False], "output": ["hate>=1"] * 3})
    pq.write_table(table, tmp_path / "s.parquet")
    one, other = read_labelled(tmp_path / "suite.yaml"), read_labelled(tmp_path / "s.parquet")
    assert one.texts.equals(other.texts)
    assert one.tests == other.tests == ["insult", "insult", "praise"]
    assert one.targets["hate>=1"].tolist() == other.targets["hate>=1"].tolist() == [1, 1, 0]
