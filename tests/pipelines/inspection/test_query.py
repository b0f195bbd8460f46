"""Questions about a run: right answers, in every format, and no way to anything else."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import florilegium.pipelines.inspection.glance as glance_module
import fsspec
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.inspection.examples import EXAMPLES
from florilegium.pipelines.inspection.query import answer, ask
from florilegium.pipelines.inspection.shell import converse
from florilegium.pipelines.inspection.survey import survey
from florilegium.pipelines.inspection.views import VIEWS, open_views, view_definitions
from florilegium.pipelines.phases import Outcome
from florilegium.pipelines.reweigh import reweigh
from florilegium.schemas.errors import InputError, RequestError, RunError

from tests.pipelines.test_cli import florilegium


def rows(url: str, sql: str) -> list[tuple]:
    with open_views(survey(url)) as connection:
        return list(ask(connection, sql).rows())


def test_views_hold_what_the_run_holds(outcome: Outcome, run_folder: str) -> None:
    ledger = outcome.ledger
    counts = {view: rows(run_folder, f"SELECT count(*) FROM {view}")[0][0] for view in VIEWS}
    assert counts["documents"] == ledger.total("kept")
    assert counts["rejects"] == ledger.total("rejected") + ledger.total("duplicates") + ledger.total("failed")
    assert counts["scores"] == ledger.total("read")
    assert counts["weights"] == ledger.total("kept") + ledger.total("unweighted")
    assert counts["charters"] == 3
    assert counts["budgets"] == 3 * len(outcome.plan.domains)
    assert counts["synthetic"] == 0
    assert counts["splits"] == len(outcome.run.folder.read_json("splits.json"))
    assert rows(run_folder, "SELECT sum(number) FROM ledger WHERE entry = 'read'") == [(ledger.total("read"),)]
    copies = rows(run_folder, "SELECT role, count(*) FROM clusters GROUP BY ALL ORDER BY 1")
    assert dict(copies)["copy"] == ledger.total("duplicates")


def test_many_threads_read_what_one_reads(outcome: Outcome, run_folder: str) -> None:
    sql = "SELECT sum(hash(id, text, weight)), count(*) FROM documents WHERE cluster_size > 0"
    names = [outcome.run.folder.address(table.name) for table in outcome.run.manifest.shards]
    expected = duckdb.sql(f"CREATE OR REPLACE VIEW documents AS FROM read_parquet({names}); {sql}").fetchall()
    with open_views(survey(run_folder)) as connection:
        for _ in range(20):
            assert connection.execute(sql).fetchall() == expected


@pytest.mark.parametrize(("question", "sql"), EXAMPLES)
def test_example_questions_are_answered(question: str, sql: str, run_folder: str) -> None:
    with open_views(survey(run_folder)) as connection:
        started = time.process_time()
        answered = ask(connection, sql)
        found = list(answered.rows())
        assert time.process_time() - started < 1
    assert len(answered.names) >= 3
    assert found or "harm" in question or "personal data" in question


def test_definitions_work_in_a_plain_duckdb(run_folder: str) -> None:
    with duckdb.connect() as plain, open_views(survey(run_folder)) as ours:
        for definition in view_definitions(survey(run_folder)):
            assert definition.isprintable() or definition.replace("\n", "").isprintable()
            plain.execute(definition)
        for view in VIEWS:
            sql = f"SELECT count(*), bit_xor(hash({view})) FROM {view}"
            assert plain.execute(sql).fetchall() == ours.execute(sql).fetchall(), view


def test_a_run_on_an_object_store_and_one_weighed_anew(run_folder: str) -> None:
    store = fsspec.filesystem("memory")
    store.put(f"{run_folder}/", "/inspected/run/", recursive=True)
    sql = "SELECT count(*), sum(tokens), bit_xor(hash(text)) FROM documents"
    assert rows("memory://inspected/run", sql) == rows(run_folder, sql)
    reweigh("memory://inspected/run", "uniform=1", "memory://inspected/other", (), load_engine("local", 1))
    assert rows("memory://inspected/other", "SELECT count(*) FROM scores") == rows(
        run_folder, "SELECT count(*) FROM scores"
    )
    assert rows("memory://inspected/other", "SELECT name, share FROM charters") == [("uniform", 1.0)]
    store.rm("/inspected/run", recursive=True)
    found = survey("memory://inspected/other")
    assert found.files["scores"] == []
    assert found.faults
    assert all("is missing" in fault for fault in found.faults)


@pytest.mark.parametrize(
    "sql",
    [
        "COPY documents TO 'run://00000/x.parquet'",
        "COPY documents TO '/tmp/florilegium-must-not-exist.parquet'",
        "EXPLAIN ANALYZE COPY documents TO 'run://00000/x.parquet'",
        "EXPORT DATABASE '/tmp/florilegium-must-not-exist'",
        "ATTACH '/tmp/florilegium-must-not-exist.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "PRAGMA enable_profiling",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW documents",
        "INSERT INTO ledger VALUES (1)",
        "SELECT 1; SELECT 2",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('run://../../etc/passwd')",
        "SELECT * FROM read_blob('http://localhost:1/')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM sql",
        "SELEC 1",
        "",
    ],
)
def test_nothing_but_questions_about_the_run(sql: str, run_folder: str) -> None:
    before = sorted(path.stat().st_mtime_ns for path in Path(run_folder).rglob("*"))
    with pytest.raises(RequestError), open_views(survey(run_folder)) as connection:
        list(ask(connection, sql).rows())
    assert sorted(path.stat().st_mtime_ns for path in Path(run_folder).rglob("*")) == before
    assert not list(Path("/tmp").glob("florilegium-must-not-exist*"))


@pytest.mark.parametrize(
    "sql", ["COPY documents TO '{}'", "EXPLAIN ANALYZE COPY documents TO '{}'", "ATTACH '{}' AS x"]
)
def test_the_database_itself_cannot_write(sql: str, run_folder: str, tmp_path: Path) -> None:
    with open_views(survey(run_folder)) as connection:
        for place in (f"{tmp_path}/x", "run://00000/x", f"{run_folder}/x"):
            with pytest.raises((duckdb.Error, OSError)):
                connection.execute(sql.format(place))
    assert not (tmp_path / "x").exists()
    assert not Path(run_folder, "x").exists()


HOSTILE_ROWS = "SELECT source_id, text FROM documents WHERE starts_with(provenance.file, 'hostile') ORDER BY ALL"


def test_a_table_holds_no_control(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer(run_folder, HOSTILE_ROWS)
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1 + len(rows(run_folder, HOSTILE_ROWS))
    assert shown.replace("\n", "").isprintable()
    assert max(map(len, shown.splitlines())) <= 160
    assert "a⏎b" in shown
    answer(run_folder, "SELECT chr(27) || '[2J' AS \"x\", chr(8238) || 'evil' AS y, chr(155) || '31m' AS z")
    assert capsys.readouterr().out.split("\n")[1] == "␛[2J  ⟨U+202E⟩evil  ⟨U+009B⟩31m"


def test_csv_cells_are_no_formulae(run_folder: str, tmp_path: Path) -> None:
    answer(run_folder, HOSTILE_ROWS, "csv", tmp_path / "out.csv")
    csv.field_size_limit(20_000_000)
    read = list(csv.reader((tmp_path / "out.csv").open(newline="")))
    assert len(read) == 1 + len(rows(run_folder, HOSTILE_ROWS))
    assert not [cell for row in read for cell in row if cell.lstrip().startswith(("=", "+", "-", "@"))]
    answer(run_folder, "SELECT -1.5 AS a, '-1' AS b, '\t=1' AS c, [1, 2] AS d", "csv", tmp_path / "numbers.csv")
    assert (tmp_path / "numbers.csv").read_text() == "a,b,c,d\n-1.5,'-1,'\t=1,\"[1, 2]\"\n"


def test_json_and_parquet_keep_the_text(run_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = rows(run_folder, HOSTILE_ROWS)
    answer(run_folder, HOSTILE_ROWS, "json")
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert "\x1b" not in shown
    assert [(row["source_id"], row["text"]) for row in json.loads(shown)] == expected
    answer(run_folder, HOSTILE_ROWS, "parquet", tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert list(zip(table["source_id"].to_pylist(), table["text"].to_pylist(), strict=True)) == expected
    answer(run_folder, "SELECT 1 AS a WHERE false", "json")
    assert json.loads(capsys.readouterr().out) == []


def test_an_answer_never_lands_in_the_run(run_folder: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="inside the run"):
        answer(run_folder, "SELECT 1", "csv", Path(run_folder) / "manifest.json")
    (tmp_path / "link").symlink_to(run_folder)
    with pytest.raises(RequestError, match="inside the run"):
        answer(run_folder, "SELECT 1", "csv", tmp_path / "link" / "x.csv")
    with pytest.raises(RequestError, match="needs --output"):
        answer(run_folder, "SELECT 1", "parquet")


def test_a_damaged_run_shows_what_is_whole(outcome: Outcome, copied: Path, tmp_path: Path) -> None:
    shards = [table for table in outcome.run.manifest.shards if table.rows]
    assert len(shards) >= 3
    (copied / shards[0].name).unlink()
    (copied / shards[1].name).write_bytes((copied / shards[1].name).read_bytes()[:-20])
    (copied / "ledger.json").write_text('{"read": ')
    said: list[str] = []
    answer(str(copied), "SELECT count(*) AS n FROM documents", "csv", tmp_path / "n.csv", say=said.append)
    left = sum(table.rows for table in shards[2:])
    assert (tmp_path / "n.csv").read_text() == f"n\n{left}\n"
    assert [sentence.split("/")[-1].split(" ")[0] for sentence in said] == [
        "ledger.json",
        *(table.name.split("/")[-1] for table in shards[:2]),
    ]
    assert rows(str(copied), "SELECT count(*) FROM ledger") == [(0,)]


def test_json_of_another_shape_is_damage(copied: Path) -> None:
    strange = {"ledger.json": '{"read": {"posts": "1); DROP VIEW documents; --"}}', "splits.json": "{}"}
    for name, text in strange.items():
        (copied / name).write_text(text)
    (copied / "weights" / "plan.json").write_text('{"charters": {}, "domains": 3}')
    for found in (glance_module.glance(str(copied)), survey(str(copied))):
        assert [fault.split("/")[-1].split(" ")[0] for fault in found.faults] == [
            "ledger.json",
            "plan.json",
            "splits.json",
        ]
        with open_views(found) as connection:
            for view in ("ledger", "budgets", "splits"):
                assert list(ask(connection, f"SELECT count(*) FROM {view}").rows()) == [(0,)]
            assert list(ask(connection, "SELECT name, share > 0 FROM charters").rows())[-1] == ("uniform", True)


@pytest.mark.parametrize("checked_bytes", [1 << 30, 0])
def test_damage_inside_a_file_is_found_by_its_checksum(
    checked_bytes: int, outcome: Outcome, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glance_module, "CHECKED_BYTES", checked_bytes)
    name = outcome.run.manifest.shards[0].name
    data = bytearray((copied / name).read_bytes())
    data[4:1000] = os.urandom(996)  # the first pages
    (copied / name).write_bytes(data)
    said: list[str] = []
    answer(str(copied), "SELECT max(text), max(id) FROM documents", "csv", tmp_path / "n.csv", say=said.append)
    assert len(said) == 1
    assert "checksum" in said[0]


def test_an_unfinished_run_and_no_run(outcome: Outcome, copied: Path, tmp_path: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest |= {"status": "running", "shards": [], "rejects": [], "weights": [], "scored": []}
    (copied / "manifest.json").write_text(json.dumps(manifest))
    for name in ["ledger.json", *(table.name for table in outcome.run.manifest.shards)]:
        (copied / name).unlink()
    found = survey(str(copied))
    assert len(found.faults) == 1
    assert "not finished (score" in found.faults[0]
    assert rows(str(copied), "SELECT count(*) FROM documents") == [(0,)]
    assert rows(str(copied), "SELECT count(*) FROM scores") == [(outcome.ledger.total("read"),)]
    (copied / "manifest.json").write_text("{}")
    assert "manifest.json is damaged" in survey(str(copied)).faults[0]
    assert rows(str(copied), "SELECT count(*) FROM scores") == [(outcome.ledger.total("read"),)]
    with pytest.raises(InputError, match="no run here"):
        survey(str(tmp_path))


def test_the_shell_answers_until_it_is_told_to_quit(run_folder: str) -> None:
    typed = io.StringIO(
        ".views\nselect 1 as one,\n 2 as two;\ncreate view v as select 3 as three;\nfrom v;\n.2\n.quit\nx;"
    )
    target, said = io.StringIO(), []
    assert converse(run_folder, typed, target, said.append) == 0
    assert "one  two\n  1    2\n" in target.getvalue()
    assert "three\n    3\n" in target.getvalue()
    assert "dedup.exact" in target.getvalue()
    assert said == []
    assert (
        converse(run_folder, io.StringIO("copy documents to 'x';\n.nonsense\nfrom nowhere;"), target, said.append) == 3
    )
    assert len(said) == 3


LISTENED = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from florilegium.pipelines.cli import main
main()
"""
HEAVY = {"apache_beam", "datatrove", "numba", "numpy", "pandas", "pyarrow", "scipy", "torch", "yaml"}


def test_on_the_command_line(run_folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTENED, "query", run_folder, "SELECT count(*) AS n FROM documents", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)[0]["n"] > 90
    *said, imported = done.stderr.splitlines()
    assert said == []
    assert {"duckdb", "typer"} <= set(imported.split())
    assert not HEAVY & set(imported.split())
    assert not {name for name in imported.split() if name.startswith("florilegium.schemas.")} - {
        "florilegium.schemas.dimensions",
        "florilegium.schemas.errors",
    }
    wrong = florilegium("query", run_folder, "SELECT nothing FROM documents")
    assert wrong.returncode == 2
    assert "nothing" in wrong.stderr
    assert "nanobind" not in wrong.stderr
    assert florilegium("query", "--examples").stdout.count("-- ") == 10
    views = florilegium("sql", run_folder)
    assert views.stdout.count("CREATE VIEW") == len(VIEWS)
    piped = subprocess.run(
        [sys.executable, "-m", "florilegium.pipelines", "shell", run_folder],
        input="from charters select name;",
        capture_output=True,
        text=True,
        check=True,
    )
    assert piped.stdout.split() == ["name", "care", "inquiry", "uniform"]


def test_reading_a_damaged_answer_says_so(outcome: Outcome, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = outcome.run.manifest.shards[0].name
    data = bytearray((copied / name).read_bytes())
    data[4:1000] = os.urandom(996)
    monkeypatch.setattr(glance_module, "CHECKED_BYTES", 0)
    (copied / name).write_bytes(data)
    said: list[str] = []
    with pytest.raises(RunError, match="validate"):
        answer(str(copied), "SELECT * FROM documents", "csv", say=said.append)
    assert "checksum" in said[0]
