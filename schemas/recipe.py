"""A recipe: typed YAML that says what to read, how to score it, what to leave out and how to weigh.

Unknown keys fail with the nearest known name. `pipelines.recipes` finds, extends and overrides
recipes; this module only says what a valid one is. Sizes are in bytes unless a name says otherwise.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from .taxonomy import HARMS

__all__ = [
    "BoilerplateOptions",
    "ClassifyOptions",
    "Domain",
    "ExtractionOptions",
    "Fields",
    "Input",
    "LanguageOptions",
    "NormalizeOptions",
    "Output",
    "PersonalDataOptions",
    "Policy",
    "Reading",
    "Recipe",
    "Stages",
    "StatisticsOptions",
    "Takedown",
    "TokensOptions",
    "Weighing",
]

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
MAX_DOMAINS = 64


class Model(BaseModel):
    """A strict part of a recipe: no unknown keys, immutable once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fields(Model):
    """Which column or JSON key holds what; a dotted name (`meta.url`) reaches into objects.

    `text` may list several names: those present and not empty are joined by a blank line (a forum
    post's title, then its body).
    """

    text: str | list[str] = "text"
    id: str | None = "id"
    title: str | None = "title"
    url: str | None = "url"
    created: str | None = None  # ISO 8601 text, a timestamp column, or seconds since 1970
    license: str | None = "license"
    group: str | None = None


class Input(Model):
    """One named source of documents."""

    name: Name
    paths: list[str] = Field(default_factory=list)  # files, globs or folders; any fsspec URL
    format: Literal["auto", "warc", "wet", "jsonl", "parquet", "huggingface"] = "auto"
    fields: Fields = Fields()
    license: str | None = None  # for documents that do not name their own
    language: str | None = None  # forces the language instead of identifying it
    dataset: str | None = None  # format huggingface: hub name, local folder, or save_to_disk folder
    config: str | None = None
    split: str = "train"

    @model_validator(mode="after")
    def _has_a_place(self) -> "Input":
        if self.format == "huggingface":
            if not self.dataset:
                raise ValueError(f"input {self.name!r}: format huggingface needs `dataset`")
        elif not self.paths:
            raise ValueError(f"input {self.name!r}: needs `paths` (files, globs or folders)")
        return self


class Reading(Model):
    """How inputs become splits and batches."""

    split_bytes: Annotated[int, Field(ge=1 << 10)] = 64 << 20  # a split's size in its file, where the format allows
    batch_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 28)] = 4 << 20
    batch_rows: Annotated[int, Field(ge=1)] = 4096
    max_document_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 28)] = 10 << 20


class ExtractionOptions(Model):
    """HTML to text, in a child process that is killed and replaced when it exceeds a limit."""

    extractor: Literal["resiliparse"] = "resiliparse"
    timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    memory_bytes: Annotated[int, Field(ge=256 << 20)] = 2 << 30


class BoilerplateOptions(Model):
    """Lines that a host repeats on so many of its pages are removed before scoring; pages are read twice."""

    min_pages: Annotated[int, Field(ge=2)] = 5  # different pages of one host
    min_share: Share = 0.3  # of that host's pages


class NormalizeOptions(Model):
    """Unicode NFC, control characters and line ends; then the document's id."""


class PersonalDataOptions(Model):
    """Typed placeholders instead of e-mail addresses, IP addresses and the like."""

    mask: bool = True


class LanguageOptions(Model):
    """Language identification by byte n-grams."""

    max_bytes: Annotated[int, Field(ge=64)] = 2048  # the first bytes of a document are enough


class StatisticsOptions(Model):
    """Quality statistics in the manner of Gopher and C4."""


class TokensOptions(Model):
    """Token counts: an estimate per script, or exact ones by a `tokenizers` JSON file or hub name."""

    tokenizer: str | None = None


class ClassifyOptions(Model):
    """Prosocial dimensions, harms and quality by one model."""

    model: str = "prosocial"  # a shipped model's name or a local folder


class Stages(Model):
    """The score path in its fixed order; each stage has its options."""

    normalize: NormalizeOptions = NormalizeOptions()
    personal_data: PersonalDataOptions = PersonalDataOptions()
    language: LanguageOptions = LanguageOptions()
    statistics: StatisticsOptions = StatisticsOptions()
    tokens: TokensOptions = TokensOptions()
    classify: ClassifyOptions = ClassifyOptions()


class Takedown(Model):
    """Documents to leave out on request; each list may be a text file, one entry a line."""

    ids: list[str] | str = Field(default_factory=list)
    urls: list[str] | str = Field(default_factory=list)
    hosts: list[str] | str = Field(default_factory=list)  # a host and everything below it


def _harm_names(thresholds: dict[str, float]) -> dict[str, float]:
    unknown = sorted(set(thresholds) - set(HARMS))
    if unknown:
        raise ValueError(f"unknown harm {unknown[0]!r}; harms are {', '.join(HARMS)}")
    return thresholds


HarmThresholds = Annotated[dict[str, Share], AfterValidator(_harm_names)]


class Policy(Model):
    """What leaves the corpus whatever any charter says. `null` switches a rule off."""

    languages: list[str] | None = None
    min_language_confidence: Share | None = 0.5
    min_words: int | None = 20
    max_words: int | None = 200_000
    mean_word_length: tuple[float, float] | None = None  # code points; whitespace-delimited scripts only
    max_symbols_per_word: float | None = 0.1
    max_bullet_lines: Share | None = 0.9
    max_ellipsis_lines: Share | None = 0.3
    min_alphabetic_words: Share | None = 0.7
    min_stop_words: int | None = None  # English documents only
    max_duplicate_lines: Share | None = 0.3
    min_quality: Share | None = None
    max_toxic: HarmThresholds = Field(default_factory=dict)  # the harm floor that binds all charters
    licenses_allowed: list[str] | None = None
    licenses_denied: list[str] = Field(default_factory=list)
    takedown: Takedown = Takedown()


class Domain(Model):
    """A group of documents inside which charters choose; the first that matches wins."""

    name: Name
    sources: list[str] | None = None
    hosts: list[str] | None = None  # a host and everything below it
    groups: list[str] | None = None
    url_pattern: str | None = None  # RE2 regular expression, searched


class Weighing(Model):
    """Who decides, with how much of the budget (weighing.md)."""

    charters: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=lambda: {"uniform": 1.0})
    domains: list[Domain] = Field(default_factory=list)
    domain_column: Literal["source", "group", "host", "language"] = "source"  # where no domain matches
    budget_tokens: Annotated[int, Field(ge=1)] | None = None  # default: what the pool holds
    epoch_cap: Annotated[float, Field(ge=1, le=100)] = 4.0
    shares: Literal["markets", "mean", "ratio"] = "markets"
    quorum: Share = 0.5
    bridging: Share = 0.0
    unspent: Literal["redistribute", "leave"] = "redistribute"
    unscored: Literal["exclude", "neutral"] = "exclude"

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "Weighing":
        total = sum(self.charters.values())
        if not self.charters:
            raise ValueError("weighing.charters is empty; name at least one, for example {uniform: 1}")
        if abs(total - 1) > 1e-6:
            raise ValueError(f"weighing.charters: the shares sum to {total:g}, not 1")
        names = [domain.name for domain in self.domains]
        if len(set(names)) < len(names):
            raise ValueError("weighing.domains: two domains have one name")
        if len(names) > MAX_DOMAINS:
            raise ValueError(f"weighing.domains: {len(names)} domains, at most {MAX_DOMAINS}")
        return self


class Output(Model):
    """Where the run goes and how large its shards are."""

    path: str | None = None  # a folder or fsspec URL; the command line's --output wins
    shard_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 30)] = 128 << 20  # of text, before compression
    row_group_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 28)] = 8 << 20
    run_bytes: Annotated[int, Field(ge=1 << 16, le=1 << 29)] = 64 << 20  # of text in one sorted run
    compression_level: Annotated[int, Field(ge=1, le=19)] = 3
    keep_unweighted: bool = False


class Recipe(Model):
    """The whole of it."""

    name: Name
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    inputs: list[Input] = Field(min_length=1)
    reading: Reading = Reading()
    extraction: ExtractionOptions = ExtractionOptions()
    boilerplate: BoilerplateOptions | None = None  # off unless given; {} takes the defaults
    stages: Stages = Stages()
    policy: Policy = Policy()
    weighing: Weighing = Weighing()
    output: Output = Output()

    @model_validator(mode="after")
    def _inputs_have_own_names(self) -> "Recipe":
        names = [item.name for item in self.inputs]
        if len(set(names)) < len(names):
            raise ValueError("inputs: two inputs have one name; give each its own")
        return self

    def meaning(self, *parts: str) -> dict[str, Any]:
        """The named top-level parts as plain values, for digests."""
        return {part: self.model_dump(mode="json")[part] for part in parts}
