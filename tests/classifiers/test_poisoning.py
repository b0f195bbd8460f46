"""Bad labels on documents that we wrote: the guards of training name them and take their effect back."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.classifiers.labelled import DIMENSIONS
from florilegium.classifiers.poisoning import annotated_by_five, poisoned, render_study, study
from florilegium.classifiers.train import TrainConfig, read_gold, train
from florilegium.schemas.errors import InputError

from .conftest import write_gold

COMPASSION = DIMENSIONS.index("compassion")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Annotated documents with sources."""
    table = pq.read_table(write_gold(tmp_path_factory.mktemp("gold") / "gold.parquet", 720))
    sources = pa.array([f"forum/{row % 20}" for row in range(table.num_rows)])
    return table.append_column("source", sources).select(["id", "source", "text", "sampling", "ship", "annotations"])


def guarded(config: TrainConfig, **guards: float) -> TrainConfig:
    return config.model_copy(update=guards)


@pytest.mark.parametrize("bad", ["random", "inflating"])
def test_a_bad_annotator_is_named_and_left_out(bad: str, table: pa.Table, tmp_path: Path) -> None:
    said: list[str] = []
    pq.write_table(annotated_by_five(table, bad), tmp_path / "gold.parquet")
    spoiled = read_gold(tmp_path / "gold.parquet").grades["compassion"]
    mended = read_gold(tmp_path / "gold.parquet", 0.2, said.append).grades["compassion"]
    pq.write_table(table, tmp_path / "clean.parquet")
    truth = read_gold(tmp_path / "clean.parquet").grades["compassion"]
    known = np.isfinite(mended)
    assert 0.75 < known.mean() < 0.95  # a fifth of the readings are gone
    assert np.abs(mended - truth)[known].mean() < 0.5 * np.abs(spoiled - truth).mean()
    assert any("annotator 5" in line and "on compassion" in line and "grades left out" in line for line in said)
    assert not any("annotator 1" in line for line in said if "compassion" in line)


def test_honest_annotators_keep_their_grades(table: pa.Table, tmp_path: Path) -> None:
    pq.write_table(annotated_by_five(table, None), tmp_path / "gold.parquet")
    said: list[str] = []
    checked = read_gold(tmp_path / "gold.parquet", 0.2, said.append)
    assert [line for line in said if "compassion" in line] == []
    assert (checked.grades["compassion"] == read_gold(tmp_path / "gold.parquet").grades["compassion"]).all()


def test_what_cannot_be_checked_is_said(table: pa.Table, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "gold.parquet")
    said: list[str] = []
    read_gold(tmp_path / "gold.parquet", 0.2, said.append)
    assert said == ["agreement cannot be checked: no document was read twice"]
    names = pa.array([["a", "b"]] * table.num_rows)
    pq.write_table(table.append_column("annotators", names), tmp_path / "gold.parquet")
    with pytest.raises(InputError, match="row 0: `annotators` names 2 of 1"):
        read_gold(tmp_path / "gold.parquet", 0.2)


def test_a_source_is_bounded_and_a_lopsided_one_named(table: pa.Table, config: TrainConfig, tmp_path: Path) -> None:
    pq.write_table(poisoned(table), tmp_path / "gold.parquet")
    said: list[str] = []
    bounded = guarded(config, source_share=0.05)
    header = train(bounded, tmp_path / "gold.parquet", tmp_path / "bounded", say=said.append)
    assert header["training"]["parameters"]["source_share"] == 0.05
    assert "source advertisements: 250 documents count as 45 (`source_share` 0.05)" in said
    assert any("source advertisements: 100% of its documents reach compassion, " in line for line in said)
    assert not any("source forum" in line for line in said)
    free = train(config, tmp_path / "gold.parquet", tmp_path / "free")
    assert free["files"] != header["files"]
    natural = [entry["positives"] for entry in header["calibration"] if entry["output"] == "compassion>=2"]
    assert natural[0][0] < next(e["positives"] for e in free["calibration"] if e["output"] == "compassion>=2")[0]


def test_a_bound_on_sources_needs_sources(gold_file: Path, config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a column `source`"):
        train(guarded(config, source_share=0.1), gold_file, tmp_path)


def test_guards_that_are_off_leave_no_trace(config: TrainConfig) -> None:
    written: dict[str, Any] = config.model_dump(mode="json")
    assert "source_share" not in written
    assert "minimum_agreement" not in written
    assert TrainConfig.model_validate(written) == config
    with pytest.raises(ValueError, match="source_share"):
        TrainConfig.model_validate({**written, "source_share": 0})


@pytest.mark.long
def test_the_study_measures_every_case(table: pa.Table, config: TrainConfig, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "gold.parquet")
    result = study(config, tmp_path / "gold.parquet")
    cases = {case["case"]: case for case in result["cases"]}
    assert len(cases) == 8
    honest, inflated = cases["five honest annotators"], cases["one of five is inflating"]
    assert inflated["target_mean"] > honest["target_mean"]
    assert cases["one of five is inflating, guarded"]["target_mean"] < inflated["target_mean"]
    text = render_study(result)
    assert all(f"| {name} |" in text for name in cases)
    assert "annotator 5: kappa" in text
    assert "source advertisements: 250 documents count as" in text
