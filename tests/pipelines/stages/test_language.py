import os
import subprocess
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from florilegium.pipelines.stages import Stage
from florilegium.pipelines.stages.language import INVISIBLE, Language
from florilegium.schemas.document import SCORED
from florilegium.schemas.errors import InputError, ModelError
from florilegium.schemas.recipe import LanguageOptions
from hypothesis import given
from hypothesis import strategies as st
from py3langid.langid import LanguageIdentifier

Records = Callable[..., pa.RecordBatch]

SENTENCES = {
    "en": "She thanked the neighbours who had carried water to the old people all summer long.",
    "de": "Am Abend saßen wir am Fluss, und jeder erzählte, was ihm an diesem Tag gelungen war.",
    "fr": "Elle a appris à écouter avant de répondre, et ses amis lui en sont reconnaissants.",
    "es": "Los vecinos arreglaron juntos el puente para que los niños pudieran llegar a la escuela.",
    "it": "Mia nonna diceva che il pane si divide sempre con chi arriva tardi alla tavola.",
    "pt": "Não sabíamos o caminho, mas um pescador parou o barco e nos levou até a aldeia.",
    "nl": "Het meisje hielp haar broertje met rekenen, hoewel ze zelf nog veel huiswerk had.",
    "pl": "Kiedy przyszła zima, sąsiedzi przynieśli drewno i nikt we wsi nie musiał marznąć.",
    "fi": "Vanha opettaja kirjoitti jokaiselle oppilaalle kirjeen, jossa hän kiitti heitä.",
    "tr": "Köydeki kadınlar birlikte bir bahçe kurdular ve sebzeleri komşularıyla paylaştılar.",
    "ru": "Мы долго спорили, но в конце концов поняли друг друга и вместе починили крышу.",
    "el": "Ο γιατρός έμεινε όλη τη νύχτα δίπλα στον άρρωστο και δεν ζήτησε τίποτα.",
    "ar": "جلس الأصدقاء حول النار وتحدثوا عن أحلامهم حتى طلع الفجر.",
    "hi": "बच्चों ने मिलकर पेड़ लगाए और हर दिन उन्हें पानी देने का वचन दिया।",
    "zh": "邻居们一起修好了村口的小桥，孩子们又可以走路去上学了。",
    "ja": "おばあさんは毎朝、庭の花に水をやりながら近所の人に声をかけます。",
    "ko": "마을 사람들은 서로 도와 가며 무너진 담을 다시 쌓았다.",
}


@pytest.fixture(scope="module")
def stage() -> Language:
    language = Language(LanguageOptions())
    language.setup()
    return language


@pytest.fixture(scope="module")
def outspoken() -> Language:
    """One that names a language however little there is to tell it by."""
    language = Language(LanguageOptions(min_confidence=0))
    language.setup()
    return language


@pytest.fixture(scope="module")
def reference() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file("data/model.npz.xz", norm_probs=True)


def assert_equal(stage: Language, reference: LanguageIdentifier, batch: pa.RecordBatch) -> None:
    result = stage.apply(batch)
    for text, label, confidence in zip(
        batch["text"].to_pylist(),
        result["language"].to_pylist(),
        result["language_confidence"].to_pylist(),
        strict=True,
    ):
        visible = "".join(character for character in text if ord(character) not in INVISIBLE)
        if any(map(str.isalpha, visible)):
            expected, probability = reference.classify(visible)
            assert label == expected, text
            assert confidence == pytest.approx(probability, abs=1e-3), text
        else:
            assert (label, confidence) == (None, None), text


def test_sentences_are_recognised(stage: Language, records: Records) -> None:
    result = stage.apply(records(list(SENTENCES.values())))
    assert result["language"].to_pylist() == list(SENTENCES)
    assert min(result["language_confidence"].to_pylist()) > 0.5


def test_results_are_those_of_py3langid(outspoken: Language, reference: LanguageIdentifier, records: Records) -> None:
    texts = list(SENTENCES.values())
    texts += [text.upper() for text in texts] + [text[:9] for text in texts] + [" ".join(texts[:8])]
    texts += ["1 2 3", "?", "😀", "ǅ", "AAA", "ДОМ", "the", "THE END", "x" * 500, "the the the " * 40]
    assert_equal(outspoken, reference, records([unicodedata.normalize("NFC", text) for text in texts]))


@given(
    texts=st.lists(
        st.one_of(
            st.text(min_size=1, max_size=80),
            st.lists(st.sampled_from(" ".join(SENTENCES.values()).split()), min_size=1, max_size=60).map(" ".join),
        ).map(lambda text: unicodedata.normalize("NFC", text)),
        min_size=1,
        max_size=4,
    )
)
def test_random_text_gives_what_py3langid_gives(
    outspoken: Language, reference: LanguageIdentifier, records: Records, texts: list[str]
) -> None:
    assert_equal(outspoken, reference, records(texts))


def test_only_the_first_bytes_count_and_no_character_is_cut(
    reference: LanguageIdentifier, stage: Language, records: Records
) -> None:
    short = Language(LanguageOptions(max_bytes=65))
    text = SENTENCES["ru"] + " " + SENTENCES["en"] * 20
    prefix = text.encode()[:65].decode("utf-8", "ignore")
    assert len(prefix.encode()) == 64  # the 65th byte begins a character
    label, probability = reference.classify(prefix)
    for tail in ("", " and more"):
        result = short.apply(records([text + tail]))
        assert result["language"].to_pylist() == [label] == ["ru"]
        assert result["language_confidence"][0].as_py() == pytest.approx(probability, abs=1e-3)
    assert short.identity() != stage.identity()


def test_rows_without_text_have_no_language(stage: Language, records: Records) -> None:
    result = stage.apply(records(["", SENTENCES["de"]], error=["read.encoding", None]))
    assert result["language"].to_pylist() == [None, "de"]
    assert result["language_confidence"][0].as_py() is None


def test_a_given_language_stays(stage: Language, records: Records) -> None:
    batch = records([SENTENCES["de"], SENTENCES["de"], ""])
    result = stage.apply(batch.append_column("language", pa.array(["gsw", None, "gsw"], pa.string())))
    assert result["language"].to_pylist() == ["gsw", "de", "gsw"]
    assert result["language_confidence"].to_pylist()[::2] == [1.0, 1.0]


def test_where_there_is_little_to_tell_by_the_page_has_the_word(
    stage: Language, outspoken: Language, records: Records
) -> None:
    robots = "User-agent: *\nDisallow: /"
    batch = records([robots, robots, "7", SENTENCES["de"]], language_hint=[None, "en", "en", "en"])
    guessed = outspoken.apply(batch)
    assert guessed["language"].to_pylist() == ["kab", "kab", None, "de"]
    little = guessed["language_confidence"][1].as_py()
    assert little < 0.2
    result = stage.apply(batch)
    assert result["language"].to_pylist() == [None, "en", None, "de"]
    assert result["language_confidence"].to_pylist()[:3] == [None, pytest.approx(little), None]
    assert stage.identity() != outspoken.identity()


def test_confidences_lie_on_the_grid(stage: Language, records: Records) -> None:
    for value in stage.apply(records(list(SENTENCES.values())))["language_confidence"].to_pylist():
        assert value * 1000 == pytest.approx(round(value * 1000), abs=1e-3)


def test_rows_are_independent(
    stage: Language, records: Records, check_rows_are_independent: Callable[[Stage, pa.RecordBatch], None]
) -> None:
    texts = [*SENTENCES.values(), "", "STOP IT NOW", "7", SENTENCES["en"] * 60]
    check_rows_are_independent(stage, records(texts))
    check_rows_are_independent(stage, records(["out", *texts]).slice(1))


def test_types_are_those_of_the_schema(stage: Language, records: Records) -> None:
    result = stage.apply(records(["a", ""]))
    for name in ("language", "language_confidence"):
        assert result.schema.field(name).type == SCORED.field(name).type


def hidden(text: str) -> str:
    """The text with an invisible character after each letter."""
    return "".join(letter + chr(INVISIBLE[place % len(INVISIBLE)]) for place, letter in enumerate(text))


def test_invisible_characters_change_nothing(stage: Language, records: Records) -> None:
    texts = list(SENTENCES.values())
    plain = stage.apply(records(texts)).select(["language", "language_confidence"])
    for change in (hidden, lambda text: hidden(text.upper()) if text.upper() != text else hidden(text)):
        assert stage.apply(records(list(map(change, texts))))["language"].to_pylist() == plain["language"].to_pylist()
    assert stage.apply(records(list(map(hidden, texts)))).select(plain.schema.names).equals(plain)


def test_text_without_letters_has_no_language(stage: Language, records: Records) -> None:
    texts = ["3.14 42 1,000,000", "?!… --- ***", "😀🎉" * 300, "❤️", "\u200b\u2060", "\u200d", "→ ∑ ≠ 7", "\u0301"]
    result = stage.apply(records(texts))
    assert result["language"].to_pylist() == result["language_confidence"].to_pylist() == [None] * len(texts)


@pytest.mark.parametrize(
    "text",
    [
        "Тhе bеst оffеr оf thе уеаr, сliсk hеrе nоw аnd wіn а рrіzе tоdау",  # Cyrillic look-alikes
        "".join(letter + "\u0335\u0336" for letter in SENTENCES["en"]),
        "h3ll0 my fr13nd5 h0w 4r3 y0u t0d4y",
        "x" * 1_000_000,
        "for (int i = 0; i < n; i++) { sum += a[i] * b[i]; }",
        "https://example.org/a/b?c=d&e=f",
        "😀😀😀 ok 1234",
    ],
)
def test_what_is_no_plain_language_has_a_low_confidence(outspoken: Language, records: Records, text: str) -> None:
    assert outspoken.apply(records([text]))["language_confidence"][0].as_py() < 0.5


DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "text"
BOOKS = {"arm": "hy", "baq": "eu"}  # languages of bible_nt that the model knows
UNKNOWN = ("rn", "ti")  # languages of masakhanews that it does not


@pytest.mark.parametrize("characters", [200, 1000])
def test_accuracy_on_sixteen_languages(stage: Language, records: Records, characters: int) -> None:
    if not DATA.is_dir():
        pytest.skip("no real texts beside the checkout: shared/data/text")
    texts: dict[str, list[str]] = defaultdict(list)
    for name in ("masakhanews", "bible_nt"):
        table = pq.read_table(DATA / f"{name}.parquet", columns=["language", "text"])
        for label, text in zip(table["language"].to_pylist(), table["text"].to_pylist(), strict=True):
            text = unicodedata.normalize("NFC", text)
            label = BOOKS.get(label) if name == "bible_nt" else label
            pieces = [text] if name == "masakhanews" else [text[k:] for k in range(0, len(text), 2000)]
            if label and label not in UNKNOWN:
                texts[label] += [piece[:characters] for piece in pieces if len(piece) >= characters]
    shares = []
    for label, examples in texts.items():
        found = stage.apply(records(examples[:200]))["language"].to_pylist()
        shares.append(found.count(label) / len(found))
    assert len(shares) == 16
    assert sum(shares) / len(shares) >= 0.98


TRAINER = """
import sys, fasttext
model = fasttext.train_supervised(sys.argv[1], thread=1, dim=16, minn=1, maxn=3, bucket=30000, minCount=1, epoch=30,
                                  lr=0.3, verbose=0)
model.save_model(sys.argv[2])
"""
LINES = {
    "eng": ["the bread is on the table", "where did the children go", "we thanked them for the soup"],
    "fra": ["le pain est sur la table", "où sont allés les enfants", "nous les avons remerciés pour la soupe"],
    "ell_Grek": ["το ψωμί είναι στο τραπέζι", "πού πήγαν τα παιδιά", "τους ευχαριστήσαμε για τη σούπα"],
}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fastText model of three languages."""
    folder = tmp_path_factory.mktemp("fasttext")
    lines = [f"__label__{label} {line}" for label, examples in LINES.items() for line in examples * 20]
    (folder / "train.txt").write_text("\n".join(lines) + "\n", "utf-8")
    # The trainer reads memory that it has not written; fresh pages are zero.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", TRAINER, folder / "train.txt", folder / "model.bin"]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return folder / "model.bin"


def test_a_fasttext_file(
    model_file: Path, records: Records, check_rows_are_independent: Callable[[Stage, pa.RecordBatch], None]
) -> None:
    other = Language(LanguageOptions(model=str(model_file)))
    texts = [
        "the children thanked us\nfor the bread",
        "nous sommes\n\nsur la table",
        "τα παιδιά είναι στο τραπέζι",
    ]
    result = other.apply(records([*texts, "", "12 + 30", hidden(texts[0])]))
    assert result["language"].to_pylist() == ["eng", "fra", "ell_Grek", None, None, "eng"]
    confidence = result["language_confidence"].to_pylist()
    assert confidence[3] is confidence[4] is None
    assert confidence[0] == confidence[5]
    assert all(0.5 < value <= 1 for value in confidence[:3])
    assert result.schema.field("language_confidence").type == SCORED.field("language_confidence").type
    check_rows_are_independent(other, records([*texts, "7", "", "the", "𝕏" * 900]))


def test_a_fasttext_file_counts_by_its_content(model_file: Path, tmp_path: Path, stage: Language) -> None:
    copy = tmp_path / "other.ftz"
    copy.write_bytes(model_file.read_bytes())
    first = Language(LanguageOptions(model=str(model_file))).identity()
    assert Language(LanguageOptions(model=str(copy))).identity() == first
    assert first["model"] != stage.identity()["model"]


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    missing = Language(LanguageOptions(model=str(tmp_path / "none.bin")))
    with pytest.raises(InputError, match=r"none\.bin"):
        missing.identity()
    (tmp_path / "text.bin").write_text("no model")
    with pytest.raises(ModelError, match=r"text\.bin is no fastText classifier"):
        Language(LanguageOptions(model=str(tmp_path / "text.bin"))).setup()
