"""Gates on written examples: what passes passes, what fails fails for the right reason."""

import pytest
from florilegium.pipelines.synthesis import gates
from florilegium.pipelines.synthesis.gates import REASONS, Draft, check, parse_dialogue, text_findings
from florilegium.schemas.recipe import SyntheticGates

from .examples import cell, examples

LIMITS = SyntheticGates()


def test_there_are_enough_examples_and_every_reason_has_one() -> None:
    assert len(examples("passing")) >= 30
    assert len(examples("failing")) >= 30
    assert {reason for _, reasons in examples("failing") for reason in reasons} == set(REASONS)


def test_passing_examples_pass() -> None:
    drafts = [draft for draft, _ in examples("passing")]
    wrong = [(draft.text[:40], result.reasons) for draft, result in zip(drafts, check(drafts, LIMITS), strict=True)
             if not result.passes]  # fmt: skip
    assert wrong == []


def test_failing_examples_fail_for_their_reasons() -> None:
    pairs = examples("failing")
    checked = check([draft for draft, _ in pairs], LIMITS)
    missed = [
        (draft.text[:40], sorted(set(reasons) - set(result.reasons)))
        for (draft, reasons), result in zip(pairs, checked, strict=True)
        if set(reasons) - set(result.reasons)
    ]
    assert not missed


@pytest.mark.parametrize(
    ("file", "good", "bad", "not_found"),
    [("fresh.yaml", 62, 64, 4), ("later.yaml", 20, 24, 21)],
    ids=["seen", "unseen"],
)
def test_errors_are_those_that_the_readme_states(file: str, good: int, bad: int, not_found: int) -> None:
    """They may become fewer, never more."""
    passing = check([draft for draft, _ in examples("passing", file)], LIMITS)
    assert [result.reasons for result in passing if not result.passes] == []
    failing = examples("failing", file)
    checked = check([draft for draft, _ in failing], LIMITS)
    missed = [not set(reasons) <= set(result.reasons) for (_, reasons), result in zip(failing, checked, strict=True)]
    assert (len(passing), len(failing)) == (good, bad)
    assert sum(missed) <= not_found


def test_a_virtue_is_compared_with_what_the_model_sees_in_texts_as_short() -> None:
    """Another model, whose scores are half as high everywhere, refuses the same documents."""
    drafts = [draft for draft, _ in [*examples("failing"), *examples("passing")]]
    before = [result.scores["virtue"] for result in check(drafts, LIMITS)]
    usual = {name: values / 2 for name, values in gates._usual_virtues().items()}
    virtues = gates._virtues
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "_usual_virtues", lambda: usual)
        patch.setattr(gates, "_virtues", lambda scored: {name: value / 2 for name, value in virtues(scored).items()})
        assert [result.scores["virtue"] for result in check(drafts, LIMITS)] == before


def test_what_gates_find_does_not_depend_on_letters_or_apostrophes() -> None:
    for draft, _ in examples("failing"):
        other = Draft(draft.text.replace("'", "’"), draft.cell, draft.seed_text, draft.prompt, draft.finished)
        found = [finding.reason for finding in text_findings(draft, LIMITS)]
        assert [finding.reason for finding in text_findings(other, LIMITS)] == found


def test_a_document_is_judged_by_itself_alone() -> None:
    drafts = [draft for draft, _ in [*examples("failing"), *examples("passing")]]
    together = check(drafts, LIMITS)
    for at in (0, 9, 40, 55):
        (alone,) = check([drafts[at]], LIMITS)
        assert (alone.reasons, alone.scores) == (together[at].reasons, together[at].scores)


@pytest.mark.parametrize("side", ["keep its old buildings", "build new homes"])
def test_a_stance_is_never_judged(side: str) -> None:
    text = (
        f"Ana: Should the town rather {side}?\n\nBo: I'd say that it should {side}, for my mother's sake. You see it "
        "otherwise, and I'd like to hear why.\n\nAna: Because of the other street.\n\nBo: I hadn't thought of that. "
        "I still lean my way, and yours has more in it than I knew."
    )
    assert text_findings(Draft(text, cell(virtue="nuance")), LIMITS) == []


def test_personal_data_is_masked_in_what_is_refused() -> None:
    draft = next(draft for draft, reasons in examples("failing") if "privacy.personal_data" in reasons)
    (result,) = check([draft], LIMITS)
    assert "@" in draft.text
    assert "@" not in result.masked


def test_a_dialogue_is_read_turn_by_turn() -> None:
    turns = parse_dialogue("Ana: One.\nTwo: it goes on.\n\nBo Li: Three.")
    assert [(turn.speaker, turn.words) for turn in turns] == [
        ("Ana", "One."), ("Two", "it goes on."), ("Bo Li", "Three."),
    ]  # fmt: skip
    assert parse_dialogue("Here it is:\n\nAna: One.") == []
