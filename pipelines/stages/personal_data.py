"""Typed placeholders instead of personal data, before anything is written.

A compiled pass over the bytes finds the few rows that could hold an address or a number; only these go
through regular expressions, and every match through a check of its own (checksums, address ranges,
numbering plans). Rules are conservative: a number that could be a date, price, version, order number
or ISBN stays. Every pattern is bounded: no text makes one slow. Masking what is masked changes nothing.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from importlib.metadata import version as installed_version
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from ...schemas.arrays import append_flag, replace_column, string_buffers
from ...schemas.document import PERSONAL_DATA, PERSONAL_DATA_KINDS
from ...schemas.recipe import PersonalDataOptions
from .national_ids import DIGITS, LETTERS, is_national_id
from .phones import CANDIDATE, phone_span

__all__ = ["PLACEHOLDERS", "PersonalData", "mask_text"]

PLACEHOLDERS = {kind: f"<{kind.upper()}>" for kind in PERSONAL_DATA_KINDS}

# Candidates that the kernel finds.
AT, DOTTED, GROUPED, NUMBER, CAPITALS, SPELLED, POSTCODE = (1 << bit for bit in range(7))
_ALL = (1 << 7) - 1
_OTHER, _DIGIT, _SEPARATOR, _SIGN = 0, 1, 2, 3  # kinds of bytes
_KINDS = np.zeros(256, np.uint8)
_KINDS[list(b"0123456789")] = _DIGIT
_KINDS[list(b" -.()/\xc2\xa0")] = _SEPARATOR  # the last two are a no-break space
_KINDS[list(b"@:%[{<")] = _SIGN
_IS_HEXADECIMAL = np.zeros(256, np.bool_)
_IS_HEXADECIMAL[list(b"0123456789ABCDEFabcdef")] = True
_MAX_GAP = 3  # separators between two digits of a number


@njit(cache=True, nogil=True, inline="always")
def _capital(byte):  # type: ignore[no-untyped-def]
    return 65 <= byte <= 90


@njit(cache=True, nogil=True)
def _candidates(data, offsets, found):  # type: ignore[no-untyped-def]
    """Bits of what each row may hold. They may say too much, never too little."""
    for row in range(len(offsets) - 1):
        start, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        bits = 0
        digits = gap = dots = unbroken = 0
        for i in range(start, end):
            byte = data[i]
            kind = _KINDS[byte]
            if kind == _OTHER:
                digits = dots = 0
            elif kind == _DIGIT:
                unbroken = unbroken + 1 if digits > 0 and gap == 0 else 1
                digits += 1
                gap = 0
                if digits == 7:
                    bits |= NUMBER
                elif digits == 2 and i - start >= 3:
                    letter = i - 3 if data[i - 2] == 32 else i - 2
                    if letter > start and _capital(data[letter]) and _capital(data[letter - 1]):
                        bits |= CAPITALS
                if unbroken == 5:  # 10115 Berlin, NY 10001
                    before, after = data[max(start, i - 5)], data[i + 1] if i + 1 < end else 0
                    if (before <= 32 or before == 45) and after <= 46:
                        bits |= POSTCODE
                elif unbroken == 4 and i + 3 < end and data[i + 1] == 32:  # 1012 AB
                    if _capital(data[i + 2]) and _capital(data[i + 3]):
                        bits |= POSTCODE
                elif unbroken == 1 and i - start >= 2 and i + 2 < end and data[i - 1] == 32 and data[i - 2] <= 90:
                    bits |= POSTCODE if _capital(data[i + 1]) and 48 <= data[i + 2] <= 90 else 0  # SW1A 1AA, K1A 0B1
            elif kind == _SEPARATOR:
                gap += byte != 0xC2
                if byte == 46 and gap == 1 and digits > 0:
                    dots += 1
                    if dots == 3:
                        bits |= DOTTED
                elif byte == 32 and i + 4 < end and data[i + 1] | 32 == 100:  # " dot "
                    if data[i + 2] | 32 == 111 and data[i + 3] | 32 == 116 and data[i + 4] == 32:
                        bits |= SPELLED
                elif byte == 40 and i + 2 < end and (data[i + 1] | 32 == 97 or data[i + 1] == 64):  # (at
                    bits |= SPELLED if data[i + 1] == 64 or data[i + 2] | 32 == 116 else 0
                if gap > _MAX_GAP:
                    digits = dots = 0
            else:
                digits = dots = 0
                if byte == 64:
                    if i > start and i + 1 < end and data[i - 1] > 32 and data[i + 1] > 32:
                        bits |= AT
                elif byte == 37:  # %40
                    if i + 2 < end and data[i + 1] == 52 and data[i + 2] == 48:
                        bits |= AT
                elif byte != 58:
                    if i + 2 < end and ((data[i + 1] | 32 == 97 and data[i + 2] | 32 == 116) or data[i + 1] == 64):
                        bits |= SPELLED
                elif i - start >= 4:
                    group = True
                    for k in range(i - 4, i):
                        group &= _IS_HEXADECIMAL[data[k]]
                    if group and 50 <= data[i - 4] <= 51:
                        bits |= GROUPED
        found[row] = bits


# A rule is a pattern and a check, which returns the part of a match to replace, if any, from `done` on.
Span = tuple[int, int]

# E-mail: found by the domain, then extended to the left.
_WORD = r"A-Za-z0-9\u00C0-\u024F\u0370-\u052F"  # Latin, Greek, Cyrillic: scripts that put spaces around an address
_LETTER = r"A-Za-z\u00C0-\u024F\u0370-\u052F"
_TOP = rf"[{_LETTER}]{{2,24}}(?![{_LETTER}]|<EMAIL>)"
_DOMAIN = re.compile(rf"[@%](?:(?<=@)|40)((?:[{_WORD}-]{{1,63}}\.){{1,8}}{_TOP})")
_LOCAL = re.compile(rf"[{_WORD}_%+][{_WORD}._%+'-]{{0,63}}\Z")
_RETINA = re.compile(r"[23]x\.(?:png|jpe?g|gif|webp|svg)\Z", re.IGNORECASE)  # icon@2x.png


def _email(match: re.Match[str], done: int, language: str | None) -> Span | None:
    local = _LOCAL.search(match.string, max(done, match.start() - 64), match.start())
    return (local.start(), match.end()) if local and not _RETINA.match(match[1]) else None


# name (at) host (dot) org. Without brackets "at" is a word like any other, so the host must be a mail provider's.
_DOT = r"(?:\.| ?(?:\(dot\)|\[dot\]|\{dot\}|<dot>|\(\.\)|\[\.\]) ?| dot )"
_SPELLED = re.compile(
    rf"[(\[{{< ](?:(?<! )(?:at|@)[)\]}}>] ?(?:[{_WORD}-]{{1,63}}{_DOT}){{1,4}}"
    r"|(?<= )at (?:gmail|googlemail|yahoo|ymail|hotmail|outlook|live|msn|aol|icloud|proton|protonmail|gmx|web|mail"
    r"|fastmail|posteo|tutanota|zoho|yandex|rediffmail|comcast|verizon) dot (?:co dot )?)"
    rf"{_TOP}",
    re.IGNORECASE,
)
_SPELLED_LOCAL = re.compile(rf"[{_WORD}_%+](?:[{_WORD}_%+'-]|{_DOT}){{0,63}} ?\Z", re.IGNORECASE)
_NO_LOCAL = re.compile(
    r"(?:me|us|you|him|her|them|it|look|is|was|are|be|or|and|only|account|e?mail|work\w*|here|there|box|address|inbox"
    r"|people|team|folks|guys|someone|anyone|jobs?)\Z",
    re.IGNORECASE,
)


def _spelled_email(match: re.Match[str], done: int, language: str | None) -> Span | None:
    local = _SPELLED_LOCAL.search(match.string, max(done, match.start() - 64), match.start())
    if not local or (match[0][0] == " " and _NO_LOCAL.match(local[0].rpartition(" ")[2])):
        return None
    return local.start(), match.end()


# Postal addresses, only whole ones: number, street and place with a postcode, in the order of their country.
_NAME = r"[A-Z\u00C0-\u00DE](?:[\w'’.-]{0,24}+)"
_BREAK = r"(?:,? ?\n|,? )"
_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl|Terrace|Circle|Cir"
    r"|Crescent|Close|Gardens|Grove|Hill|Parkway|Pkwy|Highway|Hwy|Square|Sq|Mews|Row|Walk|Trail|Quay|Green)\b\.?"
)
_ADDRESS = re.compile(
    r"[1-9A-Z\u00C0-\u00DE](?<![\w.,/$£€#-].)(?:"
    rf"(?<=\d)\d{{0,4}}[A-Za-z]?,? (?:(?:{_NAME}|\d{{1,3}}(?:st|nd|rd|th)) ){{1,4}}{_STREET}(?: [NSEW]{{1,2}}\b)?"
    rf"(?:{_BREAK}(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Room)\.? ?#?\w{{1,5}}|{_BREAK}#\w{{1,5}})?"
    rf"(?:{_BREAK}{_NAME}){{1,5}}{_BREAK}"
    r"(?:\d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}|[A-Z]\d[A-Z] \d[A-Z]\d)(?!\w)"
    rf"|(?<=P)(?:O|\.? ?O\.) Box \d{{1,6}}(?:{_BREAK}{_NAME}){{1,5}}{_BREAK}\d{{5}}(?:-\d{{4}})?(?!\w)"
    r"|(?<=\d)\d{0,3}(?: bis| ter)?,? (?:rue|avenue|av\.|boulevard|bd|place|chemin|allée|impasse|quai|route|cours)"
    rf" [^\d\n<>]{{2,40}}{_BREAK}\d{{5}} {_NAME}"
    r"|(?<!\d)(?:[\w-]{1,30}(?:straße|strasse|str\.|weg|platz|allee|gasse|ring|damm|ufer)"
    r"|[\w-]{1,30} (?:Straße|Strasse|Str\.|Weg|Platz|Allee|Ring|Damm|Ufer))"
    rf" \d{{1,4}} ?[a-z]?{_BREAK}(?:D-)?\d{{5}} {_NAME}"
    r"|(?:(?<=C)(?:alle|/|orso)|(?<=A)v(?:enida|da\.?|\.)|(?<=P)(?:laza|aseo|iazza)|(?<=V)ia(?:le)?)"
    rf" [^\d\n<>]{{2,40}}(?:n[º°.] ?)?\d{{1,4}}[a-z]?{_BREAK}\d{{5}} {_NAME}"
    r"|(?<!\d)[\w-]{1,30}(?:straat|weg|laan|plein|gracht|kade|singel|dijk|hof)"
    rf" \d{{1,4}} ?[A-Za-z]?{_BREAK}\d{{4}} [A-Z]{{2}} {_NAME}(?: {_NAME})?"
    r")"
)


def _address(match: re.Match[str], done: int, language: str | None) -> Span | None:
    return match.start(), match.end() - (match[0][-1] == ".")


# Each pattern begins with a set of characters, which `re` finds ten times as fast as a look-behind; what may
# not stand before the match is said after its first character.
_IPV4 = re.compile(r"[0-9](?<![\w.].)(?<![A-Za-z]/.)\d{0,2}(?:\.\d{1,3}){3}(?!\w|\.\w)", re.ASCII)
_IPV6 = re.compile(r"[23](?<![\w:.].)[0-9A-Fa-f]{3}:[0-9A-Fa-f:]{1,33}[0-9A-Fa-f](?![\w:])", re.ASCII)
_VERSION = re.compile(
    r"(?:\bv|\bver|\bversions?|\breleases?|\bbuild|\bfirmware|\bdriver|\bupdate|\bpatch"
    r"|\bandroid|\bios|\bwindows|\bkernel|\bsection|\bchapter|\barticle|\brule|§)"
    r"[.:]? ?\Z",
    re.IGNORECASE,
)
_HOST = re.compile(
    r"(?<![^\W\d_])(?:ip|dns|hosts?|servers?|address|ping|resolver|gateway|router)\b[^\d<>\n]{0,16}\Z", re.I
)
_RESOLVERS = {"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9"}


def _ip(match: re.Match[str], done: int, language: str | None) -> Span | None:
    """A global unicast address that is not called a version. Private, loopback and reserved ones name nobody.

    Four parts of one digit are more often a version or a section, unless a word before them tells otherwise.
    """
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return None
    before = match.string[max(done, match.start() - 32) : match.start()]
    if len(match[0]) == 7 and match[0] not in _RESOLVERS and not _HOST.search(before):
        return None
    return match.span() if address.is_global and not address.is_multicast and not _VERSION.search(before) else None


# Lengths by country, ISO 13616 (SWIFT's registry of IBAN formats).
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
_IBAN = re.compile(rf"[A-Z](?<![{_WORD}].)[A-Z]\d{{2}}(?:[ \u00A0-]?[A-Z0-9]){{11,30}}", re.ASCII)


def _iban(match: re.Match[str], done: int, language: str | None) -> Span | None:
    """The length of the country and a right checksum (ISO 7064, MOD 97-10); what follows an IBAN stays."""
    length = _IBAN_LENGTHS.get(match[0][:2], 0)
    places = [place for place, character in enumerate(match[0], match.start()) if character.isalnum()][:length]
    if not length or len(places) < length:
        return None
    end = places[-1] + 1
    number = "".join(str(int(match.string[place], 36)) for place in places[4:] + places[:4])
    return (match.start(), end) if int(number) % 97 == 1 and not match.string[end : end + 1].isalnum() else None


_CARD = re.compile(
    r"[0-9](?:"
    r"(?<![\w/#.,=&+-].)\d{13,18}(?![\w-]|[.,]\d)"
    r"|(?<![\w.,].)(?<!\d[ -].)\d{3}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{3})?(?!\w|[.,]\d|[ -]\d)"
    r"|(?<![\w.,].)(?<!\d[ -].)\d{3}([ -])\d{6}\2\d{4,5}(?!\w|[.,]\d|[ -]\d)"
    r")",
    re.ASCII,
)


def _card(match: re.Match[str], done: int, language: str | None) -> Span | None:
    """The prefix and length of a large network (ISO/IEC 7812) and a right Luhn digit."""
    number = "".join(character for character in match[0] if character.isdigit())
    length, four = len(number), int(number[:4])
    two = four // 100
    known = (
        (number[0] == "4" and length in (16, 19))  # Visa; none of 13 digits is in use any more
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and length == 16)  # Mastercard
        or (two in (34, 37) and length == 15)  # American Express
        or ((300 <= four // 10 <= 305 or two in (36, 38, 39)) and length == 14)  # Diners Club
        or ((four == 6011 or 644 <= four // 10 <= 649 or two in (62, 65)) and length >= 16)  # Discover, UnionPay
        or (3528 <= four <= 3589 and length >= 16)  # JCB
    )
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    luhn = (doubled + sum(int(digit) for digit in number[-1::-2])) % 10
    if not known or luhn or _touches("card", match.string, *match.span()):
        return None
    return match.span()


# A number next to another one is refused by its pattern. So that masking twice is masking once, what is masked
# later than the rule's own turn counts as the number that it was.
_SIDE = r"(?:[.,:=]|[ .\-()/\u00A0]{0,3})"
_LATER = {
    kind: "|".join(PLACEHOLDERS[later] for later in ("card", "national_id", "ip", "phone")[place:])
    for place, kind in enumerate(("card", "national_id", "ip", "phone"))
}
_LATER_BEFORE = {kind: re.compile(rf"(?:{later}){_SIDE}\Z") for kind, later in _LATER.items()}
_LATER_AFTER = {kind: re.compile(rf"{_SIDE}(?:{later})") for kind, later in _LATER.items()}


def _touches(kind: str, text: str, start: int, end: int) -> bool:
    """Whether text[start:end] stands next to a placeholder of this or a later rule."""
    before = _LATER_BEFORE[kind].search(text, max(0, start - 20), start)
    return before is not None or _LATER_AFTER[kind].match(text, end) is not None


def _national_id(match: re.Match[str], done: int, language: str | None) -> Span | None:
    return match.span() if is_national_id(match) and not _touches("national_id", match.string, *match.span()) else None


def _phone(match: re.Match[str], done: int, language: str | None) -> Span | None:
    found = phone_span(match, language)
    if found is None or found[0] < done:
        return None
    start, end, international = found
    if international:
        return None if match.string.endswith(PLACEHOLDERS["phone"], 0, start) else (start, end)
    return None if _touches("phone", match.string, start, end) else (start, end)


class _Rule(NamedTuple):
    kind: str
    bit: int
    pattern: re.Pattern[str]
    check: Callable[[re.Match[str], int, str | None], Span | None]
    numeric: bool = False  # every match lies in a number of seven digits or more


# In this order: what an earlier rule masks, a later one cannot take for a number.
_RULES: Sequence[_Rule] = (
    _Rule("email", AT, _DOMAIN, _email),
    _Rule("email", SPELLED, _SPELLED, _spelled_email),
    _Rule("address", POSTCODE, _ADDRESS, _address),
    _Rule("iban", CAPITALS, _IBAN, _iban),
    _Rule("card", NUMBER, _CARD, _card, numeric=True),
    _Rule("national_id", CAPITALS, LETTERS, _national_id),
    _Rule("national_id", NUMBER, DIGITS, _national_id, numeric=True),
    _Rule("ip", DOTTED, _IPV4, _ip),
    _Rule("ip", GROUPED, _IPV6, _ip),
    _Rule("phone", NUMBER, CANDIDATE, _phone, numeric=True),
)
_NUMBER = re.compile(r"[0-9](?:[ .\-()/\u00A0]{0,3}[0-9]){6,}")


def mask_text(
    text: str,
    candidates: int = _ALL,
    language: str | None = None,
    kinds: Sequence[str] = PERSONAL_DATA_KINDS,
) -> tuple[str, dict[str, int]]:
    """The text with placeholders, and how often each kind was found.

    `candidates` limits what is looked for to what the kernel saw; `language` (ISO 639-1) says in which
    countries a telephone number without its country's code may be.
    """
    counts = dict.fromkeys(PLACEHOLDERS, 0)
    numbers: list[Span] | None = None
    for rule in _RULES:
        if not candidates & rule.bit or rule.kind not in kinds:
            continue
        pieces: list[str] = []
        done = 0
        if rule.numeric and numbers is None:
            numbers = _numbers(text)
        for first, last in numbers if rule.numeric and numbers is not None else [(0, len(text))]:
            match = rule.pattern.search(text, max(first, done), last)
            while match:
                span = rule.check(match, done, language)
                if span and span[0] >= done:
                    pieces += (text[done : span[0]], PLACEHOLDERS[rule.kind])
                    done = span[1]
                    counts[rule.kind] += 1
                match = rule.pattern.search(text, max(done, match.start() + 1), last)
        if pieces:
            text = "".join((*pieces, text[done:]))
            numbers = None
    return text, counts


def _numbers(text: str) -> list[Span]:
    """Where numbers of seven digits or more stand, with what their patterns look at around them."""
    return [(max(0, match.start() - 12), match.end() + 4) for match in _NUMBER.finditer(text)]


class PersonalData:
    """Masks `text`, `title` and `url`; adds the struct `personal_data`, counts by kind in `text`.

    - email: local part and a domain with a top-level name, also spelled "name (at) host dot org";
    - ip: global unicast IPv4 and IPv6 addresses (IANA registries, by `ipaddress`);
    - phone: international numbers with "+", and national ones as they are written where the language of the
      text (column `language`, where there is one) is spoken, valid in the numbering plan;
    - iban: by country, length and checksum; card: by network, length and Luhn digit;
    - national_id: identity, social security and tax numbers by shape, check digits or the word before them;
    - address: number, street and place with a postcode, in the orders of some countries.

    The title is masked alike but not counted, since readers may join it into the text. User-info is
    dropped from the URL, and e-mail addresses in it are masked. The flag `personal_data.masked` says that a
    row was changed. With `mask: false` everything stays and is only counted. A placeholder that an author
    wrote is no different from ours: angle brackets are not escaped, and the counts tell how many are ours.
    """

    name = "personal_data"
    version = "personal_data.v2"

    def __init__(self, options: PersonalDataOptions) -> None:
        self.options = options

    def setup(self) -> None:
        _find_candidates(pa.array(["a"]))

    def identity(self) -> dict[str, str]:
        return {
            "version": self.version,
            "mask": str(self.options.mask).lower(),
            "kinds": " ".join(sorted(self.options.kinds)),
            "phonenumbers": installed_version("phonenumbers"),
        }

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        languages = batch["language"] if "language" in batch.schema.names else pa.nulls(batch.num_rows, pa.string())
        kinds = self.options.kinds
        text, counts, changed = _mask_column(batch["text"], languages, kinds)
        fields = [pa.array(column) for column in np.ascontiguousarray(counts.T)]
        batch = replace_column(batch, "personal_data", pa.StructArray.from_arrays(fields, fields=list(PERSONAL_DATA)))
        if not self.options.mask:
            return batch
        title, _, changed_title = _mask_column(batch["title"], languages, kinds)
        url = pc.replace_substring_regex(batch["url"], r"^((?:[A-Za-z][A-Za-z0-9+.-]*:)?//)[^/?#\\]*@", r"\1")
        url, _, _ = _mask_column(url, languages, [kind for kind in kinds if kind == "email"])
        changed_url = pc.fill_null(pc.not_equal(url, batch["url"]), False).to_numpy(zero_copy_only=False)
        batch = replace_column(batch, "text", text)
        batch = replace_column(batch, "title", title)
        batch = replace_column(batch, "url", url)
        return append_flag(batch, changed | changed_title | changed_url, "personal_data.masked")


def _find_candidates(array: pa.StringArray) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Bits of what each row may hold, shape (rows,)."""
    data, offsets = string_buffers(array)
    found = np.zeros(len(array), np.uint8)
    _candidates(data, offsets, found)
    return found


def _mask_column(
    array: pa.StringArray, languages: pa.StringArray, kinds: Sequence[str]
) -> tuple[pa.StringArray, np.ndarray[Any, np.dtype[np.int32]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Masked rows, counts of shape (rows, kinds), and which rows changed."""
    found = _find_candidates(array)
    found[pc.is_null(array).to_numpy(zero_copy_only=False)] = 0
    counts = np.zeros((len(array), len(PERSONAL_DATA)), np.int32)
    changed = np.zeros(len(array), np.bool_)
    masked = []
    for row in np.flatnonzero(found):
        text, by_kind = mask_text(array[row].as_py(), int(found[row]), languages[row].as_py(), kinds)
        if any(by_kind.values()):
            counts[row] = [by_kind[field.name] for field in PERSONAL_DATA]
            changed[row] = True
            masked.append(text)
    if masked:
        array = pc.replace_with_mask(array, pa.array(changed), pa.array(masked, pa.string()))
    return array, counts, changed
