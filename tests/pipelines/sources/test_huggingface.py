"""Hugging Face data sets from disk: the same rows from any number of splits."""

import shutil

import pytest
from florilegium.pipelines.sources import plan_splits
from florilegium.schemas.errors import InputError
from florilegium.schemas.recipe import Fields, Input, Reading

datasets = pytest.importorskip("datasets", reason="the extra `huggingface` is not installed")


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path_factory) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def texts(count: int) -> list[str]:
    return [f"Text number {at}, " + "words " * (at % 7) for at in range(count)]


@pytest.mark.parametrize("split_bytes", [1024, 4096, 1 << 30])
def test_a_saved_data_set_reads_the_same_in_any_splits(tmp_path, read_all, split_bytes: int) -> None:
    rows = {"text": texts(500), "meta": [{"id": at} for at in range(500)]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "saved")
    options = {"format": "huggingface", "dataset": str(tmp_path / "saved"), "fields": Fields(id="meta.id")}
    read, _ = read_all("", split_bytes=split_bytes, **options)
    assert [(row["text"], row["source_id"], row["provenance"]) for row in read] == [
        (text, str(at), {"file": "saved", "offset": at}) for at, text in enumerate(texts(500))
    ]
    plan = plan_splits(Input(name="i", **options), Reading(split_bytes=split_bytes))
    assert (len(plan) == 1) == (split_bytes == 1 << 30)


def test_splits_of_a_saved_dictionary_and_moved_folders(tmp_path, read_all) -> None:
    parts = {"train": datasets.Dataset.from_dict({"text": ["a"]}), "test": datasets.Dataset.from_dict({"text": ["b"]})}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "one" / "saved")
    place = str(tmp_path / "one" / "saved")
    assert [row["text"] for row in read_all("", format="huggingface", dataset=place, split="test")[0]] == ["b"]
    with pytest.raises(InputError, match="train, test"):
        plan_splits(Input(name="i", format="huggingface", dataset=place, split="dev"), Reading())
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    plans = [
        plan_splits(Input(name="i", format="huggingface", dataset=str(tmp_path / name / "saved")), Reading())
        for name in ("one", "two")
    ]
    assert plans[0][0].fingerprint == plans[1][0].fingerprint
    assert plans[0][0].file == plans[1][0].file


def test_a_folder_of_files_is_loaded(tmp_path, read_all) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text('{"text": "from a file"}\n{"text": null}\n')
    rows, _ = read_all("", format="huggingface", dataset=str(tmp_path / "data"))
    assert [row["error"] or row["text"] for row in rows] == ["from a file", "read.no_text"]


def test_wrong_names_are_wrong_requests(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be loaded"):
        plan_splits(Input(name="i", format="huggingface", dataset=str(tmp_path / "missing")), Reading())
    datasets.Dataset.from_dict({"content": ["a"]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match=r"'text' of input 'i' is not there.*content"):
        plan_splits(Input(name="i", format="huggingface", dataset=str(tmp_path / "saved")), Reading())
