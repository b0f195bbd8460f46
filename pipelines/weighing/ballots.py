"""From people to a charter: a table of ballots in, one charter out, with the disagreement kept.

A CSV file, with commas, semicolons or tabs, has a row for each participant and up to three ballots in its columns:

    participant            a name of their own choosing; never stored
    domain.NAME            points for a part of the corpus, 100 in all
    dimension.NAME         0 (does not matter) to 10 (matters most) for a prosocial dimension
    harm.NAME.topical      0 (refuse at the slightest sign that the model can tell) to 10 (tolerate all)
    harm.NAME.toxic

Points are combined by independent markets (`mix.py`): nobody comes closer to their wish by exaggerating
it. The rest is the lower median of the answers, which nobody can pull towards themselves by exaggerating
either: their answer is already on its side. An empty cell abstains, but for domains, where it is 0
points once any other is given.

A faulty ballot never spoils the others: it is set aside or mended, and a remark says which and why.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ...schemas.charter import Charter
from ...schemas.errors import RecipeError
from ...schemas.taxonomy import HARMS, PROSOCIAL
from .mix import independent_markets

__all__ = ["SLIGHTEST", "Participant", "build_charter", "charter_yaml", "opinion_groups", "read_ballots"]

POINTS = 100
MOST = 10
SLIGHTEST = 0.05  # probability of a harm below which the model cannot tell it from none
SEPARATORS = ",;\t"
NUMBER = re.compile(r"[+-]?(\d{1,9}([.,]\d{0,9})?|[.,]\d{1,9})")  # an exponent could ask for gigabytes of digits
MOST_GROUPS = 5
SMALLEST_GROUP = 0.1  # of the participants; smaller ones are not called a group
CLEAR = 0.25  # mean silhouette from which groups are said to stand out
APART = 0.25  # of the scale: by so much any two groups must differ on some question
ROUNDS = 100

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Participant:
    """One person's answers, by column: points as exact shares of the whole, the others from 0 to 10."""

    domains: dict[str, Fraction] = field(default_factory=dict)
    ratings: dict[str, float] = field(default_factory=dict)


def read_ballots(path: str | Path) -> tuple[list[Participant], list[str]]:
    """Participants in an order that does not depend on the file's, and remarks on what was mended or set aside.

    Raises `RecipeError` for a file that is no table of ballots: unreadable, with unknown columns, or
    without any answer.
    """
    remarks: list[str] = []
    rows, columns = _read_rows(Path(path), remarks)
    chosen: dict[str, tuple[int, dict[str, str]]] = {}
    times: dict[str, int] = {}
    for number, row in rows:
        name = (row.get("participant") or "").strip()
        if not name:
            remarks.append(f"row {number}: no participant is named; set aside")
            continue
        times[name] = times.get(name, 0) + 1
        chosen[name] = number, row
    for name, count in times.items():
        if count > 1:
            remarks.append(f"row {chosen[name][0]}: one participant sent {count} rows; the last one counts, once")
    people = []
    for number, row in chosen.values():
        answers = {column: (row.get(column) or "").strip() for column in columns}
        person = Participant(_points(number, answers, remarks), _ratings(number, answers, remarks))
        if person.domains or person.ratings:
            people.append(person)
        else:
            remarks.append(f"row {number}: no answer that counts; abstains from everything")
    if not people:
        raise RecipeError(f"{path}: no ballot holds an answer that counts. {'; '.join(remarks[:5])}".rstrip(". "))
    return sorted(people, key=_order), remarks


def build_charter(people: Sequence[Participant], name: str, remarks: Sequence[str] = (), **about: Any) -> Charter:
    """The charter of these people; `about` are its other keys, such as `community` or `utility_floor`."""
    ratings = {question: _answers(people, question) for question in _questions(people, "ratings")}
    medians = {question: _lower_median(values) for question, values in ratings.items()}
    values = {
        question.removeprefix("dimension."): round(median, 3)
        for question, median in medians.items()
        if question.startswith("dimension.") and median > 0
    }
    told = [*remarks]
    asked = [question for question in medians if question.startswith("dimension.")]
    if asked and not values:
        told.append("no dimension has a median above 0: every accepted document counts the same")
    harm: dict[str, dict[str, float]] = {}
    for question, median in medians.items():
        if question.startswith("harm.") and median < MOST:
            _, harm_name, kind = question.split(".")
            harm.setdefault(harm_name, {})[kind] = max(round(median / MOST, 3), SLIGHTEST)
            if median / MOST < SLIGHTEST:
                told.append(
                    f"{question}: a median of {median:g} is the limit {SLIGHTEST:g}; below it the model cannot tell "
                    "the harm from none, and would refuse nearly every document"
                )
    shares = _markets(people)
    return Charter.model_validate(
        {
            "version": 1,
            "name": name,
            "values": values,
            "tolerance": {"harm": harm},
            "shares": shares or "natural",
            "ballots": {
                "participants": len(people),
                "spread": _spread(people),
                "opinions": [
                    {"participants": len(group), "medians": _medians(group)} for group in opinion_groups(people)
                ],
                "remarks": told,
            },
            **about,
        }
    )


def charter_yaml(charter: Charter) -> str:
    """The charter as the text of a YAML file, without keys that hold nothing."""
    values = charter.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    values = {"version": charter.version, "name": charter.name, **values}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)


def opinion_groups(people: Sequence[Participant]) -> list[list[Participant]]:
    """Participants by opinion, the largest group first; one group where none stand out.

    k-means over all answers (points and ratings on one scale, an absent one at its median), k up to 5,
    begun from the participants that lie farthest apart, so that nothing is random. The k with the best
    mean silhouette to group centres wins where that is clear (at least .25), any two groups differ by a
    quarter of the scale on some question, and no group is smaller than a tenth of the participants or two.
    """
    points = _matrix(people)
    least = max(2, round(SMALLEST_GROUP * len(people)))
    best, labels = CLEAR, np.zeros(len(people), np.int64)
    for k in range(2, min(MOST_GROUPS, len(people) // least) + 1):
        found, silhouette = _k_means(points, k)
        if silhouette > best and np.bincount(found, minlength=k).min() >= least and _apart(points, found, k):
            best, labels = silhouette, found
    groups = [[person for person, label in zip(people, labels, strict=True) if label == g] for g in np.unique(labels)]
    return sorted(groups, key=len, reverse=True)


def _read_rows(path: Path, remarks: list[str]) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Rows by column, with their numbers in a spreadsheet, and the columns of answers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            heading = file.readline()
            file.seek(0)
            table = list(csv.reader(file, delimiter=max(SEPARATORS, key=heading.count)))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(
            f"{path}: cannot be read as a CSV table in UTF-8 ({error}); spreadsheets call it `CSV UTF-8`"
        ) from error
    columns = [name.strip() for name in table[0]] if table else []
    if "participant" not in columns:
        raise RecipeError(f"{path}: no column `participant`; its columns are {', '.join(columns) or 'none'}")
    if len(set(columns)) < len(columns):
        raise RecipeError(f"{path}: two columns have one name")
    questions = [name for name in columns if name != "participant"]
    for column in questions:
        _check_column(path, column)
    if not questions:
        raise RecipeError(f"{path}: no column of answers; write domain.NAME, dimension.NAME or harm.NAME.toxic")
    rows = []
    for number, cells in enumerate(table[1:], start=2):
        if any(cell.strip() for cell in cells[len(columns) :]):
            remarks.append(f"row {number}: more cells than columns, so no answer is sure; set aside")
        elif any(cell.strip() for cell in cells):
            rows.append((number, dict(zip(columns, cells, strict=False))))
    return rows, questions


def _check_column(path: Path, column: str) -> None:
    kind, _, rest = column.partition(".")
    known = {
        "dimension": list(PROSOCIAL),
        "harm": [f"{name}.{sort}" for name in HARMS for sort in ("topical", "toxic")],
    }
    if (kind == "domain" and rest) or rest in known.get(kind, ()):
        return
    nearest = get_close_matches(rest, known.get(kind, []), n=1)
    hint = "write domain.NAME, dimension.NAME or harm.NAME.toxic"
    if nearest:
        hint = f"did you mean '{kind}.{nearest[0]}'?"
    elif kind == "dimension":
        hint = f"dimensions are {', '.join(PROSOCIAL)}"
    raise RecipeError(f"{path}: unknown column {column!r}; {hint}")


def _points(number: int, answers: Mapping[str, str], remarks: list[str]) -> dict[str, Fraction]:
    """A ballot of points as exact shares; empty where it abstains or is set aside."""
    given = {column: text for column, text in answers.items() if column.startswith("domain.")}
    if not any(given.values()):
        return {}
    points: dict[str, Fraction] = {}
    for column, text in given.items():
        value = _number(text or "0")
        if value is None:
            remarks.append(f"row {number}: {column}: {text!r} is no number; the points are set aside")
            return {}
        if value < 0:
            remarks.append(f"row {number}: {column}: negative points ({text}); the points are set aside")
            return {}
        points[column] = value
    total = sum(points.values())
    if total == 0:
        remarks.append(f"row {number}: all points are 0; abstains from the domains")
        return {}
    if total != POINTS:
        remarks.append(f"row {number}: the points sum to {float(total):g}, not {POINTS}; taken in proportion")
    return {column: value / total for column, value in points.items()}


def _ratings(number: int, answers: Mapping[str, str], remarks: list[str]) -> dict[str, float]:
    ratings = {}
    for column, text in answers.items():
        if column.startswith("domain.") or not text:
            continue
        value = _number(text)
        if value is None:
            remarks.append(f"row {number}: {column}: {text!r} is no number; this answer is set aside")
        elif not 0 <= value <= MOST:
            remarks.append(f"row {number}: {column}: {text} is not from 0 to {MOST}; this answer is set aside")
        else:
            ratings[column] = round(float(value), 2)
    return ratings


def _number(text: str) -> Fraction | None:
    return Fraction(text.replace(",", ".")) if NUMBER.fullmatch(text) else None


def _order(person: Participant) -> tuple[Any, ...]:
    return sorted(person.domains.items()), sorted(person.ratings.items())


def _questions(people: Sequence[Participant], kind: str) -> list[str]:
    return sorted({question for person in people for question in getattr(person, kind)})


def _answers(people: Sequence[Participant], question: str) -> list[float]:
    kind = "domains" if question.startswith("domain.") else "ratings"
    given = [getattr(person, kind)[question] for person in people if question in getattr(person, kind)]
    return sorted(float(value) * (POINTS if kind == "domains" else 1) for value in given)


def _lower_median(values: Sequence[float]) -> float:
    return values[(len(values) - 1) // 2]


def _markets(people: Sequence[Participant]) -> dict[str, float]:
    """Shares over domains in millionths that sum to 1; empty where nobody gave points."""
    voting = [person.domains for person in people if person.domains]
    if not voting:
        return {}
    votes = {f"{number:09d}": points for number, points in enumerate(voting)}
    mix = independent_markets(votes, dict.fromkeys(votes, Fraction(1, len(votes))))
    domains = sorted(mix)
    millionths = {g: int(mix[g] * 10**6) for g in domains}
    by_rest = sorted(domains, key=lambda g: (millionths[g] - mix[g] * 10**6, g))
    for g in by_rest[: 10**6 - sum(millionths.values())]:
        millionths[g] += 1
    return {g.removeprefix("domain."): millionths[g] / 10**6 for g in domains}


def _spread(people: Sequence[Participant]) -> dict[str, dict[str, float]]:
    spread = {}
    for question in [*_questions(people, "domains"), *_questions(people, "ratings")]:
        values = _answers(people, question)
        last = len(values) - 1
        spread[question] = {
            "answers": len(values),
            "low": round(values[last // 4], 2),
            "median": round(_lower_median(values), 2),
            "high": round(values[last - last // 4], 2),
        }
    return spread


def _medians(people: Sequence[Participant]) -> dict[str, float]:
    questions = [*_questions(people, "domains"), *_questions(people, "ratings")]
    return {question: round(_lower_median(_answers(people, question)), 2) for question in questions}


def _matrix(people: Sequence[Participant]) -> Floats:
    """Answers of shape (people, questions), all on 0..1; an absent one is the question's median."""
    columns = []
    for kind in ("domains", "ratings"):
        for question in _questions(people, kind):
            middle = _lower_median(_answers(people, question)) / (POINTS if kind == "domains" else 1)
            values = [float(getattr(person, kind).get(question, middle)) for person in people]
            columns.append(np.array(values) / (1 if kind == "domains" else MOST))
    return np.stack(columns, axis=1)


def _k_means(points: Floats, k: int) -> tuple[np.ndarray[Any, np.dtype[np.int64]], float]:
    """Labels (people,) and the mean simplified silhouette of k groups."""
    middle = points.mean(axis=0)
    centres = [points[np.argmax(((points - middle) ** 2).sum(axis=1))]]
    while len(centres) < k:
        distance = np.min([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
        centres.append(points[np.argmax(distance)])
    labels = np.full(len(points), -1)
    distances = np.zeros((len(points), k))
    for _ in range(ROUNDS):
        distances = np.stack([np.sqrt(((points - centre) ** 2).sum(axis=1)) for centre in centres], axis=1)
        renewed = distances.argmin(axis=1)
        if (renewed == labels).all():
            break
        labels = renewed
        centres = [points[labels == g].mean(axis=0) if (labels == g).any() else centres[g] for g in range(k)]
    near, second = np.partition(distances, 1, axis=1)[:, :2].T
    return labels, float(np.mean((second - near) / np.maximum(second, 1e-12)))


def _apart(points: Floats, labels: np.ndarray[Any, np.dtype[np.int64]], k: int) -> bool:
    centres = [points[labels == g].mean(axis=0) for g in range(k)]
    return all(np.abs(one - other).max() >= APART for one, other in combinations(centres, 2))
