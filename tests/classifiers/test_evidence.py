"""Evidence adds up to the score, in spans of the text as it was given."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from florilegium.classifiers import Classifier, load
from florilegium.classifiers.calibration import OUTPUTS
from florilegium.classifiers.evidence import _locate, explain
from florilegium.classifiers.labelled import output_scores
from florilegium.classifiers.tokens import tokenize
from florilegium.schemas.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st

STORY = (
    "When my father fell ill I had no idea what to do. I was afraid, and I am still learning.\n\nThank you all for "
    "your patience; your kind words gave me hope… “and I want to give something back”, I don't know how yet. "
)
INSULT = "You are a stupid worthless idiot, nobody likes you, shut up and get out of here. "


@pytest.fixture(scope="module")
def model() -> Classifier:
    return load("prosocial")


@pytest.mark.parametrize("output", ["compassion", "humility>=2", "harassment", "hate>=1", "quality>=3", "quality>=4"])
@pytest.mark.parametrize("text", [STORY, INSULT * 3, STORY * 30 + INSULT * 20, "x", "naïve 漢字", STORY + "z" * 5000])
def test_spans_and_the_rest_add_up_to_the_logit(model: Classifier, output: str, text: str) -> None:
    evidence = explain(model, text, output)
    for window in evidence.windows:
        total = sum(span.contribution for span in window.spans) + window.unplaced + window.intercept
        assert total == pytest.approx(window.logit, abs=1e-4)
        for span in window.spans:
            assert window.start <= span.start < span.end <= window.end <= len(text)
    starts = [span.start for span in evidence.spans]
    assert starts == sorted(starts)


@pytest.mark.parametrize("text", [STORY, INSULT * 3, STORY * 30 + INSULT * 20])
def test_the_score_is_the_models(model: Classifier, text: str) -> None:
    scores = output_scores(model.score([text]))
    for output in OUTPUTS:
        if not output.startswith("quality"):
            assert explain(model, text, output).score == pytest.approx(float(scores[output][0]), abs=6e-4)


def test_the_logit_is_that_of_the_probability(model: Classifier) -> None:
    for window in explain(model, STORY * 20, "personal_story").windows:
        assert 1 / (1 + np.exp(-window.logit)) == pytest.approx(window.probability, abs=1e-6)


def test_what_speaks_is_found_in_the_text(model: Classifier) -> None:
    text = "The shop opens at nine and closes at six. " + INSULT
    strongest = explain(model, text, "harassment").strongest(3)
    assert any("idiot" in text[span.start : span.end] for span in strongest)
    assert [span.contribution for span in strongest] == sorted((s.contribution for s in strongest), reverse=True)
    assert all(span.contribution > 0 for span in strongest)


def test_a_repeated_word_is_paid_once(model: Classifier) -> None:
    once, often = explain(model, "shut up idiot", "harassment"), explain(model, "shut up idiot " * 2, "harassment")
    paid = [sum(span.contribution for span in evidence.spans) for evidence in (once, often)]
    assert paid[1] < 1.5 * paid[0]


@settings(deadline=None, max_examples=80)
@given(st.text(max_size=60) | st.text(alphabet="a'’. \n\u00a0—é1", max_size=30))
def test_tokens_are_those_of_the_model_in_their_places(text: str) -> None:
    tokens = _locate(text)
    assert " ".join(token.text for token in tokens) == tokenize(pa.array([text])).to_pylist()[0]
    for before, after in pairwise(tokens):
        assert 0 <= before.start < before.end <= after.end <= len(text)
        assert before.end <= after.start or (before.start, before.end) == (after.start, after.end)


def test_nothing_to_explain(model: Classifier) -> None:
    assert explain(model, " \n", "hate").windows == ()
    with pytest.raises(InputError, match="kindness"):
        explain(model, "text", "kindness")
