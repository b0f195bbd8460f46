"""The report: right figures, hostile words made harmless, valid for machines, honest about damage."""

import html
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.fairness import Pair
from florilegium.pipelines.inspection.harmless import cell, line, visible
from florilegium.pipelines.inspection.report import charts
from florilegium.pipelines.inspection.report.datasheet import render_card
from florilegium.pipelines.inspection.report.figures import EXAMPLE_CHARACTERS, Example, Figures, collect
from florilegium.pipelines.inspection.report.page import render_page
from florilegium.pipelines.inspection.report.write import FILES, write_report
from florilegium.pipelines.inspection.survey import survey
from florilegium.pipelines.phases import Outcome
from florilegium.pipelines.reweigh import reweigh
from florilegium.schemas.taxonomy import PROSOCIAL

from tests.pipelines.inspection.conftest import HOSTILE
from tests.pipelines.test_cli import florilegium

BROWSER = Path(__file__).parents[2] / "browser"


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


def hostile_figures(figures: Figures) -> Figures:
    """The figures with every hostile text where data may speak: examples, domains, licences, reasons."""
    figures.examples = [
        Example(name, text, (text,), text if number % 2 else "") for number, (name, text) in enumerate(HOSTILE.items())
    ]
    figures.examples.append(Example("long", "x" * EXAMPLE_CHARACTERS, ()))
    for text in HOSTILE.values():
        figures.domains[text] = figures.whole
        figures.languages[text] = figures.whole
        figures.licenses[text] = 1
        figures.reasons[text] = 1
        figures.skipped[text] = 1
    return figures


@pytest.fixture(scope="module")
def hostile_page(run_folder: str) -> str:
    found = survey(run_folder)
    return render_page(found, hostile_figures(collect(found)))


def test_figures_are_those_of_the_shards(outcome: Outcome, run_folder: str) -> None:
    names = [outcome.run.folder.address(table.name) for table in outcome.run.manifest.shards]
    shards = pa.concat_tables(pq.read_table(name, partitioning=None) for name in names)
    figures = collect(survey(run_folder))
    assert figures.faults == []
    tokens, weight = shards["tokens"].to_numpy(), shards["weight"].to_numpy()
    unweighted = outcome.ledger.total("unweighted")
    assert figures.whole.documents == shards.num_rows + unweighted
    assert figures.whole.weighted == pytest.approx((tokens * weight).sum())
    compassion = np.array([row["compassion"] for row in shards["prosocial"].to_pylist()])
    after = figures.whole.after[PROSOCIAL.index("compassion")]
    assert after == pytest.approx((tokens * weight * compassion).sum() / (tokens * weight).sum())
    assert sum(group.documents for group in figures.domains.values()) == figures.whole.documents
    assert sum(documents for documents, _ in figures.weights.values()) == shards.num_rows
    assert figures.upweighted == int((weight > 1).sum())
    assert sum(figures.clusters.values()) == int((shards["cluster_size"].to_numpy() > 1).sum())
    assert figures.examples


def test_documents_that_must_not_be_shown_are_not(run_folder: str) -> None:
    found = survey(run_folder)
    for why in {example.why for example in collect(found).examples}:
        assert why
    notes = [note for example in collect(found).examples for note in example.notes]
    assert not [note for note in notes if "takedown." in note or "license." in note]


def test_nothing_in_a_page_can_act(hostile_page: str) -> None:
    page = Page(hostile_page)
    assert not page.tags & {"script", "iframe", "object", "embed", "link", "form", "base", "img", "image", "video"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    targets = [value or "" for name, value in page.attributes if name in ("href", "src", "xlink:href", "action")]
    assert all(target.startswith("#") for target in targets)
    assert "default-src 'none'" in hostile_page
    assert hostile_page.replace("\n", "").replace("\t", "").isprintable()
    for text in HOSTILE.values():
        assert html.escape(visible(text)).split("\n")[0][:20] in hostile_page.replace("&#34;", "&quot;").replace(
            "&#39;", "&#x27;"
        )
    assert "<script>alert" not in hostile_page


def test_a_page_is_one_file_in_two_colours(hostile_page: str) -> None:
    assert "prefers-color-scheme: dark" in hostile_page
    assert "@media print" in hostile_page
    assert not re.findall(
        r"(?:https?:)?//(?!www\.w3\.org/)[a-z0-9.-]+\.[a-z]{2,}/[^<\s]*\.(?:js|css|woff2?)", hostile_page
    )
    assert not re.findall(r"url\((?!#)", hostile_page)
    charts_only = "".join(re.findall(r"<svg.*?</svg>", hostile_page, re.DOTALL))
    assert charts_only.count("<svg") >= 8
    assert not re.findall(r"(?:fill|stroke): #", charts_only)


def test_a_card_is_markdown_that_shows_and_does_not_act(run_folder: str) -> None:
    found = survey(run_folder)
    card = render_card(found, hostile_figures(collect(found)))
    header, body = card.removeprefix("---\n").split("\n---\n", 1)
    values = yaml.safe_load(header)
    assert values["configs"][0]["data_files"] == [{"split": "train", "path": "shards/*.parquet"}]
    assert set(values["language"]) == {"en"}
    assert "<script" not in body.replace("\\<script", "")
    assert not [
        row for row in body.splitlines() if row.startswith("# ") and "quickstart" not in row and "forum" not in row
    ]
    tables = [row for row in body.splitlines() if row.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) in (3, 4, 5) for row in tables)


def test_croissant_is_valid_and_reads_the_shards(outcome: Outcome, copied: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    write_report(str(copied))
    dataset = mlcroissant.Dataset(jsonld=str(copied / "report" / "croissant.json"))
    assert not dataset.metadata.issues.errors
    table = outcome.run.manifest.shards[0]
    rows = list(dataset.records("records-00000"))
    shard = pq.read_table(copied / table.name, partitioning=None).to_pylist()
    assert [row["records-00000/id"].decode() for row in rows] == [row["id"] for row in shard]
    assert [row["records-00000/hate_toxic"] for row in rows] == [row["harm"]["hate"]["toxic"] for row in shard]
    assert [row["records-00000/weight"] for row in rows] == [row["weight"] for row in shard]


def test_a_comparison_of_two_runs(run_folder: str, tmp_path: Path) -> None:
    other = str(tmp_path / "uniform")
    reweigh(run_folder, "uniform=1", other, (), load_engine("local", 1))
    folder, faults = write_report(run_folder, other, str(tmp_path / "report"))
    assert faults == []
    page = folder.read_bytes("index.html").decode()
    assert "Against <bdi>uniform</bdi>" in page
    assert "Both runs read the same inputs" in page


def test_a_damaged_run_is_reported_as_far_as_it_is_whole(outcome: Outcome, copied: Path) -> None:
    (copied / outcome.run.manifest.shards[0].name).write_bytes(b"PAR1 nothing")
    (copied / "ledger.json").unlink()
    (copied / "weights" / "plan.json").write_text("{")
    done = florilegium("report", str(copied))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("florilegium: ") == 4  # pairs are not compared either
    page = (copied / "report" / "index.html").read_text()
    assert page.count('class="fault"') == 3
    assert "ledger.json is missing" in page
    assert "What helps, and what harms" in page
    assert "Who got what" not in page


def test_an_unfinished_run_is_reported(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest |= {"status": "running", "shards": [], "rejects": [], "weights": [], "scored": []}
    (copied / "manifest.json").write_text(json.dumps(manifest))
    for folder in ("shards", "rejects", "weights"):
        shutil.rmtree(copied / folder)
    (copied / "ledger.json").unlink()
    _, faults = write_report(str(copied))
    assert "not finished" in faults[0]
    assert "not finished" in (copied / "report" / "index.html").read_text()


def test_a_report_changes_nothing_else_and_compares_the_shipped_pairs(run_folder: str, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(run_folder).rglob("*")}
    folder, faults = write_report(run_folder, output=str(tmp_path / "report"))
    assert faults == []
    assert {path: path.stat().st_mtime_ns for path in Path(run_folder).rglob("*")} == before
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(FILES)
    again, _ = write_report(run_folder, output=str(tmp_path / "again"))
    assert all(folder.read_bytes(name) == again.read_bytes(name) for name in FILES)
    page = folder.read_bytes("index.html").decode()
    assert "dialect scots" in page
    assert "identity" in page


def test_fairness_is_shown_where_it_was_measured(run_folder: str, hostile_page: str) -> None:
    class Fared:
        pairs, left, right, ratio, interval, verdict = 12, 1.0, 1.5, 0.667, (0.512, 0.848), "apart"
        without: ClassVar = {"differing scores of compassion": 0.95}

    found = survey(run_folder)
    figures = collect(found)
    page = render_page(found, figures, fairness={"dialect": Fared()})
    assert all(text in page for text in ("0.67", "0.51 to 0.85", "apart", "differing scores of compassion"))
    assert "do not assume it" in hostile_page


def test_pairs_of_a_users_own_are_compared_alone(run_folder: str, tmp_path: Path) -> None:
    own = [Pair("mine", "Thank you for your help.", "Thank you for your help.")]
    folder, _ = write_report(run_folder, output=str(tmp_path / "own"), pairs=own)
    page = folder.read_bytes("index.html").decode()
    assert "mine" in page
    assert "dialect scots" not in page


@pytest.mark.parametrize("name", list(HOSTILE))
def test_charts_take_any_label(name: str) -> None:
    text = HOSTILE[name]
    for chart in (
        charts.dumbbells([(text, 0.1, 0.2), ("", 0, 0)], text),
        charts.shares([(text, 0.0, 0.0)], text),
        charts.heat([text], [text], [[0.0]], text),
        charts.bars([(text, 0.0)], text),
        charts.curves([(text, np.array([0.0, 1.0]), np.array([2.0]))], text, 4),
        charts.flow({"read": 0}),
    ):
        page = Page(chart)
        assert not page.tags - {"svg", "g", "defs", "path", "text", "clippath", "rect", "use", "tspan"}
        assert chart.replace("\n", "").isprintable()


def test_words_are_made_visible() -> None:
    assert visible("a\x1b[2J\u202e\x7f\n\tb") == "a␛[2J⟨U+202E⟩␡\n\tb"
    assert visible("\ud800 żółw 漢字 🐢") == "⟨U+D800⟩ żółw 漢字 🐢"
    assert line("a\nb\tc", 3) == "a⏎…"
    assert cell(" =1") == "' =1"
    assert cell("a=1") == "a=1"
    assert len(line("x" * 10_000_000, 80)) == 80


def test_in_a_browser_nothing_runs_and_nothing_overflows(hostile_page: str, tmp_path: Path) -> None:
    """Needs Chromium and `playwright-core`; NODE_PATH or node_modules in tests/browser says where the latter is."""
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium")
    packages = Path(os.environ.get("NODE_PATH") or BROWSER / "node_modules")
    if not browser or not shutil.which("node") or not (packages / "playwright-core").is_dir():
        pytest.skip("no Chromium with playwright-core here; tests/browser/README.md says how to get them")
    (tmp_path / "node_modules").symlink_to(packages)
    shutil.copy(BROWSER / "report.mjs", tmp_path)
    (tmp_path / "index.html").write_text(hostile_page)
    command = ["node", "report.mjs", "index.html", "."]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"CHROMIUM": browser}, capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout) == [], done.stderr
    assert (tmp_path / "dark-phone.png").stat().st_size > 10_000
