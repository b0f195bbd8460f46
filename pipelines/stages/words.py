"""Words and punctuation marks as the rules of spaCy's English tokenizer split them, compiled.

The published quality filters count words with spaCy's blank English pipeline (datatrove does, for
FineWeb too), and it tells punctuation and contractions from words: "Don't (really)!" has six tokens.
Thresholds such as "80 % of words hold a letter" mean something else on white-space words, so the same
rules are applied here, byte by byte and without regular expressions: exceptions, then prefixes and
suffixes, then web addresses, then infixes. The rules and word lists follow spaCy 3.8 (MIT licence,
github.com/explosion/spaCy, `lang/punctuation.py`, `lang/en`, `lang/tokenizer_exceptions.py`).

Time is linear in the text whatever it holds: each step of `split` either ends or takes a character
away, and whatever is looked up is at most LONGEST bytes long. What differs is listed at `split`.
"""

import unicodedata
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from .utf8 import CODE_POINTS, decode, unicode_classes

__all__ = [
    "ALPHA",
    "COMPLEX",
    "DIGIT",
    "LONGEST",
    "MARK",
    "SENTENCE_END",
    "Exceptions",
    "borrow",
    "borrow_exceptions",
    "borrow_frozen",
    "code_points",
    "exceptions",
    "hash_bytes",
    "is_exception",
    "split",
    "word_classes",
]

# Bits beside those of utf8.py. COMPLEX: not an ASCII letter or digit, so that a run of characters may be split.
COMPLEX, DIGIT, ALPHA, LOWER, UPPER, PREFIX, SUFFIX, INFIX, QUOTE, BEFORE_STOP, CURRENCY, MARK, SENTENCE_END = (
    1 << shift for shift in range(3, 16)
)

LONGEST = 20  # bytes of the longest exception
LONGEST_JOINED = 12  # of the longest that rules would split in parts
STARTS, ENDS = 1, 2  # what a byte may do to an exception

_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)  # odd, of even bit density
_UNIT = np.uint64(0x5851F42D4C957F2D)  # tells units of measurement from other exceptions in one table

# What spaCy takes for letters: Latin, Greek, basic Cyrillic, and blocks without case, marks and all.
CASED = (
    "41-5a 61-7a c0-d6 d8-f6 f8-1bf 1c4-2af 1d00-1d25 1d6b-1d77 1d79-1d9a 1e00-1eff 2c60-2c7b 2c7e-2c7f a722-a76f "
    "a771-a787 a78b-a78e a790-a7b9 a7fa ab30-ab5a ab60-ab64 ff21-ff3a ff41-ff5a 386 388-38a 38c 38e-38f 391-3a9 "
    "3ac-3af 3b1-3c9 3cc-3ce 401 403-407 409-40a 40c-40d 410-44f 451 453-457 459-45a 45c-45d 490-491 496-497 "
    "4a2-4a3 4ae-4af 4ba-4bb 4d8-4d9 4e8-4e9"
)
UNCASED = (
    "1200-137f 980-9ff 591-5f4 fb1d-fb4f 620-64a 66e-6d5 6e5-6ff 750-77f 8a0-8bd fb50-fbb1 fbd3-fd3d fd50-fdc7 "
    "fdf0-fdfb fe70-fefc 1ee00-1eebb d80-dff 900-97f c80-cff b80-bff c00-c7f 1100-11ff ac00-d7af 3040-30ff "
    "2e80-2fdf 2ff0-303f 31c0-31ef 3200-4dbf 4e00-9fff f900-faff fe30-fe4f 1f200-1f2ff 20000-2ebef 2f800-2fa1f"
)
PUNCTUATION = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧"
CURRENCIES = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa "
    "Pa mbar mb MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с "
    "км/ч кПа Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ كم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ غرام جرام جم كغ "
    "ملغ كوب اكواب"
)
SENTENCE_ENDS = (
    "21 2e 3f 589 61f 6d4 700-702 7f9 964-965 104a-104b 1362 1367-1368 166e 1735-1736 1803 1809 1944-1945 1aa8-1aab "
    "1b5a-1b5b 1b5e-1b5f 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e 2e3c 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 "
    "a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 11047-11048 "
    "110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 "
    "115c9-115d7 11641-11642 1173c-1173e 11a42-11a43 11a9b-11a9c 11c41-11c42 16a6e-16a6f 16af5 16b37-16b38 16b44 1bc9f "
    "1da88"
)

# Exceptions: strings that are split at "|", or not at all.
CONTRACTIONS = (  # words, then what may follow them with an apostrophe or, glued on, without
    ("i", "'m 'm|a"),
    ("i you he she it we they", "'ll 'll|'ve 'd 'd|'ve"),
    ("i you we they", "'ve"),
    ("you we they", "'re"),
    ("he she it", "'s"),
    ("who what when where why how there", "'s 'll 'll|'ve 're 've 'd 'd|'ve"),
    ("that this", "'s 'll 'll|'ve 'd 'd|'ve"),
    ("these those", "'ll 'll|'ve 're 've 'd 'd|'ve"),
    ("ca could do does did had may might must need ought sha should wo would", "n't n't|'ve"),
    ("could might must should would", "'ve"),
    ("ai are is was were have has dare", "n't"),
    ("not", "'ve"),
)
NO_CONTRACTIONS = "ill its hell shell shed were well whore"
WHOLE_AND_TITLED = (
    "doin doin' goin goin' nothin nothin' nuthin nuthin' ol ol' somethin somethin' lovin lovin' havin havin' "
    "ma'am o'clock 'cause 'cos 'coz 'cuz can|not gon|na got|ta let|'s c'm|on how|'d|'y"
)
WHOLE = (
    "em ll nuff 'em 'll 'nuff 'S 's ‘S ‘s 're 'd 'bout and/or w/o y'|all y|all ' '' \\\") <space> C++ — \\n \\t "
    "Mt. Ak. Ala. Apr. Ariz. Ark. Aug. Calif. Colo. Conn. Dec. Del. Feb. Fla. Ga. Ia. Id. Ill. Ind. Jan. Jul. Jun. "
    "Kan. Kans. Ky. La. Mar. Mass. Mich. Minn. Miss. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. "
    "Ore. Pa. S.C. Sep. Sept. Tenn. Va. Wash. Wis. a.m. Adm. Bros. co. Co. Corp. D.C. Dr. e.g. E.g. E.G. Gen. Gov. "
    "i.e. I.e. I.E. Inc. Jr. Ltd. Md. Messrs. Mo. Mont. Mr. Mrs. Ms. p.m. Ph.D. Prof. Rep. Rev. Sen. St. vs. v.s. "
    "ä. ö. ü. °|c|. °|f|. °|k|. °|C|. °|F|. °|K|. "
    ":) :-) :)) :-)) :))) :-))) (: (-: =) (= :] :-] [: [-: [= ]= =] :o) (o: :} :-} 8) 8-) (-8 ;) ;-) (; (-; :( :-( "
    ":(( :-(( :((( :-((( ): )-: =( >:( :') :'-) :'( :'-( :/ :-/ =/ =| :| :-| =[ :1 :P :-P :p :-p :O :-O :o :-o :0 "
    ":-0 :() >:o :* :-* :3 :-3 =3 :> :-> :X :-X :x :-x :D :-D ;D ;-D =D xD XD xDD XDD 8D 8-D ^_^ ^__^ ^___^ >.< "
    ">.> <.< ._. ;_; -_- -__- v.v V.V v_v V_V o_o o_O O_o O_O 0_o o_0 0_0 o.O O.o O.O o.o 0.0 o.0 0.o @_@ <3 <33 "
    "<333 </3 (^_^) (-_-) (._.) (>_<) (*_*) (¬_¬) (ಠ_ಠ) ಠ_ಠ ಠ︵ಠ ¯\\(ツ)/¯ ><(((*>"
)


class Exceptions(NamedTuple):
    """A hash table of what is split otherwise than by rule; all lengths in bytes."""

    filter: np.ndarray[Any, np.dtype[np.bool_]]  # (65536,): may a string with these low bits be an exception?
    keys: np.ndarray[Any, np.dtype[np.uint64]]  # (4096,): open addressing, 0 = empty
    edges: np.ndarray[Any, np.dtype[np.uint8]]  # (256,): STARTS and ENDS by byte
    pieces: np.ndarray[Any, np.dtype[np.uint8]]  # (4096, 3): lengths of the pieces, 0 = no further one


def code_points(ranges: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The code points of hexadecimal `ranges` such as "61-7a c0"."""
    bounds = [[int(part, 16) for part in item.split("-")] for item in ranges.split()]
    return np.concatenate([np.arange(item[0], item[-1] + 1) for item in bounds])


@cache
def word_classes() -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The bits of utf8.py and of this module for every code point; shape (1114112,).

    Letters with case are told by Unicode's categories, and symbols (category So, with emoji) count as spaCy's icons.
    """
    table = unicode_classes().astype(np.uint32)
    kind = {point: unicodedata.category(chr(point)) for point in range(0x20000) if not 0xD800 <= point < 0xE000}
    cased, uncased = code_points(CASED), code_points(UNCASED)
    lower = np.array([kind[point] != "Lu" and kind[point] != "Lt" for point in cased])
    icons = [point for point, category in kind.items() if category == "So"]
    characters = {
        COMPLEX: np.delete(np.arange(CODE_POINTS), code_points("30-39 41-5a 61-7a")),
        DIGIT: code_points("30-39"),
        ALPHA: np.concatenate([cased, uncased]),
        LOWER: np.concatenate([cased[lower], uncased]),
        UPPER: np.concatenate([cased[~lower], uncased]),
        PREFIX: [*map(ord, "§%=—–" + PUNCTUATION + QUOTES + CURRENCIES), *icons],
        SUFFIX: [*map(ord, "—–" + PUNCTUATION + QUOTES), *icons],
        INFIX: [ord("…"), *icons],
        QUOTE: list(map(ord, QUOTES)),
        BEFORE_STOP: [*map(ord, "0123456789%²+-|" + PUNCTUATION + QUOTES), *cased[lower], *uncased],
        CURRENCY: list(map(ord, CURRENCIES)),
        MARK: [point for point, category in kind.items() if category[0] == "P"],
        SENTENCE_END: code_points(SENTENCE_ENDS),
    }
    for bit, points in characters.items():
        table[np.asarray(points)] |= np.uint32(bit)
    table.flags.writeable = False
    return table


def exception_strings() -> set[str]:
    """All exceptions, "|" where they are split."""
    found = set(WHOLE.split()) | {f"{letter}." for letter in "abcdefghijklmnopqrstuvwxyz"}
    found |= {f"{hour}|{half}" for hour in range(1, 13) for half in ("am", "a.m.", "pm", "p.m.")}
    for word in WHOLE_AND_TITLED.split():
        found |= {word, "'" + word[1:].capitalize() if word[0] == "'" else word[0].upper() + word[1:]}
    without = set(NO_CONTRACTIONS.split())
    for words, endings in CONTRACTIONS:
        for word in words.split():
            for ending in endings.split():
                for text in (f"{word}|{ending}", f"{word}|{ending}".replace("'", "")):
                    if text.replace("|", "") not in without:
                        found |= {text, text[0].upper() + text[1:]}
    return found | {text.replace("'", "’") for text in found}


@cache
def exceptions() -> Exceptions:
    """The exceptions and units, hashed."""
    table = Exceptions(
        np.zeros(1 << 16, np.bool_),
        np.zeros(1 << 12, np.uint64),
        np.zeros(256, np.uint8),
        np.zeros((1 << 12, 3), np.uint8),
    )
    entries = [(text, np.uint64(0)) for text in exception_strings()] + [(unit, _UNIT) for unit in UNITS.split()]
    for text, salt in entries:
        pieces = [piece.encode() for piece in text.split("|")]
        data = np.frombuffer(b"".join(pieces), np.uint8)
        if len(data) > LONGEST:
            raise ValueError(f"the exception {text!r} is longer than LONGEST")
        key = hash_bytes(data, 0, len(data)) ^ salt
        slot = int(key >> np.uint64(52))
        while table.keys[slot]:
            slot = (slot + 1) % len(table.keys)
        table.keys[slot] = key
        table.filter[int(key & np.uint64(0xFFFF))] = True
        table.edges[data[0]] |= STARTS
        table.edges[data[-1]] |= ENDS
        table.pieces[slot, : len(pieces)] = [len(piece) for piece in pieces]
    for array in table:
        array.flags.writeable = False
    return table


def _without_owner(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    view = make_array(signature.args[0])(context, builder, arguments[0])
    view.meminfo = cgutils.get_null_value(view.meminfo.type)
    view.parent = cgutils.get_null_value(view.parent.type)
    return view._getvalue()


def _borrow(typing_context: Any, array: Any) -> Any:
    """The same array without an owner, for a caller that outlives its use.

    numba counts references at each call of a function that takes arrays, atomically: most of a kernel's time when it
    calls small functions for each word.
    """
    return array(array), _without_owner


def _borrow_frozen(typing_context: Any, array: Any) -> Any:
    """As `borrow`, but read-only, as the buffers of Arrow are: one compiled `split` serves both."""
    return array.copy(readonly=True)(array), _without_owner


borrow: Any = intrinsic(_borrow)
borrow_frozen: Any = intrinsic(_borrow_frozen)


@njit(inline="always")
def _eight(data, i):  # type: ignore[no-untyped-def]
    """Eight bytes as one number; one load in machine code."""
    value = np.uint64(0)
    for k in range(8):
        value |= np.uint64(data[i + np.uint64(k)]) << np.uint64(8 * k)
    return value


@njit(cache=True)
def hash_bytes(data, start, end):  # type: ignore[no-untyped-def]
    """64 bits of `data[start:end]`, eight bytes a step; never 0."""
    value = np.uint64(end - start) * _SECOND
    i, stop = np.uint64(start), np.uint64(end)
    while i + np.uint64(8) <= stop:
        value = (value ^ _eight(data, i)) * _FIRST
        value ^= value >> np.uint64(32)
        i += np.uint64(8)
    step = np.uint64(0)
    if i + np.uint64(8) <= np.uint64(len(data)):  # without a loop, whose length no processor foresees
        step = _eight(data, i) & ((np.uint64(1) << ((stop - i) * np.uint64(8))) - np.uint64(1))
    else:
        shift = np.uint64(0)
        while i < stop:
            step |= np.uint64(data[i]) << shift
            shift += np.uint64(8)
            i += np.uint64(1)
    value = (value ^ step) * _FIRST
    value ^= value >> np.uint64(32)
    return (value * _SECOND) | np.uint64(1)


@njit(cache=True)
def borrow_exceptions(table):  # type: ignore[no-untyped-def]
    """The table for kernels that call `split` for each word: see `borrow`."""
    return Exceptions(borrow(table.filter), borrow(table.keys), borrow(table.edges), borrow(table.pieces))


@njit(cache=True)
def _slot(key, table):  # type: ignore[no-untyped-def]
    """The place of `key` in the table, -1 where it is not."""
    if not table.filter[key & np.uint64(0xFFFF)]:
        return -1
    slot = np.int64(key >> np.uint64(52))
    while table.keys[slot] != 0:
        if table.keys[slot] == key:
            return slot
        slot = (slot + 1) & 4095
    return -1


@njit(cache=True)
def is_exception(key, table):  # type: ignore[no-untyped-def]
    """Whether the string with the hash `key` is split by list."""
    return _slot(key, table) >= 0


@njit(cache=True)
def _find(data, start, end, table):  # type: ignore[no-untyped-def]
    """The slot of the exception `data[start:end]`, -1 if it is none."""
    if end - start > LONGEST or end <= start:
        return -1
    if not (table.edges[data[start]] & STARTS and table.edges[data[end - 1]] & ENDS):
        return -1
    return _slot(hash_bytes(data, start, end), table)


@njit(cache=True)
def _last(data, start, end):  # type: ignore[no-untyped-def]
    """Where the last character of `data[start:end]` begins; `start` where it is empty."""
    i = end - 1
    while i > start and data[i] & 0xC0 == 0x80:
        i -= 1
    return max(i, start)


@njit(cache=True)
def _bits(data, i, end, classes):  # type: ignore[no-untyped-def]
    """`(bits, width)` of the character at i; none at the end."""
    if i >= end:
        return np.uint32(0), 0
    if data[i] < 0x80:
        return classes[data[i]], 1
    point, width = decode(data, i, end)
    return classes[point], width


@njit(cache=True)
def _prefix(data, start, end, classes):  # type: ignore[no-untyped-def]
    """Bytes to take from the front."""
    bits, width = _bits(data, start, end, classes)
    if bits & PREFIX:
        return width
    first = data[start]
    second = data[start + 1] if start + 1 < end else np.uint8(0)
    if first == 43:  # +
        return 0 if 48 <= second <= 57 else 1
    if first == 46 and second == 46:  # two full stops or more
        stop = start
        while stop < end and data[stop] == 46:
            stop += 1
        return stop - start
    if second == 36 and (first == 65 or first == 67):  # A$, C$
        return 2
    if first == 85 and second == 83 and start + 2 < end and data[start + 2] == 36:  # US$
        return 3
    return 0


@njit(cache=True)
def _suffix(data, start, end, classes, table):  # type: ignore[no-untyped-def]
    """Bytes to take from the end; the longest of the rules that hold, as a regular expression finds it."""
    if end <= start:
        return 0
    last = _last(data, start, end)
    bits, _ = _bits(data, last, end, classes)
    before = _last(data, start, last)
    before_bits = np.uint32(0)
    if last > start:
        before_bits, _ = _bits(data, before, last, classes)
    if data[last] == 46:
        if before_bits and data[before] == 46:
            stop = end
            while stop > start and data[stop - 1] == 46:
                stop -= 1
            return end - stop
        if before_bits & BEFORE_STOP:
            return 1
        if before_bits:
            third = _last(data, start, before)
            third_bits, _ = _bits(data, third, before, classes)
            if before > start and before_bits & third_bits & UPPER:
                return 1
            letter = data[before] | 32
            degrees = before - third == 2 and data[third] == 0xC2 and data[third + 1] == 0xB0
            if degrees and (letter == 99 or letter == 102 or letter == 107):  # °C. °F. °K.
                return 1
        return 0
    if (data[last] | 32) == 115 and last > start:  # 's
        point, _ = decode(data, before, last) if data[before] >= 0x80 else (np.int64(data[before]), 1)
        if point == 39 or point == 0x2019:
            return end - before
    length = 0
    # A unit after a digit: the run of at most LONGEST bytes without an ASCII digit that ends the string.
    if not bits & DIGIT:
        stop = end
        while stop > start and end - stop < LONGEST and not 48 <= data[stop - 1] <= 57:
            stop -= 1
        if stop > start and 48 <= data[stop - 1] <= 57:
            if _slot(hash_bytes(data, stop, end) ^ _UNIT, table) >= 0:
                length = end - stop
            elif bits & CURRENCY and stop == last:
                length = end - last
            elif data[last] == 43 and stop == last:
                length = 1
    if bits & SUFFIX:
        if data[last] == 0xE2 and before_bits & INFIX and data[before] == 0xE2 and data[last + 1] == 0x80:
            same = data[last + 2] == 0xA6 and data[before + 1] == 0x80 and data[before + 2] == 0xA6
            if same:  # two ellipsis characters
                return end - before
        length = max(length, end - last)
    return length


@njit(cache=True)
def _is_host_character(data, i):  # type: ignore[no-untyped-def]
    """ASCII letters and digits, and U+00A1 to U+FFFF (three bytes at most)."""
    byte = data[i]
    letter = byte | 32
    return 97 <= letter <= 122 or 48 <= byte <= 57 or (0x80 <= byte < 0xF0)


@njit(cache=True)
def _is_ip(data, start, end):  # type: ignore[no-untyped-def]
    """Four octets that are no private address."""
    first = second = fourth = np.int64(-1)
    value = digits = count = 0
    for i in range(start, end + 1):
        if i < end and 48 <= data[i] <= 57 and digits < 3:
            value = value * 10 + np.int64(data[i]) - 48
            digits += 1
        elif (i == end or data[i] == 46) and digits and value < 256 and count < 4:
            if count == 0:
                first = value
            elif count == 1:
                second = value
            else:
                fourth = value
            count += 1
            value = digits = 0
        else:
            return False
    private = first == 10 or first == 127 or (first == 169 and second == 254) or (first == 192 and second == 168)
    private = private or (first == 172 and 16 <= second <= 31)
    return count == 4 and 1 <= first <= 223 and 1 <= fourth <= 254 and not private


@njit(cache=True)
def _is_host(data, start, end, classes):  # type: ignore[no-untyped-def]
    """A host with a top-level domain, or an IP address, then perhaps a port and a path."""
    stop = start
    last_dot = -1
    label = start
    while stop < end and (_is_host_character(data, stop) or data[stop] == 46 or data[stop] == 95 or data[stop] == 45):
        if data[stop] == 46:
            if stop == label or stop - label > 64 or data[label] == 95 or data[label] == 45:
                return False
            if data[stop - 1] == 95 or data[stop - 1] == 45:
                return False
            last_dot = stop
            label = stop + 1
        stop += 1
    if last_dot < 0:
        return False
    tail = stop
    if tail < end and data[tail] == 58:
        tail += 1
        digits = tail
        while tail < end and 48 <= data[tail] <= 57:
            tail += 1
        if not 2 <= tail - digits <= 5:
            return False
    if tail < end and data[tail] != 47 and data[tail] != 63 and data[tail] != 35:
        return False
    letters = 0
    i = last_dot + 1
    while i < stop:
        bits, width = _bits(data, i, stop, classes)
        if not bits & LOWER:
            return _is_ip(data, start, stop)
        letters += 1
        i += width
    return 2 <= letters <= 63


@njit(cache=True)
def _is_url(data, start, end, classes):  # type: ignore[no-untyped-def]
    """A web or mail address: scheme://, user@, host, port, path; all but the host may be missing."""
    has_dot = False
    first_at = last_at = scheme = -1
    for i in range(start, end):
        byte = data[i]
        if byte == 46:
            has_dot = True
        elif byte == 64:
            first_at = i if first_at < 0 else first_at
            last_at = i
        elif byte == 58 and scheme < 0 and i + 2 < end and data[i + 1] == 47 and data[i + 2] == 47:
            scheme = i
    if not has_dot:
        return False
    if _is_host(data, start, end, classes):
        return True
    if scheme >= start + 2:
        plain = True
        for i in range(start, scheme):
            byte = data[i]
            mark = byte == 43 or byte == 45 or byte == 46 or byte == 95
            plain = plain and (mark or byte >= 0x80 or 97 <= (byte | 32) <= 122 or 48 <= byte <= 57)
        if plain and _is_host(data, scheme + 3, end, classes):
            return True
    if first_at > start and _is_host(data, first_at + 1, end, classes):
        return True
    return last_at > max(first_at, start) and _is_host(data, last_at + 1, end, classes)


@njit(cache=True)
def _infix(data, i, start, end, previous, classes):  # type: ignore[no-untyped-def]
    """Bytes of the infix at i, 0 if there is none; `previous` are the bits of the character before."""
    byte = data[i]
    if byte >= 0x80:
        bits, width = _bits(data, i, end, classes)
        if bits & INFIX:
            return width
        if byte == 0xE2 and previous & (ALPHA | DIGIT):  # – — ——
            point, width = decode(data, i, end)
            if point == 0x2013 or point == 0x2014:
                following, _ = _bits(data, i + 3, end, classes)
                if following & ALPHA:
                    return 3
                if point == 0x2014 and i + 6 < end and decode(data, i + 3, end)[0] == 0x2014:
                    following, _ = _bits(data, i + 6, end, classes)
                    return 6 if following & ALPHA else 0
        return 0
    following, _ = _bits(data, i + 1, end, classes)
    if byte == 46:
        if i + 1 < end and data[i + 1] == 46:
            stop = i
            while stop < end and data[stop] == 46:
                stop += 1
            return stop - i
        return 1 if previous & (LOWER | QUOTE) and following & (UPPER | QUOTE) else 0
    if byte == 44:
        return 1 if previous & following & ALPHA else 0
    if byte == 58 or byte == 60 or byte == 62 or byte == 61 or byte == 47:
        return 1 if previous & (ALPHA | DIGIT) and following & ALPHA else 0
    operator = byte == 43 or byte == 45 or byte == 42 or byte == 94
    if operator and previous & DIGIT and (following & DIGIT or (i + 1 < end and data[i + 1] == 45)):
        return 1
    if (byte == 45 or byte == 126) and previous & (ALPHA | DIGIT):
        if following & ALPHA:
            return 1
        if byte == 45:
            for width in range(2, 4):
                if i + width >= end or data[i + width - 1] != 45:
                    return 0
                following, _ = _bits(data, i + width, end, classes)
                if following & ALPHA:
                    return width
    return 0


@njit(cache=True)
def _attach(low, high, table, slot, ends, count):  # type: ignore[no-untyped-def]
    """Append the ends of the pieces of the exception in `slot`, or of one whole piece for -1; the new count."""
    if slot < 0:
        ends[count] = high
        return count + 1
    for k in range(3):
        if table.pieces[slot, k]:
            low += table.pieces[slot, k]
            ends[count] = low
            count += 1
    return count


@njit(cache=True)
def split(data, start, end, key, classes, table, ends):  # type: ignore[no-untyped-def]
    """Split `data[start:end]`, a run without white space whose hash is `key`; returns the number of its parts.

    The parts' ends go to `ends`, int64 of at least `end - start` items. Known differences from spaCy,
    all rare: newer emoji count as symbols, exceptions that only arise when parts meet are taken from
    left to right, a web address is tried with the first and the last "@" only, and top-level domains
    and labels of other scripts are measured in bytes.
    """
    slot = _slot(key, table)
    if slot >= 0:
        return _attach(start, end, table, slot, ends, 0)
    count = 0
    back = len(ends)  # suffixes gather at the far end
    low, high, size = start, end, -1
    while low < high and high - low != size:
        if high - low < end - start and _find(data, low, high, table) >= 0:
            break
        size = high - low
        prefix = _prefix(data, low, high, classes)
        if prefix and _find(data, low + prefix, high, table) >= 0:
            low += prefix
            ends[count] = low
            count += 1
            break
        suffix = _suffix(data, low + prefix, high, classes, table)
        if suffix and _find(data, low, high - suffix, table) >= 0:
            back -= 1
            ends[back] = high
            high -= suffix
            break
        if prefix:
            low += prefix
            ends[count] = low
            count += 1
        if suffix:
            back -= 1
            ends[back] = high
            high -= suffix

    if low < high:
        slot = _find(data, low, high, table)
        if slot >= 0:
            count = _attach(low, high, table, slot, ends, count)
        else:
            plain = True
            for i in range(low, high):
                plain = plain and classes[data[i]] & COMPLEX == 0
            if not plain and not _is_url(data, low, high, classes):
                i = part = low
                previous = np.uint32(0)
                while i < high:
                    width = _infix(data, i, low, high, previous, classes) if i > low else 0
                    if width:
                        if i > part:
                            ends[count] = i
                            count += 1
                        i += width
                        ends[count] = part = i
                        count += 1
                        previous, _ = _bits(data, _last(data, low, i), i, classes)
                    else:
                        previous, width = _bits(data, i, high, classes)
                        # An infix that begins the string is no part of its own, yet nothing splits inside it.
                        if i == low and data[i] == 46:
                            while i + width < high and data[i + width] == 46:
                                width += 1
                        i += width
                if part < high:
                    ends[count] = high
                    count += 1
            else:
                ends[count] = high
                count += 1
    while back < len(ends):
        ends[count] = ends[back]
        count += 1
        back += 1
    return _join(data, start, ends, count, table) if count > 1 else count


@njit(cache=True)
def _join(data, start, ends, count, table):  # type: ignore[no-untyped-def]
    """Parts that together are an exception (":" and ")") become what the exception says; the new number of parts."""
    written = i = 0
    while i < count:
        begin = ends[i - 1] if i else start
        slot = -1
        last = min(i + 5, count - 1)
        while last > i:
            slot = _find(data, begin, ends[last], table) if ends[last] - begin <= LONGEST_JOINED else -1
            if slot >= 0:
                break
            last -= 1
        if slot >= 0 and data[begin] == 0xC2 and table.pieces[slot, 1] != 0:  # "°c." stays in parts, none of them "c."
            written = _attach(begin, ends[last], table, slot, ends, written)
            i = last + 1
            continue
        if slot >= 0 and table.pieces[slot, 1] == 0:
            i = last
        ends[written] = ends[i]
        written += 1
        i += 1
    return written
