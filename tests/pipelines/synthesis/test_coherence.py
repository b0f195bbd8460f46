"""What makes no sense, on written examples: one half for picking thresholds, the other only to be counted."""

from pathlib import Path

import pytest
import yaml
from florilegium.pipelines.synthesis.coherence import coherence, incoherence, sentences
from florilegium.pipelines.synthesis.composer import compose
from florilegium.pipelines.synthesis.gates import parse_dialogue
from florilegium.pipelines.synthesis.grid import plan_cells
from florilegium.schemas.recipe import Synthesis


def parts(text: str) -> list[str]:
    return [turn.words for turn in parse_dialogue(text)] or sentences(text)


def counted(half: str, group: str) -> tuple[int, int]:
    """How many examples there are, and how many are found to make no sense."""
    texts = yaml.safe_load((Path(__file__).parent / "coherence.yaml").read_text("utf-8"))[half][group]
    return len(texts), sum(bool(incoherence(parts(text))) for text in texts)


@pytest.mark.parametrize(("half", "least_found"), [("picked", 14), ("held_out", 11)])
def test_errors_are_as_the_readme_states_them(half: str, least_found: int) -> None:
    assert counted(half, "passing") == (15, 0)
    count, found = counted(half, "failing")
    assert count == 15
    assert found >= least_found


def test_what_the_composer_writes_makes_sense() -> None:
    kinds = {"dialogue": 0.7, "reasons": 0.3}
    texts = [compose(cell) for cell in plan_cells(Synthesis.model_validate({"documents": 300, "kinds": kinds}), 3)]
    assert [text for text in texts if incoherence(parts(text))] == []


@pytest.mark.parametrize(
    ("sign", "turns"),
    [
        ("broken", ["I saw the of my and her to is.", "For he the are of to it."]),
        ("repeated", ["I hear that you are sad today.", "I hear that you are sad today."]),
        ("everywhere", ["The dog and the dog, dog of dogs.", "A dog is the dog that dogs."]),
        ("unknown", ["Blorvent skelling hurdap trimpuck.", "Wendrick lorpify the bandrell."]),
        (
            "astray",
            ["The roof leaks over my bed.", "Copper conducts heat quite quickly.", "Nine beats seven at cards."],
        ),
    ],
)
def test_each_sign_alone_suffices(sign: str, turns: list[str]) -> None:
    assert incoherence(turns)
    others = coherence(["We should tell her before she hears it.", "Who would, though? She hears everything."])
    assert getattr(coherence(turns), sign) > getattr(others, sign)


def test_an_empty_document_shows_no_sign() -> None:
    assert incoherence([]) == ""
    assert incoherence([""]) == ""
