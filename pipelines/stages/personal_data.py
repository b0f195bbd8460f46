"""Typed placeholders instead of personal data, before anything is written.

A compiled pass over the bytes finds the few rows that could hold an address or a number; only these go
through regular expressions, and every match through a check of its own (checksums, address ranges,
numbering plans). Rules are conservative: a number that could be a date, price, version, order number
or ISBN stays. Every pattern is bounded: no text makes one slow.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from ...schemas.arrays import append_flag, replace_column, string_buffers
from ...schemas.document import PERSONAL_DATA
from ...schemas.recipe import PersonalDataOptions

__all__ = ["PLACEHOLDERS", "PersonalData", "mask_text"]

PLACEHOLDERS = {"email": "<EMAIL>", "ip": "<IP>", "phone": "<PHONE>", "iban": "<IBAN>", "card": "<CARD>"}

AT, DOTTED, GROUPED, NUMBER, COUNTRY = 1, 2, 4, 8, 16  # candidates that the kernel finds
_OTHER, _DIGIT, _SEPARATOR, _SIGN = 0, 1, 2, 3  # kinds of bytes
_KINDS = np.zeros(256, np.uint8)
_KINDS[list(b"0123456789")] = _DIGIT
_KINDS[list(b" -.()/\xc2\xa0")] = _SEPARATOR  # the last two are a no-break space
_KINDS[list(b"@:")] = _SIGN
_IS_HEXADECIMAL = np.zeros(256, np.bool_)
_IS_HEXADECIMAL[list(b"0123456789ABCDEFabcdef")] = True
_MAX_GAP = 3  # separators between two digits of a number


@njit(cache=True, nogil=True)
def _candidates(data, offsets, found):  # type: ignore[no-untyped-def]
    """Bits of what each row may hold. They may say too much, never too little."""
    for row in range(len(offsets) - 1):
        start, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        bits = 0
        digits = gap = dots = 0
        for i in range(start, end):
            byte = data[i]
            kind = _KINDS[byte]
            if kind == _OTHER:
                digits = dots = 0
            elif kind == _DIGIT:
                digits += 1
                gap = 0
                if digits == 7:
                    bits |= NUMBER
                elif digits == 2 and i - start >= 3 and 65 <= data[i - 2] <= 90 and 65 <= data[i - 3] <= 90:
                    bits |= COUNTRY
            elif kind == _SEPARATOR:
                gap += byte != 0xC2
                if byte == 46 and gap == 1 and digits > 0:
                    dots += 1
                    if dots == 3:
                        bits |= DOTTED
                if gap > _MAX_GAP:
                    digits = dots = 0
            else:
                digits = dots = 0
                if byte == 64:
                    if i > start and i + 1 < end and data[i - 1] > 32 and data[i + 1] > 32:
                        bits |= AT
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
_DOMAIN = re.compile(rf"@((?:[{_WORD}-]{{1,63}}\.){{1,8}}[A-Za-z\u00C0-\u024F\u0370-\u052F]{{2,24}})(?![{_WORD}])")
_LOCAL = re.compile(rf"[{_WORD}_%+][{_WORD}._%+'-]{{0,63}}\Z")
_RETINA = re.compile(r"[23]x\.(?:png|jpe?g|gif|webp|svg)\Z", re.IGNORECASE)  # icon@2x.png


def _email(match: re.Match[str], done: int) -> Span | None:
    local = _LOCAL.search(match.string, max(done, match.start() - 64), match.start())
    return (local.start(), match.end()) if local and not _RETINA.match(match[1]) else None


# Each pattern begins with a set of characters, which `re` finds ten times as fast as a look-behind; what may
# not stand before the match is said after its first character.
_IPV4 = re.compile(r"[0-9](?<![\w.].)\d{0,2}(?:\.\d{1,3}){3}(?!\w|\.\w)", re.ASCII)
_IPV6 = re.compile(r"[23](?<![\w:.].)[0-9A-Fa-f]{3}:[0-9A-Fa-f:]{1,33}[0-9A-Fa-f](?![\w:])", re.ASCII)
_VERSION = re.compile(r"(?:\bv|\bver|\bversions?|\brelease|\bbuild|\bfirmware|\bsection|§)[.:]? ?\Z", re.IGNORECASE)


def _ip(match: re.Match[str], done: int) -> Span | None:
    """A global unicast address that is not called a version. Private, loopback and reserved ones name nobody."""
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return None
    named_version = _VERSION.search(match.string, max(done, match.start() - 12), match.start())
    return match.span() if address.is_global and not address.is_multicast and not named_version else None


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
_IBAN = re.compile(r"[A-Z](?<![A-Za-z0-9].)[A-Z]\d{2}(?:[ \u00A0-]?[A-Z0-9]){11,30}", re.ASCII)


def _iban(match: re.Match[str], done: int) -> Span | None:
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
    r"(?<![\w/#.,=&+-].)\d{12,18}(?![\w-]|[.,]\d)"
    r"|(?<![\w.,].)(?<!\d[ -].)\d{3}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{3})?(?!\w|[.,]\d|[ -]\d)"
    r"|(?<![\w.,].)(?<!\d[ -].)\d{3}([ -])\d{6}\2\d{4,5}(?!\w|[.,]\d|[ -]\d)"
    r")",
    re.ASCII,
)


def _card(match: re.Match[str], done: int) -> Span | None:
    """The prefix and length of a large network (ISO/IEC 7812) and a right Luhn digit."""
    number = "".join(character for character in match[0] if character.isdigit())
    length, four = len(number), int(number[:4])
    two = four // 100
    known = (
        (number[0] == "4" and length in (13, 16, 19))  # Visa
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and length == 16)  # Mastercard
        or (two in (34, 37) and length == 15)  # American Express
        or ((300 <= four // 10 <= 305 or two in (36, 38, 39)) and length == 14)  # Diners Club
        or ((four == 6011 or 644 <= four // 10 <= 649 or two in (62, 65)) and length >= 16)  # Discover, UnionPay
        or (3528 <= four <= 3589 and length >= 16)  # JCB
    )
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    luhn = (doubled + sum(int(digit) for digit in number[-1::-2])) % 10
    return match.span() if known and luhn == 0 else None


_GAP = r"[ .\-()/\u00A0]"
_PHONE = re.compile(
    r"[+(1-9](?:"
    rf"(?<=\+)(?<![\w+].)[1-9](?:{_GAP}{{0,{_MAX_GAP}}}\d){{7,14}}(?!\w|[.,]\d)"  # +49 (0) 30 901820
    r"|(?<=\()(?<![\w.)-].)[2-9]\d{2}\)[ .-]?[2-9]\d{2}[ .-]\d{4}(?!\w|[-.]\d)"  # (212) 555-0123
    r"|(?<=1)(?<![\w.)-].)[ .-]?\([2-9]\d{2}\)[ .-]?[2-9]\d{2}[ .-]\d{4}(?!\w|[-.]\d)"  # 1 (212) 555-0123
    r"|(?<=1)(?<![\w./-].)[ .-][2-9]\d{2}([.-])[2-9]\d{2}\1\d{4}(?!\w|[-.]\d)"  # 1-212-555-0123
    r"|(?<=[2-9])(?<![\w./-].)\d{2}([.-])[2-9]\d{2}\2\d{4}(?!\w|[-.]\d)"  # 212-555-0123
    r"|(?<=\()(?<![\w.)-].)0\d{1,4}\)[ -]?\d(?:[ -]?\d){4,8}(?![ -]?\w|[.,]\d)"  # (030) 901820
    r")",
    re.ASCII,
)


def _phone(match: re.Match[str], done: int) -> Span | None:
    """At least three different digits, and for +1 ten digits of the North American plan."""
    number = "".join(character for character in match[0] if character.isdigit())
    possible = len(set(number)) >= 3
    if match[0].startswith("+1"):
        possible &= len(number) == 11 and number[1] not in "01" and number[4] not in "01"
    return match.span() if possible else None


# In this order: what an earlier rule masks, a later one cannot take for a number.
_RULES: Sequence[tuple[str, int, re.Pattern[str], Callable[[re.Match[str], int], Span | None]]] = (
    ("email", AT, _DOMAIN, _email),
    ("iban", COUNTRY, _IBAN, _iban),
    ("card", NUMBER, _CARD, _card),
    ("ip", DOTTED, _IPV4, _ip),
    ("ip", GROUPED, _IPV6, _ip),
    ("phone", NUMBER, _PHONE, _phone),
)


def mask_text(text: str, candidates: int = AT | DOTTED | GROUPED | NUMBER | COUNTRY) -> tuple[str, dict[str, int]]:
    """The text with placeholders and how often each kind was found; `candidates` limits what is looked for."""
    counts = dict.fromkeys(PLACEHOLDERS, 0)
    for kind, bit, pattern, check in _RULES:
        if candidates & bit and (match := pattern.search(text)):
            pieces: list[str] = []
            done = 0
            while match:
                span = check(match, done)
                if span:
                    pieces += (text[done : span[0]], PLACEHOLDERS[kind])
                    done = span[1]
                    counts[kind] += 1
                match = pattern.search(text, span[1] if span else match.start() + 1)
            text = "".join((*pieces, text[done:]))
    return text, counts


class PersonalData:
    """Masks `text`, `title` and `url`; adds the struct `personal_data`, counts by kind in `text`.

    - e-mail: local part and a domain with a top-level name;
    - ip: global unicast IPv4 and IPv6 addresses (IANA registries, by `ipaddress`);
    - phone: international numbers with "+" (E.164), and national ones whose area code is set apart by
      brackets or, in the North American plan, hyphens or points;
    - iban: by country, length and checksum; card: by network, length and Luhn digit.

    The title is masked alike but not counted, since readers may join it into the text. User-info is
    dropped from the URL. The flag `personal_data.masked` says that a row was changed. With `mask: false`
    everything stays and is only counted. A placeholder that an author wrote is no different from ours:
    angle brackets are not escaped, and the counts tell how many are ours.
    """

    name = "personal_data"
    version = "personal_data.v1"

    def __init__(self, options: PersonalDataOptions) -> None:
        self.options = options

    def setup(self) -> None:
        _find_candidates(pa.array(["a"]))

    def identity(self) -> dict[str, str]:
        return {"version": self.version, "mask": str(self.options.mask).lower()}

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        text, counts, changed = _mask_column(batch["text"])
        fields = [pa.array(column) for column in np.ascontiguousarray(counts.T)]
        batch = replace_column(batch, "personal_data", pa.StructArray.from_arrays(fields, fields=list(PERSONAL_DATA)))
        if not self.options.mask:
            return batch
        title, _, changed_title = _mask_column(batch["title"])
        url = pc.replace_substring_regex(batch["url"], r"^((?:[A-Za-z][A-Za-z0-9+.-]*:)?//)[^/?#\\]*@", r"\1")
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
    array: pa.StringArray,
) -> tuple[pa.StringArray, np.ndarray[Any, np.dtype[np.int32]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Masked rows, counts of shape (rows, kinds), and which rows changed."""
    found = _find_candidates(array)
    found[pc.is_null(array).to_numpy(zero_copy_only=False)] = 0
    counts = np.zeros((len(array), len(PERSONAL_DATA)), np.int32)
    changed = np.zeros(len(array), np.bool_)
    masked = []
    for row in np.flatnonzero(found):
        text, by_kind = mask_text(array[row].as_py(), int(found[row]))
        if any(by_kind.values()):
            counts[row] = [by_kind[field.name] for field in PERSONAL_DATA]
            changed[row] = True
            masked.append(text)
    if masked:
        array = pc.replace_with_mask(array, pa.array(changed), pa.array(masked, pa.string()))
    return array, counts, changed
