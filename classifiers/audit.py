"""Who pays for a model's mistakes, and who can play it: an audit on sentences written for this repository.

    dialects     matched pairs, a variety of English and the standard: ratio of scores, paired tests
    identities   one sentence about many groups of people: how far their scores lie apart
    innocent     mentions that harm filters trip over: false alarms
    spoken of    counter-speech, quotation, news, testimony and reclaimed words: topical, and toxic only if misread
    stuffing     words that a prosocial score likes, once and a hundred times: what repetition buys
    disguise     toxic sentences in leetspeak and look-alike letters: what a disguise buys

Sentences are short, and short texts are hard for every scorer: read differences here, not levels. p values are
two-sided and not corrected for their number.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from ..schemas.taxonomy import HARMS, PROSOCIAL
from .evaluate import Scorer
from .labelled import POSITIVE, output_scores
from .measures import interval, resample, sign_test, wilcoxon

__all__ = ["DISGUISES", "about", "audit", "dialect_pairs", "disguise", "load_suite", "render_audit"]

Vector = np.ndarray[Any, Any]

THRESHOLDS = (0.5, 0.3)
REPETITIONS = 100
ENACTED = "hate itself"
SPOKEN_OF = ("counter_speech", "quotation_and_news", "testimony_and_reclaimed")
GOOD = tuple(f"{name}>={POSITIVE}" for name in PROSOCIAL)
LEET = str.maketrans("aeiost", "431057")
LOOKALIKE = str.maketrans("aeiocpxyAEOCPX", "аеіосрхуАЕОСРХ")
DISGUISES: dict[str, Callable[[str], str]] = {
    "leetspeak": lambda text: text.translate(LEET),
    "look-alike letters": lambda text: text.translate(LOOKALIKE),
    "letters set apart": lambda text: " ".join(".".join(word) if len(word) > 3 else word for word in text.split()),
    "invisible signs": lambda text: " ".join(f"{word[:2]}\u200b{word[2:]}" for word in text.split()),
    "capitals": str.upper,
}


@cache
def load_suite(name: str) -> Any:
    """The content of a shipped suite: dialects, identities, passages, innocent, adversaries or hate."""
    return yaml.safe_load(files("florilegium.classifiers.suites").joinpath(f"{name}.yaml").read_text("utf-8"))


def disguise(kind: str, text: str) -> str:
    """A text in one of `DISGUISES`."""
    return DISGUISES[kind](text)


def audit(
    model: Scorer,
    prepare: Callable[[Sequence[str]], Sequence[str]] | None = None,
    *,
    resamples: int = 500,
    seed: int = 7,
) -> dict[str, Any]:
    """All parts of the audit, JSON-like. `prepare` is what a pipeline does to a text before it is scored."""

    def score(texts: Sequence[str]) -> dict[str, Vector]:
        prepared = list(texts) if prepare is None else list(prepare(texts))
        values = output_scores(model.score(pa.array(prepared, pa.string())))
        return {**values, "prosocial": np.mean([values[output] for output in GOOD], axis=0)}

    return {
        "resamples": resamples,
        "dialects": _dialects(score, resamples, seed),
        "identities": _identities(score, resamples, seed),
        "innocent": _innocent(score, resamples, seed),
        "spoken_of": _spoken_of(score, resamples, seed),
        "stuffing": _stuffing(score),
        "disguise": _disguise(score, resamples, seed),
    }


Score = Callable[[Sequence[str]], dict[str, Vector]]


def dialect_pairs() -> list[tuple[str, str, str]]:
    """Matched sentences: name of the variety, the sentence in it, the same in the standard."""
    return [(name, *pair.split(" => ")) for name, group in load_suite("dialects").items() for pair in group]


def about(person: str, people: str) -> list[str]:
    """The sentences of the suite `identities` about one group, such as "a refugee" and "refugees"."""
    return [
        _capitalised(template.format(person=person, people=people))
        for template in load_suite("identities")["templates"]
    ]


def _dialects(score: Score, resamples: int, seed: int) -> dict[str, Any]:
    pairs = dialect_pairs()
    variety, standard = score([pair[1] for pair in pairs]), score([pair[2] for pair in pairs])
    weights = resample([pair[2] for pair in pairs], resamples, seed)
    groups = np.array([pair[0] for pair in pairs])
    found: dict[str, Any] = {}
    for group in ("all", *dict.fromkeys(groups.tolist())):
        rows = np.ones(len(pairs), bool) if group == "all" else groups == group
        found[group] = {"pairs": int(rows.sum())}
        for output in variety:
            found[group][output] = _paired(variety[output][rows], standard[output][rows], weights[:, rows])
    return found


def _paired(one: Vector, other: Vector, weights: Vector) -> dict[str, Any]:
    """Means, their ratio with its interval, and tests of the differences of pairs."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (weights @ one.astype(np.float64)) / (weights @ other.astype(np.float64))
    differences = np.round(one.astype(np.float64) - other, 6)
    return {
        "mean": _rounded(one.mean()),
        "mean_of_other": _rounded(other.mean()),
        "ratio": _rounded(one.mean() / other.mean()) if other.mean() > 0 else None,
        "ratio_interval": _interval(ratios),
        "sign_test": _rounded(sign_test(differences)),
        "wilcoxon": _rounded(wilcoxon(differences)),
    }


def _identities(score: Score, resamples: int, seed: int) -> dict[str, Any]:
    suite = load_suite("identities")
    templates, identities = suite["templates"], suite["identities"]
    texts = [text for same in zip(*(about(*named) for named in identities.values()), strict=True) for text in same]
    values = {output: row.reshape(len(templates), -1).astype(np.float64) for output, row in score(texts).items()}
    weights = resample(templates, resamples, seed)
    found: dict[str, Any] = {"templates": len(templates), "identities": len(identities), "groups": {}}
    for column, name in enumerate(identities):
        found["groups"][name] = {
            output: _paired(table[:, column], table.mean(axis=1), weights) for output, table in values.items()
        }
    for output, table in values.items():
        means = table.mean(axis=0)
        names = list(identities)
        found[output] = {
            "mean": _rounded(means.mean()),
            "highest": [names[means.argmax()], _rounded(means.max())],
            "lowest": [names[means.argmin()], _rounded(means.min())],
            "deviation_between_groups": _rounded(means.std()),
            "above": {f"{limit:g}": _rounded((table >= limit).mean()) for limit in THRESHOLDS},
        }
    return found


def _capitalised(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _innocent(score: Score, resamples: int, seed: int) -> dict[str, Any]:
    parts = load_suite("innocent").items()
    return {
        part: _alarms(score, texts, ">=1" if part == "innocent" else ">=2", resamples, seed) for part, texts in parts
    }


def _spoken_of(score: Score, resamples: int, seed: int) -> dict[str, Any]:
    """What speaks of hate without doing any, beside what does it (`ENACTED`)."""
    tests = load_suite("hate")["tests"]
    parts = {ENACTED: [text for test in tests.values() if test["positive"] for text in test["cases"]]}
    parts |= {name: tests[name]["cases"] for name in SPOKEN_OF}
    return {part: _alarms(score, texts, ">=2", resamples, seed) for part, texts in parts.items()}


def _alarms(score: Score, texts: Sequence[str], grade: str, resamples: int, seed: int) -> dict[str, Any]:
    """How often a harm is seen in texts, and the worst of them by this grade."""
    values = score(texts)
    weights = resample(texts, resamples, seed).astype(np.float64)
    entry: dict[str, Any] = {"texts": len(texts)}
    for output in ("any>=1", "any>=2"):
        alarms = {limit: (values[output] >= limit).astype(np.float64) for limit in THRESHOLDS}
        entry[output] = {
            "mean": _rounded(values[output].mean()),
            "above": {
                f"{limit:g}": {
                    "share": _rounded(alarm.mean()),
                    "interval": _interval(weights @ alarm / weights.sum(axis=1)),
                }
                for limit, alarm in alarms.items()
            },
        }
    order = np.argsort(-values[f"any{grade}"], kind="stable")[:5]
    entry["worst"] = [
        {
            "text": texts[row],
            "output": max((f"{harm}{grade}" for harm in HARMS), key=lambda output: values[output][row]),
            "score": _rounded(values[f"any{grade}"][row]),
        }
        for row in order.tolist()
    ]
    return entry


def _stuffing(score: Score) -> dict[str, Any]:
    suite = load_suite("adversaries")["stuffing"]
    once, often = score(suite["seeds"]), score([" ".join([seed] * REPETITIONS) for seed in suite["seeds"]])
    lists, longer = score(suite["keywords"]), score([" ".join([words] * REPETITIONS) for words in suite["keywords"]])
    first = np.stack([np.concatenate([once[output], lists[output]]) for output in GOOD], axis=1)
    again = np.stack([np.concatenate([often[output], longer[output]]) for output in GOOD], axis=1)
    rise = again - first
    row, column = np.unravel_index(rise.argmax(), rise.shape)
    return {
        "texts": len(first),
        "repetitions": REPETITIONS,
        "mean_once": _rounded(first.mean()),
        "mean_repeated": _rounded(again.mean()),
        "largest_rise": _rounded(rise.max()),
        "largest_rise_at": [[*suite["seeds"], *suite["keywords"]][row], GOOD[column]],
        "scores_that_rise": _rounded((rise > 0.001).mean()),
        "highest_of_keywords": _rounded(max(lists[output].max() for output in GOOD)),
        "highest_repeated": _rounded(again.max()),
    }


def _disguise(score: Score, resamples: int, seed: int) -> dict[str, Any]:
    texts = load_suite("adversaries")["disguise"]
    plain = score(texts)
    weights = resample(texts, resamples, seed)
    found: dict[str, Any] = {"texts": len(texts), "kinds": {}}
    for kind in DISGUISES:
        hidden = score([disguise(kind, text) for text in texts])
        found["kinds"][kind] = {
            output: _paired(hidden[output], plain[output], weights) for output in ("any>=1", "any>=2")
        }
    return found


def _rounded(value: Any) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _interval(values: Vector) -> list[float] | None:
    found = interval(values)
    return None if found is None else [round(found[0], 4), round(found[1], 4)]


SHOWN = {"any>=1": "harm, topical or worse", "any>=2": "harm, toxic", "prosocial": "prosocial", "quality>=3": "quality"}


def render_audit(result: Mapping[str, Any]) -> str:
    """The audit as Markdown, for people."""
    identities, stuffing = result["identities"], result["stuffing"]
    lines = ["# Audit", "", f"95 % intervals over {result['resamples']} resamples of pairs, templates or texts."]
    lines += ["", "## Dialects", "", "Mean score of a variety by that of the standard, over matched pairs.", ""]
    lines += ["| variety | pairs | score | ratio | sign test p | Wilcoxon p |", "|---|---|---|---|---|---|"]
    for group, entry in result["dialects"].items():
        for output, title in SHOWN.items():
            row = entry[output]
            lines.append(
                f"| {group} | {entry['pairs']} | {title} | {_ratio(row)} | {_p(row['sign_test'])} | "
                f"{_p(row['wilcoxon'])} |"
            )
    lines += ["", "## Identities", ""]
    lines += [f"{identities['templates']} sentences about {identities['identities']} groups; none is harmful.", ""]
    lines += ["| score | mean | highest | lowest | cases ≥ .5 | cases ≥ .3 |", "|---|---|---|---|---|---|"]
    for output, title in {
        **SHOWN,
        "hate>=1": "hate, topical or worse",
        "sexual>=1": "sexual, topical or worse",
    }.items():
        row = identities[output]
        lines.append(
            f"| {title} | {row['mean']:.3f} | {row['highest'][0]} {row['highest'][1]:.3f} | "
            f"{row['lowest'][0]} {row['lowest'][1]:.3f} | {row['above']['0.5']:.1%} | {row['above']['0.3']:.1%} |"
        )
    lines += ["", "## Innocent mentions", "", *_alarm_lines(result["innocent"])]
    lines += ["", "The worst:", ""]
    for entry in result["innocent"].values():
        lines += [f"- {worst['score']:.3f} {worst['output']}: {worst['text']}" for worst in entry["worst"]]
    lines += ["", "## Harm that is spoken of", "", "Hate, and what speaks of it without doing any.", ""]
    lines += _alarm_lines(result["spoken_of"])
    lines += ["", "## Stuffing", ""]
    lines += [
        f"{stuffing['texts']} texts of words that score well, once and {stuffing['repetitions']} times: mean "
        f"{stuffing['mean_once']:.3f} and {stuffing['mean_repeated']:.3f} over the dimensions, largest rise "
        f"{stuffing['largest_rise']:.3f} ({stuffing['largest_rise_at'][1]}), highest score of a list of keywords "
        f"{stuffing['highest_of_keywords']:.3f}, repeated {stuffing['highest_repeated']:.3f}.",
        "",
        "## Disguise",
        "",
        f"{result['disguise']['texts']} toxic sentences, disguised by plain.",
        "",
        "| disguise | score | ratio | Wilcoxon p |",
        "|---|---|---|---|",
    ]
    for kind, entry in result["disguise"]["kinds"].items():
        lines += [f"| {kind} | {SHOWN[o]} | {_ratio(row)} | {_p(row['wilcoxon'])} |" for o, row in entry.items()]
    return "\n".join([*lines, ""])


def _alarm_lines(parts: Mapping[str, Any]) -> list[str]:
    lines = ["| texts | score | mean | ≥ .5 | ≥ .3 |", "|---|---|---|---|---|"]
    for part, entry in parts.items():
        for output in ("any>=1", "any>=2"):
            cells = " | ".join(_share(entry[output]["above"][f"{limit:g}"]) for limit in THRESHOLDS)
            name = f"{part.replace('_', ' ')} ({entry['texts']})"
            lines.append(f"| {name} | {SHOWN[output]} | {entry[output]['mean']:.3f} | {cells} |")
    return lines


def _ratio(row: Mapping[str, Any]) -> str:
    if row["ratio"] is None:
        return "–"
    low_high = "" if row["ratio_interval"] is None else " ({:.2f}–{:.2f})".format(*row["ratio_interval"])
    return f"{row['ratio']:.2f}{low_high}"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".replace("0.", ".", 1)


def _share(entry: Mapping[str, Any]) -> str:
    interval_ = entry["interval"]
    return f"{entry['share']:.1%}" + (f" ({interval_[0]:.1%}–{interval_[1]:.1%})" if interval_ else "")
