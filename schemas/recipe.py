"""A recipe: typed YAML that says what to read, how to score it, what to leave out and how to weigh.

Unknown keys fail with the nearest known name. `pipelines.recipes` finds, extends and overrides
recipes; this module only says what a valid one is. Sizes are in bytes unless a name says otherwise.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .taxonomy import HARMS, PROSOCIAL

__all__ = [
    "C4",
    "COMPOSER",
    "Backend",
    "BoilerplateOptions",
    "ClassifyOptions",
    "Decontamination",
    "Dedup",
    "Domain",
    "ExtractionOptions",
    "Fields",
    "FineWeb",
    "Generated",
    "GopherQuality",
    "GopherRepetition",
    "Input",
    "Judge",
    "LanguageOptions",
    "LexiconOptions",
    "MinhashOptions",
    "NormalizeOptions",
    "Output",
    "PersonalDataOptions",
    "Policy",
    "Reading",
    "Recipe",
    "Rehydration",
    "Stages",
    "StatisticsOptions",
    "Synthesis",
    "SyntheticBudget",
    "SyntheticGates",
    "Takedown",
    "TokensOptions",
    "Weighing",
    "WordList",
]

Share = Annotated[float, Field(ge=0, le=1)]
PersonalDataKind = Literal["email", "ip", "phone", "iban", "card", "national_id", "address"]
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


class Generated(Model):
    """Says that an input's documents were generated: by which backend, and out of which seed documents."""

    backend: Name
    seeds: Name | None = None

    @property
    def domain(self) -> str:
        """The domain of such documents, whatever domains the recipe defines."""
        return ".".join(["synthetic", self.backend, *([self.seeds] if self.seeds else [])])


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
    synthetic: Generated | None = None  # for documents that a model or `composer` wrote

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

    split_bytes: Annotated[int, Field(ge=1 << 10)] = 16 << 20  # a split's size in its file, where the format allows
    batch_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 28)] = 4 << 20
    batch_rows: Annotated[int, Field(ge=1)] = 4096
    max_document_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 28)] = 10 << 20


class ExtractionOptions(Model):
    """HTML to text, in a child process that is killed and replaced when it exceeds a limit."""

    extractor: Literal["resiliparse", "trafilatura"] = "resiliparse"  # trafilatura: an extra, six times as slow
    comments: bool = True  # whether readers' comments below a page are text of the document
    timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    memory_bytes: Annotated[int, Field(ge=256 << 20)] = 2 << 30


class BoilerplateOptions(Model):
    """Lines that a host repeats on so many of its pages are removed before scoring; pages are read twice."""

    min_pages: Annotated[int, Field(ge=2)] = 5  # different pages of one host
    min_share: Share = 0.3  # of that host's pages


class Decontamination(Model):
    """Overlap with evaluation sets by n-grams of words (`pipelines/stages/decontaminate.py` says what a word is).

    Each field of `fields.text` is a passage of its own. One of fewer than `ngram_words` words is found whole, from
    `min_words` on. What is found counts from `min_ngrams` and `min_share` of a passage's n-grams, or all of it.
    """

    sets: Annotated[list[Input], Field(min_length=1)]
    ignore: list[Input] = Field(default_factory=list)  # texts whose n-grams do not count: licences, verses, prompts
    action: Literal["reject", "mask"] = "reject"
    ngram_words: Annotated[int, Field(ge=2, le=64)] = 13
    min_words: Annotated[int, Field(ge=2)] = 8
    min_ngrams: Annotated[int, Field(ge=1)] = 1
    min_share: Share = 0.0

    @model_validator(mode="after")
    def _fits_together(self) -> "Decontamination":
        names = [item.name for item in self.sets]
        if len(set(names)) < len(names):
            raise ValueError("sets: two evaluation sets have one name; give each its own")
        if self.min_words > self.ngram_words:
            raise ValueError(f"min_words is {self.min_words}, but at most ngram_words, {self.ngram_words}")
        return self

    def scoring(self) -> dict[str, Any]:
        """The keys that decide what is stored, as plain values; the thresholds of `reject` are applied later."""
        later = {"min_ngrams", "min_share"} if self.action == "reject" else set()
        return self.model_dump(mode="json", exclude=later)


class NormalizeOptions(Model):
    """Unicode NFC, control characters and line ends; then the document's id."""


class PersonalDataOptions(Model):
    """Typed placeholders instead of e-mail addresses, telephone numbers and the like."""

    mask: bool = True
    kinds: list[PersonalDataKind] = Field(default_factory=lambda: list(get_args(PersonalDataKind)))


class LanguageOptions(Model):
    """Language identification by byte n-grams."""

    max_bytes: Annotated[int, Field(ge=64)] = 2048  # the first bytes of a document are enough
    min_confidence: Share = 0.2  # below it what the page declares stands, or nothing
    model: str | None = None  # a fastText file, for example lid.176.ftz; default: py3langid's tables


class StatisticsOptions(Model):
    """Quality statistics in the manner of Gopher and C4."""


class WordList(Model):
    """A text file of terms, one a line; lines that begin with `#` are comments."""

    name: Name
    path: str
    language: str | None = None  # of the documents that it is for; null: all


class LexiconOptions(Model):
    """Occurrences of the terms of word lists: evidence of topic, which no rule of the policy reads."""

    lists: list[WordList] = Field(default_factory=list)
    leetspeak: bool = True  # digits and symbols that stand for letters
    look_alikes: bool = True  # Cyrillic and Greek letters among Latin ones
    repeats: bool = True  # "sooo" is "so"

    @model_validator(mode="after")
    def _lists_differ(self) -> "LexiconOptions":
        if len({(item.name, item.language) for item in self.lists}) < len(self.lists):
            raise ValueError("lists: two word lists have one name and one language")
        return self


class TokensOptions(Model):
    """Token counts: an estimate per script, or exact ones by a `tokenizers` JSON file or hub name."""

    tokenizer: str | None = None


class ClassifyOptions(Model):
    """Prosocial dimensions, harms and quality by one model; some harms in other languages, by models for those."""

    model: str = "prosocial"  # a shipped model's name or a local folder
    # Toxic ranks in languages that `model` does not read, by one model a language; [] switches them off.
    harm: list[str] = Field(default_factory=lambda: ["harm-de", "harm-zh"])


class MinhashOptions(Model):
    """Signatures by which near-duplicates meet (stages/minhash.py says how likely)."""

    shingle: Annotated[int, Field(ge=1, le=64)] = 5  # words
    bands: Annotated[int, Field(ge=1, le=256)] = 14
    rows: Annotated[int, Field(ge=1, le=64)] = 8  # minima that must agree in a band
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0


class Stages(Model):
    """The score path in its fixed order; each stage has its options."""

    normalize: NormalizeOptions = NormalizeOptions()
    personal_data: PersonalDataOptions = PersonalDataOptions()
    language: LanguageOptions = LanguageOptions()
    statistics: StatisticsOptions = StatisticsOptions()
    lexicon: LexiconOptions = LexiconOptions()
    tokens: TokensOptions = TokensOptions()
    minhash: MinhashOptions | None = MinhashOptions()  # null: no near-duplicates can be found
    classify: ClassifyOptions = ClassifyOptions()


class Dedup(Model):
    """Which copies leave the corpus. Exact ones always do."""

    near: bool = True  # documents that meet in a bucket of `stages.minhash`, directly or through others


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


def _published(thresholds: Any) -> Any:
    return {} if thresholds == "default" else thresholds


class GopherQuality(Model):
    """Quality rules of Gopher (arXiv 2112.11446, table A1) as datatrove applies them; words as spaCy splits them."""

    min_words: int | None = 50
    max_words: int | None = 100_000
    min_word_length: float | None = 3
    max_word_length: float | None = 10
    max_hashes: float | None = 0.1  # per word or punctuation mark
    max_ellipses: float | None = 0.1
    max_bullet_lines: Share | None = 0.9
    max_ellipsis_lines: Share | None = 0.3
    min_alphabetic_words: Share | None = 0.8  # punctuation marks count as words here
    min_stop_words: int | None = 2  # different ones of eight; English documents only


class GopherRepetition(Model):
    """Repetition rules of Gopher: shares of lines and paragraphs seen before, of characters in them and in n-grams."""

    max_repeated_lines: Share | None = 0.3
    max_repeated_line_characters: Share | None = 0.2
    max_repeated_paragraphs: Share | None = 0.3
    max_repeated_paragraph_characters: Share | None = 0.2
    max_top_2_gram_characters: float | None = 0.2
    max_top_3_gram_characters: float | None = 0.18
    max_top_4_gram_characters: float | None = 0.16
    max_repeated_5_gram_characters: Share | None = 0.15
    max_repeated_6_gram_characters: Share | None = 0.14
    max_repeated_7_gram_characters: Share | None = 0.13
    max_repeated_8_gram_characters: Share | None = 0.12
    max_repeated_9_gram_characters: Share | None = 0.11
    max_repeated_10_gram_characters: Share | None = 0.1


class C4(Model):
    """Document rules of C4 (arXiv 1910.10683). They look at the lines that C4 would keep; no line is taken out."""

    min_sentences: int | None = 5
    max_lorem_ipsum_lines: int | None = 0
    max_curly_bracket_lines: int | None = 0


class FineWeb(Model):
    """Line rules that FineWeb adds to the others (arXiv 2406.17557)."""

    min_terminal_lines: Share | None = 0.12
    max_short_lines: Share | None = 0.67
    max_duplicate_characters: Share | None = 0.01
    max_newlines: float | None = 0.3  # per word or punctuation mark


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
    # Published rule sets: null, `default`, or own thresholds beside the published ones (null switches a rule off).
    gopher_quality: Annotated[GopherQuality | None, BeforeValidator(_published)] = None
    gopher_repetition: Annotated[GopherRepetition | None, BeforeValidator(_published)] = None
    c4: Annotated[C4 | None, BeforeValidator(_published)] = None
    fineweb: Annotated[FineWeb | None, BeforeValidator(_published)] = None
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


class Rehydration(Model):
    """Weight for documents that the pool held more than once: 1 + per_doubling · log2(copies), at most max_factor.

    Copies are weak evidence that people passed a text on, and strong evidence of spam when there are
    very many: clusters above `spam_size` are not lifted at all.
    """

    per_doubling: Annotated[float, Field(gt=0, le=1)] = 0.25
    max_factor: Annotated[float, Field(gt=1, le=4)] = 2.0
    spam_size: Annotated[int, Field(ge=2)] = 1000


class SyntheticBudget(Model):
    """How much of the weighed corpus may be generated; shares of its tokens, of natural and synthetic ones together.

    A small number of poisoned documents suffices to poison a model, so every backend and every source of seed
    documents has a limit of its own.
    """

    share: Annotated[float, Field(ge=0, le=0.3)] = 0.01
    per_backend: Annotated[float, Field(gt=0, le=0.3)] = 0.3  # at most this from one backend
    per_seed_source: Annotated[float, Field(gt=0, le=0.3)] = 0.001  # at most this from one source of seeds
    sources: dict[str, Generated] = Field(default_factory=dict)  # taken from the inputs that say `synthetic`


class Weighing(Model):
    """Who decides, with how much of the budget (pipelines/weighing/README.md)."""

    charters: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=lambda: {"uniform": 1.0})
    domains: list[Domain] = Field(default_factory=list)
    domain_column: Literal["source", "group", "host", "language"] = "source"  # where no domain matches
    budget_tokens: Annotated[int, Field(ge=1)] | None = None  # default: what the pool holds
    epoch_cap: Annotated[float, Field(ge=1, le=100)] = 4.0
    shares: Literal["markets", "mean", "ratio"] = "markets"
    quorum: Share = 0.5
    bridging: Share = 0.0
    # What a charter cannot spend in a domain: to the others there; then, with `move`, to other domains; or to nobody.
    unspent: Literal["redistribute", "move", "leave"] = "redistribute"
    unscored: Literal["exclude", "neutral"] = "exclude"
    rehydration: Rehydration | None = None  # off unless given; {} takes the defaults
    synthetic: SyntheticBudget = SyntheticBudget()  # binds where an input says that it is `synthetic`

    def meaning(self) -> dict[str, Any]:
        """What decides weights, as plain values; a recipe without synthetic inputs means what it meant before."""
        return self.model_dump(mode="json", exclude=None if self.synthetic.sources else {"synthetic"})

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


COMPOSER = "composer"


class Backend(Model):
    """Who writes: an OpenAI-compatible endpoint and a model there, or `composer`, which needs neither."""

    name: Name = COMPOSER
    endpoint: str | None = None  # such as https://host/v1
    model: str | None = None
    key_variable: str = "FLORILEGIUM_API_KEY"  # of the environment; the key itself never stands in a recipe
    share: Annotated[float, Field(gt=0)] = 1.0  # its part of the documents, beside the other backends'
    concurrency: Annotated[int, Field(ge=1, le=512)] = 16  # requests at a time, of one task
    timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    attempts: Annotated[int, Field(ge=1, le=20)] = 6
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.9
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=16)] = 1200
    prices: tuple[float, float] | None = None  # money a million tokens, read and written; for the cost shown

    @model_validator(mode="after")
    def _is_whole(self) -> "Backend":
        if (self.endpoint is None) != (self.name == COMPOSER):
            raise ValueError(
                f"backend {self.name!r}: `composer` is the one backend without an endpoint; give the others `endpoint` "
                "and `model`"
            )
        if self.endpoint is not None and not self.model:
            raise ValueError(f"backend {self.name!r}: give `model`, the name that the endpoint knows it by")
        return self


class Judge(Model):
    """A model that compares and grades what was accepted; best of another family than the backend's."""

    name: Name
    endpoint: str
    model: str
    key_variable: str = "FLORILEGIUM_API_KEY"
    documents: Annotated[int, Field(ge=1)] = 50  # so many are judged, chosen by hash


class SyntheticGates(Model):
    """Thresholds of the gates; `pipelines/synthesis/gates.py` says what each looks at."""

    min_virtue: Share = 0.025  # of the composer's dialogues, that score no higher in a claimed dimension
    max_toxic: Share = 0.3  # of any harm
    min_language_confidence: Share = 0.5
    max_moralising: Annotated[float, Field(ge=0)] = 1.5  # moralising phrases a hundred words
    seed_words: Annotated[int, Field(ge=4)] = 8  # so many words in a row of a seed document are too many
    max_overlap: Share = 0.5  # Jaccard similarity of 5-word shingles with another accepted document
    max_same_opening: Annotated[int, Field(ge=1)] = 3  # documents of a situation that begin or end alike


Kind = Literal["dialogue", "recontextualised", "reasons"]


class Synthesis(Model):
    """Documents to generate: how many, about what, by whom, and what they have to pass."""

    documents: Annotated[int, Field(ge=1, le=10_000_000)] = 200
    kinds: Annotated[dict[Kind, Annotated[float, Field(gt=0)]], Field(min_length=1)] = Field(
        default_factory=lambda: dict[Kind, float]({"dialogue": 1.0})
    )
    dimensions: list[str] | None = None  # dimensions or strengths to plan for; default: all 12 and 24
    charters: list[str] = Field(default_factory=list)  # constitutions for drafting and critique, in turn
    backends: Annotated[list[Backend], Field(min_length=1)] = Field(default_factory=lambda: [Backend()])
    judges: list[Judge] = Field(default_factory=list)
    seeds: list[Input] = Field(default_factory=list)  # documents for `recontextualised`
    max_documents_per_seed_source: Annotated[int, Field(ge=1)] = 200
    quiet_share: Share = 0.2  # of cells in which the virtuous act is to say or do less
    critiques: Annotated[int, Field(ge=0, le=4)] = 1  # by the model itself, also where the gates are content
    revisions: Annotated[int, Field(ge=0, le=8)] = 2
    gates: SyntheticGates = SyntheticGates()
    human: list[Input] = Field(default_factory=list)  # a human set to compare diversity with
    allow_composer: bool = False  # whether the composer's documents may enter shards
    license: str | None = "cc0-1.0"
    task_documents: Annotated[int, Field(ge=1)] = 250

    @model_validator(mode="after")
    def _fits_together(self) -> "Synthesis":
        names = [backend.name for backend in self.backends]
        if len(set(names)) < len(names):
            raise ValueError("synthesis.backends: two backends have one name; give each its own")
        if "recontextualised" in self.kinds and not self.seeds:
            raise ValueError("synthesis.kinds: `recontextualised` needs `synthesis.seeds`, documents to begin from")
        if "recontextualised" in self.kinds and names == [COMPOSER]:
            raise ValueError("synthesis.kinds: `composer` cannot recontextualise documents; add a backend that can")
        for name in self.dimensions or []:
            if name not in (*PROSOCIAL, *STRENGTHS):
                raise ValueError(
                    f"synthesis.dimensions: unknown {name!r}; known: {', '.join((*PROSOCIAL, *STRENGTHS))}"
                )
        return self


# The 24 character strengths; what each means stands in `pipelines/synthesis/grid.yaml`.
STRENGTHS = (
    "creativity", "interest", "judgement", "love_of_learning", "perspective", "bravery", "perseverance", "honesty",
    "zest", "love", "kindness", "social_intelligence", "teamwork", "fairness", "leadership", "forgiveness", "modesty",
    "prudence", "self_regulation", "appreciation", "gratitude", "hope", "humour", "reverence",
)  # fmt: skip


class Output(Model):
    """Where the run goes and how large its shards are."""

    path: str | None = None  # a folder or fsspec URL; the command line's --output wins
    shard_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 30)] = 128 << 20  # of text, before compression
    row_group_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 28)] = 8 << 20
    run_bytes: Annotated[int, Field(ge=1 << 16, le=1 << 29)] = 64 << 20  # of text in one sorted run
    compression_level: Annotated[int, Field(ge=1, le=19)] = 3
    keep_unweighted: bool = False
    harm_tags: HarmThresholds = Field(default_factory=dict)  # toxic above this: the flag `harm.NAME` in the shards


class Recipe(Model):
    """The whole of it."""

    name: Name
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    inputs: list[Input] = Field(default_factory=list)
    synthesis: Synthesis | None = None
    reading: Reading = Reading()
    extraction: ExtractionOptions = ExtractionOptions()
    boilerplate: BoilerplateOptions | None = None  # off unless given; {} takes the defaults
    decontamination: Decontamination | None = None
    stages: Stages = Stages()
    dedup: Dedup = Dedup()
    policy: Policy = Policy()
    weighing: Weighing = Weighing()
    output: Output = Output()

    @model_validator(mode="after")
    def _inputs_have_own_names(self) -> "Recipe":
        if not self.inputs and self.synthesis is None:
            raise ValueError("inputs: a recipe needs at least one, or `synthesis`")
        names = [item.name for item in self.inputs]
        if len(set(names)) < len(names):
            raise ValueError("inputs: two inputs have one name; give each its own")
        return self

    @model_validator(mode="after")
    def _synthetic_names_are_free(self) -> "Recipe":
        domains = {item.synthetic.domain for item in self.inputs if item.synthetic}
        taken = sorted(domains & {domain.name for domain in self.weighing.domains})
        if taken:
            raise ValueError(f"weighing.domains: {taken[0]!r} is the domain of a synthetic input; rename yours")
        return self

    @model_validator(mode="after")
    def _near_duplicates_have_signatures(self) -> "Recipe":
        if self.dedup.near and self.stages.minhash is None:
            raise ValueError("dedup.near needs the signatures of stages.minhash; set `near: false` or leave them on")
        return self

    def meaning(self, *parts: str) -> dict[str, Any]:
        """The named top-level parts as plain values, for digests."""
        return {part: self.model_dump(mode="json")[part] for part in parts}
