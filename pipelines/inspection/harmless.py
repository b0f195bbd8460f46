"""Hostile text made harmless where it is shown.

Documents come from anywhere: they may hold terminal escapes, overrides of the writing direction and
spreadsheet formulae. What is stored stays as it is; what is shown says what would have happened.
"""

import re

__all__ = ["cell", "line", "visible"]

# C0 and C1 controls apart from line feed and tab; direction marks, overrides and isolates; line and
# paragraph separators; fillers that nobody sees; lone surrogates; and tags, which spell text that nobody reads.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def visible(text: str) -> str:
    """The text with every control as its picture (␛) and every other unseen character as its number (⟨U+202E⟩)."""
    return _UNSEEN.sub(lambda found: _picture(ord(found[0])), text)


def line(text: str, length: int | None = None) -> str:
    """`visible`, on one line, cut to `length` characters."""
    if length is not None and len(text) > length:
        text = text[: length - 1] + "…"
    return visible(text).replace("\n", "⏎").replace("\t", " ")


def cell(text: str) -> str:
    """Text for a CSV cell: an apostrophe before what a spreadsheet would take for a formula (OWASP's advice)."""
    shown = visible(text)
    return f"'{shown}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA[:4]) else shown


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
