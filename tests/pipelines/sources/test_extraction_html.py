"""Pages to text: what a reader wants to find, what of the site is left out, and how deep pages are made flat."""

import pytest
from florilegium.pipelines.sources.extraction_blocks import Block, document_blocks, parse_blocks, render
from florilegium.pipelines.sources.extraction_html import EXTRACTORS, MANY_TAGS, MAX_DEPTH, flatten
from hypothesis import given, settings
from hypothesis import strategies as st

extract = EXTRACTORS["resiliparse"](True)

PROSE = "The dough rests for an hour in a warm place, under a cloth, until it has doubled in size."


def article(body: str) -> str:
    return f"<html><body><main><article><h1>On bread</h1><p>{PROSE}</p>{body}</article></main></body></html>"


def text_of(body: str) -> str:
    """The text of an article after its title and first paragraph."""
    begin = f"On bread\n\n{PROSE}"
    text = extract(article(body))
    assert text.startswith(begin)
    return text.removeprefix(begin).lstrip("\n")


END = "<p>Then it is folded, shaped and left alone once more.</p>"
END_TEXT = "Then it is folded, shaped and left alone once more."


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>First &amp; foremost.</p><p>Second&nbsp; one.</p>", "First & foremost.\n\nSecond one."),
        ("<p>One<br>two.</p>", "One\ntwo."),
        ("<ul><li>eggs<li>flour</ul>" + END, f"• eggs\n• flour\n\n{END_TEXT}"),
        ("<ol><li>Mix.<li>Bake.</ol>" + END, f"1. Mix.\n2. Bake.\n\n{END_TEXT}"),
        ("<ol><li>Mix<ul><li>eggs</ul><li>Bake</ol>" + END, f"1. Mix\n  • eggs\n2. Bake\n\n{END_TEXT}"),
        ("<ul><li><p>One.</p><p>Two.</p></ul>" + END, f"• One.\n\n  Two.\n\n{END_TEXT}"),
        ("<h2>Times</h2><table><tr><th>a<th>b<tr><td>1<td>2</table>" + END, f"Times\n\na\tb\n1\t2\n\n{END_TEXT}"),
        ("<ul><li>eggs<li>200 g of flour</ul>", "• eggs\n• 200 g of flour"),
        (f"{END}<p>A. N. Other</p>", f"{END_TEXT}\n\nA. N. Other"),
        ("<p>Use <code>a</code>—<code>b</code>, <b>中</b>国 and <i>’</i>.</p>", "Use a—b, 中国 and ’."),
        ("<pre>if a &lt; b:\n    c()</pre>", "if a < b:\n    c()"),
        ("<p>5 &lt; 6 and &amp;lt; stays.</p>", "5 < 6 and &lt; stays."),
        ("<p>See <a href='/x?a=1&b=\"2\"'>the <b>oven</b></a> first.</p>", "See the oven first."),
    ],
)
def test_layout(body: str, text: str) -> None:
    assert text_of(body) == text


@pytest.mark.parametrize(
    "site",
    [
        "<nav><ul><li><a href=/>Home</a><li><a href=/a>About</a></ul></nav>",
        "<ul><li><a href=/>Home</a><li><a href=/a>About</a></ul>",
        "<div><a href=/1>A tale of two ovens</a></div>",
        "<p>Share this:</p>",
        "<h3>Leave a Reply</h3><form><p>Your email address will not be published.</p></form>",
        "<h2>Related posts</h2><ul><li><a href=/1>Another one</a></ul>",
        "<h2>More of it</h2><h2>Even more</h2>",
        "<p>12 Kommentare</p>",
        "<p>Foto: A. N. Other</p>",
        "<p>This site uses cookies to give you the best of them. By staying here you agree to it.</p>",
        "<p>* * *</p>",
        "<script>document.write('<p>Not this.</p>')</script><style>p { color: red }</style>",
        "<div>Tags: bread, oven</div><div>A. N. Other</div><div>12 May</div>",
        "<div hidden>Nobody sees this sentence.</div>",
        "<p>4 Min Read</p>",
        "<h3>Be Sociable, Share!</h3><p>TrackBack URL http://example.org/bread/trackback</p>",
        "<div>Du musst eingeloggt sein, um Kommentare zu schreiben!</div>",
        "<h3>Join the Conversation</h3>",
        "<p>Escucha esta nota aquí</p>",
        "<p>#bread#oven#sourdough#patience#breakfast#flour#water#salt</p>",
        "<div>for-small-screensfor-large-screensfor-very-large-screens</div>",
    ],
)
def test_the_site_around_the_text_is_left_out(site: str) -> None:
    assert text_of(END + site) == END_TEXT


def test_before_the_title_there_is_only_the_site() -> None:
    page = f"<body><div><div>Start</div><div>12 May 2020</div><h1>On bread</h1><p>{PROSE}</p></div></body>"
    assert extract(page) == f"On bread\n\n{PROSE}"


def test_comments_are_text_unless_they_are_not_wanted() -> None:
    body = article(f"<div class=comments><p>{END_TEXT}</p></div>")
    assert END_TEXT in extract(body)
    assert END_TEXT not in EXTRACTORS["resiliparse"](False)(body)


def test_a_main_part_under_a_misleading_name_is_found() -> None:
    paragraphs = f"<p>{PROSE}</p>" * 3
    for element in ("<div class=modal>", "<header>", "<aside>"):
        assert extract(f"<body>{element}{paragraphs}").count(PROSE) == 3, element


@pytest.mark.parametrize("text", ["שלום, קוראים יקרים. זה מאמר קצר על לחם.", "مرحبا بكم. هذا مقال قصير عن الخبز."])
def test_right_to_left_and_mixed_scripts_stay_in_their_order(text: str) -> None:
    mixed = f"{text} (bread, パン)."
    assert extract(f"<html dir=rtl><body><article><p>{mixed}</p></article>") == mixed


@pytest.mark.parametrize(
    "page", ["", "<html></html>", "<script>var x = 1;</script>", "<title>only a title</title>", "<"]
)
def test_no_text(page: str) -> None:
    assert extract(page).strip() in ("", "<")


def test_flat_pages_stay_as_they_are() -> None:
    page = article("<div>" * 100 + "<p>x" + "</div>" * 100 + "<p>long</p>" * 1000)
    assert flatten(page) is page
    wide = "<div><p>a<br>b</div>" * MANY_TAGS
    assert flatten(wide) == wide


def test_unclosed_paragraphs_and_rows_are_not_depth() -> None:
    page = "<table>" + "<tr><td><p>x<li>y<br>" * MANY_TAGS
    assert flatten(page) == page


def test_deep_tags_are_left_out_and_their_text_stays() -> None:
    depth = MANY_TAGS
    flat = flatten("<div a='1'>x" * depth + "deep" + "</div>" * depth + "<p>after</p>")
    assert flat == "<div a='1'>x" * MAX_DEPTH + " x" * (depth - MAX_DEPTH) + "deep" + " " * (depth - MAX_DEPTH) + (
        "</div>" * MAX_DEPTH + "<p>after</p>"
    )


def test_tags_in_scripts_and_comments_are_not_depth() -> None:
    page = "<script>'" + "<div>" * MANY_TAGS + "'</script><!--" + "<div>" * MANY_TAGS + "--><div>x</div>"
    assert flatten(page) == page


def test_attributes_of_gigantic_tags_are_left_out() -> None:
    page = f"<p>a</p><p {'b=1 ' * 50_000}>c</p>"
    assert flatten(page) == "<p>a</p><p>c</p>"


TAGS = st.sampled_from(
    ["<div>", "</div>", "<b>", "</b>", "<p>", "</p>", "<span>", "</span>", "<script>", "</script>", "x"]
)


@settings(deadline=None)
@given(st.lists(TAGS, max_size=60), st.integers(1, 4))
def test_flattening_again_changes_nothing(tags: list[str], copies: int) -> None:
    page = "".join(tags) * (copies * MANY_TAGS // max(len(tags), 1))
    once = flatten(page)
    assert flatten(once) == once


def test_blocks_know_their_links() -> None:
    (block,) = parse_blocks('<p>See <a href="/x">the oven</a>.</p>')
    assert block == Block("p", "See the oven.", 8.0, "")


def test_something_is_left_of_a_page_without_sentences_but_never_links_alone() -> None:
    links = [Block("line", "Home", 4.0), Block("line", "About", 5.0)]
    lines = [Block("line", "Open from nine"), Block("line", "Closed on Mondays")]
    assert document_blocks(links) == []
    assert document_blocks(links + lines) == lines
    assert render(lines) == "Open from nine\nClosed on Mondays"


def test_long_words_that_are_text_stay() -> None:
    for word in (
        "パンは一晩おいてから焼くのがいちばんおいしいと祖母はいつも台所で笑いながら言っていたものだったし私もそう思う",
        "https://example.org/" + "a" * 60,
    ):
        assert text_of(f"{END}<p>{word}</p>") == f"{END_TEXT}\n\n{word}"
    code = "x" * 80
    assert text_of(f"{END}<pre>{code}</pre>") == f"{END_TEXT}\n\n{code}"


def test_a_sentence_is_no_phrase() -> None:
    for text in ("Share this bread with whoever comes through the door, and keep none of it.", PROSE):
        assert document_blocks([Block("p", text)]) == [Block("p", text)]


def test_beginnings_of_other_texts_at_the_end_are_left_out() -> None:
    text = [Block("p", "They had met at the ferry every autumn and neither of them had ever spoken of the debt.")]
    titles = [Block("p", f"Council hears {whom}") for whom in ("the millers", "the bakers", "the ferrymen")]
    teasers = [
        block for title in titles for block in (title, Block("p", "After a night of rain the members met and..."))
    ]
    assert document_blocks(text + teasers) == text
    assert document_blocks(text + teasers[1:2]) == text + teasers[1:2]  # whoever trails off once is an author
    spoken = [Block("p", "“I had thought that you would...”")] * 4
    assert document_blocks(text + spoken) == text + spoken
