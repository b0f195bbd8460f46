"""Blocks of a page's text: which are the document, which belong to the site around it.

Works on the reduced HTML that resiliparse makes of a page's main part (headings, paragraphs, lists, links;
everything else is lines). A block is judged by what a reader sees: how much of it is links, whether a heading
has anything below it, whether it stands after the last sentence or before the title, and whether it says what
only sites say ("Share this", "Leave a reply", a photo's credit). No site, language or class name is special
but for that list of phrases. One pass each, linear in the page; about 0.2 ms.
"""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Block", "document_blocks", "parse_blocks", "render"]

TAG = re.compile(r'<(/?)(h[1-6]|p|ul|ol|li|pre|br|a)(?: href="[^"]*")?>')
SENTENCE_END = re.compile(r"[.!?…。！？؟।։።།။។][\"'”’»›」』)\]]*\s*$")
CUT_OFF = re.compile(r"(?:\.\.\.|…)$")
WORD = re.compile(r"\w")
GLUED = re.compile(r"[^\s/\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\uffff\U00020000-\U0003ffff]+")

LINK_SHARE = 0.5  # of a block's characters: above it the block is a link, not text with a link
LINK_CHARS = 200  # up to which a block of links is navigation; longer ones are texts that are linked whole
TAIL_CHARS = 60  # up to which a block without a sentence's end, after the last sentence, is the site's
GLUED_CHARS = 50  # from which what has no blank in it is no word
SENTENCE_CHARS = 80  # from which a block that ends like a sentence is a paragraph of the document
TEASER_CHARS, TEASERS = 300, 3  # up to which a block may be a text's beginning, and how many make a list of them
PHRASE_CHARS = 120  # up to which a block may be one of the phrases,
PHRASE_SENTENCE_CHARS = 60  # and if it is a sentence: longer ones are somebody's words

# What sites say, in lower case, at the beginning of a block of at most PHRASE_CHARS characters.
PHRASES = r"""
    share (this|on|via|:|with|now)|share$|tweet( this)?$|pin it|follow us|like us on|subscribe (to|now|today)|subscribe$
    sign up (for|to)|sign in|log ?in|logged in as|you must be logged|already (registered|a (member|subscriber))
    leave a (reply|comment)|post a comment|add (a|your) comment|be the first to comment|no comments?( yet)?\W*$
    (one|\d+) (comments?|responses?|replies|kommentare?|antworten|commentaires?|comentarios?|réponses?)\b
    comments? (are|is) (closed|off|disabled)|comments?\W*$|your email address will not|required fields are
    (related|more|popular|recent|latest|trending|recommended|similar) (posts?|articles?|stories|news|content|topics)
    you (may|might) also|more (from|on|in|about)\b|read (more|next|also|the full|full)|see also\W*$|also read
    keep reading|continue reading|read (the )?(rest|article)|table of contents$|skip to|back to top|print( page)?$
    (previous|next|older|newer) (post|article|story|page|entry)|advertisements?\W*$|sponsored|ad$|newsletters?\W*$
    (filed under|posted (in|by|on)|tagged( with)?|tags?|labels?|categor(y|ies)|permalink|trackback)\b\W*(:|$)
    (photo|image|picture|credit|foto|bild|bilder|fotocredit|crédit photo|imagen|quelle|source|fuente)s?( credit)?\s*[:©]
    ©|copyright|all rights reserved|loading\W*$|cookies?\W*$|accept( all)?( cookies)?$|privacy policy$
    (\d+|one) min(ute)?s? read\W*$|be sociable|quick navigation$|join the conversation$|published by\W*$|breaking news$
    trackback ur[il]|follow (me|us) on
    terms of (use|service)$|likes?( this)?:|liken? (wird )?(lade|geladen)|loading|gefällt mir
    teilen\b|(artikel|beitrag) teilen|kommentar (schreiben|verfassen|hinterlassen|abgeben)|kommentieren\W*$
    (schreib(e|en sie)?|hinterlass(e|en sie)?) (einen|uns|ihren|deinen) kommentar|kommentare?\W*$|noch keine kommentare
    (deine|ihre) e-mail-adresse wird nicht|erforderliche felder|anzeige\W*$|werbung\W*$
    mehr (zum thema|lesen|dazu|aus|von|zu:)|das könnte (sie|dich|ihnen|dir)|(neueste|letzte) kommentare
    (weitere|ähnliche|verwandte|beliebte|neueste|aktuelle) (artikel|beiträge|themen|meldungen)
    (nächster|vorheriger) beitrag
    lesen sie (auch|mehr)|auch interessant|weiterlesen|zum newsletter|newsletter (abonnieren|bestellen)|nach oben$
    (schlagwörter|stichwörter|kategorien?|eingestellt von|veröffentlicht in|themen im artikel)\b\W*(:|$)
    du musst (eingeloggt|angemeldet|registriert) sein|sie müssen (eingeloggt|angemeldet|registriert) sein
    folge[nt]?( uns)?:|folgt uns|kommentar-feed|(feed\. )?kommentare und pings|hinzufügen zu:|werbepause$
    drucken$|zurück$|weiterführende (links|informationen)\W*$|(artikel|seite) (drucken|empfehlen|versenden)
    jetzt (abonnieren|anmelden|aktivieren)
    partager\b|à lire aussi|lire (aussi|la suite|plus)|laisser un commentaire|commentaires?\W*$|publicité\W*$|voir aussi
    articles? (similaires|liés|récents|les plus lus)|sur le même (sujet|thème)|s['’](abonner|inscrire)\b|votre adresse
    compart(ir|e|ilhe)\b|(artículos|noticias|notas|entradas) (relacionad|recientes)|lea también|leer (más|también)
    te puede interesar|deja (un|tu) comentario|dejar un comentario|comentarios?\W*$|publicidad\W*$|mirá también
    escucha esta nota|síguenos|suscríbete|iniciar sesión
    leia (mais|também)|veja também|deixe (um|seu) comentário|publicidade\W*$|siga-nos|notícias relacionadas|nos siga
    condividi\b|leggi anche|lascia un commento|commenti?\W*$|pubblicità\W*$|articoli correlati|potrebbe interessarti
    lees (ook|meer|verder)|deel dit|reageer|reacties?\W*$|advertentie\W*$|gerelateerde
    udostępnij|czytaj (też|także|więcej|dalej)|zobacz (też|także|również)|komentarze?\W*$|reklama\W*$|skomentuj
    podziel się|поделиться|читайте также|реклама\W*$|комментари
"""
PHRASE = re.compile(r"\W*(?:" + "|".join(line.strip() for line in PHRASES.splitlines() if line.strip()) + ")")
COOKIE_CHARS = 600  # up to which a block that asks for consent is a notice
COOKIE = re.compile(
    r"\b(?:(?:we|sites?|websites?|pages?) uses? cookies|(?:verwende[nt]|nutz(?:t|en)|setz(?:t|en)) (?:\w+ ){0,3}cookies"
    r"|cookies? (?:erleichtern|to (?:ensure|improve|provide|give|personali)|policy)"
    r"|utilis(?:e|ons|ent) (?:\w+ ){0,2}cookies"
    r"|(?:usa|usamos|utiliza|utilizamos|utilizza|utilizziamo|używa|gebruikt) (?:\w+ ){0,2}(?:cookies?|plików cookie)"
    r"|akismet)\b"
)


@dataclass(slots=True)
class Block:
    """A heading (h1 to h6), paragraph (p), list item (li), preformatted text (pre) or line of other elements (line)."""

    kind: str
    text: str
    links: float = 0.0  # characters of it that are links
    marker: str = ""  # what a list item begins with, indented by its depth


def parse_blocks(reduced: str) -> list[Block]:
    """The blocks of resiliparse's reduced HTML (`preserve_formatting="minimal_html"`, `links=True`), in their order."""
    blocks: list[Block] = []
    numbers: list[int] = []  # of the lists that are open: the next item's number, 0 for bullets
    parts: list[str] = []
    kind, marker = "line", ""
    links, in_link = 0, False
    position = 0
    for match in TAG.finditer(reduced):
        if position < match.start():
            parts.append(reduced[position : match.start()])
            links += len(parts[-1]) if in_link else 0
        position = match.end()
        closing, tag = match.groups()
        if tag == "a":
            in_link = not closing
        elif tag != "br":
            if parts:
                if _flush(blocks, kind, "".join(parts), links, marker):
                    marker = " " * len(marker)
                parts, links = [], 0
            if tag in ("ul", "ol"):
                if not closing:
                    numbers.append(int(tag == "ol"))
                elif numbers:
                    numbers.pop()
                kind, marker = "line", ""
            elif tag == "li":
                kind, marker = ("line", "") if closing else ("li", _marker(numbers))
            elif closing:
                kind = "li" if marker else "line"
            else:
                kind = tag
    _flush(blocks, kind, reduced[position:], 0, marker)
    return blocks


def _marker(numbers: list[int]) -> str:
    depth = max(len(numbers), 1)
    number = numbers[-1] if numbers else 0
    if number:
        numbers[-1] += 1
    return "  " * min(depth - 1, 8) + (f"{number}. " if number else "• ")


def _flush(blocks: list[Block], kind: str, markup: str, links: int, marker: str) -> bool:
    """Append what stands between two tags; whether there was anything to read."""
    text = html.unescape(markup) if "&" in markup else markup
    if kind == "pre":
        lines = [text.strip("\n")]
    else:
        rows = (" ".join(line.split()) if "\t" not in line else _row(line) for line in text.split("\n"))
        lines = [row for row in rows if row]
        if kind != "line" and lines:
            lines = ["\n".join(lines)]
    lines = [line for line in lines if line and not line.isspace()]
    characters = sum(map(len, lines))
    for line in lines:
        blocks.append(Block(kind, line, links * len(line) / characters, marker))
        marker = " " * len(marker)
    return bool(lines)


def _row(line: str) -> str:
    """A table's row: its cells, one tab between them."""
    return "\t".join(cell for part in line.split("\t") if (cell := " ".join(part.split())))


def document_blocks(blocks: Sequence[Block]) -> list[Block]:
    """Without the site's blocks; where nothing would be left, all that are not links."""
    kept = list(blocks)
    for rule in RULES:
        kept = rule(kept)
    return kept or [block for block in _without_links(list(blocks)) if WORD.search(block.text)]


def _is_sentence(block: Block) -> bool:
    return SENTENCE_END.search(block.text[-8:]) is not None


def _is_heading(block: Block) -> bool:
    return block.kind[0] == "h"


def _without_phrases(blocks: list[Block]) -> list[Block]:
    return [block for block in blocks if block.kind == "pre" or not _is_phrase(block)]


def _is_phrase(block: Block) -> bool:
    text = block.text
    if len(text) <= PHRASE_CHARS:
        if not WORD.search(text):
            return True
        if (len(text) <= PHRASE_SENTENCE_CHARS or not _is_sentence(block)) and PHRASE.match(text.lower()):
            return True
    return len(text) <= COOKIE_CHARS and COOKIE.search(text.lower()) is not None


def _without_links(blocks: list[Block]) -> list[Block]:
    return [
        block
        for block in blocks
        if block.links <= LINK_SHARE * len(block.text) or len(block.text) >= LINK_CHARS or _is_sentence(block)
    ]


def _without_empty_sections(blocks: list[Block]) -> list[Block]:
    """Headings with nothing below them before the next of their rank or above; never the title."""
    kept: list[Block] = []
    for block in reversed(blocks):
        ends = not kept or (_is_heading(kept[-1]) and kept[-1].kind <= block.kind)
        if not (ends and _is_heading(block) and block.kind != "h1"):
            kept.append(block)
    return kept[::-1]


def _without_teasers(blocks: list[Block]) -> list[Block]:
    """Without the beginnings of other texts at the end: several cut off by an ellipsis, each with its title."""
    at, found, below = len(blocks), 0, True
    while at:
        text = blocks[at - 1].text
        cut = len(text) <= TEASER_CHARS and CUT_OFF.search(text) is not None
        if not cut and not (below and len(text) <= TEASER_CHARS // 2):
            break
        found, below, at = found + cut, cut, at - 1
    return blocks[:at] if found >= TEASERS else blocks


def _without_tail(blocks: list[Block]) -> list[Block]:
    """Without short lines and headings at the end; a text may end with a short paragraph or list (a name, a verse).

    What is glued to one long word (tags, class names) is as good as short.
    """
    end = len(blocks)
    while end and (_is_glued(blocks[end - 1]) or blocks[end - 1].kind == "line" or _is_heading(blocks[end - 1])):
        if not _is_glued(blocks[end - 1]) and (
            len(blocks[end - 1].text) >= TAIL_CHARS or _is_sentence(blocks[end - 1])
        ):
            break
        end -= 1
    return blocks[:end]


def _is_glued(block: Block) -> bool:
    """One word longer than any, in a script that puts blanks between words; addresses are none."""
    text = block.text
    return len(text) >= GLUED_CHARS and block.kind != "pre" and bool(GLUED.fullmatch(text) and WORD.search(text))


def _without_head(blocks: list[Block]) -> list[Block]:
    """From the title on, where no paragraph stands before it."""
    for at, block in enumerate(blocks):
        if block.kind == "h1":
            return blocks[at:]
        if len(block.text) >= SENTENCE_CHARS and _is_sentence(block):
            break
    return blocks


RULES: tuple[Callable[[list[Block]], list[Block]], ...] = (
    _without_phrases,
    _without_links,
    _without_empty_sections,
    _without_teasers,
    _without_tail,
    _without_empty_sections,
    _without_head,
)


def render(blocks: Sequence[Block]) -> str:
    """Plain text: a blank line around headings, paragraphs and lists, one line an item or row."""
    parts: list[str] = []
    for before, block in zip([None, *blocks], blocks, strict=False):
        if before is not None:
            loose = block.kind not in ("li", "line") or before.kind != block.kind
            parts.append("\n\n" if loose else "\n")
        indent = "\n" + " " * len(block.marker)
        parts.append(block.marker + (block.text if block.kind == "pre" else block.text.replace("\n", indent)))
    return "".join(parts)
