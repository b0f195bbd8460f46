import subprocess
import sys

import pytest
from florilegium.classifiers.discourse import PART, Act, discourse_acts

spacy = pytest.importorskip("spacy", reason="needs the extra spacy")

TEXT = (
    "Thank you for this. I’m not sure, but maybe the second figure is off? You're right about the first. "
    "I was wrong, sorry. The fair is in May. It may rain."
)


def found(text: str) -> dict[str, list[str]]:
    acts: dict[str, list[str]] = {}
    for act in discourse_acts(text):
        acts.setdefault(act.act, []).append(text[act.start : act.end])
    return acts


def test_acts_at_their_places() -> None:
    acts = found(TEXT)
    assert acts["thanking"] == ["Thank you"]
    assert acts["hedging"] == ["I’m not sure", "maybe", "may"]
    assert acts["acknowledging"] == ["You're right"]
    assert acts["repairing"] == ["I was wrong", "sorry"]
    assert len(acts["asking"]) == 1
    assert acts["asking"][0].endswith("off?")


def test_acts_lie_in_their_sentences() -> None:
    for act in discourse_acts(TEXT):
        assert act.sentence_start <= act.start < act.end <= act.sentence_end <= len(TEXT)


@pytest.mark.parametrize("text", ["", "A sorry sight.", "I am not sorry.", "No thanks to you.", "The shop is open."])
def test_what_only_looks_like_an_act(text: str) -> None:
    assert discourse_acts(text) == []


def test_long_texts_are_read_in_parts() -> None:
    text = "The day went on. " * (PART // 10) + "Thank you. " + "x" * (PART + 5) + " I was wrong."
    acts = found(text)
    assert acts == {"thanking": ["Thank you"], "repairing": ["I was wrong"]}


def test_without_the_model_sentences_end_at_punctuation(monkeypatch: pytest.MonkeyPatch) -> None:
    from florilegium.classifiers import discourse

    monkeypatch.setattr(discourse, "MODEL", "no_such_model")
    discourse._pipeline.cache_clear()
    try:
        assert discourse_acts("Well. Why is that? The fair is in May.") == [Act("asking", 6, 18, 6, 18)]
        assert found("It may rain.") == {"hedging": ["may"]}
    finally:
        discourse._pipeline.cache_clear()


def test_without_spacy_the_remedy_is_named() -> None:
    code = (
        "import sys; sys.modules['spacy'] = None\n"
        "from florilegium.classifiers.discourse import discourse_acts\n"
        "from florilegium.schemas.errors import MissingExtraError\n"
        "try:\n    discourse_acts('Thank you.')\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'florilegium[spacy]'" in done.stdout
