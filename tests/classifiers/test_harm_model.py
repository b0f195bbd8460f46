"""The shipped harm models, on sentences that we wrote and on the sets' own test splits where they are here."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from florilegium.classifiers import load
from florilegium.classifiers.evaluate import evaluate, render_evaluation
from florilegium.classifiers.evidence import explain
from florilegium.classifiers.harm_model import HarmModel, check_harm_models
from florilegium.classifiers.student import MODELS
from florilegium.schemas.errors import InputError, ModelError
from florilegium.schemas.hashing import digest
from florilegium.schemas.taxonomy import HARMS

SETS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "labelled"
HATE = HARMS.index("hate")
TOXIC = {
    "harm-de": [
        "Diese Asylanten sind alle Verbrecher und gehören abgeschoben, das Pack!",
        "Die Muslime zerstören unser Land, raus mit dem Abschaum.",
    ],
    "harm-zh": ["黑人就是垃圾,滚出中国,看着就恶心。", "河南人没一个好东西,全是骗子小偷。"],
}
HARMLESS = {
    "harm-de": [
        "Den Teig eine Stunde gehen lassen, dann bei 200 Grad backen.",
        "Die Muslime der Gemeinde feierten mit ihren Nachbarn das Ende der Fastenzeit.",
        "Wer gegen Geflüchtete hetzt, hetzt gegen uns alle. Kein Platz für Hass in unserer Stadt.",
        "In der Schule nannten sie mich jeden Tag Schlampe, und kein Lehrer sagte ein Wort. Heute rede ich darüber.",
        "Der Angeklagte soll den Mann rassistisch beleidigt haben. Das Gericht verurteilte ihn zu einer Geldstrafe.",
        "Ich will nicht mehr leben und weiß nicht, wen ich anrufen soll.",
    ],
    "harm-zh": [
        "把面团放在温暖的地方发酵一个小时,再放进烤箱。",
        "我们班有三个非洲留学生,周末一起踢球。",
        "请大家不要再攻击农村来的同学了,他们和我们一样努力。",
        "公安机关对散布地域歧视言论的网民作出处罚。",
    ],
}


@pytest.fixture(scope="module", params=["harm-de", "harm-zh"])
def model(request: pytest.FixtureRequest) -> HarmModel:
    found = load(request.param)
    assert isinstance(found, HarmModel)
    return found


def test_enacted_harm_ranks_above_the_floor_and_its_like_below(model: HarmModel) -> None:
    assert (model.score(TOXIC[model.name]).toxic[:, HATE] > 0.5).all()
    harmless = model.score(HARMLESS[model.name])
    assert (harmless.toxic.max(axis=1) < 0.3).all()
    assert harmless.valid.all()


def test_only_what_the_sets_know_is_known(model: HarmModel) -> None:
    table = model.table([*TOXIC[model.name], " \n"])
    assert table["quality"].null_count == table["prosocial"].null_count == 3
    rows = table["harm"].to_pylist()
    assert rows[2] is None
    for row in rows[:2]:
        known = {f"{name}>=2" for name, kinds in row.items() if kinds["toxic"] is not None}
        assert known == set(model.known)
        assert all(kinds["topical"] is None for kinds in row.values())


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "\x00",
        "?!",
        "مرحبا بالعالم",
        "한국어 문장",
        "\U0001f600" * 5,
        "a" * 30_000,
        "字" * 9_000,
        "ß. " * 9_000,
    ],
)
def test_any_text_has_a_rank_or_none(model: HarmModel, text: str) -> None:
    scores = model.score([text])
    assert scores.valid[0] == bool(text.strip(" \n\t\x00"))
    assert np.isfinite(scores.toxic).all()
    assert (scores.toxic >= 0).all()
    assert (scores.toxic <= 1).all()
    if not scores.valid[0]:
        assert not scores.toxic.any()


def test_a_text_is_ranked_alike_in_any_company(model: HarmModel, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*HARMLESS[model.name], "", *TOXIC[model.name], "\n".join(HARMLESS[model.name] * 60)]
    whole = model.score(texts).toxic
    assert np.array_equal(whole, np.vstack([model.score([text]).toxic for text in texts]))
    assert np.array_equal(whole[3:], model.score(pa.array(texts).slice(3)).toxic)
    monkeypatch.setattr("florilegium.classifiers.harm_model.MOST_BYTES", 100)  # several pieces
    assert np.array_equal(whole, model.score(texts).toxic)


def test_saying_it_again_buys_nothing(model: HarmModel) -> None:
    sentence = TOXIC[model.name][0]
    once, often = model.score([sentence, " ".join([sentence] * 40)]).toxic[:, HATE]
    assert once == often


def test_the_worst_window_counts(model: HarmModel) -> None:
    quiet = "\n".join(f"{sentence} {number}" for number in range(40) for sentence in HARMLESS[model.name][:2])
    loud = "\n".join(f"{sentence} {number}" for number in range(12) for sentence in TOXIC[model.name])
    scores = model.score([quiet, f"{quiet}\n{loud}\n{quiet}"]).toxic[:, HATE]
    assert scores[0] < 0.3 < scores[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS / "harm-de", tmp_path / "copy"))


def rewrite(folder: Path, **changes: object) -> None:
    header = json.loads((folder / "model.json").read_text("utf-8")) | changes
    header.pop("digest")
    (folder / "model.json").write_text(json.dumps({**header, "digest": digest(header)}), "utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": "letters"}, "unknown units 'letters'"),
        ({"outputs": ["hate>=2"]}, "outputs, calibration and labels differ"),
        (
            {"calibration": [{"output": "hate>=2", "slope": 1, "intercept": 0}]},
            "outputs, calibration and labels differ",
        ),
        ({"kind": "student"}, "its outputs are not the taxonomy's"),
    ],
)
def test_a_foreign_model_is_refused(copy: Path, changes: dict[str, object], message: str) -> None:
    assert load(copy).name == "harm-de"
    rewrite(copy, **changes)
    with pytest.raises(ModelError, match=message):
        load(copy)


def test_a_slope_has_to_rise(copy: Path) -> None:
    entries = json.loads((copy / "model.json").read_text("utf-8"))["calibration"]
    rewrite(copy, calibration=[entry | {"slope": -1.0} for entry in entries])
    with pytest.raises(ModelError, match="slopes have to be numbers above 0"):
        load(copy)


def test_a_damaged_model_is_refused(copy: Path) -> None:
    payload = (copy / "model.ftz").read_bytes()
    (copy / "model.ftz").write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))
    for ask in (lambda: load(copy), lambda: check_harm_models("prosocial", [str(copy)])):
        with pytest.raises(ModelError, match=r"model\.ftz: does not match the digest"):
            ask()


def test_what_needs_more_than_ranks_says_so() -> None:
    with pytest.raises(InputError, match="harm-de: a harm model has no evidence"):
        explain(load("harm-de"), "Ein Satz.", "hate")
    with pytest.raises(ModelError, match="harm-de: knows harms alone"):
        check_harm_models("harm-de", [])
    assert check_harm_models("prosocial", ["harm-de"]) == [load("harm-de").digest]


def test_the_file_is_one_that_fasttext_loads(model: HarmModel) -> None:
    fasttext = pytest.importorskip("fasttext")
    loaded = fasttext.load_model(str(MODELS / model.name / "model.ftz"))
    assert {label.removeprefix("__label__") for label in loaded.get_labels()} == set(model.known)


@pytest.mark.skipif(not SETS.is_dir(), reason="needs the labelled sets beside the checkout")
@pytest.mark.parametrize(
    ("name", "file", "floors"),
    [
        ("harm-de", "germeval2018_de.parquet", {"hate>=2": (0.76, 0.53), "any>=2": (0.77, 0.64)}),
        ("harm-zh", "cold_zh.parquet", {"hate>=2": (0.85, 0.75)}),
    ],
)
def test_the_test_splits_of_the_sets(name: str, file: str, floors: dict[str, tuple[float, float]]) -> None:
    result = evaluate(load(name), [SETS / file], resamples=20)
    outputs = result["sets"][0]["outputs"]
    assert set(outputs) == set(floors)
    for output, (area, precision) in floors.items():
        assert outputs[output]["roc_auc"]["value"] >= area
        assert outputs[output]["average_precision"]["value"] >= precision
    assert "hate ≥ 2" in render_evaluation(result)
