import unicodedata
from collections.abc import Callable

import pyarrow as pa
import pytest
from florilegium.pipelines.stages import Stage
from florilegium.pipelines.stages.language import Language
from florilegium.schemas.document import SCORED
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
        expected, probability = reference.classify(text)
        assert label == expected, text
        assert confidence == pytest.approx(probability, abs=1e-3), text


def test_sentences_are_recognised(stage: Language, records: Records) -> None:
    result = stage.apply(records(list(SENTENCES.values())))
    assert result["language"].to_pylist() == list(SENTENCES)
    assert min(result["language_confidence"].to_pylist()) > 0.5


def test_results_are_those_of_py3langid(stage: Language, reference: LanguageIdentifier, records: Records) -> None:
    texts = list(SENTENCES.values())
    texts += [text.upper() for text in texts] + [text[:9] for text in texts] + [" ".join(texts[:8])]
    texts += ["1 2 3", "?", "😀", "ǅ", "AAA", "ДОМ", "the", "THE END", "x" * 500, "the the the " * 40]
    assert_equal(stage, reference, records([unicodedata.normalize("NFC", text) for text in texts]))


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
    stage: Language, reference: LanguageIdentifier, records: Records, texts: list[str]
) -> None:
    assert_equal(stage, reference, records(texts))


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
