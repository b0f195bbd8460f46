"""What a page says about itself: its title, its language, when it was published.

Found by linear searches of the markup, without the tree: patterns stop at the next tag. A title is the
only h1, or the h1 that the title element repeats, else og:title, else the title element without the site's
name. A date is the first plausible one of what the page declares, from the most exact source to the least,
else the one in its address. Accuracies stand in this folder's README.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice

__all__ = ["Metadata", "language_subtag", "page_metadata", "url_date"]

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
TITLE_CHARS = 1000
MAX_HEADINGS, HEADING_CHARS = 50, 2000

ELEMENT = re.compile(r"<([mM][eE][tT][aA]|time|abbr)\b([^<>]{1,2000})>")
ATTRIBUTE = re.compile(
    r"(?<![A-Za-z:_.-])([A-Za-z:_.-]{1,40})\s{0,9}=\s{0,9}(?:\"([^\"]{0,1000})\"|'([^']{0,1000})'|([^\s\"'>]{1,1000}))"
)
TITLE = re.compile(r"<[tT][iI][tT][lL][eE]\b[^<>]{0,500}>([^<]{1,1000})")
HEADING = re.compile(r"<[hH]1\b[^<>]{0,2000}>")
HEADING_END = re.compile(r"</[hH]1")
MARKUP = re.compile(r"<[^<>]{0,2000}>")
SITE_NAME = re.compile(r"(?<!\s)\s++(?:[|»›·•]|::|[–—-]{1,2})\s+")
ROOT = re.compile(r"<[hH][tT][mM][lL]\b([^<>]{1,2000})>")
LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]+)*")
LINKED_VALUE = re.compile(r"[\"']\s{0,9}:\s{0,9}[\"']([^\"']{4,40})[\"']")

PUBLISHED = (
    "article:published_time",
    "og:article:published_time",
    "datepublished",
    "article:published",
    "published_time",
    "parsely-pub-date",
    "cxenseparse:recs:publishtime",
    "cxenseparse:publishtime",
    "sailthru.date",
    "shareaholic:article_published_time",
    "dc.date.issued",
    "dcterms.issued",
    "dcterms.created",
    "dc.date.created",
    "dcterms.date",
    "dc.date",
    "citation_publication_date",
    "citation_date",
    "pubdate",
    "pub_date",
    "publish-date",
    "publish_date",
    "publication_date",
    "publishdate",
    "date",
)
CREATED = ("datecreated", "uploaddate")
MODIFIED = ("article:modified_time", "datemodified", "og:updated_time", "dcterms.modified", "last-modified")
LANGUAGES = ("content-language", "language", "dc.language", "og:locale")
NAMES = frozenset((*PUBLISHED, *CREATED, *MODIFIED, *LANGUAGES, "og:title", "og:site_name"))

ISO = re.compile(
    r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})"
    r"(?:[T ]{1,2}(\d{1,2}):(\d\d)(?::(\d\d))?(?:[.,]\d{1,9})?\s?(Z|UTC|GMT|[+-]\d\d:?\d\d)?)?"
)
COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T?(\d\d)(\d\d)(\d\d)?)?(?!\d)")
DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")
ENGLISH = re.compile(
    r"(?:(\d{1,2})(?:st|nd|rd|th)? )?([A-Z][a-z]{2})[a-z]{0,6}\.? (?:(\d{1,2})(?:st|nd|rd|th)?,? )?(\d{4})"
)
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
IN_URL = re.compile(r"/((?:19|20)\d\d)[/-](\d{1,2})[/-](\d{1,2})(?=[/.?#_-]|$)")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What `page_metadata` found; empty or None where nothing was."""

    title: str = ""  # without the site's name where that can be told
    language: str = ""  # as `language_subtag` writes it: of the html element, else of a meta element
    published: datetime | None = None  # from 1990 to the day after the page was fetched


def page_metadata(page: str, latest: datetime) -> Metadata:
    """What a page declares; no date later than `latest` and a day is believed."""
    declared = _declared(page)
    dates = (_plausible(_moment(value), latest) for value in _dates(page, declared))
    return Metadata(_title(page, declared), _language(page, declared), next(filter(None, dates), None))


def language_subtag(tag: str) -> str:
    """The primary subtag of the first language in a BCP 47 tag or a list of them, in lower case; empty: none."""
    match = LANGUAGE.fullmatch(tag.partition(",")[0].partition(";")[0].strip())
    return match[1].lower() if match and match[1].lower() not in ("und", "mul", "zxx") else ""


def url_date(url: str, latest: datetime) -> datetime | None:
    """The day in an address like /2019/08/06/title, or None; the same limits."""
    match = IN_URL.search(url[:2000])
    return _plausible(_day(*map(int, match.groups())), latest) if match else None


def _title(page: str, declared: dict[str, str]) -> str:
    title = _text(match[1]) if (match := TITLE.search(page)) else ""
    shared = declared.get("og:title", "")
    parts = SITE_NAME.split(title)
    sites = {declared.get("og:site_name", ""), parts[-1] if len(parts) > 1 else ""}
    headings = [text for text in _headings(page) if text not in sites]
    for heading in headings:
        if heading == shared or heading in parts or heading in title or (shared and heading in shared):
            return heading[:TITLE_CHARS]
    if shared and shared != title and shared not in sites:
        return shared[:TITLE_CHARS]
    if len(headings) == 1 and len(parts) == 1:
        return headings[0][:TITLE_CHARS]
    return next((part for part in parts if part not in sites), title)[:TITLE_CHARS]


def _headings(page: str) -> Iterator[str]:
    for match in islice(HEADING.finditer(page), MAX_HEADINGS):
        end = HEADING_END.search(page, match.end(), match.end() + HEADING_CHARS)
        if end and (text := _text(page[match.end() : end.start()])):
            yield text


def _language(page: str, declared: dict[str, str]) -> str:
    if match := ROOT.search(page):
        attributes = _attributes(match[1])
        for name in ("lang", "xml:lang"):
            if tag := language_subtag(attributes.get(name, "")):
                return tag
    return next((tag for name in LANGUAGES if (tag := language_subtag(declared.get(name, "")))), "")


def _dates(page: str, declared: dict[str, str]) -> Iterator[str]:
    """What may be the date, the most exact source first."""
    yield from (declared[name] for name in PUBLISHED[:2] if name in declared)
    yield from _linked_data(page, "datePublished")
    yield from (declared[name] for name in (*PUBLISHED[2:], "time:published", "time") if name in declared)
    yield from _linked_data(page, "dateCreated")
    yield from _linked_data(page, "uploadDate")
    yield from (declared[name] for name in CREATED + MODIFIED if name in declared)


def _linked_data(page: str, name: str) -> Iterator[str]:
    """The first value of a key in JSON."""
    position = page.find(name)
    while position >= 0:
        if match := LINKED_VALUE.match(page, position + len(name)):
            yield match[1]
            return
        position = page.find(name, position + 1)


def _declared(page: str) -> dict[str, str]:
    """The first value of each of NAMES in meta elements; `time` and `time:published` of time elements."""
    found: dict[str, str] = {}
    for element, markup in ELEMENT.findall(page):
        attributes = _attributes(markup)
        if value := attributes.get("content") or attributes.get("datetime") or attributes.get("title"):
            if element[0] in "mM":
                for key in ("property", "name", "itemprop", "http-equiv"):
                    if (name := attributes.get(key, "").lower()) in NAMES:
                        found.setdefault(name, _text(value))
                continue
            kinds = f"{attributes.get('itemprop', '')} {attributes.get('class', '')}".lower()
            if "publish" in kinds or "entry-date" in kinds or "pubdate" in attributes:
                found.setdefault("time:published", value)
            if element == "time":
                found.setdefault("time", value)
    return found


def _attributes(markup: str) -> dict[str, str]:
    return {name.lower(): double or single or bare for name, double, single, bare in ATTRIBUTE.findall(markup)}


def _text(markup: str) -> str:
    return " ".join(html.unescape(MARKUP.sub(" ", markup)).split())


def _moment(value: str) -> datetime | None:
    """An instant of the formats that pages use; UTC where there is no zone."""
    value = " ".join(value.split())[:60]
    if match := ISO.match(value) or COMPACT.match(value):
        parts = [int(part) if part and part.isdigit() else 0 for part in match.groups()[:6]]
        moment = _day(*parts[:3])
        if moment is None or parts[3] > 23 or parts[4] > 59 or parts[5] > 59:
            return moment
        moment = moment.replace(hour=parts[3], minute=parts[4], second=parts[5])
        zone = match[7] if match.re is ISO else None
        if zone and zone[0] in "+-":
            shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
            moment += -shift if zone[0] == "+" else shift
        return moment
    if match := DAY_FIRST.match(value):
        return _day(int(match[3]), int(match[2]), int(match[1]))
    if "," in value[:5]:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            moment = None
        if moment is not None:
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if (match := ENGLISH.search(value)) and match[2] in MONTHS and (match[1] or match[3]):
        return _day(int(match[4]), MONTHS.index(match[2]) + 1, int(match[1] or match[3]))
    return None


def _plausible(moment: datetime | None, latest: datetime) -> datetime | None:
    return moment if moment is not None and EARLIEST <= moment <= latest + timedelta(days=1) else None


def _day(year: int, month: int, day: int) -> datetime | None:
    try:
        return datetime(year, month, day, tzinfo=UTC)
    except ValueError:
        return None
