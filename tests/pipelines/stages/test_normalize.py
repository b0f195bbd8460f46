import re
import unicodedata
from collections.abc import Callable

import pyarrow as pa
import pytest
from florilegium.pipelines.stages import Stage
from florilegium.pipelines.stages.normalize import Normalize
from florilegium.schemas.document import SCORED
from florilegium.schemas.hashing import document_id, raw_hash
from florilegium.schemas.recipe import NormalizeOptions
from hypothesis import given
from hypothesis import strategies as st

Records = Callable[..., pa.RecordBatch]
stage = Normalize(NormalizeOptions())

# Characters that the stage treats specially, among some that it leaves alone
TEXT = st.text(
    st.one_of(
        st.sampled_from(
            "aB \t\n\r\v\f\0\x1f\x7f\x85\xa0\xad\u2028\u2029\u3000\ufeff\ufdd0\U0001ffffé\u0301\u0323e한ᄒ"
        ),
        st.characters(codec="utf-8"),
    ),
    max_size=40,
)


def reference(text: str) -> str:
    """The definition, step by step."""
    text = re.sub("\r\n|[\r\v\f\x85\u2028\u2029]", "\n", text)
    text = "".join(
        character
        for character in text
        if character in "\n\t"
        or not (
            unicodedata.category(character) == "Cc"
            or character in "\ufeff\xad"
            or 0xFDD0 <= ord(character) <= 0xFDEF
            or ord(character) & 0xFFFE == 0xFFFE
        )
    )
    text = unicodedata.normalize("NFC", text)
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub("\n{3,}", "\n\n", text).strip()


def cleaned(records: Records, *texts: str) -> list[str]:
    return stage.apply(records(texts))["text"].to_pylist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a\r\nb\rc\x0bd\x0ce\u2028f\u2029g\x85h", "a\nb\nc\nd\ne\nf\ng\nh"),
        ("  lead and trail \t\n\n", "lead and trail"),
        ("a  \n\t\n \n\n\n  b", "a\n\n  b"),
        ("a b  c\td", "a b  c\td"),
        ("nul\0 bell\x07 del\x7f c1\x9f bom\ufeff soft\xadhyphen \ufdd0\uffff.", "nul bell del c1 bom softhyphen ."),
        ("cafe\u0301", "café"),
        ("e\xad\u0301", "é"),  # what a removed character kept apart composes
        ("\u1112\u1161\u11ab \u212b \U0002f800", "한 Å 丽"),
        ("नमस्ते 👩\u200d🚀", "नमस्ते 👩\u200d🚀"),  # joiners carry meaning
        ("日本\u3000\n語\u3000", "日本\n語"),
        (" \n\0\u3000", ""),
    ],
)
def test_text_is_cleaned(records: Records, text: str, expected: str) -> None:
    assert cleaned(records, text) == [expected]


@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_text_is_as_defined_and_cleaning_is_idempotent(records: Records, texts: list[str]) -> None:
    once = cleaned(records, *texts)
    assert once == [reference(text) for text in texts]
    assert cleaned(records, *once) == once


@given(text=st.text("aBz éßЖΣς\u0323\n", min_size=1, max_size=30).filter(str.strip))
def test_twins_share_an_id(records: Records, text: str) -> None:
    twins = [text, text.upper(), text.lower(), unicodedata.normalize("NFD", text), "\n " + text.replace(" ", "\n\t ")]
    assert len(set(stage.apply(records(twins))["id"].to_pylist())) == 1


def test_an_id_is_of_the_folded_text(records: Records) -> None:
    texts = ["Straße  des\n\n17. JUNI", "strasse DES 17.\u00a0Juni", "Hello,\nWorld", "ΐ", "ΐ".upper(), "other"]
    ids = stage.apply(records(texts))["id"].to_pylist()
    assert ids[0] == ids[1] == document_id(b"strasse des 17. juni")
    assert ids[2] == document_id(b"hello, world")
    assert ids[3] == ids[4]
    assert len(set(ids)) == 4


def test_the_raw_hash_is_of_the_text_as_read(records: Records) -> None:
    texts = ["a", "a ", "é", ""]
    hashes = stage.apply(records(texts))["raw_hash"]
    assert hashes.to_pylist() == [raw_hash(text.encode()) for text in texts]
    assert hashes.type == SCORED.field("raw_hash").type


def test_failed_rows_stay_distinct(records: Records) -> None:
    places = [("part-0", 0), ("part-0", 9), ("part-1", 0)]
    batch = records(
        ["", "", "\0 \n"],
        provenance=[{"file": file, "offset": offset} for file, offset in places],
        error=["read.encoding", "read.encoding", None],
    )
    result = stage.apply(batch)
    assert result["error"].to_pylist() == ["read.encoding", "read.encoding", "normalize.empty"]
    assert result["id"].to_pylist() == [
        document_id(f"failed\0test\0{file}\0{offset}".encode()) for file, offset in places
    ]


def test_removed_characters_are_flagged(records: Records) -> None:
    batch = records(["a\0", "a\r\n", "a\ufeffb", "é"], flags=[["old"], [], [], ["old"]])
    flag = "normalize.control_characters"
    assert stage.apply(batch)["flags"].to_pylist() == [["old", flag], [], [flag], ["old"]]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://www.Example.ORG:8080/path?q=a@b", "example.org"),
        ("http://example.org", "example.org"),
        ("//cdn.example.org/x", "cdn.example.org"),
        ("https://user:pa:ss@example.org./", "example.org"),
        ("https://MÜNCHEN.de#top", "münchen.de"),
        ("http://www.uk", "www.uk"),
        ("http://[2001:DB8::1]:80/", "[2001:db8::1]"),
        ("  http://example.org?x  ", "example.org"),
        ("example.org/path", None),
        ("mailto:a@example.org", None),
        ("http:///path", None),
        ("http://exa mple.org/", None),
        ("", None),
        (None, None),
    ],
)
def test_hosts(records: Records, url: str | None, host: str | None) -> None:
    assert stage.apply(records(["a"], url=[url]))["host"].to_pylist() == [host]


def test_rows_are_independent(
    records: Records, check_rows_are_independent: Callable[[Stage, pa.RecordBatch], None]
) -> None:
    texts = ["Plain", "e\u0301 x", "", "\0", "Ünï", "a\r\n\r\n\r\nb", "日本", "last"]
    urls = ["http://a.org", None, "x", "http://www.b.org/", None, None, None, "http://c.org:1"]
    check_rows_are_independent(stage, records(texts, url=urls))
    check_rows_are_independent(stage, records(["out", *texts, "out"], url=[None, *urls, None]).slice(1, len(texts)))


def test_types_are_those_of_the_schema(records: Records) -> None:
    result = stage.apply(records(["a"]))
    for name in ("raw_hash", "id", "host", "text", "flags", "error"):
        assert result.schema.field(name).type == SCORED.field(name).type
