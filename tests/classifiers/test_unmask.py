"""A disguise buys nothing, and what only looks like one is left alone."""

import numpy as np
import pyarrow as pa
import pytest
from florilegium.classifiers import Classifier, load
from florilegium.classifiers.audit import DISGUISES, disguise, load_suite
from florilegium.classifiers.evidence import explain
from florilegium.classifiers.unmask import Unmasker, fold
from hypothesis import given, settings
from hypothesis import strategies as st

KNOWN = frozenset(["you", "stupid", "idiot", "kill", "yourself", "hell", "muslims", "are", "a", "i", "0th", "nasa"])
INNOCENT = [
    "The 3D printer plays MP3 files, and h264 video in 4K at 10am on the 15th.",
    "During covid19 we moved to web3 and python3; see html5, area51, catch22 and level42.",
    "for i in range(10):\n    x1 = y[i] + z3d.shape[0]  # o2o, p2p, b2b, k8s, i18n, w3c, 0x3f, x86_64",
    "R2D2 met C3PO at gate B12, seat 4a, flight LH430, room 3b, on the A7 and the M25.",
    "Write to jo4nn4@host.example or see https://host.example/watch?v=dQw4w9WgXcQ&list=a1b2c3 for v1.2.3.",
    "Naïve Zoë went to the café in Łódź; Jelić and the Māori guide came along.",
    "I moved to plan A, then B, C and D; see e.g. the U.S. and the U.K., i.e. both. J. R. R. Tolkien wrote it.",
    "Привет! Это рассказ о том, как мы жили в одном доме: осе, рак, сор, а потом и COVIDное время.",
    "Η ζωή είναι ωραία και το νερό τρέχει. Τα παιδιά παίζουν.",
    "The angle αx and the length 5μm follow from Δt = ρv; β-carotene is not γ-linolenic acid.",
    "“Quoted” – with dashes… and a 50/50 split, 24/7, 1.2.3.4, 2020-01-02, a-b, x/y.",
    "Options: a, b, c, d, e. Vitamins A B C D E K. Press W A S D to move.",
]


@pytest.fixture(scope="module")
def model() -> Classifier:
    return load("prosocial")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("k1ll y0urs3lf", "kill yourself"),
        ("5tup1d 1d10t, y0u!", "stupid idiot, you!"),
        ("$tupid !diot", "stupid idiot"),
        ("st\u0443\u0440id idi\u043et", "st\u0443\u0440id idiot"),  # y is no u
        ("\u0456di\u043e\u03c4", "idiot"),
        ("s.t.u.p.i.d  i-d-i-o-t", "stupid  idiot"),
        ("k i l l y o u r s e l f", "kill yourself"),
        ("ki\u200bll your\u00adself st\u2060upid", "kill yourself stupid"),
        ("i\u0336d\u0336i\u0336o\u0336t\u0336", "idiot"),
        ("\uff4b\uff49\uff4c\uff4c \U0001d4ce\U0001d45c\U0001d4ca \u24d8\u24d3\u24d8\u24de\u24e3", "kill you idiot"),
        ("he11o he1l", "he11o hell"),
        ("4r3 the Musl1ms", "are the muslims"),
        ("10th 15th 3th", "10th 15th 3th"),  # known as they stand
        ("unkn0wn w0rds", "unkn0wn w0rds"),
    ],
)
def test_words_are_folded_to_known_ones(text: str, read: str) -> None:
    assert fold(text, KNOWN) == read
    marked = Unmasker.of([word.encode() for word in KNOWN]).marked(pa.array([text]))[0]
    assert marked or read == text


@pytest.mark.parametrize("kind", list(DISGUISES))
def test_a_disguise_buys_nothing(model: Classifier, kind: str) -> None:
    texts = load_suite("adversaries")["disguise"]
    plain, hidden = model.score(texts), model.score([disguise(kind, text) for text in texts])
    for name in ("topical", "toxic"):
        assert getattr(hidden, name).max(axis=1).mean() >= 0.95 * getattr(plain, name).max(axis=1).mean()


def test_what_is_no_disguise_is_scored_as_it_stands(model: Classifier) -> None:
    for text in INNOCENT:
        assert model.unmasker.copies(pa.array([text]))[1] == [], text
    scores, validity = model.as_written(INNOCENT)
    assert (model.probabilities(INNOCENT)[0] == scores).all()
    assert validity.all()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(alphabet="abcdeilostu013457@$!. \u0430\u043e\u200b\u0336\uff41'-", max_size=60), max_size=4))
def test_only_harms_rise_and_never_fall(texts: list[str]) -> None:
    model = load("prosocial")
    texts = [*texts, "y0u 57up1d 1d10t, k1ll y0urs3lf"]
    written, _ = model.as_written(texts)
    scored, _ = model.probabilities(texts)
    harms = 17  # five grades of quality and twelve dimensions come first
    assert (scored[:, :harms] == written[:, :harms]).all()
    assert (scored[:, harms:] >= written[:, harms:]).all()
    assert (scored[-1, harms:] > written[-1, harms:]).any()
    alone = np.concatenate([model.probabilities([text])[0] for text in texts])
    assert (alone == scored).all()


def test_a_praise_in_disguise_is_not_paid(model: Classifier) -> None:
    plain, hidden = "Thank you, I was wrong and I am sorry.", "Th4nk y0u, 1 w45 wr0ng 4nd 1 4m s0rry."
    assert model.unmasker.copies(pa.array([hidden]))[1]
    scores = model.score([plain, hidden])
    assert scores.prosocial[1].max() < scores.prosocial[0].max()


def test_one_disguised_passage_in_a_long_text_is_enough(model: Classifier) -> None:
    calm = "We walked to the river and talked about the garden, the bread and the rain. "
    hidden = calm * 60 + disguise("leetspeak", "You stupid worthless idiot, go and kill yourself. ") * 20
    plain = model.score([calm * 60])
    assert model.score([hidden]).toxic.max() > 3 * plain.toxic.max()


def test_evidence_says_that_a_copy_was_read(model: Classifier) -> None:
    text = "So he wrote: y0u 57up1d w0r7hl355 1d10t, 5hu7 up"
    evidence = explain(model, text, "harassment")
    assert evidence.unmasked
    assert "stupid worthless idiot" in evidence.text
    strongest = evidence.strongest(3)
    assert any("idiot" in evidence.text[span.start : span.end] for span in strongest)
    assert evidence.score == pytest.approx(float(model.score([text]).topical[0, 1]), abs=6e-4)
    for window in evidence.windows:
        total = sum(span.contribution for span in window.spans) + window.unplaced + window.intercept
        assert total == pytest.approx(window.logit, abs=1e-4)
    assert not explain(model, text, "compassion").unmasked
    assert explain(model, "You stupid idiot", "harassment").text == "You stupid idiot"
