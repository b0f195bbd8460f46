"""A page's HTML to the text that its author wrote, by resiliparse or trafilatura.

resiliparse finds the main part by element and class names, and quickly, and lets much
of the site through; `extraction_blocks` judges what it leaves, which mends most of that. Where next to
nothing is left, the main part was hidden under a name that means something else elsewhere, and the whole
page is judged by its blocks alone. Measured on 823 annotated pages; the table stands in this folder's README.

Parsers are quadratic in nesting and in the attributes of an element. Pages are flattened before that, as
browsers do: tags nested deeper than MAX_DEPTH are left out, and what is in them stays.
"""

import re
from collections import Counter
from collections.abc import Callable

from .extraction_blocks import Block, document_blocks, parse_blocks, render

__all__ = ["EXTRACTORS", "flatten"]

MAX_DEPTH = 512  # Chrome's limit too
MAX_FORMATTING = 64  # open formatting elements; parsers open all of them again in every paragraph
MANY_TAGS = 8192  # fewer cannot nest deep enough to take a second
MAX_TAG_CHARS = 1 << 16
FEW_CHARS = 500  # of a document; with less, the whole page is looked at,
MUCH_MORE = 4  # and taken where it holds this many times as much

LONG_TAG = re.compile(rf"<([A-Za-z][A-Za-z0-9]*+)[^<>]{{{MAX_TAG_CHARS},}}")
TAG = re.compile(r"<(?:!--|(/?)([A-Za-z][A-Za-z0-9]*))")
RAW = frozenset(("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"))
# Elements that hold nothing, or that the next of their kind closes: they cannot nest without others.
FLAT = frozenset(
    "area base br col embed hr img input link meta param source track wbr html head body p li dt dd tr td th "  # noqa: SIM905
    "thead tbody tfoot caption colgroup option optgroup rb rp rt rtc a".split()
)
FORMATTING = frozenset(
    "b big code em font i nobr s small span strike strong sub sup tt u".split()  # noqa: SIM905
)

REPLY_FORMS = ("#respond", ".comment-respond")
# What is left out of the whole page; and, where that leaves nothing since broken markup put everything into it, less.
SITE = (["nav", "header", "footer", "aside", "form", *REPLY_FORMS], ["nav", *REPLY_FORMS])


def flatten(page: str) -> str:
    """The page without tags nested deeper than MAX_DEPTH and without attributes of gigantic tags; linear."""
    half = MAX_TAG_CHARS // 2  # a window of half the size lies wholly inside a gigantic tag
    if any(page.find("<", at, at + half) < 0 for at in range(0, len(page) - half, half)):
        page = LONG_TAG.sub(r"<\1", page)
    if page.count("<") <= MANY_TAGS:
        return page
    kept: list[str] = []
    stack: list[tuple[str, bool]] = []  # open elements; whether their tags are kept
    inside: Counter[str] = Counter()
    formatting: Counter[str] = Counter()
    formats = position = start = 0
    raw_ends = dict.fromkeys(RAW, True)  # whether the page may still hold an end of each
    while match := TAG.search(page, position):
        position = match.end()
        closing, name = match[1], (match[2] or "").lower()
        keep = True
        if not name:  # a comment; without an end it is the rest of the page
            if (position := page.find("-->", position)) < 0:
                break
        elif name in RAW and not closing:
            end = RAW_END[name].search(page, position) if raw_ends[name] else None
            raw_ends[name] = end is not None
            position = end.start() if end else position
        elif name in FLAT or name in RAW:
            pass
        elif name in FORMATTING:
            if not closing:
                keep = formats < MAX_FORMATTING
                formats += keep
                formatting[name] += keep
            elif formatting[name]:
                formats -= 1
                formatting[name] -= 1
        elif not closing:
            keep = len(stack) < MAX_DEPTH
            stack.append((name, keep))
            inside[name] += 1
        elif inside[name]:
            opened = ""
            while opened != name:
                opened, keep = stack.pop()
                inside[opened] -= 1
        if not keep:
            kept += (page[start : match.start()], " ")
            end = page.find(">", position)
            position = start = end + 1 if end >= 0 else len(page)
    kept.append(page[start:])
    return "".join(kept)


# resiliparse drops a character of three bytes in UTF-8 (一, —, ’) that stands alone between two tags, taking it
# for an icon. With a second character, of private use, it does not; that one is taken out again.
LONE = re.compile(r">(\s*+[\u0800-\ud7ff\uf900-\uffff]\s*)<")
GUARD = "\uf8f0"
RAW_END = {name: re.compile(f"</{name}", re.IGNORECASE) for name in RAW}


def _resiliparse(comments: bool) -> Callable[[str], str]:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    def extract(page: str) -> str:
        # resiliparse takes lists near the body for menus, whatever is in them; its other rule, that
        # lists of links are menus, is enough. So no list stays near the body.
        deep = page.replace("<ul", "<div><div><div><ul").replace("</ul>", "</ul></div></div></div>")
        if not deep.isascii():
            deep = LONE.sub(rf">\1{GUARD}<", deep)
        main = extract_plain_text(
            HTMLTree.parse(deep),
            preserve_formatting="minimal_html",
            main_content=True,
            links=True,
            alt_texts=False,
            comments=comments,
            skip_elements=["footer", *REPLY_FORMS],
        )
        blocks = document_blocks(parse_blocks(main.replace(GUARD, "")))
        for skipped in SITE:
            if (characters := _length(blocks)) >= FEW_CHARS:
                break
            whole = extract_plain_text(
                HTMLTree.parse(page),
                preserve_formatting="minimal_html",
                main_content=False,
                links=True,
                alt_texts=False,
                skip_elements=skipped,
            )
            others = document_blocks(parse_blocks(whole))
            if _length(others) > MUCH_MORE * characters:
                blocks = others
        return render(blocks)

    return extract


def _length(blocks: list[Block]) -> int:
    return sum(len(block.text) for block in blocks)


def _trafilatura(comments: bool) -> Callable[[str], str]:
    import logging

    from trafilatura import extract

    logging.disable()  # one line a page that it cannot parse
    return lambda page: extract(page, include_comments=comments) or ""


EXTRACTORS: dict[str, Callable[[bool], Callable[[str], str]]] = {
    "resiliparse": _resiliparse,
    "trafilatura": _trafilatura,
}
