"""Charters, recipes and limits in sentences, so that a reader needs neither YAML nor mathematics.

The sentences follow from what the run stores; where a run did not do a thing, they say so.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ....schemas.charter import Charter
from ....schemas.recipe import Recipe
from ....schemas.taxonomy import load_taxonomy
from ...decide import REASONS
from ..survey import Survey
from .figures import Figures

__all__ = ["charter_sentences", "definitions", "explain_reason", "limits", "model_cards", "plain", "reproduce"]


def plain(name: str) -> str:
    """`self_harm` as people write it."""
    return name.replace("_", " ")


def explain_reason(reason: str) -> str:
    """A reason of the ledger in words."""
    if reason in REASONS:
        return REASONS[reason]
    kind, _, rest = reason.partition(".")
    if reason.startswith("charters.kept_by."):
        return f"{reason.removeprefix('charters.kept_by.')} would have kept it"
    told = {
        "read": "the record could not be read as a document",
        "extract": "no text could be extracted from the page",
        "dedup": "another document holds the same",
        "statistics": "a rule on the form of the text",
    }
    return f"{told.get(kind, kind)}: {plain(rest).replace('.', ', ')}"


def charter_sentences(charter: Charter) -> list[str]:
    """What a charter asks for, refuses and leaves to others."""
    sentences = []
    if charter.values:
        ordered = sorted(charter.values.items(), key=lambda item: (-item[1].weight, item[0]))
        total = sum(value.weight for _, value in ordered)
        sentences.append(
            "Values "
            + _listed([f"{plain(name)} ({100 * value.weight / total:.0f} %)" for name, value in ordered])
            + "."
        )
        enough = [
            f"{plain(name)} from {value.turning_point:g}" for name, value in ordered if value.shape == "saturating"
        ]
        if enough:
            sentences.append(f"Enough is enough: more adds nothing to {_listed(enough)}.")
        steps = [f"{plain(name)} at {value.turning_point:g}" for name, value in ordered if value.shape == "threshold"]
        if steps:
            sentences.append(f"Counts only past a threshold: {_listed(steps)}.")
    else:
        sentences.append("Values every document that it accepts alike.")
    floors = [
        f"{name} below {limit:g}"
        for name, limit in (("utility", charter.utility_floor), ("quality", charter.quality_floor))
        if limit
    ]
    if floors:
        sentences.append(f"Asks for nothing with {_listed(floors)}.")
    refused = [
        f"{plain(harm)}{'' if kind == 'toxic' else ' even as a topic'} above {limit:g}"
        for harm, limits in charter.tolerance.harm.items()
        for kind, limit in (("toxic", limits.toxic), ("topical", limits.topical))
        if limit is not None and limit < 1
    ]
    sentences.append(
        f"Will not train on text that may enact {_listed(refused)}." if refused else "Refuses no text for harm."
    )
    if charter.languages:
        sentences.append(f"Speaks for texts in {_listed(charter.languages)} only.")
    if isinstance(charter.shares, str):
        sentences.append("Takes the domains in the sizes in which they came.")
    else:
        wished = [f"{name} {100 * share:.0f} %" for name, share in charter.shares.items()]
        sentences.append(f"Would split the budget over domains as {_listed(wished)}.")
    return sentences


def limits(found: Survey, figures: Figures) -> list[str]:
    """What nobody should conclude from this corpus."""
    sentences = [
        "Scores are a model's guesses. They rank many documents well and judge single ones poorly; a low score is "
        "no verdict on a text, and still less on whoever wrote it.",
        "Politeness is not prosociality, and anger is not harm. The model sees words and pairs of words: irony, "
        "quotation, counter-speech, dialect and reclaimed words can be taken for what they speak against.",
    ]
    unscored = figures.whole.tokens - figures.whole.scored
    if unscored > 0 and found.manifest:
        fate = "kept at weight 1" if found.manifest.recipe.weighing.unscored == "neutral" else "given no weight"
        share = 100 * unscored / max(figures.whole.tokens, 1)
        sentences.append(
            f"{share:.1f} % of the surviving tokens are in languages that the model does not read; they were {fate}."
        )
    if found.plan and found.plan.excluded_tokens:
        sentences.append(
            f"{found.plan.excluded_documents:,} documents in languages without scores were left without weight; "
            "whoever writes in them is not heard here."
        )
    ranks = [plain(harm) for card in model_cards(found) for harm in card.get("rank_only", [])]
    if ranks:
        sentences.append(
            f"For {_listed(ranks)} the toxic score is a rank and no probability: examples were too few to calibrate."
        )
    examples = [name for name, charter in found.charters.items() if charter.example]
    if examples:
        verb = "is an example" if len(examples) == 1 else "are examples"
        sentences.append(
            f"{_listed(examples)} {verb} written by the project and not by the people named in them; a corpus that is "
            "meant to speak for a community needs that community's own charter."
        )
    alone = found.charters and len(found.charters) == 1
    if alone:
        sentences.append("One charter decides alone, so nothing here is a compromise between communities.")
    if found.plan and found.plan.unspendable > 0.005 * found.plan.budget_tokens:
        sentences.append(
            f"{found.plan.unspendable:,.0f} tokens of the budget could not be spent below the cap of "
            f"{found.plan.epoch_cap:g} repetitions."
        )
    if found.manifest and found.manifest.recipe.stages.tokens.model_dump().get("tokenizer") is None:
        sentences.append("Token counts are estimates by script, not the counts of a tokenizer.")
    if figures.personal_data:
        masked = sum(figures.personal_data.values())
        sentences.append(
            f"{masked:,} pieces of personal data were masked by their form. Names and what people tell about "
            "themselves remain; masking is no anonymity."
        )
    sentences.append(
        "Copies are found where texts are equal after normalisation, and near copies only where the recipe looks for "
        "them; the same news told twice stays twice."
    )
    if figures.synthetic[0]:
        sentences.append(
            f"{figures.synthetic[0]:,} documents were generated by a model; they carry its habits, and are marked."
        )
    return [*sentences, *(f"Not shown: {fault}." for fault in figures.faults)]


def model_cards(found: Survey) -> list[dict[str, Any]]:
    """What is known of the models that scored: name, digest, and for shipped ones their figures and card."""
    cards = []
    stored = found.manifest.models if found.manifest else {}
    for stage, digest in sorted(stored.items()):
        card: dict[str, Any] = {"stage": stage, "digest": digest}
        header, text = _shipped(digest)
        if header:
            natural = header["metrics"]["natural"]
            card |= {
                "name": f"{header['name']} {header['version']}",
                "languages": header["languages"],
                "rank_only": header.get("rank_only", []),
                "figures": {
                    "prosocial ROC-AUC": natural["prosocial_roc_auc"],
                    "harm ROC-AUC": natural["harm_roc_auc"],
                    "prosocial calibration error": natural["prosocial_calibration_error"],
                },
                "card": text,
            }
        cards.append(card)
    return cards


def _shipped(digest: str) -> tuple[dict[str, Any] | None, str]:
    """The header and the card of the shipped model with this digest."""
    for folder in files("florilegium.classifiers.models").iterdir():
        header = folder.joinpath("model.json") if folder.is_dir() else None
        if header is not None and header.is_file():
            values = json.loads(header.read_text("utf-8"))
            if values.get("digest") == digest and "prosocial_roc_auc" in values.get("metrics", {}).get("natural", {}):
                card = folder.joinpath("README.md")
                return values, card.read_text("utf-8") if card.is_file() else ""
    return None, ""


def reproduce(recipe: Recipe) -> list[str]:
    """The commands that make the same shards, and check them."""
    return [
        f"florilegium run recipe.yaml --output runs/{recipe.name}   # recipe.yaml: the recipe below",
        f"florilegium validate runs/{recipe.name}",
        f"florilegium report runs/{recipe.name}",
    ]


def definitions() -> Mapping[str, str]:
    """Name → definition of every dimension and harm."""
    taxonomy = load_taxonomy()
    return {item.name: item.definition for item in (*taxonomy.prosocial, *taxonomy.harm)}


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
