"""National identity, social security and tax numbers of persons, told by shape, check digits and words before them.

A number is taken for what it is where its shape together with its check digits leaves little to chance
(below one in a hundred for random digits of that shape). Where they leave more, a word that names the
number ("SSN", "Steuer-ID", "personnummer") must stand before it. Numbers of firms are not looked for.
Algorithms as the issuing offices publish them; each agrees with python-stdnum 2.2 on valid and altered numbers.
"""

import re
from collections.abc import Callable, Sequence

__all__ = ["DIGITS", "LETTERS", "is_national_id"]


def _luhn(number: str) -> bool:
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    return (doubled + sum(int(digit) for digit in number[-1::-2])) % 10 == 0


def _weighted(number: str, weights: Sequence[int]) -> int:
    return sum(weight * int(digit) for weight, digit in zip(weights, number, strict=False))


def _date(month: str, day: str) -> bool:
    return 1 <= int(month) <= 12 and 1 <= int(day) <= 31


def _us(number: str) -> bool:
    """Social security number, or the taxpayer number that begins with 9."""
    area, group, serial = int(number[:3]), int(number[3:5]), int(number[5:])
    taxpayer = 50 <= group <= 65 or 70 <= group <= 88 or (90 <= group <= 99 and group != 93)
    return bool(serial and group) and area not in (0, 666) and (area < 900 or taxpayer)


def _us_labelled(number: str) -> bool:
    return len(number) == 9 and _us(number)


def _germany(number: str) -> bool:
    """Steuer-ID: one digit of the first ten comes twice or thrice, no other twice; ISO 7064 MOD 11,10."""
    repeats = sorted(number[:10].count(digit) for digit in set(number[:10]))
    product = 10
    for digit in number[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return number[0] != "0" and repeats[-1] in (2, 3) and repeats[-2] == 1 and (11 - product) % 10 == int(number[10])


def _france(number: str) -> bool:
    """NIR, Corsica's departments 2A and 2B included."""
    digits = number.replace("2A", "19").replace("2B", "18")
    if not digits.isdigit() or not (1 <= int(digits[3:5]) <= 12 or 20 <= int(digits[3:5]) <= 42):
        return False
    return 97 - int(digits[:13]) % 97 == int(digits[13:])


def _spain(number: str) -> bool:
    """DNI, and NIE whose first letter stands for a digit."""
    digits = number[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == number[-1]


def _portugal(number: str) -> bool:
    rest = _weighted(number, range(9, 1, -1)) % 11
    return number[0] in "123" and int(number[8]) == (0 if rest < 2 else 11 - rest)


def _brazil(number: str) -> bool:
    """CPF."""
    first = _weighted(number, range(10, 1, -1)) * 10 % 11 % 10
    second = _weighted(number, range(11, 1, -1)) * 10 % 11 % 10
    return len(set(number)) > 1 and number[9:] == f"{first}{second}"


def _india(number: str) -> bool:
    """Aadhaar: the check digit of Verhoeff, over the dihedral group of order ten."""
    state = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit)
        for _ in range(place % 8):
            value = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[value]
        flip, turn = divmod(state, 5)
        other, step = divmod(value, 5)
        state = 5 * (flip ^ other) + (turn - step if flip else turn + step) % 5
    return number[0] in "23456789" and state == 0


def _sweden(number: str) -> bool:
    """Personnummer; a coordination number adds 60 to the day."""
    number = number[-10:]
    return _date(number[2:4], str(int(number[4:6]) % 60)) and _luhn(number)


def _denmark(number: str) -> bool:
    return _date(number[2:4], number[:2])


def _finland(number: str) -> bool:
    return _date(number[2:4], number[:2]) and (
        "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(number[:6] + number[-4:-1]) % 31] == number[-1]
    )


def _norway(number: str) -> bool:
    return (
        _date(number[2:4], number[:2])
        and _weighted(number, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11 == 0
        and _weighted(number, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0
    )


_ODD_VALUES = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21] * 2 + [2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23],
        strict=True,
    )
)


def _italy(number: str) -> bool:
    """Codice fiscale."""
    even = sum(int(character, 36) % 10 if character.isdigit() else ord(character) - 65 for character in number[1:15:2])
    return chr(65 + (even + sum(_ODD_VALUES[character] for character in number[:15:2])) % 26) == number[15]


def _poland(number: str) -> bool:
    """PESEL; the century is added to the month in twenties."""
    weights = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)
    return _date(str(int(number[2:4]) % 20), number[4:6]) and _weighted(number, weights) % 10 == 0


def _netherlands(number: str) -> bool:
    return int(number) > 0 and _weighted(number, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _belgium(number: str) -> bool:
    born_before_2000, check = int(number[:9]), int(number[9:])
    return _date(number[2:4], number[4:6]) and check in (
        97 - born_before_2000 % 97,
        97 - (2 * 10**9 + born_before_2000) % 97,
    )


def _china(number: str) -> bool:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    dated = number[6:8] in ("19", "20") and _date(number[10:12], number[12:14])
    return dated and "10X98765432"[_weighted(number[:17], weights) % 11] == number[17].upper()


def _canada(number: str) -> bool:
    return number[0] not in "08" and _luhn(number)


def _australia(number: str) -> bool:
    """Tax file number."""
    return _weighted(number, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def _south_africa(number: str) -> bool:
    return _date(number[2:4], number[4:6]) and number[10] in "012" and _luhn(number)


def _korea(number: str) -> bool:
    check = (11 - _weighted(number, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10
    return _date(number[2:4], number[4:6]) and number[6] != "0" and check == int(number[12])


def _mexico(number: str) -> bool:
    """CURP."""
    alphabet = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    total = sum((18 - place) * alphabet.index(character) for place, character in enumerate(number[:17]))
    return _date(number[6:8], number[8:10]) and str(-total % 10) == number[17]


def _chile(number: str) -> bool:
    """RUN; those of firms are above 50 million."""
    total = _weighted(number[-2::-1], (2, 3, 4, 5, 6, 7, 2, 3))
    return int(number[:-1]) < 50_000_000 and "0123456789K"[-total % 11] == number[-1].upper()


def _turkey(number: str) -> bool:
    digits = [int(digit) for digit in number]
    tenth = (7 * sum(digits[:9:2]) - sum(digits[1:8:2])) % 10
    return digits[0] > 0 and digits[9] == tenth and digits[10] == sum(digits[:10]) % 10


def _singapore(number: str) -> bool:
    total = _weighted(number[1:8], (2, 7, 6, 5, 4, 3, 2)) + (4 if number[0] in "TG" else 0)
    return ("JZIHGFEDCBA" if number[0] in "ST" else "XWUTRQPNMLK")[total % 11] == number[8]


def _romania(number: str) -> bool:
    rest = _weighted(number, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return (
        number[0] in "12345678" and _date(number[3:5], number[5:7]) and int(number[12]) == (1 if rest == 10 else rest)
    )


def _czechia(number: str) -> bool:
    """Rodné číslo, also Slovak; 50 is added to the months of women."""
    month = int(number[2:4]) % 50
    return _date(str(month - 20 if month > 20 else month), number[4:6]) and int(number) % 11 == 0


def _any(number: str) -> bool:
    """No check digit exists."""
    return True


def _before(words: str) -> re.Pattern[str]:
    """One of the words near the end of a text, with no other number in between."""
    return re.compile(rf"(?<![^\W\d_])(?:{words})(?![^\W_])[^\d<>\n]{{0,24}}\Z", re.IGNORECASE)


_SSN = _before(r"ssn|ss#|itin|social security|soc(?:ial)? sec|taxpayer|tax id")
# By the name of the pattern's group: alternatives of (word that must stand before, check digits).
_CHECKS: dict[str, list[tuple[re.Pattern[str] | None, Callable[[str], bool]]]] = {
    "us": [(None, _us)],
    "us_spaces": [(_SSN, _us)],
    "germany": [(None, _germany)],
    "france": [(None, _france)],
    "spain": [(_before(r"dni|nif|d\.n\.i\.?|n\.i\.f\.?|documento|identidad"), _spain)],
    "spain_foreign": [(None, _spain)],
    "brazil": [(None, _brazil)],
    "india": [(_before(r"aadhaa?r|uidai|uid|आधार"), _india)],
    "personal": [
        (None, _sweden),
        (_before(r"cpr|cpr[ -]?(?:nr|nummer|number)|personnummer|person ?number"), _denmark),
    ],
    "sweden": [(None, _sweden)],
    "finland": [(None, _finland)],
    "belgium": [(None, _belgium)],
    "korea": [(None, _korea)],
    "chile": [(None, _chile)],
    "czechia": [(None, _czechia)],
    "nine": [
        (_before(r"sin|social insurance|nas"), _canada),
        (_before(r"tfn|tax file"), _australia),
        (_before(r"bsn|burgerservicenummer|sofinummer"), _netherlands),
        (_before(r"nif|contribuinte|n\.i\.f\.?"), _portugal),
    ],
    "italy": [(None, _italy)],
    "mexico": [(None, _mexico)],
    "kingdom": [(None, _any)],
    "kingdom_plain": [(_before(r"nino|ni number|ni no|national insurance|nat\.? ins\.?"), _any)],
    "singapore": [(_before(r"nric|fin|identity card"), _singapore)],
    "permanent": [(_before(r"pan|permanent account"), _any)],
}
# Unbroken digits by their number.
_PLAIN: dict[int, list[tuple[re.Pattern[str] | None, Callable[[str], bool]]]] = {
    9: [*_CHECKS["nine"], (_SSN, _us_labelled)],
    10: [(_before(r"personnummer|person ?nr|personal identity number|pnr"), _sweden), (_before(r"cpr\S*"), _denmark)],
    11: [
        (_before(r"fødselsnummer\S*|fnr|f\.nr|personnummer|d-nummer"), _norway),
        (
            _before(r"steuer-?id\S*|idnr\.?|tin|tax id\S*|(?:steuerliche )?identifikationsn\S*"),
            _germany,
        ),
        (_before(r"cpf|c\.p\.f\.?"), _brazil),
        (_before(r"pesel\S*"), _poland),
        (_before(r"tckn|t\.?c\.? kimlik\S*|tc no|kimlik\S*"), _turkey),
        (_before(r"rijksregister\S*|insz|niss|registre national|numéro national"), _belgium),
    ],
    12: [
        *_CHECKS["india"],
        (_before(r"personnummer|person ?nr|personal identity number|pnr"), _sweden),
    ],
    13: [
        (_before(r"sa id|id|id (?:no|nr|number)\.?|identity (?:no|number)\.?|rsa id"), _south_africa),
        (_before(r"cnp|cod(?:ul)? numeric personal"), _romania),
    ],
    15: [(None, _france)],
    18: [(None, _china)],
}
_WINDOW = 64  # characters before a number in which its word may stand

_FORBIDDEN = r"[\w\u00C0-\u024F\u0370-\u052F.,/#=+$€£-]"  # letters of scripts that put spaces between words
_START, _END = rf"(?<!{_FORBIDDEN})", r"(?!\w|[-.,/=]\w)"
DIGITS = re.compile(
    _START + r"(?:"
    r"(?P<us>\d{3}-\d\d-\d{4})"
    r"|(?P<us_spaces>\d{3} \d\d \d{4})"
    r"|(?P<germany>\d\d \d{3} \d{3} \d{3})"
    r"|(?P<france>[12] ?\d\d ?\d\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d)"
    r"|(?P<brazil>\d{3}\.\d{3}\.\d{3}-\d\d)"
    r"|(?P<india>\d{4}(?P<gap>[ -])\d{4}(?P=gap)\d{4})"
    r"|(?P<korea>\d{6}-[1-8]\d{6})"
    r"|(?P<personal>\d{6}-\d{4})"
    r"|(?P<sweden>(?:19|20)\d{6}-\d{4})"
    r"|(?P<finland>\d{6}-\d{3}[0-9A-FHJ-NPR-Y])"
    r"|(?P<belgium>\d\d\.\d\d\.\d\d-\d{3}[.-]\d\d)"
    r"|(?P<chile>\d{1,2}\.\d{3}\.\d{3}-[\dKk])"
    r"|(?P<czechia>\d{6}/\d{4})"
    r"|(?P<nine>\d{3}(?P<space>[ -])\d{3}(?P=space)\d{3}|\d{4}\.\d\d\.\d{3})"
    r"|(?P<spain_foreign>[XYZ]-?\d{7}-?[A-Z])"
    r"|(?P<spain>\d{8}-?[A-Z]|\d\d\.\d{3}\.\d{3}-?[A-Z])"
    r"|(?P<singapore>[STFG]\d{7}[A-Z])"
    r"|(?P<plain>\d{9,13}|\d{15}|\d{17}[\dXx])"
    r")" + _END,
    re.ASCII,
)
"""Numbers with seven or more digits, one letter at most before or after."""

LETTERS = re.compile(
    rf"[A-Z](?<!{_FORBIDDEN}.)(?:"
    r"(?P<italy>[A-Z]{5}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z])"
    r"|(?P<mexico>[A-Z]{3}\d{6}[HMX][A-Z]{5}[A-Z0-9]\d)"
    r"|(?P<kingdom>(?<=[A-CEGHJ-PR-TW-Z])[A-CEGHJ-NPR-TW-Z] \d\d \d\d \d\d ?[A-D])"
    r"|(?P<kingdom_plain>(?<=[A-CEGHJ-PR-TW-Z])[A-CEGHJ-NPR-TW-Z] ?\d{6} ?[A-D])"
    r"|(?P<permanent>[A-Z]{2}P[A-Z]\d{4}[A-Z])"
    r")" + _END,
    re.ASCII,
)
"""Numbers that begin with two or more capital letters before a digit."""


def is_national_id(match: re.Match[str]) -> bool:
    """Whether a match of DIGITS or LETTERS holds by its check digits and, where they are weak, the word before."""
    number = "".join(character for character in match[0] if character.isalnum())
    kind = match.lastgroup or ""
    text, start = match.string, match.start()
    return any(
        check(number) and (word is None or word.search(text, max(0, start - _WINDOW), start) is not None)
        for word, check in (_PLAIN[len(number)] if kind == "plain" else _CHECKS[kind])
    )
