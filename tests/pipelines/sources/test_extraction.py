"""The extraction process: what it makes of pages, and that one bad page never harms another."""

import gc
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from florilegium.pipelines.sources.extraction import Extracted, Extractor, Page, shared_extractor
from florilegium.schemas.errors import MissingExtraError, RunError
from florilegium.schemas.recipe import ExtractionOptions

LIMIT = 1 << 20

# A child that speaks the protocol but misbehaves on pages that say so.
BAD_CHILD = """
import os, signal, sys, time
from florilegium.pipelines.sources import extraction_child as child

real = child.to_text

def to_text(request, extract):
    body = request.body
    if body == b"hang":
        time.sleep(1000)
    if body == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if body == b"raise":
        raise ValueError("a parser's error")
    if body == b"swallow":
        bytearray(1 << 40)
    return real(request, extract)

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


def hostile_pages() -> dict[str, tuple[bytes, str | None]]:
    """Pages that parsers choke on, each with what of it must be in the text, or None where a reason is as good."""
    many = b" ".join(b"a%d=1" % at for at in range(100_000))
    return {
        "nested": (b"<div>" * 50_000 + b"deep", "deep"),
        "nested and closed": (b"<div>x " * 10_000 + b"deep" + b"</div>" * 10_000, "deep"),
        "nested lists": (b"<ul><li>x " * 10_000 + b"deep", "deep"),
        "nested tables": (b"<table><tr><td>x " * 10_000 + b"deep", "deep"),
        "misnested formatting": (b"".join(b"<font size=%d><p>x " % at for at in range(5_000)) + b"deep", "deep"),
        "attributes": (b"<p " + many + b">many</p>", "many"),
        "comments never closed": (b"<p>before</p>" + b"<!--" * 300_000, "before"),
        "scripts never closed": (b"<p>before</p>" + b"<script>" * 300_000, "before"),
        "quotes never closed": (b"<p>before</p>" + b"<a title='" * 100_000, None),
        "angle brackets": (b"<" * 1_000_000, None),
        "ampersands": (b"&" * 500_000, None),
        "one word": (b"<p>" + b"a" * 900_000 + b"</p>", "aaa"),
        "every byte": (bytes(range(256)) * 40, None),
        "emoji": (("<p>" + "\U0001f600" * 200_000).encode(), "\U0001f600"),
        "zero width": (("<p>a" + "\u200b" * 200_000 + "b</p>").encode(), "a"),
        "meta elements": (b"<meta name=date content=x" * 100_000, None),
        "headings never closed": (b"<h1>t" * 100_000, None),
    }


def test_hostile_pages_give_a_result_or_a_reason_in_bounded_time_and_memory() -> None:
    """Each by the child's own time, far below the limit that kills it, in the same child."""
    extractor = Extractor(ExtractionOptions(timeout_seconds=30, memory_bytes=1 << 30), LIMIT)
    extractor.extract([Page(b"<p>warm</p>")])
    pid = pid_of(extractor)
    for name, (body, wanted) in hostile_pages().items():
        before = cpu_seconds(pid)
        (result,) = extractor.extract([Page(body)])
        assert pid_of(extractor) == pid, name
        assert cpu_seconds(pid) - before < MAX_SECONDS, name
        assert wanted is None or wanted in result.text, (name, result.error)
        assert result.error in (None, "extract.empty", "extract.too_large"), name
    extractor.close()


MAX_SECONDS = 4.0  # on any machine; the slowest of them takes 0.8 s where the tests were written


def cpu_seconds(pid: int) -> float:
    """What a process has used; the clock on the wall where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return time.monotonic()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_page_of_ten_megabytes_is_read_in_the_memory_of_the_child() -> None:
    body = b"<body><article>" + b"<p>A paragraph of a very long page, like all others of it.</p>\n" * 160_000
    extractor = Extractor(ExtractionOptions(memory_bytes=1 << 30, timeout_seconds=60), 10 << 20)
    (result,) = extractor.extract([Page(body)])
    extractor.close()
    assert result.error is None
    assert result.text.count("A paragraph") == 160_000


def test_metadata_comes_with_the_text() -> None:
    page = (
        b"<html lang=pt-BR><head><title>A tea | House</title><meta property=article:published_time "
        b"content='2019-08-06T10:00:00+02:00'></head><body><h1>A tea</h1><p>Some words about tea.</p></body></html>"
    )
    extractor = Extractor(ExtractionOptions(), LIMIT)
    fetched = 1_600_000_000_000
    results = extractor.extract(
        [
            Page(page, fetched=fetched),
            Page(page, fetched=1_500_000_000_000),  # fetched before it says it was published
            Page(b"<p>Words.</p>", url="http://example.org/2018/03/04/words", fetched=fetched),
            Page(b"Words.", plain=True),
        ]
    )
    extractor.close()
    assert [(result.title, result.language, result.published) for result in results] == [
        ("A tea", "pt", 1_565_078_400_000),
        ("A tea", "pt", None),
        (None, None, 1_520_121_600_000),
        (None, None, None),
    ]


def test_an_extractor_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("florilegium.pipelines.sources.extraction.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'florilegium\[trafilatura\]'"):
        Extractor(ExtractionOptions(extractor="trafilatura"), LIMIT)


def test_trafilatura_in_the_same_child() -> None:
    pytest.importorskip("trafilatura")
    body = (
        b"<html><body><nav><a href=/>Home</a></nav><article><h1>On bread</h1>"
        + PARAGRAPHS
        + b"</article></body></html>"
    )
    extractor = Extractor(ExtractionOptions(extractor="trafilatura"), LIMIT)
    results = extractor.extract([Page(body), Page(b"<div>" * 50_000 + b"deep"), Page(body)])
    extractor.close()
    assert "The dough rests" in results[0].text
    assert "Home" not in results[0].text
    assert results[2] == results[0]


PARAGRAPHS = (
    b"<p>The dough rests for an hour in a warm place, under a cloth, until it has doubled in size.</p>"
    b"<p>Then it is folded, shaped and left alone once more while the oven grows hot enough to bake it.</p>"
)
