import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from florilegium.classifiers.baseline import train_baseline
from florilegium.classifiers.evaluate import roc_auc
from florilegium.classifiers.labelled import output_scores, read_labelled
from florilegium.schemas.errors import InputError, MissingExtraError


@pytest.fixture(scope="module")
def halves(gold_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder, table = tmp_path_factory.mktemp("baseline"), pq.read_table(gold_file)
    pq.write_table(table.slice(0, 180), folder / "train.parquet")
    pq.write_table(table.slice(180), folder / "dev.parquet")
    return folder / "train.parquet", folder / "dev.parquet"


def test_it_learns_and_ranks_what_it_has_not_seen(halves: tuple[Path, Path]) -> None:
    baseline, dev = train_baseline(halves[0]), read_labelled(halves[1])
    assert baseline.rows == 165
    scores = output_scores(baseline.score(dev.texts))
    assert roc_auc(dev.targets["quality>=3"] > 0.5, scores["quality>=3"]) > 0.85
    for output in dev.targets:
        assert ((scores[output] >= 0) & (scores[output] <= 1)).all()


def test_a_row_depends_on_its_text_alone(halves: tuple[Path, Path]) -> None:
    baseline = train_baseline(halves[0])
    texts = read_labelled(halves[1]).texts.to_pylist()[:5]
    together = baseline.score([*texts, "", "splendid splendid"])
    for row, text in enumerate(texts):
        assert np.allclose(baseline.score([text]).prosocial[0], together.prosocial[row])
    assert np.isfinite(together.prosocial).all()


def test_wrong_requests(tmp_path: Path, halves: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    table = pq.read_table(halves[0])
    pq.write_table(table.slice(0, 4), tmp_path / "few.parquet")
    with pytest.raises(InputError, match="at least 10"):
        train_baseline(tmp_path / "few.parquet")
    pq.write_table(table.drop_columns(["annotations"]), tmp_path / "plain.parquet")
    with pytest.raises(InputError, match="annotated documents"):
        train_baseline(tmp_path / "plain.parquet")
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(MissingExtraError, match=r"florilegium\[baseline\]"):
        train_baseline(halves[0])
