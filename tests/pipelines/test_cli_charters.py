"""The commands about charters as a user meets them."""

import json
from pathlib import Path

import pytest
from florilegium.pipelines.phases import Outcome

from tests.commandline import florilegium_here

from .weighed import weighed_run

BALLOTS = "participant,domain.making,domain.debate,dimension.cooperation\nana,70,30,8\nbo,60,40,9\nbo,-5,105,9\n"


def inside(*arguments: str) -> str:
    """What a command says that is to succeed."""
    done = florilegium_here(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return weighed_run(tmp_path_factory.mktemp("runs") / "run")


def test_from_ballots_to_weights(finished: Outcome, tmp_path: Path) -> None:
    (tmp_path / "ballots.csv").write_text(BALLOTS)
    written = tmp_path / "charters/ours.yaml"
    said = inside("charter", "build", str(tmp_path / "ballots.csv"), "-o", str(written), "--community", "Us")
    assert "negative points (-5)" in said
    assert "2 rows; the last one counts" in said
    assert "cooperation 100%" in inside("charter", "check", str(written))
    plan = inside("weigh", finished.run.folder.url, "--charters", str(tmp_path / "charters"), "-o", str(tmp_path / "w"))
    assert "One charter has a budget" in plan
    assert (tmp_path / "w/weights/plan.json").exists()
    assert not (tmp_path / "w/shards").exists()


def test_what_if_writes_nothing(finished: Outcome) -> None:
    before = sorted(Path(finished.run.folder.url).parent.rglob("*"))
    said = inside("weigh", finished.run.folder.url, "--what-if", "share.care=0.9")
    assert "What if share.care=0.9?" in said
    assert "Documents that move most" in said
    figures = json.loads(inside("weigh", finished.run.folder.url, "--what-if", "bridging=1", "--json"))
    assert set(figures) == {"changes", "before", "after", "movers", "remarks"}
    assert sorted(Path(finished.run.folder.url).parent.rglob("*")) == before


def test_why_says_numbers_that_add_up(finished: Outcome) -> None:
    figures = json.loads(inside("weigh", finished.run.folder.url, "--what-if", "share.care=0.9", "--json"))
    document = figures["movers"][0]["id"]
    found = json.loads(inside("why", finished.run.folder.url, document, "--json"))
    assert found["adds_up"]
    assert sum(view["contribution"] for view in found["charters"].values()) == pytest.approx(found["weight"], abs=1e-9)
    assert f"the row says {found['weight']:.9f}" in inside("why", finished.run.folder.url, document)


def test_diff_and_check() -> None:
    assert "decide alike" in inside("charter", "diff", "care", "care")
    found = json.loads(inside("charter", "diff", "care", "metta", "--json"))
    assert found["tolerance.hate.toxic"] == ["0.3", "0.2"]
    assert json.loads(inside("charter", "check", "care", "--json"))["care"]["doubts"] == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["charter", "check", "kare"], "did you mean 'care'"),
        (["charter", "check", "care", "care"], ""),
        (["charter", "build", "/no/such.csv", "-o", "x.yaml"], "cannot be read"),
        (["why", "/no/such/run", "abc"], "no run here"),
        (["charter", "audit", "/no/such/run", "/no/such.csv"], "cannot be read"),
    ],
)
def test_wrong_requests_get_a_sentence(arguments: list[str], sentence: str) -> None:
    done = florilegium_here(*arguments)
    assert done.returncode == (2 if sentence else 0), done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_what_if_tells_what_would_not_work_out(finished: Outcome, tmp_path: Path) -> None:
    (tmp_path / "xx.yaml").write_text("version: 1\nname: speakers\nlanguages: [xx]\n")
    said = inside("weigh", finished.run.folder.url, "--what-if", f"share.{tmp_path / 'xx.yaml'}=0.5")
    assert (
        "speakers accepts no document: it speaks for xx only, and no document with scores is in its languages." in said
    )


def test_what_if_refuses_to_be_told_where_to_write(finished: Outcome, tmp_path: Path) -> None:
    for option in (("-o", str(tmp_path / "w")), ("--shards",)):
        done = florilegium_here("weigh", finished.run.folder.url, "--what-if", "share.care=0.9", *option)
        assert done.returncode == 2
        assert "--what-if writes nothing" in done.stderr


def test_ballots_of_one_mind_make_one_charter(tmp_path: Path) -> None:
    (tmp_path / "ballots.csv").write_text("participant,dimension.growth,harm.hate.toxic\nana,5,0\n")
    said = inside(
        "charter",
        "build",
        str(tmp_path / "ballots.csv"),
        "-o",
        str(tmp_path / "ours.yaml"),
        "--groups",
        str(tmp_path / "groups"),
    )
    assert "ballots      of one participant\n" in said
    assert "ask          `leaves_out` is empty" in said
    assert not (tmp_path / "groups").exists()


def test_a_run_says_what_did_not_work_out(finished: Outcome, tmp_path: Path) -> None:
    (tmp_path / "xx.yaml").write_text("version: 1\nname: speakers\nlanguages: [xx]\n")
    said = inside(
        "weigh",
        finished.run.folder.url,
        "--charters",
        f"{tmp_path / 'xx.yaml'}=1",
        *("--set", "weighing.unscored=exclude"),
        *("--shards", "-o", str(tmp_path / "run")),
    )
    assert "speakers accepts no document" in said
    assert "duckdb" not in said
    assert f"{tmp_path / 'run'}/shards" not in said
