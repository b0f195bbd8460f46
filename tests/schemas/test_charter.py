import pytest
from florilegium.schemas.charter import Charter
from pydantic import ValidationError


def _charter(**parts):
    return Charter.model_validate({"version": 1, "name": "ours", **parts})


def test_short_form_is_a_linear_value_of_that_weight():
    short = _charter(values={"compassion": 2})
    assert short == _charter(values={"compassion": {"weight": 2, "shape": "linear"}})
    assert short.values["compassion"].at is None


def test_defaults_accept_everything():
    charter = _charter()
    assert (charter.values, charter.languages, charter.shares) == ({}, None, "natural")
    assert (charter.utility_floor, charter.quality_floor, charter.tolerance.harm) == (0, 0, {})


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"utilty_floor": 0.1}, "unknown key 'utilty_floor'; did you mean 'utility_floor'?"),
        ({"values": {"compasion": 1}}, "unknown dimension 'compasion'; did you mean 'compassion'?"),
        ({"values": {"compassion": {"wieght": 1}}}, "unknown key 'wieght'; did you mean 'weight'?"),
        ({"values": {"wealth": 1}}, "unknown dimension 'wealth'; known are affinity, compassion"),
        ({"tolerance": {"harm": {"hatred": {"toxic": 0.1}}}}, "unknown harm 'hatred'; did you mean 'hate'?"),
        ({"tolerance": {"hate": {"toxic": 0.1}}}, "unknown key 'hate'; known are harm"),
        ({"utility_floor": 0.1234}, "0.1234 is finer than the grid of the scores; give at most three decimals"),
        ({"values": {"compassion": {"at": 0.5}}}, "`at` means nothing to a linear value"),
        ({"values": {"compassion": 0}}, "greater than 0"),
        ({"values": {"compassion": -1}}, "greater than 0"),
        ({"values": {"compassion": {"shape": "threshold", "at": 0}}}, "greater than 0"),
        ({"values": {"compassion": {"shape": "cubic"}}}, "'linear', 'saturating' or 'threshold'"),
        ({"quality_floor": 1.5}, "less than or equal to 1"),
        ({"quality_floor": "0.5"}, "valid number"),
        ({"shares": {"news": 0.5, "forum": 0.4}}, "the shares sum to 0.9, not 1"),
        ({"shares": "equal"}, "'equal' is neither `natural` nor a mapping of domains to shares"),
        ({"shares": {"news": 1.5, "forum": -0.5}}, "less than or equal to 1"),
        ({"languages": []}, "at least 1 item"),
        ({"name": "Our Charter"}, "is no name; write small letters a to z, digits"),
        ({"version": 2}, "Input should be 1"),
    ],
)
def test_what_is_impossible_fails_with_a_sentence(parts, sentence):
    with pytest.raises(ValidationError) as error:
        _charter(**parts)
    assert sentence in str(error.value)


def test_is_immutable():
    with pytest.raises(ValidationError):
        _charter().utility_floor = 0.5  # type: ignore[misc]


def test_digest_ignores_prose_order_and_scale():
    one = _charter(values={"compassion": 1, "respect": {"weight": 2, "shape": "threshold"}}, languages=["de", "en"])
    two = Charter.model_validate(
        {
            "version": 1,
            "name": "theirs",
            "description": "The same in other words.",
            "languages": ["en", "de", "en"],
            "values": {"respect": {"weight": 0.5, "shape": "threshold", "at": 0.5}, "compassion": 0.25},
            "tolerance": {"harm": {"hate": {"topical": 1.0}}},
        }
    )
    assert one.digest() == two.digest()
    assert len(one.digest()) == 16


@pytest.mark.parametrize(
    "parts",
    [
        {"values": {"compassion": 1, "respect": 2}},
        {"values": {"compassion": {"shape": "saturating"}}},
        {"values": {"compassion": {"shape": "saturating", "at": 0.4}}},
        {"languages": ["en"]},
        {"utility_floor": 0.001},
        {"quality_floor": 0.001},
        {"tolerance": {"harm": {"hate": {"toxic": 0.3}}}},
        {"tolerance": {"harm": {"hate": {"topical": 0.3}}}},
        {"shares": {"forum": 1.0}},
    ],
)
def test_digest_tells_meanings_apart(parts):
    assert _charter(**{"values": {"compassion": 1}, **parts}).digest() != _charter(values={"compassion": 1}).digest()
