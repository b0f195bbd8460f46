"""Planning: which files an input names, what they are called, and what a wrong request is told."""

import gzip
import re
import shutil
from pathlib import Path

import fsspec
import pytest
from florilegium.pipelines.sources import Split, plan_splits
from florilegium.pipelines.sources.files import fingerprint
from florilegium.schemas.errors import InputError, MissingExtraError
from florilegium.schemas.recipe import Input, Reading
from fsspec.registry import known_implementations

LINE = b'{"text": "words"}\n'


def plan(*paths: Path | str, **options: object) -> list[Split]:
    return plan_splits(
        Input.model_validate({"name": "i", "paths": [str(path) for path in paths], **options}), Reading()
    )


def files(splits: list[Split]) -> list[str]:
    return [split.file for split in splits]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.jsonl", "one/b.jsonl", "one/deep/c.ndjson", "two/b.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(LINE)
    for name in ("README.md", "_SUCCESS.jsonl", ".hidden.jsonl", "one/state.json"):
        (tmp_path / name).write_bytes(b"not data")
    return tmp_path


def test_folders_globs_and_files(tree: Path) -> None:
    assert files(plan(tree)) == ["a.jsonl", "one/b.jsonl", "one/deep/c.ndjson", "two/b.jsonl"]
    assert files(plan(tree / "one")) == ["b.jsonl", "deep/c.ndjson"]
    assert files(plan(tree / "*" / "b.jsonl")) == ["one/b.jsonl", "two/b.jsonl"]
    assert files(plan(tree / "**" / "*.ndjson")) == ["one/deep/c.ndjson"]
    assert files(plan(tree / "a.jsonl")) == ["a.jsonl"]
    assert files(plan(f"file://{tree}/a.jsonl")) == ["a.jsonl"]


def test_overlapping_paths_list_a_file_once(tree: Path) -> None:
    splits = plan(tree, tree / "*.jsonl", tree / "one" / "b.jsonl", f"file://{tree}/two")
    assert files(splits) == ["a.jsonl", "one/b.jsonl", "one/deep/c.ndjson", "two/b.jsonl"]
    assert len({split.url for split in splits}) == 4


def test_files_of_one_name_get_their_folders_before_it(tree: Path) -> None:
    assert files(plan(tree / "one/b.jsonl", tree / "two/b.jsonl", tree / "a.jsonl")) == [
        "a.jsonl",
        "one/b.jsonl",
        "two/b.jsonl",
    ]


def test_the_order_of_paths_and_the_place_of_the_tree_do_not_matter(tree: Path, tmp_path_factory) -> None:
    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(tree, copy)
    one = plan(tree / "one", tree / "a.jsonl")
    two = plan(copy / "a.jsonl", copy / "one")

    def meaning(splits: list[Split]) -> list[tuple[object, ...]]:
        return [(split.file, split.start, split.stop, split.size, split.fingerprint) for split in splits]

    assert meaning(one) == meaning(two)


def test_relative_paths(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    (split,) = plan("one/deep")
    assert (split.url, split.file) == (str(tree / "one/deep/c.ndjson"), "c.ndjson")


def test_suffixes_tell_the_format(tmp_path: Path) -> None:
    named = {
        "warc": ["a.warc", "b.WARC.GZ", "c.warc.zst"],
        "wet": ["d.wet", "e.warc.wet.gz", "f.wet.zst"],
        "jsonl": ["g.jsonl", "h.jsonl.gz", "i.jsonl.zst", "j.ndjson", "k.json.gz"],
    }
    for names in named.values():
        for name in names:
            (tmp_path / name).touch()
    found: dict[str, list[str]] = {}
    for split in plan(tmp_path):
        found.setdefault(split.format, []).append(split.file)
    assert found == named


def test_first_bytes_tell_the_format_of_a_named_file(tmp_path: Path) -> None:
    contents = {"jsonl": b'\n {"text": 1}', "warc": b"WARC/1.0\r\n"}
    for kind, content in contents.items():
        for name, data in {"plain": content, "packed": gzip.compress(content, mtime=0)}.items():
            (tmp_path / name).write_bytes(data)
            assert [split.format for split in plan(tmp_path / name)] == [kind]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing", None, "missing: no such file or folder; correct the path"),
        ("*.jsonl", None, r"no file matches; name a file, a glob or a folder that holds"),
        ("unknown.bin", b"\x00\x01", "unknown format; set `format` of input 'i' to"),
        (
            "old.arc.gz",
            gzip.compress(b"filedesc://x 1.2.3.4", mtime=0),
            "ARC files are not supported; convert them to WARC",
        ),
    ],
)
def test_wrong_requests_name_the_path_and_the_remedy(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        plan(tmp_path / name)


def test_unknown_protocols_are_wrong_requests() -> None:
    with pytest.raises(InputError, match=r"nonsense://bucket/a.jsonl: cannot be opened"):
        plan("nonsense://bucket/a.jsonl")


def test_a_named_format_wins_over_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_bytes(LINE)
    assert [split.format for split in plan(tmp_path / "*.txt", format="jsonl")] == ["jsonl"]


def test_fingerprints_follow_content_alone(tmp_path: Path) -> None:
    content = bytearray(b"x" * 300_000)
    path = tmp_path / "a"

    def of(data: bytes) -> str:
        path.write_bytes(data)
        return fingerprint(str(path), len(data))

    first = of(content)
    assert first == of(content)
    assert first.startswith("300000-blake2b:")
    changed = [bytes([*content[:at], 1, *content[at + 1 :]]) for at in (0, 65_535, 299_999)]
    assert len({first, of(content + b"x"), *map(of, changed)}) == 5


def test_stores_with_checksums_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/bucket/a.jsonl", LINE)
    monkeypatch.setattr(type(fs), "info", lambda self, path, **_: {"size": len(LINE), "ETag": '"abc"'})
    assert fingerprint("memory://bucket/a.jsonl", len(LINE)) == f'{len(LINE)}-ETag:"abc"'


def test_object_stores(read_all, tree: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/inputs/x/a.jsonl", LINE * 500)
    fs.pipe("/inputs/y/b.jsonl.gz", gzip.compress(LINE, mtime=0))
    rows, _ = read_all("memory://inputs", split_bytes=1024)
    assert [row["provenance"]["file"] for row in rows] == ["x/a.jsonl"] * 500 + ["y/b.jsonl.gz"]
    assert files(plan("memory://inputs/*/a.jsonl")) == ["x/a.jsonl"]
    fs.rm("/inputs", recursive=True)


def test_a_protocol_without_its_package_says_what_to_install() -> None:
    known = ((name, entry["err"]) for name, entry in known_implementations.items() if "err" in entry)
    for name, remedy in known:
        try:
            fsspec.get_filesystem_class(name)
        except ImportError:
            with pytest.raises(MissingExtraError, match=re.escape(remedy)):
                plan(f"{name}://bucket/a.jsonl")
            return
    pytest.skip("every package that fsspec knows is installed")
