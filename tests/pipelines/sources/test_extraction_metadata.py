"""What pages declare about themselves: title, language, date."""

from datetime import UTC, datetime

import pytest
from florilegium.pipelines.sources.extraction_metadata import language_subtag, page_metadata, url_date

FETCHED = datetime(2021, 5, 6, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<title> A \n tea &amp; more </title>", "A tea & more"),
        ("<title>On tea - The House</title>", "On tea"),
        ("<title>On tea | The House</title><h1>The House</h1>", "On tea"),
        ("<title>On tea | The House</title><h1 class=x>On <b>tea</b></h1>", "On tea"),
        ("<title>The House: on tea</title><h1>Welcome</h1>", "Welcome"),
        ("<title>On tea, a short one</title><meta property='og:title' content='On tea'>", "On tea"),
        ("<meta content='On tea' property=og:title><h1>Elsewhere</h1><h1>On tea</h1>", "On tea"),
        ("<meta name=og:site_name content=House><meta property=og:title content='House'><title>Tea</title>", "Tea"),
        ("<p>no title</p>", ""),
    ],
)
def test_title(page: str, title: str) -> None:
    assert page_metadata(page, FETCHED).title == title


@pytest.mark.parametrize(
    ("page", "language"),
    [
        ("<HTML LANG='de-DE'>", "de"),
        ("<html xml:lang=fr>", "fr"),
        ("<html class=x lang=zh_Hant_TW>", "zh"),
        ("<html lang=''><meta http-equiv=Content-Language content='it, en'>", "it"),
        ("<html lang=english><meta property=og:locale content=es_ES>", "es"),
        ("<html>", ""),
    ],
)
def test_language(page: str, language: str) -> None:
    assert page_metadata(page, FETCHED).language == language


@pytest.mark.parametrize(
    ("tag", "subtag"),
    {
        "en": "en",
        "EN-gb": "en",
        "gsw": "gsw",
        "pt_BR": "pt",
        "de, en;q=0.5": "de",
        "de;q=1": "de",
        "und": "",
        "mul": "",
        "english": "",
        "e": "",
        "{{ lang }}": "",
        "": "",
    }.items(),
)
def test_language_subtag(tag: str, subtag: str) -> None:
    assert language_subtag(tag) == subtag


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2019-08-06", datetime(2019, 8, 6)),
        ("2019-08-06T10:11:12Z", datetime(2019, 8, 6, 10, 11, 12)),
        ("2019-08-06T10:11:12.345+02:00", datetime(2019, 8, 6, 8, 11, 12)),
        ("2019-08-06 01:11 -0530", datetime(2019, 8, 6, 6, 41)),
        ("20190806", datetime(2019, 8, 6)),
        ("20190806T1011", datetime(2019, 8, 6, 10, 11)),
        ("2019/8/6", datetime(2019, 8, 6)),
        ("6.8.2019", datetime(2019, 8, 6)),
        ("Tue, 06 Aug 2019 10:11:12 +0200", datetime(2019, 8, 6, 8, 11, 12)),
        ("August 6, 2019", datetime(2019, 8, 6)),
        ("6th Aug. 2019", datetime(2019, 8, 6)),
        ("2019-13-06", None),
        ("2019-08-06T99:99", datetime(2019, 8, 6)),
        ("1989-12-31", None),  # before the web
        ("2021-05-07T12:00:00Z", datetime(2021, 5, 7, 12)),  # a day after the fetch: clocks and zones differ
        ("2021-05-07T12:00:01Z", None),
        ("yesterday", None),
        ("08/06/2019", None),  # June or August
    ],
)
def test_date_formats_and_their_limits(value: str, moment: datetime | None) -> None:
    found = page_metadata(f'<meta property="article:published_time" content="{value}">', FETCHED).published
    assert found == (moment and moment.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    "page",
    [
        '<script type="application/ld+json">{"@type": "Article", "datePublished" : "2019-08-06T00:00:00Z"}</script>',
        "<meta itemprop=datePublished content=2019-08-06>",
        "<time datetime='2020-01-01'></time><time class='entry-date published' datetime='2019-08-06'></time>",
        "<time datetime='2019-08-06' pubdate>x</time>",
        "<meta name='DC.date.issued' content='2019-08-06'><time datetime='2020-01-01'>",
        "<meta property=article:modified_time content=2020-01-01><meta name=date content=2019-08-06>",
        "<meta property=article:published_time content=never><meta name=date content=2019-08-06>",
        "<abbr class=published title='2019-08-06T00:00:00'>x</abbr>",
        "<meta property=article:modified_time content=2019-08-06>",
    ],
)
def test_date_sources_the_most_exact_first(page: str) -> None:
    assert page_metadata(page, FETCHED).published == datetime(2019, 8, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "day"),
    [
        ("http://example.org/2019/08/06/tea.html", datetime(2019, 8, 6)),
        ("http://example.org/2019-8-6", datetime(2019, 8, 6)),
        ("http://example.org/2019/08/tea", None),
        ("http://example.org/2019/18/06/tea", None),
        ("http://example.org/2031/08/06/tea", None),
        ("", None),
    ],
)
def test_date_in_an_address(url: str, day: datetime | None) -> None:
    assert url_date(url, FETCHED) == (day and day.replace(tzinfo=UTC))
