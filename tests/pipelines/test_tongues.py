"""German and Chinese documents in a run: the harm floor reads them, charters do not, and the ledger balances."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.inspection.report.figures import _veil
from florilegium.pipelines.phases import Outcome, execute
from florilegium.pipelines.plan import plan_run
from florilegium.pipelines.recipes import load_recipe
from florilegium.pipelines.score_files import score_files
from florilegium.pipelines.validation import validate
from florilegium.pipelines.why import explain, in_words
from florilegium.schemas.errors import ModelError

DOCUMENTS = {
    "bread": "Den Teig lässt man über Nacht ruhen. Am Morgen formt man daraus zwei Brote, schneidet sie ein und backt "
    "sie im heißen Ofen, bis die Kruste dunkel ist und das Brot hohl klingt.",
    "council": "Der Gemeinderat hat gestern lange über den neuen Radweg gestritten. Am Ende stimmten neun Mitglieder "
    "dafür und sechs dagegen. Gebaut wird ab dem Frühjahr, sobald der Boden nicht mehr gefroren ist.",
    "neighbours": "Unsere Nachbarn sind Muslime aus Syrien, und seit sie hier wohnen, kochen wir jeden Freitag. "
    "Die Kinder lernen voneinander, und ich habe endlich verstanden, wie man Auberginen richtig brät.",
    "hate": "Dieses Pack von Asylanten gehört sofort abgeschoben, das sind alles Verbrecher und Vergewaltiger. Diese "
    "Drecksmuslime zerstören unser Land, und die Volksverräter in Berlin schauen zu. Raus mit dem Abschaum!",
    "面包": "把面团放在温暖的地方发酵一个小时,然后分成两份,揉圆,放进烤箱烤四十分钟。"
    "烤好以后不要马上切开,等它凉一点再吃,味道会更好。",
    "足球": "我们班有三个从非洲来的留学生,周末大家一起踢球。他们踢得很好,也很愿意教我们。"
    "踢完球以后,我们常常一起去食堂吃饭,聊聊各自的家乡。",
    "仇恨": "黑人就是垃圾,滚出中国,看着就恶心。这些黑鬼又懒又脏,一个好东西都没有,"
    "来了就会祸害我们的社会,全部赶出去才好!",
    "english": "We measured the water every week and wrote down what we found. My neighbour lent us his saw, and in "
    "return we helped him with the fence before the rain came.",
    "français": "Le pain repose toute la nuit. Au matin, on forme deux boules, on les entaille et on les cuit dans un "
    "four très chaud jusqu'à ce que la croûte soit bien brune et sonne creux.",
}
RANKED = {"bread", "council", "neighbours", "hate", "面包", "足球", "仇恨"}


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tongues")
    lines = [json.dumps({"id": name, "text": text}, ensure_ascii=False) for name, text in DOCUMENTS.items()]
    (folder / "posts.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def run(posts: Path, name: str, *more: str, engine: str = "local") -> Outcome:
    settings = [f"inputs.posts.paths=[{posts}/posts.jsonl]", "inputs.posts.fields={text: text}"]
    settings += ["weighing.domain_column=source", "weighing.unscored=neutral", "policy.languages=null"]
    settings += ["policy.min_language_confidence=null", "policy.min_words=5", "policy.max_toxic={hate: 0.3}", *more]
    return execute(plan_run(load_recipe("forum", settings)), str(posts / name), load_engine(engine, 1))


@pytest.fixture(scope="module")
def finished(posts: Path) -> Outcome:
    return run(posts, "run")


def test_the_floor_rejects_what_enacts_hate_and_keeps_the_rest(finished: Outcome) -> None:
    assert finished.ledger.imbalances() == {}
    assert finished.ledger.reasons["classify.toxic.hate"] == {"posts": 2}
    shards = [row for path in _files(finished, "shards") for row in pq.read_table(path).to_pylist()]
    rejects = {row["source_id"]: row for path in _files(finished, "rejects") for row in pq.read_table(path).to_pylist()}
    assert {name for name in rejects if "classify.toxic.hate" in rejects[name]["reasons"]} == {"hate", "仇恨"}
    kept = {row["source_id"]: row for row in shards}
    assert {name for name in kept if name in RANKED} == RANKED - {"hate", "仇恨"}
    for name in RANKED - {"hate", "仇恨"}:
        row = kept[name]
        assert (row["quality"], row["prosocial"], row["weight"]) == (None, None, 1.0)
        assert row["harm"]["hate"]["toxic"] < 0.3
        assert "weighing.unscored" in row["flags"]
    assert kept["français"]["harm"] is None
    assert kept["english"]["quality"] is not None
    assert [check.name for check in validate(finished.run.folder.url) if check.faults] == []


def test_switched_off_they_are_null_and_stay(posts: Path) -> None:
    outcome = run(posts, "off", "stages.classify.harm=[]")
    assert "classify.toxic.hate" not in outcome.ledger.reasons
    rows = [row for path in _files(outcome, "shards") for row in pq.read_table(path).to_pylist()]
    assert {row["source_id"] for row in rows if row["harm"] is None} >= RANKED


def test_both_engines_write_the_same(posts: Path, finished: Outcome) -> None:
    other = run(posts, "beam", engine="beam")
    manifests = [outcome.run.manifest for outcome in (finished, other)]
    sums = [[table.sha256 for table in [*manifest.shards, *manifest.rejects]] for manifest in manifests]
    assert sums[0] == sums[1]


def test_why_tells_ranks_from_scores(finished: Outcome) -> None:
    rejected = explain(finished.run.folder.url, "hate")
    assert set(rejected.ranks) == {"hate", "harassment"}
    assert (rejected.quality, rejected.harm) == (None, {})
    words = "\n".join(in_words(rejected))
    assert "classify.toxic.hate" in words
    assert f"Ranks     toxic, uncalibrated: hate {rejected.ranks['hate']:.3f} · harassment" in words
    assert "· by harm-de@" in words
    kept = "\n".join(in_words(explain(finished.run.folder.url, "bread")))
    assert "Its language has ranks of a few harms and no scores, so no charter judges it" in kept
    assert "Its language has no scores" in "\n".join(in_words(explain(finished.run.folder.url, "français")))


def test_a_report_veils_what_is_known(finished: Outcome) -> None:
    rows = {row["source_id"]: row for path in _files(finished, "rejects") for row in pq.read_table(path).to_pylist()}
    assert _veil(rows["hate"]["harm"], True).startswith("may enact hate (")
    assert _veil({"hate": {"topical": None, "toxic": 0.01}}, False) == ""


def test_a_wrong_list_ends_the_run_before_it_begins(posts: Path) -> None:
    with pytest.raises(ModelError, match="harm-de and harm-de both read 'de'"):
        run(posts, "twice", "stages.classify.harm=[harm-de, harm-de]")


def test_files_are_scored_alike(posts: Path, finished: Outcome) -> None:
    assert score_files([f"{posts}/posts.jsonl"], posts / "scores.parquet") == len(DOCUMENTS)
    rows = {row["source_id"]: row for row in pq.read_table(posts / "scores.parquet").to_pylist()}
    assert {name for name, row in rows.items() if (row["scored_by"] or "").startswith("harm-")} == RANKED
    score_files([f"{posts}/posts.jsonl"], posts / "none.parquet", harm=[])
    assert pq.read_table(posts / "none.parquet")["harm"].null_count == len(RANKED) + 1


def _files(outcome: Outcome, kind: str) -> list[str]:
    manifest = outcome.run.manifest
    return [f"{outcome.run.folder.url}/{table.name}" for table in getattr(manifest, kind)]
