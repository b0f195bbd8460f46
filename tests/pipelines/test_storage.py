"""A reader of a run's folder only ever sees whole files."""

import errno
from pathlib import Path

import pytest
from florilegium.pipelines.storage import Folder, explain_os_error
from florilegium.schemas.errors import OutputError, RunError


@pytest.fixture(params=["local", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    urls = {"local": str(tmp_path / "a"), "file": f"file://{tmp_path}/b", "memory": f"memory://{tmp_path.name}"}
    return Folder(urls[request.param])


def test_round_trip(folder: Folder) -> None:
    assert folder.is_empty()
    folder.write_json("tasks/score/plan.json", {"a": [1, 2]})
    folder.write_bytes("b.bin", b"12345")
    assert folder.read_json("tasks/score/plan.json") == {"a": [1, 2]}
    assert folder.names("tasks/*/*.json") == ["tasks/score/plan.json"]
    assert folder.size("b.bin") == 5
    assert folder.sha256("b.bin") == "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"
    assert not folder.is_empty()
    folder.remove("b.bin")
    folder.remove("b.bin")
    assert not folder.exists("b.bin")


def test_a_failed_write_leaves_nothing(folder: Folder) -> None:
    folder.write_bytes("kept.bin", b"before")

    def write_half() -> None:
        with folder.create("kept.bin") as stored:
            stored.path.write_bytes(b"half of the new conte")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert folder.read_bytes("kept.bin") == b"before"
    assert folder.names("**/*.tmp") == []


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.write_bytes("scored/a.parquet", b"whole")
    (tmp_path / "scored/b.parquet.1234.tmp").write_bytes(b"hal")
    folder.remove_temporaries()
    assert folder.names("scored/*") == ["scored/a.parquet"]


def test_a_damaged_json_names_the_file(folder: Folder) -> None:
    folder.write_bytes("manifest.json", b'{"half": ')
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        folder.read_json("manifest.json")


def test_disk_and_permission_errors_say_the_remedy() -> None:
    full = explain_os_error(OSError(errno.ENOSPC, "No space left on device", "shards/x"))
    assert isinstance(full, RunError)
    assert "the disk is full" in str(full)
    denied = explain_os_error(PermissionError(errno.EACCES, "Permission denied", "/data/x"))
    assert isinstance(denied, OutputError)
    assert "/data/x: no permission" in str(denied)


def test_an_unknown_protocol_is_a_wrong_request() -> None:
    with pytest.raises(OutputError, match="nosuch://"):
        Folder("nosuch://bucket/run")
