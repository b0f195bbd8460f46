"""Bytes to characters: right, missing and wrong declarations over scripts and encodings."""

import pytest
from florilegium.pipelines.sources.extraction_charset import decode

SENTENCES = {
    "German": ("Die Größe der Bühne überraschte alle Gäste; später hörten wir fröhliche Lieder.", ["windows-1252"]),
    "French": ("Où êtes-vous allés après Noël ? L’été dernier nous avons goûté à la crème.", ["windows-1252"]),
    "Polish": ("Później poszliśmy nad rzekę, żeby łowić ryby i słuchać świerszczy.", ["windows-1250", "iso-8859-2"]),
    "Hungarian": ("Az őszi erdőben sűrű köd ült a fák között, később főztek.", ["windows-1250"]),
    "Russian": (
        "Сегодня мы гуляли по берегу реки и говорили о книгах.",
        ["windows-1251", "koi8-r", "iso-8859-5"],
    ),
    "Ukrainian": ("Її сестра співала пісню про ліс, а ґава сиділа на паркані.", ["windows-1251", "koi8-u"]),
    "Greek": ("Σήμερα το πρωί περπατήσαμε δίπλα στη θάλασσα και μιλήσαμε.", ["iso-8859-7"]),
    "Turkish": ("Akşam olunca şehrin ışıkları göğü aydınlattı ve herkes güldü.", ["windows-1254"]),
    "Hebrew": ("אתמול בערב ישבנו ליד הים ודיברנו על הספרים שקראנו.", ["windows-1255"]),
    "Arabic": ("في صباح اليوم مشينا على شاطئ البحر وتحدثنا عن الكتب.", ["windows-1256"]),
    "Japanese": ("今朝、私たちは川のそばを歩きながら本の話をしました。", ["shift_jis", "euc-jp", "iso-2022-jp"]),
    "Chinese": ("今天早上我们沿着河边散步，谈论最近读过的书。", ["gbk"]),
    "Chinese (traditional)": ("今天早上我們沿著河邊散步，談論最近讀過的書。", ["big5"]),
    "Korean": ("오늘 아침 우리는 강가를 걸으며 책 이야기를 했습니다.", ["euc-kr"]),
    "Thai": ("เช้านี้เราเดินเล่นริมแม่น้ำและคุยกันเรื่องหนังสือ", ["tis-620"]),
}
ENCODED = [(name, text, charset) for name, (text, charsets) in SENTENCES.items() for charset in ("utf-8", *charsets)]
# The server's word for everything: no bytes contradict it, so it has to be told from the text.
WESTERN = {"German", "French", "Polish", "Hungarian", "Turkish"}


def page(text: str, charset: str, meta: str = "") -> bytes:
    element = f'<meta charset="{meta}">' if meta else ""
    return (
        f"<html><head>{element}<title>t</title><script>var a = '{{}}';</script></head><body><p>{text}</p></body></html>"
    ).encode(charset)


@pytest.mark.parametrize(("name", "text", "charset"), ENCODED)
def test_a_right_declaration_is_believed(name: str, text: str, charset: str) -> None:
    for body, header in ((page(text, charset), charset), (page(text, charset, charset), "")):
        assert decode(body, header) == (body.decode(charset), False)


@pytest.mark.parametrize(("name", "text", "charset"), ENCODED)
def test_no_declaration_is_needed(name: str, text: str, charset: str) -> None:
    assert text in decode(page(text, charset), "")[0]


@pytest.mark.parametrize(("name", "text", "charset"), ENCODED)
@pytest.mark.parametrize(
    ("header", "meta"), [("utf-8", ""), ("", "utf-8"), ("iso-8859-1", ""), ("shift_jis", ""), ("no-such-charset", "")]
)
def test_a_wrong_declaration_is_not(name: str, text: str, charset: str, header: str, meta: str) -> None:
    assert text in decode(page(text, charset, meta), header)[0]


@pytest.mark.parametrize(("name", "text", "charset"), ENCODED)
def test_a_meta_element_wins_over_a_server_that_says_latin_1(name: str, text: str, charset: str) -> None:
    assert text in decode(page(text, charset, charset), "ISO-8859-1")[0]


@pytest.mark.parametrize("charset", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_marks_and_wide_characters(charset: str) -> None:
    text = "<p>Grüße, мир</p>"
    assert decode(text.encode(charset), "iso-8859-1") == (text, False)


@pytest.mark.parametrize(
    ("body", "charset", "text", "lost"),
    [
        (b"", "utf-8", "", False),
        (b"plain", "utf-16", "plain", False),
        (b"a" * 1000 + b"\xff" + b"b" * 1000, "utf-8", "a" * 1000 + "\ufffd" + "b" * 1000, True),
        ("cut inside Gr\u00fc".encode()[:-1], "", "cut inside Gr\ufffd", True),
        (b"Gr\xfc\xdfe aus K\xf6ln\x81", "iso-8859-1", "Gr\u00fc\u00dfe aus K\u00f6ln\ufffd", True),
    ],
)
def test_lost_characters_are_told(body: bytes, charset: str, text: str, lost: bool) -> None:
    assert decode(body, charset) == (text, lost)
