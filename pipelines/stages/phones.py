"""Telephone numbers: shapes that writers give them, judged by the numbering plans of `phonenumbers`.

Google's libphonenumber metadata know every country's plan, but by its plan alone many a date or price would
be a telephone number. So a number must first look like one: a "+" and a country's code; the groups in which
a country writes its numbers, for the countries where the text's language is written; or any form after a
word like "tel" or "call". Only what passes is given to the library (30 µs a number and country).
"""

import re
from itertools import islice

from phonenumbers import (
    NumberParseException,
    PhoneNumber,
    PhoneNumberType,
    is_possible_number,
    is_valid_number,
    number_type,
    parse,
)

__all__ = ["CANDIDATE", "phone_span"]

# Where a text in this language comes from, most likely first.
_REGIONS = {
    language: tuple(regions.split())
    for language, regions in {
        "en": "US GB AU IN IE NZ ZA NG",
        "de": "DE AT CH",
        "fr": "FR BE CH",
        "es": "ES MX AR CO CL PE",
        "pt": "BR PT",
        "it": "IT CH",
        "nl": "NL BE",
        "sv": "SE FI",
        "da": "DK",
        "no": "NO",
        "nb": "NO",
        "nn": "NO",
        "fi": "FI",
        "is": "IS",
        "et": "EE",
        "lv": "LV",
        "lt": "LT",
        "pl": "PL",
        "cs": "CZ",
        "sk": "SK",
        "sl": "SI",
        "hr": "HR",
        "sr": "RS",
        "bs": "BA",
        "hu": "HU",
        "ro": "RO",
        "bg": "BG",
        "el": "GR",
        "tr": "TR",
        "ru": "RU",
        "uk": "UA",
        "be": "BY",
        "kk": "KZ",
        "ja": "JP",
        "zh": "CN TW HK",
        "ko": "KR",
        "hi": "IN",
        "mr": "IN",
        "ta": "IN",
        "te": "IN",
        "gu": "IN",
        "kn": "IN",
        "ml": "IN",
        "pa": "IN",
        "bn": "BD IN",
        "ur": "PK IN",
        "ne": "NP",
        "si": "LK",
        "th": "TH",
        "vi": "VN",
        "id": "ID",
        "ms": "MY",
        "tl": "PH",
        "ar": "EG SA AE MA",
        "fa": "IR",
        "he": "IL",
        "sw": "KE TZ",
        "am": "ET",
        "af": "ZA",
        "zu": "ZA",
        "xh": "ZA",
        "yo": "NG",
        "ig": "NG",
        "ha": "NG",
    }.items()
}
_UNKNOWN = _REGIONS["en"]  # texts too short to tell

_GAP = r"[ .\-()/\u00A0]"
# What may not stand before a number is said after its first character, since `re` finds a set of characters
# ten times as fast as a look-behind.
CANDIDATE = re.compile(
    r"[+(0-9](?:(?<=\+)(?<![\w+].) ?\(?[1-9]|(?<!\+)(?<![\w+=#&@$€£¥₹*^~/].)(?<!\d[.,:-].)(?<!\w-.))"
    rf"(?:{_GAP}{{0,3}}[0-9]){{6,18}}",
    re.ASCII,
)
"""What may begin with a telephone number; `phone_span` says whether and where it ends."""

_DIGITS = re.compile(r"[0-9]+")
_DIGIT_SET = set("0123456789")
_DATE = re.compile(
    r"(?<!\d)(?:(?:0?[1-9]|[12]\d|3[01])([./-])(?:0?[1-9]|1[0-2])\1(?:(?:19|20)\d\d|\d\d)"
    r"|(?:0?[1-9]|1[0-2])([./-])(?:0?[1-9]|[12]\d|3[01])\2(?:(?:19|20)\d\d|\d\d)"
    r"|(?:19|20)\d\d([./-])(?:0?[1-9]|1[0-2])\3(?:0?[1-9]|[12]\d|3[01]))(?![./-]?\d)"
)
_AREA, _SUBSCRIBER = r"[2-9]\d\d", r"[2-9]\d\d"
_NORTH_AMERICA = re.compile(
    rf"(?:1[ .-]?)?(?:\({_AREA}\)[ .-]?{_SUBSCRIBER}[ .-]\d{{4}}|{_AREA}([.-]){_SUBSCRIBER}\1\d{{4}}"
    rf"|{_AREA} {_SUBSCRIBER}[ -]\d{{4}}|{_AREA}/{_SUBSCRIBER}-\d{{4}})"
)
_TRUNK = re.compile(
    r"(?:\(0\d{1,5}\)[ -]?|0[1-9]\d{0,4}(?: ?[/-] ?|[ .])|0[1-9]\d{0,4} \()(?!0?\d[ .-]\d$)"
    r"\d{2,8}\)?(?:[ .-]\d{2,6}){0,4}"
)
_IN_BRACKETS = re.compile(r"\(0\d{1,4}\)[ -]?\d(?:[ -]?\d){4,8}")  # nothing else looks like this
_UNBROKEN = re.compile(r"0[1-9]\d{7,9}")
_ABROAD = re.compile(r"00[1-9]\d{0,2}[ .\-(/]")
_RUSSIA = r"8[ -]?(?:\(\d{3,5}\)|\d{3})[ -]?\d{2,3}(?:[ -]?\d\d){2}"
_MIDDLE_EUROPE = r"\d{3}-\d{3}-\d{3}"
_INDIA = r"[6-9]\d{4} \d{5}"
_SHAPES = {
    language: re.compile(shape)
    for language, shape in {
        **dict.fromkeys(("ru", "uk", "be", "kk"), _RUSSIA),
        **dict.fromkeys(("pl", "cs", "sk"), _MIDDLE_EUROPE),
        **dict.fromkeys(("hi", "mr", "ta", "te", "gu", "kn", "ml", "pa", "bn"), _INDIA),
        "pt": r"\(\d\d\) ?9?\d{4}[ -]\d{4}|\d\d 9\d{4}-\d{4}",
        "es": r"[6-9]\d\d \d\d \d\d \d\d|9\d \d{3} \d\d \d\d|[67]\d\d-\d{3}-\d{3}|\(\d{2,3}\) ?\d{3,4}[ -]\d{4}",
        "it": r"3\d\d[ .-]\d{3}[ .-]?\d{4}|3\d\d[ .-]\d{7}|3\d\d \d\d \d\d \d{3}",
        "zh": r"1[3-9]\d{9}|1[3-9]\d([ -])\d{4}\1\d{4}",
    }.items()
}
_LOCAL = re.compile(r"[2-9]\d\d[ .-]\d{4}")

_WORD_BEFORE = re.compile(
    r"(?<![^\W\d_])(?:tel|t[ée]l[ée]ph?one?|telefone?|telefoon|telefon\w*|telephone|phone|fon|mobile?|m[oó]vil|mobiel\w*"
    r"|mob|portable|cell|cell ?phone|celular|cellulare|cel|handy\w*|fax|call|ring|text|sms|dial|whats ?app|hotline"
    r"|toll[- ]free|viber|gsm|appel\w*|llam\w*|ligue|chiama\w*|bel|ruf\w*|anruf\w*|d?zwoni\w*|zadzwo\w*"
    r"|tlf|tfn|puh|puhelin|komórk\w*|numer|mobitel"
    r"|тел\w*|моб\w*|звон\w*|电话|手机|電話|手機|携帯|전화|휴대폰|फोन|मोबाइल|هاتف|جوال|טלפון)(?![^\W\d_])[^\d<>\n]{0,24}\Z"
    r"|(?:电话|手机|電話|手機|携帯|전화|휴대폰)[^\d<>\n]{0,8}\Z",
    re.IGNORECASE,
)
_OTHER_BEFORE = re.compile(
    r"(?<![^\W\d_])(?:isbn|issn|doi|orders?|invoice|ref|reference|ticket|case|serial|s/n|part|model"
    r"|sku|upc|ean|gtin|imei|id|tracking|account|acct|konto|version|build|patent|pages?|pp|no|nr|article|item"
    r"|artikel\w*|bestell\w*|code|score|hex|isrc|postcode|zip|room|réf|订单号|单号|编号|qq)"
    r"(?: (?:no|nr|number))?(?![^\W_])[^\w<>\n]{0,4}\Z"
    r"|[$€£¥₹] ?\Z",
    re.IGNORECASE,
)
_UNIT_AFTER = re.compile(
    r"[ \u00A0]?(?:[%€$£¥₹°]"
    r"|(?:usd|eur|euros?|dollars?|pounds|kr|zł|руб|km|kg|mm|cm|mb|gb|px|ms|views?|points?|people)\b)",
    re.IGNORECASE,
)
_CONTINUES = re.compile(rf"\w|[.,]\d|{_GAP}{{0,3}}\d", re.ASCII)
_LOOSELY = re.compile(r"[ \u00A0]\d{1,2}(?![\d.,:/-])|[ \u00A0]?[(/]|[ \u00A0][-/(][ \u00A0]")  # (9 am) / next number
_WORD_AFTER = re.compile(r"\w", re.ASCII)
_THOUSANDS = re.compile(r"\+[1-9]\d{0,2}(?:[ .]\d{3})+")
_COORDINATE = re.compile(r"\+\d{1,3}\.\d{3,} ?[ /-]")
_NUMBER_BEFORE = re.compile(r"\d[ \u00A0]\Z")
_MAX_GROUPS = 7  # +33 (0)1 99 00 12 34
_WINDOW = 40  # characters before a number in which a word about it may stand


def phone_span(match: re.Match[str], language: str | None) -> tuple[int, int, bool] | None:
    """(start, end, whether it has its country's code) of the number at the begin of a match of CANDIDATE, or None.

    Without its country's code the number must be valid in a country where `language` (ISO 639-1) is written.
    """
    text, start = match.string, match.start()
    ends = _ends(match)
    if match[0][0] == "+":
        for end in ends:
            if _international(text[start:end]):
                opened = text[start - 1 : start] == "(" and ")" in text[start:end].partition("(")[0]
                return start - opened, end, True
        return None
    before = text[max(0, start - _WINDOW) : start]
    announced = _WORD_BEFORE.search(before) is not None
    listed = match[0][0] != "(" and _NUMBER_BEFORE.search(before)
    if not announced and (listed or _OTHER_BEFORE.search(before)):
        return None
    regions = _REGIONS.get(language, ()) if language else _UNKNOWN
    for check in (_shaped, _announced) if announced else (_shaped,):
        for end in ends:
            number = text[start:end].replace("\u00a0", " ")
            alone = announced or not _CONTINUES.match(text, end) or _LOOSELY.match(text, end)
            if alone and not _UNIT_AFTER.match(text, end) and check(number, language, regions):
                return start, end, False
    return None


def _ends(match: re.Match[str]) -> list[int]:
    """Where the number may end, last first: behind a group of digits, from the seventh digit on."""
    ends = []
    digits = 0
    for group in islice(_DIGITS.finditer(match.string, match.start(), match.end()), _MAX_GROUPS):
        digits += len(group[0])
        if digits >= 7:
            ends.append(group.end())
    if ends and ends[-1] == match.end() and _WORD_AFTER.match(match.string, match.end()):
        ends.pop()
    return ends[::-1]


def _international(number: str) -> bool:
    """Valid in its country's plan; or of a right length and written in groups, as numbers for films and books are."""
    if _DATE.search(number) or _COORDINATE.match(number):
        return False
    parsed = _parse(number)
    if parsed is None:
        return False
    groups = len(_DIGITS.findall(number))
    return is_valid_number(parsed) or (
        is_possible_number(parsed)
        and parsed.country_code != 1
        and groups >= 3
        and len(set(str(parsed.national_number))) >= 3
        and not _THOUSANDS.fullmatch(number)
    )


def _parse(number: str, region: str | None = None) -> PhoneNumber | None:
    try:
        return parse(number, region)
    except NumberParseException:
        return None


def _valid(number: str, region: str, mobile: bool = False) -> bool:
    parsed = _parse(number, region)
    if parsed is None or not is_valid_number(parsed):
        return False
    return not mobile or number_type(parsed) == PhoneNumberType.MOBILE


def _announced(number: str, language: str | None, regions: tuple[str, ...]) -> bool:
    """After a word for telephone: any form of a number that is valid or, with its area code set apart, could be."""
    if _is_range(number) or not _plausible(number):
        return False
    if any(_valid(number, region) for region in regions) or ("US" in regions and _LOCAL.fullmatch(number)):
        return True
    if _ABROAD.match(number):
        return _international("+" + number[2:])
    if not regions or not (_TRUNK.fullmatch(number) or _UNBROKEN.fullmatch(number)):
        return False
    parsed = _parse(number, "GB" if "GB" in regions else regions[0])
    return parsed is not None and is_possible_number(parsed)


def _plausible(number: str) -> bool:
    """No date, and at least three different digits."""
    return not _DATE.search(number) and len(set(number) & _DIGIT_SET) >= 3


def _is_range(number: str) -> bool:
    """1001-2000"""
    first, hyphen, last = number.partition("-")
    return bool(hyphen) and len(first.strip()) == len(last.strip()) and first.strip() < last.strip()


def _shaped(number: str, language: str | None, regions: tuple[str, ...]) -> bool:
    """Written as telephone numbers are, and valid."""
    if not _plausible(number):
        return False
    if _NORTH_AMERICA.fullmatch(number):
        return _valid(number, "US")
    if _IN_BRACKETS.fullmatch(number):
        return True
    if _ABROAD.match(number):
        return _international("+" + number[2:])
    shape = _SHAPES.get(language or "")
    if shape and shape.fullmatch(number):
        return any(_valid(number, region) for region in regions)
    if _TRUNK.fullmatch(number):
        pairs = [group for group in _DIGITS.findall(number) if len(group) == 2]
        in_order = len(pairs) >= 4 and pairs == sorted(pairs)
        return not in_order and any(_valid(number, region) for region in regions if region != "US")
    return _UNBROKEN.fullmatch(number) is not None and any(
        _valid(number, region, mobile=True) for region in regions if region != "US"
    )
