"""The extraction process: what it makes of pages, and that one bad page never harms another."""

import gc
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from florilegium.pipelines.sources.extraction import Extracted, Extractor, Page, shared_extractor
from florilegium.pipelines.sources.extraction_child import HTML, PLAIN, decode, to_text
from florilegium.schemas.errors import RunError
from florilegium.schemas.recipe import ExtractionOptions

LIMIT = 1 << 20

# A child that speaks the protocol but misbehaves on pages that say so.
BAD_CHILD = """
import os, signal, sys, time
from florilegium.pipelines.sources import extraction_child as child

real = child.to_text

def to_text(kind, charset, body):
    if body == b"hang":
        time.sleep(1000)
    if body == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if body == b"raise":
        raise ValueError("a parser's error")
    if body == b"swallow":
        bytearray(1 << 40)
    return real(kind, charset, body)

child.to_text = to_text
child.main()
"""


@pytest.fixture
def extractor(tmp_path: Path):
    script = tmp_path / "child.py"
    script.write_text(BAD_CHILD)
    made = Extractor(ExtractionOptions(timeout_seconds=0.4), LIMIT, [sys.executable, str(script)])
    yield made
    made.close()


def pid_of(extractor: Extractor) -> int:
    return extractor._running[0].pid


def test_one_bad_page_never_loses_its_neighbours(extractor: Extractor) -> None:
    bodies = [b"one", b"hang", b"two", b"die", b"die", b"three", b"raise", b"four", b"swallow", b"five", b"hang"]
    results = extractor.extract([Page(body, plain=True) for body in bodies])
    assert [(result.text, result.error) for result in results] == [
        ("one", None),
        ("", "extract.timeout"),
        ("two", None),
        ("", "extract.crashed"),
        ("", "extract.crashed"),
        ("three", None),
        ("", "extract.failed"),
        ("four", None),
        ("", "extract.too_large"),
        ("five", None),
        ("", "extract.timeout"),
    ]


def test_the_process_is_reused_and_replaced_only_when_it_dies(extractor: Extractor) -> None:
    extractor.extract([Page(b"a", plain=True)])
    first = pid_of(extractor)
    extractor.extract([Page(b"b", plain=True), Page(b"raise")])
    assert pid_of(extractor) == first
    os.kill(first, signal.SIGKILL)
    time.sleep(0.1)
    assert extractor.extract([Page(b"c", plain=True)]) == [Extracted("c")]
    assert pid_of(extractor) != first


def test_pages_larger_than_any_pipe_do_not_deadlock(extractor: Extractor) -> None:
    pages = [Page(b"word " * 150_000, plain=True) for _ in range(8)]
    assert [len(result.text) for result in extractor.extract(pages)] == [749_999] * 8


def test_text_over_the_limit_is_refused(tmp_path: Path) -> None:
    extractor = Extractor(ExtractionOptions(), 1000)
    results = extractor.extract([Page(b"x" * 1001, plain=True), Page(b"x" * 1000, plain=True)])
    extractor.close()
    assert [(len(result.text), result.error) for result in results] == [(0, "extract.too_large"), (1000, None)]


def test_a_process_that_does_not_start_says_how_to_see_why() -> None:
    extractor = Extractor(ExtractionOptions(), LIMIT, [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(RunError, match="does not start"):
        extractor.extract([Page(b"x")])


def test_the_process_ends_with_its_extractor() -> None:
    extractor = Extractor(ExtractionOptions(), LIMIT)
    extractor.extract([Page(b"<p>x</p>")])
    pid = pid_of(extractor)
    del extractor
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_the_process_dies_with_a_killed_parent() -> None:
    """Even while it hangs, and while another process holds its standard input open."""
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            extractor = Extractor(ExtractionOptions(), LIMIT)
            extractor.extract([Page(b"<p>x</p>")])
            os.write(writer, str(pid_of(extractor)).encode())
            time.sleep(60)
        finally:
            os._exit(0)
    child = int(os.read(reader, 100))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and Path(f"/proc/{child}").exists():
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.02)
    else:
        assert not Path(f"/proc/{child}").exists()
    os.close(reader)
    os.close(writer)


def test_one_extractor_a_thread_and_options() -> None:
    options = ExtractionOptions()
    assert shared_extractor(options, LIMIT) is shared_extractor(options, LIMIT)
    assert shared_extractor(options, LIMIT) is not shared_extractor(options, LIMIT + 1)


def test_hostile_pages_do_not_stop_the_rest() -> None:
    extractor = Extractor(ExtractionOptions(timeout_seconds=1), LIMIT)
    deep = b"<div>" * 200_000 + b"deep"
    attributes = b"<p " + b" ".join(b"a%d=1" % at for at in range(3_000)) + b">many</p>"
    results = extractor.extract([Page(deep), Page(b"<p>after</p>"), Page(attributes), Page(bytes(range(256)) * 40)])
    extractor.close()
    assert results[1].text == "after"
    assert results[2].text == "many"


def test_main_content_title_and_plain_text() -> None:
    page = (
        b"<html><head><title> A \n title </title><style>p {}</style></head><body><nav><a href='/'>Home</a></nav>"
        b"<article><h1>Heading</h1><p>First &amp; foremost.</p><p>Second.</p></article>"
        b"<script>var x;</script></body></html>"
    )
    title, text, replaced = to_text(HTML, "", page)
    assert (title, replaced) == ("A title", False)
    assert text.split("\n\n") == ["Heading", "First & foremost.", "Second."]
    assert to_text(PLAIN, "", b" <p>kept</p>\n") == ("", "<p>kept</p>", False)


@pytest.mark.parametrize(
    ("body", "charset", "text", "replaced"),
    [
        ("Grüße aus Köln".encode("latin-1"), "iso-8859-1", "Grüße aus Köln", False),
        ("Grüße".encode(), "utf-8", "Grüße", False),
        ("\ufeffGrüße".encode(), "iso-8859-1", "Grüße", False),
        ("Grüße".encode("utf-16"), "", "Grüße", False),
        (
            "<meta charset=windows-1251><p>Привет, мир".encode("cp1251"),
            "",
            "<meta charset=windows-1251><p>Привет, мир",
            False,
        ),
        ("Grüße aus Köln".encode(), "no-such-charset", "Grüße aus Köln", False),
        ("Grüße aus Köln".encode("latin-1") * 3, "utf-8", "Grüße aus Köln" * 3, True),
        (b"a" * 1000 + b"\xff" + b"b" * 1000, "utf-8", "a" * 1000 + "\ufffd" + "b" * 1000, True),
    ],
)
def test_charsets(body: bytes, charset: str, text: str, replaced: bool) -> None:
    decoded, lost = decode(body, charset)
    assert decoded == text
    assert lost == (replaced and "\ufffd" in text)
