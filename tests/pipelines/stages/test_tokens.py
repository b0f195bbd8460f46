import json
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from florilegium.pipelines.stages import Stage
from florilegium.pipelines.stages.tokens import FEATURES, Tokens
from florilegium.schemas.document import SCORED
from florilegium.schemas.errors import InputError, MissingExtraError
from florilegium.schemas.recipe import TokensOptions
from hypothesis import given
from hypothesis import strategies as st

Records = Callable[..., pa.RecordBatch]
stage = Tokens(TokensOptions())

# Language, text, and the tokens that SmolLM2's tokenizer makes of it
COUNTED = [
    (
        "en",
        "When the storm had passed, the whole street came out to clear the fallen trees. Nobody had asked them.",
        22,
    ),
    ("en", "Q: How do I reset it?\n\nA: Hold the button for 10 seconds (until the LED blinks), then release it.", 31),
    ("de", "Als der Sturm vorüber war, kamen alle Nachbarn heraus und räumten gemeinsam die Straße frei.", 37),
    ("fr", "Après l'orage, tout le quartier est sorti pour dégager la rue, sans que personne ne le demande.", 31),
    ("pl", "Po burzy cała ulica wyszła z domów, żeby usunąć powalone drzewa, choć nikt o to nie prosił.", 48),
    ("sw", "Baada ya dhoruba, majirani wote walitoka nje kusafisha barabara bila kuombwa na mtu yeyote.", 37),
    ("ru", "После бури вся улица вышла убирать упавшие деревья, хотя никто об этом не просил.", 67),
    ("el", "Μετά την καταιγίδα όλη η γειτονιά βγήκε να μαζέψει τα πεσμένα δέντρα.", 60),
    ("ar", "بعد العاصفة خرج أهل الشارع كلهم لإزالة الأشجار الساقطة.", 55),
    ("hi", "तूफ़ान के बाद पूरा मोहल्ला गिरे हुए पेड़ हटाने के लिए बाहर आया।", 75),
    ("zh", "暴风雨过后，整条街的人都出来清理倒下的树木，没有人要求他们这样做。", 58),
    ("ko", "폭풍이 지나간 뒤 온 동네 사람들이 나와 쓰러진 나무를 치웠다.", 70),
]


def counted(texts: list[str], languages: list[str | None], tokens: Tokens = stage) -> list[int]:
    batch = pa.RecordBatch.from_pydict({"text": texts, "language": pa.array(languages, pa.string())})
    return tokens.apply(batch)["tokens"].to_pylist()


@pytest.mark.parametrize(("language", "text", "exact"), COUNTED)
def test_estimates_are_near_the_tokenizer_they_were_fitted_to(language: str, text: str, exact: int) -> None:
    assert counted([text], [language]) == [pytest.approx(exact, rel=0.25)]
    assert counted([text * 20], [language]) == [pytest.approx(20 * exact, rel=0.25)]


def test_the_language_chooses_the_weights_of_ascii_words() -> None:
    english, other, romance, unknown = counted(["hello"] * 4, ["en", "de", "fr", None])
    # thousandths: 989 + 5 × 31; 237 + 5 × 413; 644 + 5 × 206
    assert (english, other, romance, unknown) == (1, 2, 2, 1)
    assert counted(["hello " * 100] * 4, ["en", "de", "fr", None]) == [114, 230, 167, 114]


def test_a_text_has_a_token_and_none_has_none(records: Records) -> None:
    batch = records(["", "a", " ", "."], error=["read.encoding", None, None, None])
    assert stage.apply(batch)["tokens"].to_pylist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0123456789" * 10, 107),  # 100 × 1065 + 721
        ("1 " * 100, 179),  # 100 × (1065 + 721): a single space is free
        ("-" * 100, 14),  # 100 × 139 + 585
        ("a\n\n" * 100, 138),  # 100 × (989 + 31 + 361): the second line end is free
        ("é" * 100, 131),
        ("ж" * 100, 99),
        ("漢" * 100, 184),
        ("😀" * 100, 245),
        ("ABCDEFGHIJ" * 10, 52),  # 989 + 100 × 31 + 99 × 479
    ],
    ids=lambda value: str(value)[:4],
)
def test_weights_add_up(text: str, expected: int) -> None:
    assert counted([text], ["en"]) == [expected]


@given(texts=st.lists(st.text(max_size=60), min_size=2, max_size=5))
def test_more_text_never_has_fewer_tokens(texts: list[str]) -> None:
    growing = ["".join(texts[:end]) for end in range(1, len(texts) + 1)]
    for language in ("en", "fr", "de"):
        tokens = counted(growing, [language] * len(growing))
        assert tokens == sorted(tokens)


def test_rows_are_independent(
    records: Records, check_rows_are_independent: Callable[[Stage, pa.RecordBatch], None]
) -> None:
    texts = [text for _, text, _ in COUNTED] + [""]
    languages = pa.array([language for language, _, _ in COUNTED] + [None], pa.string())
    check_rows_are_independent(stage, records(texts))
    batch = records(texts).append_column("language", languages)
    check_rows_are_independent(stage, batch)
    check_rows_are_independent(stage, batch.slice(3))


def test_types_are_those_of_the_schema(records: Records) -> None:
    assert stage.apply(records(["a"])).schema.field("tokens").type == SCORED.field("tokens").type
    assert len(FEATURES) == len(set(FEATURES)) < 256


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """A tokenizer of whole words."""
    path = tmp_path / "tokenizer.json"
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}
    path.write_text(json.dumps({"version": "1.0", "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": model}))
    return path


def test_a_tokenizer_counts_exactly(tokenizer_file: Path) -> None:
    pytest.importorskip("tokenizers", reason="the extra `tokenizers` is not installed")
    exact = Tokens(TokensOptions(tokenizer=str(tokenizer_file)))
    assert counted(["a b  c", "", " "], ["en"] * 3, exact) == [3, 0, 1]
    changed = tokenizer_file.with_name("other.json")
    changed.write_text(tokenizer_file.read_text().replace('"a": 1', '"b": 1'))
    identities = [Tokens(TokensOptions(tokenizer=str(path))).identity() for path in (tokenizer_file, changed)]
    assert identities[0] == exact.identity() != identities[1]
    assert identities[0] != stage.identity()


def test_a_missing_package_is_named_with_its_remedy(tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'florilegium\[tokenizers\]'"):
        Tokens(TokensOptions(tokenizer=str(tokenizer_file))).setup()


def test_a_bad_tokenizer_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="the extra `tokenizers` is not installed")
    path = tmp_path / "bad.json"
    path.write_text("{}")
    with pytest.raises(InputError, match=r"bad\.json"):
        Tokens(TokensOptions(tokenizer=str(path))).setup()
