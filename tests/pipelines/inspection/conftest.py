"""One small run for all tests of inspection, whose documents try everything on whoever looks at them."""

import json
import shutil
from pathlib import Path

import pytest
from florilegium.pipelines.phases import Outcome

from tests.pipelines.test_phases import SENTENCES, make_corpus, run

HOSTILE = {
    "script": "<script>alert('script')</script><img src=x onerror=\"alert('handler')\"><svg/onload=alert(1)>",
    "link": "[a link](javascript:alert(1)) <a href='javascript:alert(2)'>here</a> </textarea></style></script>",
    "bidi": "The \u202eevil\u202c override, the \u2066isolate\u2069 and a \u200bspace that nobody sees.",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://example.org\x1b\\click\x1b]8;;\x1b\\ \x9b31m \r over",
    "formula": '=HYPERLINK("http://example.org","click")+cmd|\' /C calc\'!A0',
    "markdown": "# Not a heading\n\n---\nlicense: stolen\n---\n\n| a | b |\n|---|---|\n```\n</pre>",
    "template": "{{ 7 * 7 }} {% include '/etc/passwd' %} ${7*7} %s",
}
IDS = ["../../../../etc/passwd", "..\\..\\windows", "/etc/shadow", "a\nb", "nul\u0000byte", "run://x", "<b>id</b>"]


def hostile_corpus(folder: Path) -> Path:
    """Sound posts among hostile ones, every hostile text with sentences around it, so that it is kept."""
    make_corpus(folder)
    lines = []
    for number, (name, trick) in enumerate(HOSTILE.items()):
        text = f"{trick} {' '.join(SENTENCES)} {name} {trick}"
        lines.append({"id": IDS[number], "text": text, "community": "a", "license": "cc0-1.0"})
    lines.append({"id": "=1+1", "text": "@SUM(1) " + " ".join(SENTENCES[:4]), "community": "b", "license": "cc0-1.0"})
    long = " ".join(f"{sentence[:-1]} {number}." for number in range(1_900) for sentence in SENTENCES)
    lines.append({"id": "long", "text": long[:1_000_000], "community": "b", "license": "cc0-1.0"})
    (folder / "hostile-0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_corpus(tmp_path_factory.mktemp("hostile") / "posts")


@pytest.fixture(scope="session")
def outcome(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(
        corpus,
        str(tmp_path_factory.mktemp("inspected") / "run"),
        "output.shard_bytes=524288",  # three shards, the longest line alone being two
        "dedup.near=false",  # the hostile texts share their sentences
        "policy.max_words=null",
        "policy.max_symbols_per_word=null",
        "policy.min_alphabetic_words=null",
    )


@pytest.fixture(scope="session")
def run_folder(outcome: Outcome) -> str:
    return outcome.run.folder.url


@pytest.fixture
def copied(run_folder: str, tmp_path: Path) -> Path:
    """The run, to be damaged."""
    return Path(shutil.copytree(run_folder, tmp_path / "copy"))
