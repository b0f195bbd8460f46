"""A run that adds inputs to an earlier one equals a run over everything, and scores only what is new."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.reweigh import reweigh
from florilegium.pipelines.validation import validate
from florilegium.schemas.errors import InputError, OutputError, RequestError, TaskError

from tests.pipelines.test_boilerplate import page
from tests.pipelines.test_phases import MORE_SPLITS, checksums, make_corpus, options


def run(inputs: dict[str, str], output: Path, *more: str, since: Path | None = None) -> Outcome:
    """Run `forum` over inputs by name (a glob each)."""
    fields = {"text": "text", "id": "id", "group": "community", "url": "url"}
    listed = [{"name": name, "paths": [glob], "fields": fields} for name, glob in inputs.items()]
    overrides = [f"inputs={json.dumps(listed)}", *options(Path("unused"))[3:], *more]
    plan = plan_run(load_recipe("forum", overrides), None if since is None else str(since))
    return execute(plan, str(output), load_engine("local", 1))


def scored_here(outcome: Outcome) -> list[str]:
    return [name.rpartition("/")[2] for name in outcome.run.folder.names("scored/*.parquet")]


@pytest.fixture
def grow(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Makes a folder of the corpus' first files; the same folder grows with a larger number."""
    whole = make_corpus(tmp_path / "whole")

    def to(files: int, folder: str = "posts") -> dict[str, str]:
        (tmp_path / folder).mkdir(exist_ok=True)
        for index in range(files):
            shutil.copy(whole / f"posts-{index}.jsonl", tmp_path / folder)
        return {"posts": f"{tmp_path / folder}/*.jsonl"}

    return to


def test_a_chain_of_additions_equals_the_whole(grow: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    first = run(grow(1), tmp_path / "a")
    second = run(grow(2), tmp_path / "b", since=tmp_path / "a")
    third = run(grow(3), tmp_path / "c", since=tmp_path / "b")
    whole = run(grow(3), tmp_path / "w")
    assert checksums(third) == checksums(whole)
    assert third.ledger == whole.ledger
    assert third.ledger.reasons["dedup.exact"]["posts"] > first.ledger.reasons["dedup.exact"]["posts"]
    counts = [len(scored_here(outcome)) for outcome in (first, second, third)]
    assert sum(counts) == len(scored_here(whole))
    assert min(counts) > 0
    named = [table.name for table in third.run.manifest.scored]
    assert [name.rpartition("/")[0] for name in named] == (
        [f"{tmp_path}/a/scored"] * counts[0] + [f"{tmp_path}/b/scored"] * counts[1] + ["scored"] * counts[2]
    )
    for outcome in (second, third):
        assert [check.faults for check in validate(outcome.run.folder.url)] == [[]] * 7
    again = run(grow(3), tmp_path / "c", since=tmp_path / "b")
    assert again.resumed == again.tasks
    assert run(grow(3), tmp_path / "c").resumed == again.tasks
    weighed = reweigh(str(tmp_path / "c"), "uniform=1", str(tmp_path / "d"), [], load_engine("local", 1))
    anew = run(grow(3), tmp_path / "e", "weighing.charters={uniform: 1}")
    assert checksums(weighed) == checksums(anew)
    assert [check.faults for check in validate(str(tmp_path / "d"))] == [[]] * 7


def test_a_further_input_beside_the_old_one(grow: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    old = grow(2)
    both = {**grow(1, "more"), **old}
    both = {"more": both["posts"].replace("posts/*", "more/*"), "posts": old["posts"]}
    earlier = run(old, tmp_path / "a")
    later = run(both, tmp_path / "b", since=tmp_path / "a")
    assert checksums(later) == checksums(run(both, tmp_path / "w"))
    assert len(scored_here(later)) == len(later.run.manifest.scored) - len(earlier.run.manifest.scored)


def test_what_left_the_inputs_does_not_take_part(grow: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    run(grow(3), tmp_path / "a")
    (tmp_path / "posts/posts-1.jsonl").unlink()
    (tmp_path / "posts/posts-2.jsonl").write_text(json.dumps({"text": "Changed since then. " * 20}))
    inputs = {"posts": f"{tmp_path}/posts/*.jsonl"}
    later = run(inputs, tmp_path / "b", since=tmp_path / "a")
    assert checksums(later) == checksums(run(inputs, tmp_path / "w"))
    assert scored_here(later) == [f"{len(later.run.payloads('score')) - 1:05d}-000.parquet"]


def test_the_same_files_elsewhere_and_cut_otherwise(grow: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    run(grow(2), tmp_path / "a")
    moved = grow(3, "moved")
    later = run(moved, tmp_path / "b", MORE_SPLITS, since=tmp_path / "a")
    assert checksums(later) == checksums(run(moved, tmp_path / "w", MORE_SPLITS))
    assert len(later.run.payloads("score")) > 3
    assert [table.name.startswith("/") for table in later.run.manifest.scored][:3] == [True, True, False]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("seed=7", "seed is 0 there and 7 here"),
        ("stages.personal_data.mask=false", "stages.personal_data.mask is True there and False here"),
        ("reading.max_document_bytes=99999", "reading.max_document_bytes is 10485760 there and 99999 here"),
        ("output.run_bytes=99999", "output.run_bytes is 67108864 there and 99999 here"),
        ("boilerplate={}", "boilerplate is None there"),
        ("inputs.posts.fields.text=[title, text]", "inputs.posts.fields.text is 'text' there"),
    ],
)
def test_other_scores_are_refused(grow: Callable[..., dict[str, str]], tmp_path: Path, change: str, named: str) -> None:
    run(grow(1), tmp_path / "a")
    with pytest.raises(RequestError, match=named):
        run(grow(2), tmp_path / "b", change, since=tmp_path / "a")
    assert not (tmp_path / "b").exists()


def test_wrong_requests(grow: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    earlier = run(grow(1), tmp_path / "a", "policy.min_words=5")
    with pytest.raises(InputError, match="no run here"):
        run(grow(2), tmp_path / "b", since=tmp_path / "nowhere")
    with pytest.raises(InputError, match="no file of this recipe was read there"):
        run({"other": grow(2)["posts"]}, tmp_path / "b", since=tmp_path / "a")
    with pytest.raises(OutputError, match="the output itself"):
        run(grow(1), tmp_path / "a", "policy.min_words=5", since=tmp_path / "a")
    later = run(grow(2), tmp_path / "b", since=tmp_path / "a")  # another policy decides nothing about scores
    assert later.resumed == len(earlier.run.manifest.scored)


def test_an_earlier_run_that_is_gone(grow: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    run(grow(1), tmp_path / "a")
    later = run(grow(2), tmp_path / "b", since=tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    faults = {check.name: check.faults for check in validate(str(tmp_path / "b"))}
    assert faults["checksums"][0] == f"{tmp_path}/a/scored/00000-000.parquet is missing"
    (tmp_path / "b/tasks/shard/000000.json").unlink()
    with pytest.raises(InputError, match=r"a/scored/00000-000\.parquet.*gone"):
        run(grow(2), tmp_path / "b")
    with pytest.raises(InputError, match="no run here"):
        run(grow(2), tmp_path / "b", since=tmp_path / "a")
    (tmp_path / "elsewhere").rename(tmp_path / "a")
    assert checksums(run(grow(2), tmp_path / "b")) == checksums(later)


def test_an_unfinished_run_lends_what_it_has(grow: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    inputs = grow(2)
    plan = plan_run(load_recipe("forum", [*options(tmp_path / "posts"), "inputs.posts.fields.url=url"]))
    content = (tmp_path / "posts/posts-1.jsonl").read_text()
    (tmp_path / "posts/posts-1.jsonl").unlink()
    with pytest.raises(TaskError):
        execute(plan, str(tmp_path / "a"), load_engine("local", 1))
    (tmp_path / "posts/posts-1.jsonl").write_text(content)
    later = run(inputs, tmp_path / "b", since=tmp_path / "a")
    assert 0 < later.resumed < len(later.run.manifest.scored)
    assert checksums(later) == checksums(run(inputs, tmp_path / "w"))


def test_boilerplate_of_a_host_that_grows(tmp_path: Path) -> None:
    """Splits whose repeated lines stay the same are taken over; those that new pages change are scored anew."""
    folder = tmp_path / "posts"
    folder.mkdir()

    def write(name: str, host: str, numbers: range) -> None:
        lines = [{"id": f"{host}{n}", "url": f"https://{host}.example/{n}", "text": page(n)} for n in numbers]
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    inputs, more = (
        {"posts": f"{folder}/*.jsonl"},
        ("boilerplate={}", "policy.min_words=1", "reading.split_bytes=1048576"),
    )
    write("0.jsonl", "a", range(20))
    write("1.jsonl", "b", range(3))  # too few pages to tell
    run(inputs, tmp_path / "a", *more)
    write("2.jsonl", "b", range(3, 20))
    later = run(inputs, tmp_path / "b", *more, since=tmp_path / "a")
    assert checksums(later) == checksums(run(inputs, tmp_path / "w", *more))
    assert later.ledger.boilerplate_lines == {"posts": 80}
    assert scored_here(later) == ["00001-000.parquet", "00002-000.parquet"]
    assert [name.rpartition("/")[2] for name in later.run.folder.names("boilerplate/lines-*")] == [
        "lines-00002.parquet"
    ]
