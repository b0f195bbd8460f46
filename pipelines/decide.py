"""The one policy: columns of scored documents in, reasons out.

`provenance_reasons` looks only at where a document comes from (read errors, takedowns, licences):
such a row can never stand for its twins. `content_reasons` looks at what it is. Both are pure; each
rule is a name and a mask, and a document carries every reason that applies, not just the first.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from ..schemas.document import CONTAMINATION, to_thousandths
from ..schemas.recipe import (
    C4,
    COMPOSER,
    Decontamination,
    Domain,
    FineWeb,
    GopherQuality,
    GopherRepetition,
    Policy,
    Recipe,
    Takedown,
    Weighing,
)
from ..schemas.taxonomy import HARMS

__all__ = [
    "DECIDE_VERSION",
    "POLICY_COLUMNS",
    "PREFIXES",
    "REASONS",
    "RULE_SETS",
    "Reasons",
    "assign_domains",
    "composer_reasons",
    "contamination_reasons",
    "content_reasons",
    "provenance_reasons",
]

DECIDE_VERSION = "decide.v1"
POLICY_COLUMNS = (
    "id", "url", "host", "source", "group", "license", "error", "language", "language_confidence", "statistics",
    "quality", "harm",
)  # fmt: skip

# Published rule sets: the group's name in the policy → its title and thresholds. A threshold is named after its
# statistic, which is PREFIXES[group] and the rest of the name after `min_` or `max_`.
RULE_SETS: dict[str, tuple[str, type[BaseModel]]] = {
    "gopher_quality": ("Gopher's quality rules", GopherQuality),
    "gopher_repetition": ("Gopher's repetition rules", GopherRepetition),
    "c4": ("C4's document rules", C4),
    "fineweb": ("FineWeb's rules", FineWeb),
}
PREFIXES = {"gopher_quality": "gopher_", "gopher_repetition": "", "c4": "c4_", "fineweb": "fineweb_"}
BOUNDS = {"min_": "below the minimum", "max_": "above the maximum"}
ENGLISH_RULES = ("min_stop_words",)

REASONS = {
    "takedown.id": "its id or its source's id is on the takedown list",
    "takedown.url": "its URL is on the takedown list",
    "takedown.host": "its host, or a host above it, is on the takedown list",
    "license.denied": "its license is on the deny list",
    "license.not_allowed": "its license is missing or not on the allow list",
    "language.not_wanted": "its language is not among the recipe's languages",
    "language.uncertain": "no language is identified with enough confidence",
    "statistics.too_few_words": "fewer words than the minimum",
    "statistics.too_many_words": "more words than the maximum",
    "statistics.mean_word_length": "mean word length outside the range",
    "statistics.symbols": "too many hashes and ellipses per word",
    "statistics.bullet_lines": "too many lines start with a bullet",
    "statistics.ellipsis_lines": "too many lines end with an ellipsis",
    "statistics.few_alphabetic_words": "too few words hold a letter",
    "statistics.few_stop_words": "an English document with too few of Gopher's stop words",
    "statistics.duplicate_lines": "too many characters lie in repeated lines",
    **{
        f"statistics.{group}.{rule}": f"{title}: {rule[4:].replace('_', ' ')} {BOUNDS[rule[:4]]}"
        for group, (title, model) in RULE_SETS.items()
        for rule in model.model_fields
    },
    "classify.quality": "quality below the recipe's floor",
    **{f"classify.toxic.{harm}": f"toxic {harm} above the harm floor" for harm in HARMS},
    "synthesis.composer": "written by `composer`, and the recipe does not say `synthesis.allow_composer`",
    "charters.quorum": "charters with at least the quorum of shares reject it for harm",
    "dedup.exact": "another document has the same normalised text",
    "dedup.near": "a better document shares most of its shingles, directly or through others",
}

# Languages written without spaces between words: two characters count as one word.
UNSPACED = ("zh", "ja", "th", "lo", "km", "my", "bo", "dz")

Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass
class Reasons:
    """Reasons of many rows as one mask a reason, in the order they were added."""

    rows: int
    masks: dict[str, Mask] = field(default_factory=dict)

    def add(self, reason: str, mask: Mask) -> None:
        """Add a reason to the rows in `mask`, shape (rows,)."""
        if mask.any():
            self.masks[reason] = self.masks[reason] | mask if reason in self.masks else mask

    def extend(self, other: "Reasons") -> None:
        for reason, mask in other.masks.items():
            self.add(reason, mask)

    def any(self) -> Mask:
        """True where a row has at least one reason."""
        result = np.zeros(self.rows, bool)
        for mask in self.masks.values():
            result |= mask
        return result

    def to_array(self) -> pa.ListArray:
        """One list of reasons a row, in the order in which they were added."""
        matrix = np.array([self.masks[name] for name in self.masks], bool).reshape(len(self.masks), self.rows).T
        row, column = np.nonzero(matrix)
        offsets = np.zeros(self.rows + 1, np.int32)
        np.cumsum(np.bincount(row, minlength=self.rows), out=offsets[1:])
        names = pa.array(list(self.masks), pa.string()).take(pa.array(column.astype(np.int64)))
        return pa.ListArray.from_arrays(pa.array(offsets), names)


def provenance_reasons(table: pa.Table, policy: Policy) -> Reasons:
    """Why rows may not be used whatever they say: failed reads, takedowns, licences."""
    reasons = Reasons(table.num_rows)
    for error in sorted(set(pc.unique(table["error"]).to_pylist()) - {None}):
        reasons.add(error, _mask(pc.equal(table["error"], error)))
    document = _mask(pc.is_null(table["error"]))
    for reason, mask in [*_takedown(table, policy.takedown), *_license(table, policy)]:
        reasons.add(reason, mask & document)
    return reasons


def content_reasons(table: pa.Table, policy: Policy) -> Reasons:
    """Why documents are left out for what they are: language, statistics, quality, toxic harm."""
    reasons = Reasons(table.num_rows)
    document = _mask(pc.is_null(table["error"]))
    for reason, mask in [*_language(table, policy), *_statistics(table, policy), *_scores(table, policy)]:
        reasons.add(reason, mask & document)
    return reasons


def contamination_reasons(table: pa.Table, options: Decontamination) -> Reasons:
    """`decontaminate.SET` for documents that hold enough of a passage of an evaluation set."""
    from .stages.decontaminate import counts  # with numba, which few decisions need

    reasons = Reasons(table.num_rows)
    column = table[CONTAMINATION.name].combine_chunks()
    found, rows = column.flatten(), pc.list_parent_indices(column).to_numpy()
    enough = counts(found.field("ngrams").to_numpy(), found.field("share").to_numpy(), options)
    for name in sorted(item.name for item in options.sets):
        mask = np.zeros(table.num_rows, bool)
        mask[rows[enough & _mask(pc.equal(found.field("set"), name))]] = True
        reasons.add(f"decontaminate.{name}", mask)
    return reasons


def composer_reasons(table: pa.Table, recipe: Recipe) -> Reasons:
    """`synthesis.composer` for documents of the offline composer, unless the recipe wants them in its shards."""
    reasons = Reasons(table.num_rows)
    sources = [name for name, source in recipe.weighing.synthetic.sources.items() if source.backend == COMPOSER]
    if sources and not (recipe.synthesis and recipe.synthesis.allow_composer):
        reasons.add("synthesis.composer", _is_in(table["source"], sources))
    return reasons


def _takedown(table: pa.Table, takedown: Takedown) -> Iterator[tuple[str, Mask]]:
    ids = list(takedown.ids)
    if ids:
        yield "takedown.id", _is_in(table["id"], ids) | _is_in(table["source_id"], ids)
    yield "takedown.url", _is_in(table["url"], list(takedown.urls))
    yield "takedown.host", _below_hosts(table["host"], list(takedown.hosts))


def _license(table: pa.Table, policy: Policy) -> Iterator[tuple[str, Mask]]:
    license = pc.utf8_lower(table["license"])
    yield "license.denied", _is_in(license, [name.lower() for name in policy.licenses_denied])
    if policy.licenses_allowed is not None:
        yield "license.not_allowed", ~_is_in(license, [name.lower() for name in policy.licenses_allowed])


def _language(table: pa.Table, policy: Policy) -> Iterator[tuple[str, Mask]]:
    known = _mask(pc.is_valid(table["language"]))
    if policy.languages is not None:
        yield "language.not_wanted", known & ~_is_in(table["language"], policy.languages)
    if policy.min_language_confidence is not None:
        confidence = _floats(table["language_confidence"])
        yield "language.uncertain", ~(confidence >= np.float32(policy.min_language_confidence))


def _statistics(table: pa.Table, policy: Policy) -> Iterator[tuple[str, Mask]]:
    def statistic(name: str) -> np.ndarray[Any, Any]:
        return _floats(pc.struct_field(table["statistics"], name))

    unspaced = _is_in(table["language"], list(UNSPACED))
    words = np.where(unspaced, statistic("characters") // 2, statistic("words"))
    if policy.min_words is not None:
        yield "statistics.too_few_words", words < policy.min_words
    if policy.max_words is not None:
        yield "statistics.too_many_words", words > policy.max_words
    if policy.mean_word_length is not None:
        low, high = policy.mean_word_length
        length = statistic("mean_word_length")
        yield "statistics.mean_word_length", ~unspaced & ((length < low) | (length > high))
    for reason, name, limit in (
        ("statistics.symbols", "symbols_per_word", policy.max_symbols_per_word),
        ("statistics.bullet_lines", "bullet_lines", policy.max_bullet_lines),
        ("statistics.ellipsis_lines", "ellipsis_lines", policy.max_ellipsis_lines),
        ("statistics.duplicate_lines", "duplicate_lines", policy.max_duplicate_lines),
    ):
        if limit is not None:
            yield reason, statistic(name) > limit
    if policy.min_alphabetic_words is not None:
        yield (
            "statistics.few_alphabetic_words",
            ~unspaced & (statistic("alphabetic_words") < policy.min_alphabetic_words),
        )
    if policy.min_stop_words is not None:
        english = _is_in(table["language"], ["en"])
        yield "statistics.few_stop_words", english & (statistic("stop_words") < policy.min_stop_words)
    for group in RULE_SETS:
        thresholds = getattr(policy, group)
        for rule, limit in thresholds or ():
            if limit is not None:
                value = statistic(PREFIXES[group] + rule[4:])
                outside = value < limit if rule.startswith("min_") else value > limit
                binds = _is_in(table["language"], ["en"]) if rule in ENGLISH_RULES else ~unspaced
                yield f"statistics.{group}.{rule}", binds & outside


def _scores(table: pa.Table, policy: Policy) -> Iterator[tuple[str, Mask]]:
    if policy.min_quality is not None:
        quality = to_thousandths(_floats(table["quality"]))
        yield "classify.quality", (quality >= 0) & (quality < round(policy.min_quality * 1000))
    for harm, limit in sorted(policy.max_toxic.items()):
        toxic = to_thousandths(_floats(pc.struct_field(table["harm"], [harm, "toxic"])))
        yield f"classify.toxic.{harm}", toxic > round(limit * 1000)


def assign_domains(table: pa.Table, weighing: Weighing) -> pa.Array:
    """The domain of each row: the first of the recipe's domains that matches, else its column's value.

    Synthetic documents have domains of their own, a backend or a backend's source of seeds each.
    """
    chosen = table[weighing.domain_column].combine_chunks().fill_null("unknown").to_numpy(zero_copy_only=False)
    chosen = chosen.astype(object)
    for domain in reversed(weighing.domains):
        chosen[_matches(table, domain)] = domain.name
    for source, generated in weighing.synthetic.sources.items():
        chosen[_is_in(table["source"], [source])] = generated.domain
    return pa.array(chosen, pa.string())


def _matches(table: pa.Table, domain: Domain) -> Mask:
    """Every criterion that the domain names must hold; one that names none takes everything."""
    mask = np.ones(table.num_rows, bool)
    if domain.sources is not None:
        mask &= _is_in(table["source"], domain.sources)
    if domain.groups is not None:
        mask &= _is_in(table["group"], domain.groups)
    if domain.hosts is not None:
        mask &= _below_hosts(table["host"], domain.hosts)
    if domain.url_pattern is not None:
        mask &= _mask(pc.match_substring_regex(table["url"], domain.url_pattern))
    return mask


def _mask(values: pa.ChunkedArray | pa.Array) -> Mask:
    return pc.fill_null(values, False).to_numpy(zero_copy_only=False).astype(bool)


def _floats(values: pa.ChunkedArray | pa.Array) -> np.ndarray[Any, Any]:
    """Values with NaN for null; comparisons with NaN are false, so an absent number breaks no rule."""
    return values.to_numpy() if isinstance(values, pa.ChunkedArray) else values.to_numpy(zero_copy_only=False)


def _is_in(values: pa.ChunkedArray, wanted: list[str]) -> Mask:
    return _mask(pc.is_in(values, value_set=pa.array(wanted, pa.string())))


def _below_hosts(values: pa.ChunkedArray, hosts: list[str]) -> Mask:
    """True where a host is one of `hosts` or lies below one of them."""
    if not hosts:
        return np.zeros(len(values), bool)
    wanted = {host.lower().removeprefix("www.") for host in hosts}
    distinct = pc.unique(values).to_pylist()
    hit = [host for host in distinct if host and any(part in wanted for part in _ancestry(host))]
    return _is_in(values, hit)


def _ancestry(host: str) -> Iterator[str]:
    labels = host.split(".")
    return (".".join(labels[index:]) for index in range(len(labels)))
