"""A page's bytes to characters, when its declaration may be wrong.

Servers call everything ISO-8859-1, templates call everything UTF-8. So a declaration is a candidate, not
the truth: a byte order mark wins, then UTF-8 if the bytes are valid (legacy text practically never is),
then the first of HTTP header, meta element and uchardet's guess under which the text looks like text:
few lost characters, no control characters, words that keep to one script and do not change case inside.
The accuracy over 19 languages and their encodings stands in this folder's README.
"""

import codecs
import re
from collections.abc import Iterator

__all__ = ["decode"]

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
META_BYTES = 4 << 10
SAMPLE_BYTES = 16 << 10
MAX_LOSS = 1 / 200  # replaced characters per character above which a charset is not believed
MAX_CUT = 4  # a page cut inside a character ends with up to three stray bytes
MAX_ODD = 0.05  # implausible per character outside ASCII
SURE_BYTES = 12  # bytes outside ASCII from which uchardet knows better than a declaration of Latin-1

META = re.compile(rb"<meta\s[^>]{0,200}?charset\s*=\s*+[\"']?\s*+([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
XML = re.compile(rb"^\s*<\?xml\s[^>]{0,100}?encoding\s*=\s*[\"']([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
FOREIGN = re.compile(rb"(?:^|>)([^<>]*[\x80-\xff][^<>]*)")  # text with bytes outside ASCII, without markup
ESCAPES = re.compile(rb"\x1b(?:\$[@B]|\([BJI])")

# Python's name of a charset to the superset that browsers read it with.
SUPERSETS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "koi8-r": "koi8-u",
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
WESTERN = "cp1252"  # what servers say when they do not know

LATIN = r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
CYRILLIC = r"\u0400-\u052f"
GREEK = r"\u0370-\u03ff\u1f00-\u1fff"
FOREIGN_LOWER = r"\u00df-\u00f6\u00f8-\u00ff\u03ac-\u03ce\u0430-\u045f"
FOREIGN_UPPER = r"\u00c0-\u00d6\u00d8-\u00de\u0391-\u03a9\u0400-\u042f"
LOWER, UPPER = f"a-z{FOREIGN_LOWER}", f"A-Z{FOREIGN_UPPER}"
ODD = re.compile(
    "[\ufffd\ue000-\uf8ff\x80-\x9f]"  # lost, private, control
    f"|[{LOWER}][{FOREIGN_UPPER}]|[{FOREIGN_LOWER}][{UPPER}]"  # a capital inside a word
    f"|[{LATIN}][{CYRILLIC}{GREEK}]|[{CYRILLIC}{GREEK}][{LATIN}]|[{CYRILLIC}][{GREEK}]|[{GREEK}][{CYRILLIC}]"
    f"|[{LATIN}{CYRILLIC}{GREEK}][\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff61-\uff9f]"
    "|[\u00c0-\u00ff][\u00a1-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2020-\u2030\u20ac]"
    "|[\u00a1-\u00a6\u00a8-\u00aa\u00ac-\u00af\u00b1-\u00b6\u00b8-\u00ba\u00bc-\u00be]{2}"
    "|[\u2500-\u25ff]{2}|[\uff61-\uff9f]{2}"
)
NOT_ASCII = re.compile("[^\x00-\x7f]")
HIGH = re.compile(rb"[\x80-\xff]")
ACCENTED = re.compile("[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f]")
LETTERS = re.compile(f"[{LATIN}]")
MAX_ACCENTED = 0.45  # of a text's Latin letters; Vietnamese comes near it
CYRILLIC_LETTERS = re.compile(f"[{CYRILLIC}]")
CYRILLIC_CAPITALS = re.compile("[\u0400-\u042f]")
MAX_CAPITALS = 0.7  # of a text's Cyrillic letters; KOI8 read as Windows-1251 is in capitals


def decode(body: bytes, charset: str) -> tuple[str, bool]:
    """A page's characters, and whether some were lost; `charset` is the HTTP header's, or empty."""
    for mark, name in BOMS:
        if body.startswith(mark):
            return _decoded(body[len(mark) :], name)
    if ESCAPES.search(body, 0, SAMPLE_BYTES):
        text, lost = _decoded(body, "iso-2022-jp")
        if not lost:
            return text, False
    elif (zeros := body.count(0, 0, SAMPLE_BYTES)) and zeros * 5 > min(len(body), SAMPLE_BYTES):
        return _decoded(body, "utf-16-be" if body[:1] == b"\0" else "utf-16-le")
    try:
        return body.decode(), False
    except UnicodeDecodeError as error:
        if error.start >= len(body) - MAX_CUT:
            return body.decode(errors="replace"), True
    best: tuple[float, str, str] | None = None
    sample = b" \n".join(FOREIGN.findall(body)[:1000])[: 4 * SAMPLE_BYTES] or body
    for name in dict.fromkeys(_candidates(body, charset, sample)):
        odd = _oddity(sample, name)
        if best is None or odd < best[0]:
            text, lost = _decoded(body, name)
            best = odd, name, text
        if odd <= MAX_ODD:
            break
    assert best is not None
    return best[2], "\ufffd" in best[2]


def _candidates(body: bytes, charset: str, sample: bytes) -> Iterator[str]:
    from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

    labels = [charset]
    for pattern in (META, XML):
        if match := pattern.search(body, 0, META_BYTES):
            labels.append(match[1].decode("ascii"))
    names = (map_encoding_to_html5(label, fallback_utf8=False) or "" for label in labels if label)
    declared = [_superset(name) for name in names if not name.startswith("utf-16")]  # readable bytes are no UTF-16
    yield from (name for name in declared if name != WESTERN)
    guess = _superset(detect_encoding(sample, SAMPLE_BYTES, html5_compatible=False) or "")
    if WESTERN not in declared or len(HIGH.findall(sample, 0, SAMPLE_BYTES)) >= SURE_BYTES:
        yield guess
    yield from (WESTERN, guess, "utf-8")


def _superset(name: str) -> str:
    try:
        name = codecs.lookup(name).name
    except LookupError:
        return WESTERN
    return SUPERSETS.get(name, name)


def _decoded(body: bytes, name: str) -> tuple[str, bool]:
    try:
        return body.decode(name), False
    except UnicodeDecodeError:
        text = body.decode(name, "replace")
        return text, "\ufffd" in text


def _oddity(sample: bytes, name: str) -> float:
    """How much of a text outside ASCII is implausible under a charset: 0 (none) to 1 and above."""
    text, lost = _decoded(sample, name)
    foreign = len(NOT_ASCII.findall(text))
    if not foreign:
        return 0.0
    if name == "utf-8":  # its errors are certain, and a few come from cut or pasted text
        return float("inf") if lost and text.count("\ufffd") > len(text) * MAX_LOSS else 0.0
    odd = len(ODD.findall(text)) / foreign
    odd += len(ACCENTED.findall(text)) > MAX_ACCENTED * len(LETTERS.findall(text))
    odd += len(CYRILLIC_CAPITALS.findall(text)) > MAX_CAPITALS * len(CYRILLIC_LETTERS.findall(text))
    return odd
