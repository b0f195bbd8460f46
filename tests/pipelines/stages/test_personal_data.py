import time
from collections.abc import Callable

import pyarrow as pa
import pytest
from florilegium.pipelines.stages import Stage
from florilegium.pipelines.stages.personal_data import PLACEHOLDERS, PersonalData, mask_text
from florilegium.schemas.document import SCORED
from florilegium.schemas.recipe import PersonalDataOptions
from hypothesis import given
from hypothesis import strategies as st

Records = Callable[..., pa.RecordBatch]
stage = PersonalData(PersonalDataOptions())


def iban(country: str, account: str) -> str:
    """An IBAN with a right checksum."""
    digits = "".join(str(int(character, 36)) for character in account + country + "00")
    return f"{country}{98 - int(digits) % 97:02d}{account}"


FOUND = [
    ("write to anna.berg+x@mail.example.co.uk.", "write to <EMAIL>."),
    ("jürgen.müller@beispiel.de", "<EMAIL>"),
    ("请联系john@example.com谢谢", "请联系<EMAIL>谢谢"),
    ("почта@пример.рф", "<EMAIL>"),
    ("<a@b.de>,c@d.fr", "<<EMAIL>>,<EMAIL>"),
    ("______joe@x.org", "<EMAIL>"),
    (f"{'x' * 70}@example.org", f"{'x' * 6}<EMAIL>"),
    ("at 93.184.216.34:8080.", "at <IP>:8080."),
    ("http://93.184.216.34/a", "http://<IP>/a"),
    ("(8.8.8.8)", "(<IP>)"),
    ("from [2606:4700:4700::1111]", "from [<IP>]"),
    ("2a00:1450:4001:81b:0:0:0:200e", "<IP>"),
    ("::ffff:93.184.216.34", "::ffff:<IP>"),
    ("call +49 (0) 170 1234567", "call <PHONE>"),
    ("+1 (212) 555-0123, +442079460958", "<PHONE>, <PHONE>"),
    ("tel:+33.1.42.68.53.00.", "tel:<PHONE>."),
    ("+91\u00a098765\u00a043210", "<PHONE>"),
    ("(212) 555-0123 or 212-555-0124 or 212.555.0125", "<PHONE> or <PHONE> or <PHONE>"),
    ("1-800-555-0199 and 1 (800) 555-0199", "<PHONE> and <PHONE>"),
    ("(030) 901820", "<PHONE>"),
    ("DE89 3704 0044 0532 0130 00 AND so on", "<IBAN> AND so on"),
    ("GB29NWBK60161331926819.", "<IBAN>."),
    ("BE68 5390 0754 7034 THIS", "<IBAN> THIS"),
    ("REF12 ID12 " + iban("FR", "20041010050500013M02606"), "REF12 ID12 <IBAN>"),
    ("LU28 001A BCDE FGHI JKLM".replace("LU28", iban("LU", "001ABCDEFGHIJKLM")[:4]), "<IBAN>"),
    ("4111 1111 1111 1111", "<CARD>"),
    ("card 5500-0000-0000-0004, 4111111111111111", "card <CARD>, <CARD>"),
    ("378282246310005, 3782 822463 10005", "<CARD>, <CARD>"),
    ("30569309025904 6011111111111117", "<CARD> <CARD>"),
]

NEAR_MISSES = [
    "a@b root@localhost @user icon@2x.png x @ y.com",
    "see flickr.com/photos/123@N00/ and git@host:path",
    "127.0.0.1 10.0.0.1 192.168.1.1 172.16.0.9 169.254.0.1 0.0.0.0 255.255.255.255 224.0.0.251 192.0.2.7",
    "v1.2.3.4, version 93.184.216.34, Version: 6.0.6002.18005, release 9.8.7.6, 1.2.3, 1.2.3.4.5, 256.1.1.1",
    "2001:db8::1 fe80::1 ::1 fd00::1 12:30:45 2010:11:12 std::vector 2020:01:02:03 a::b",
    "on 01.02.2020, 2020-01-02, 12/31/1999 at 14:30, 1990-2010, 2004 - 2008, (2010) 2011-2012, 20240131123059",
    "$1,000,000.00 for 1 234 567 890 things, 3.14159265358979, 1.234.567,89 €, 12 345 678",
    "ISBN 978-3-16-148410-0, 9783161484100, 0-306-40615-2; ISSN 2049-3630; doi 10.1000/182; (01)09501101020917",
    "555-0123, 123-45-6789, 112-555-0123, +100000000, +50 000 000, +1 123 456 7890, 1+2345678901, x+4912345678",
    "id 1234567890123, 1234567890123456, 4111111111111112, /4111111111111111, #4111111111111111, 0.4111111111111111",
    "4111 1111 1111 1112 and 1111 4111 1111 1111 1111 and 4111-1111 1111-1111",
    "DE88 3704 0044 0532 0130 00, AB12 3456 7890 1234 5678, DE8937040044053201300, XDE89370400440532013000",
    "ALL CAPS 12 WORDS 1234 HERE",
]


@pytest.mark.parametrize(("text", "masked"), FOUND)
def test_personal_data_is_masked_and_counted(records: Records, text: str, masked: str) -> None:
    result = stage.apply(records([text]))
    assert result["text"].to_pylist() == [masked]
    counts = {kind: masked.count(placeholder) for kind, placeholder in PLACEHOLDERS.items()}
    assert result["personal_data"].to_pylist() == [counts]
    assert result["flags"].to_pylist() == [["personal_data.masked"]]


@pytest.mark.parametrize("text", NEAR_MISSES)
def test_near_misses_stay(records: Records, text: str) -> None:
    result = stage.apply(records([text]))
    assert result["text"].to_pylist() == [text]
    assert result["personal_data"].to_pylist() == [dict.fromkeys(PLACEHOLDERS, 0)]
    assert result["flags"].to_pylist() == [[]]


PIECES = [text for text, _ in FOUND] + NEAR_MISSES + [*"0123456789+-.()/@: \u00a0\nxé", "AB12", "  ", "<EMAIL>"]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12), separator=st.sampled_from(["", " ", "\n", "a"]))
def test_the_kernel_hides_nothing_from_the_patterns(records: Records, pieces: list[str], separator: str) -> None:
    text = separator.join(pieces)
    masked, counts = mask_text(text)
    result = stage.apply(records([text]))
    assert result["text"].to_pylist() == [masked]
    assert result["personal_data"].to_pylist() == [counts]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12))
def test_counts_are_of_the_placeholders_set(pieces: list[str]) -> None:
    text = " ".join(pieces)
    masked, counts = mask_text(text)
    assert counts == {kind: masked.count(mark) - text.count(mark) for kind, mark in PLACEHOLDERS.items()}


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "1",
        "1 ",
        "+1",
        "+1 ",
        "a@",
        "@a.",
        "a@a.",
        "1.",
        "2001:",
        "(",
        "(0",
        "AB12",
        "AB12 ",
        "1111 ",
        "4111-",
        "é@",
    ],
)
def test_no_text_is_slow(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    start = time.process_time()
    mask_text(text)
    assert time.process_time() - start < 5


def test_titles_are_masked_but_not_counted(records: Records) -> None:
    result = stage.apply(records(["a", "b", "c"], title=["ask a@b.de", None, "fine"]))
    assert result["title"].to_pylist() == ["ask <EMAIL>", None, "fine"]
    assert result["personal_data"].to_pylist() == [dict.fromkeys(PLACEHOLDERS, 0)] * 3
    assert result["flags"].to_pylist() == [["personal_data.masked"], [], []]


def test_user_info_is_dropped_from_urls(records: Records) -> None:
    urls = ["https://me:secret@a.org/x@y", "//me@a.org", "https://a.org/@me?m=a@b.de", None]
    result = stage.apply(records(["x"] * 4, url=urls))
    assert result["url"].to_pylist() == ["https://a.org/x@y", "//a.org", urls[2], None]
    assert [len(flags) for flags in result["flags"].to_pylist()] == [1, 1, 0, 0]


def test_counting_without_masking_changes_nothing(records: Records) -> None:
    batch = records(["a@b.de 8.8.8.8"], title=["a@b.de"], url=["http://me@a.org"])
    result = PersonalData(PersonalDataOptions(mask=False)).apply(batch)
    assert result.select(batch.schema.names).equals(batch)
    assert result["personal_data"].to_pylist() == [{"email": 1, "ip": 1, "phone": 0, "iban": 0, "card": 0}]


def test_rows_are_independent(
    records: Records, check_rows_are_independent: Callable[[Stage, pa.RecordBatch], None]
) -> None:
    texts = ["", *(text for text, _ in FOUND[:20]), *NEAR_MISSES[:4]]
    titles = [None, "a@b.de", "8.8.8.8"] + ["t"] * (len(texts) - 3)
    check_rows_are_independent(stage, records(texts, title=titles))
    check_rows_are_independent(stage, records(["x@y.de", *texts], title=["x@y.de", *titles]).slice(1))


def test_types_are_those_of_the_schema(records: Records) -> None:
    result = stage.apply(records(["a@b.de"], title=["a@b.de"], url=["http://a@b.de"]))
    for name in ("text", "title", "url", "flags", "personal_data"):
        assert result.schema.field(name).type == SCORED.field(name).type
