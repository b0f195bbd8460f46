"""Fine-tune an encoder for the labels of training: a low-rank change of its linear layers, a head for each label.

Trained whole, an encoder of 22 million weights has to be shipped whole. Here each linear layer W becomes W + B A, with
A and B of a small rank (LoRA, Hu et al. 2021, arXiv 2106.09685): the change is a few megabytes beside the encoder that
everybody has, and W + B A is one matrix again when it is used. The heads take the mean over tokens of every layer's
output, as those of semantic.py do, and begin as those: from heads that say nothing, learning first unsettles what the
encoder knows (Kumar et al. 2022, arXiv 2202.10054; README.md has both figures).

Labels that a row does not know cost nothing there. The same rows and seed give the same bytes on one device; others
round differently. A GPU, or a processor with tiles for it (AMX), learns from half-precision copies of the weights that
do not change; README.md says how long that takes.
"""

import copy
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..schemas.errors import ModelError
from ..schemas.hashing import digest
from .encoder import Encoder, pad
from .semantic import Heads, fit_heads, moments, shares

__all__ = ["Adapter", "Lesson", "Tuned", "Tuning", "fine_tune", "fine_tune_cached"]

Matrix = np.ndarray[Any, np.dtype[np.float64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
Halves = np.ndarray[Any, np.dtype[np.float16]]
Say = Callable[[str], None]
SORTED_TOGETHER = 16  # batches whose rows are sorted by length, so that little is padded
WARM_UP = 0.1  # of the steps, in which the rate rises; it falls to 0 in the others


class Tuning(BaseModel):
    """How an encoder is fine-tuned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1)
    epochs: int = Field(default=2, ge=1)
    batch: int = Field(default=32, ge=1)  # rows
    rate: float = Field(default=5e-4, gt=0)  # of learning, for the low-rank changes
    head_rate: float = Field(default=2e-4, gt=0)  # for the heads
    ridge: float = Field(default=3.0, gt=0)  # of the heads that it begins with
    tokens: int = Field(default=128, ge=16)  # of a passage that a step reads, from a place of chance
    decay: float = Field(default=0.01, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)  # of the features that the heads see
    seed: int = 7


@dataclass(frozen=True)
class Lesson:
    """What is to be learned, row by row."""

    texts: Sequence[str]  # passages
    targets: Matrix  # (rows, labels), in the labels' units, NaN where unknown
    labels: Sequence[str]
    importance: Matrix  # (rows,) how much a row counts
    features: Callable[[], Floats] | None = None  # (rows, dim) of the passages by the encoder as it is; None: read them


@dataclass(frozen=True)
class Tuned:
    """What fine-tuning found."""

    adapter: "Adapter"
    heads: Heads


@dataclass(frozen=True)
class Adapter:
    """Low-rank changes of an encoder's linear layers, by the layers' names: B of (out, rank) and A of (rank, in).

    Both are float16, which moves a score by less than the grid that scores lie on.
    """

    factors: dict[str, tuple[Halves, Halves]]

    def serialize(self) -> bytes:
        """The content of a safetensors file."""
        from safetensors.numpy import save  # type: ignore[import-not-found]

        named = [(name, dict(zip(("up", "down"), pair, strict=True))) for name, pair in self.factors.items()]
        return save({f"{name}.{part}": values for name, pair in named for part, values in pair.items()})

    @classmethod
    def parse(cls, payload: bytes) -> "Adapter":
        """The inverse of `serialize`. Raises `ModelError` where it is none."""
        from safetensors import SafetensorError  # type: ignore[import-not-found]
        from safetensors.numpy import load  # type: ignore[import-not-found]

        try:
            tensors = load(payload)
            names = sorted({name.rpartition(".")[0] for name in tensors})
            return cls({name: (tensors[f"{name}.up"], tensors[f"{name}.down"]) for name in names})
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"adapter.safetensors: cannot be read ({error}); install the model again") from error

    def apply(self, encoder: Encoder) -> Encoder:
        """Change the encoder's layers for good and name it anew. Raises `ModelError` for one of other layers."""
        import torch  # type: ignore[import-not-found]

        layers = dict(encoder.transformer.named_modules())
        for name, (up, down) in self.factors.items():
            weight = getattr(layers.get(name), "weight", None)
            if weight is None or tuple(weight.shape) != (up.shape[0], down.shape[1]) or up.shape[1] != down.shape[0]:
                raise ModelError(f"adapter.safetensors: {encoder.name} has no layer {name!r} of its shape")
            with torch.no_grad():
                change = up.astype(np.float64) @ down.astype(np.float64)
                weight += torch.from_numpy(change).to(device=weight.device, dtype=weight.dtype)
        return replace(encoder, digest=digest([encoder.digest, hashlib.sha256(self.serialize()).hexdigest()]))


def fine_tune_cached(
    encoder: Encoder, lesson: Lesson, settings: Tuning, say: Say = lambda _: None, cache: str | Path | None = None
) -> Tuned:
    """The same as `fine_tune`, taken from the folder `cache` where it was done before, on whatever device."""
    arrays = [hashlib.sha256(values.tobytes()).hexdigest() for values in (lesson.targets, lesson.importance)]
    rows = [list(lesson.labels), list(lesson.texts), arrays]
    asked = [encoder.digest, encoder.tokens, settings.model_dump(mode="json"), *rows]
    folder = None if cache is None else Path(cache) / f"tuned-{digest(asked)}"
    if folder is not None and folder.is_dir():
        adapter = Adapter.parse((folder / "adapter.safetensors").read_bytes())
        heads = (folder / "heads.safetensors").read_bytes()
        return Tuned(adapter, Heads.parse(heads, tuple(lesson.labels), encoder.dim_of_layers))
    tuned = fine_tune(encoder, lesson, settings, say)
    if folder is not None:
        part = folder.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        (part / "adapter.safetensors").write_bytes(tuned.adapter.serialize())
        (part / "heads.safetensors").write_bytes(tuned.heads.serialize())
        part.rename(folder)
    return tuned


def fine_tune(encoder: Encoder, lesson: Lesson, settings: Tuning, say: Say = lambda _: None) -> Tuned:
    """Learn a lesson. The encoder is left as it was; `Adapter.apply` changes it.

    Raises `ModelError` where the device fails.
    """
    import torch  # type: ignore[import-not-found]

    labels, known = tuple(lesson.labels), np.isfinite(lesson.targets)
    wanted = np.where(known, shares(lesson.targets, labels), 0.0)
    weights = known * lesson.importance[:, None]
    with _repeatable(encoder, settings.seed):
        learner = _learner(encoder)
        tokenised = learner.tokenise(lesson.texts)
        features = learner.read(tokenised) if lesson.features is None else lesson.features()
        probe = fit_heads(features, lesson.targets, labels, lesson.importance, settings.ridge)
        centre, scale = (values.astype(np.float32) for values in moments(features, lesson.importance))
        heads = torch.nn.Linear(len(centre), len(labels)).to(learner.device)
        with torch.no_grad():
            heads.weight.copy_(torch.from_numpy(probe.weights * scale))
            heads.bias.copy_(torch.from_numpy(probe.bias + probe.weights @ centre))
        factors = _adapt(learner, settings.rank)
        _descend(learner, tokenised, wanted, weights, factors, heads, centre, scale, settings, say)
    weight = _numbers(heads.weight).astype(np.float64) / scale
    bias = _numbers(heads.bias) - weight @ centre
    halves = {
        name: (_numbers(up).astype(np.float16), _numbers(down).astype(np.float16))
        for name, (up, down) in factors.items()
    }
    return Tuned(Adapter(halves), Heads(labels, weight.astype(np.float32), bias.astype(np.float32)))


def _descend(
    encoder: Encoder,
    tokenised: Sequence[Sequence[int]],
    targets: Matrix,
    weights: Matrix,
    factors: dict[str, tuple[Any, Any]],
    heads: Any,
    centre: Floats,
    scale: Floats,
    settings: Tuning,
    say: Say,
) -> None:
    """Gradient descent (AdamW) on the cross-entropy of `targets`, as shares, over the factors and the heads."""
    import torch  # type: ignore[import-not-found]

    functional, device = torch.nn.functional, encoder.device
    trained = [factor for pair in factors.values() for factor in pair]
    optimiser = torch.optim.AdamW(
        [{"params": trained, "lr": settings.rate}, {"params": heads.parameters(), "lr": settings.head_rate}],
        weight_decay=settings.decay,
    )
    steps = settings.epochs * -(-len(tokenised) // settings.batch)
    warm = max(int(WARM_UP * steps), 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, (steps - step) / max(steps - warm, 1))
    )
    middle, width = (torch.from_numpy(values).to(device) for values in (centre, scale))
    wanted, counted = (torch.from_numpy(values.astype(np.float32)) for values in (targets, weights))
    for epoch in range(settings.epochs):
        parts = _parts(tokenised, settings.tokens, settings.seed, epoch)
        for rows in _batches([len(part) for part in parts], settings.batch, settings.seed, epoch):
            features = encoder.means(*pad([parts[row] for row in rows]))
            scores = heads(functional.dropout((features - middle) / width, settings.dropout))
            losses = functional.binary_cross_entropy_with_logits(
                scores, wanted[rows].to(device), counted[rows].to(device), reduction="sum"
            )
            (losses / (settings.batch * wanted.shape[1])).backward()
            torch.nn.utils.clip_grad_norm_([*trained, *heads.parameters()], 1.0)
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
        say(f"fine-tune {encoder.name} on {device}: epoch {epoch + 1} of {settings.epochs}")


@contextmanager
def _repeatable(encoder: Encoder, seed: int) -> Iterator[None]:
    """Chance from the seed, and only kernels that add up in one order; whatever torch was set to comes back after."""
    import torch  # type: ignore[import-not-found]

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else a GPU's products differ from run to run
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    except RuntimeError as error:
        message = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{encoder.name}: fine-tuning failed on {encoder.device} ({message}); a smaller `batch` takes less memory"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def _learner(encoder: Encoder) -> Encoder:
    """A copy to learn with, in half precision where that is fast.

    Attention is written out: fused kernels of processors are slower backwards, those of GPUs differ from run to run.
    """
    learner = replace(encoder, model=copy.deepcopy(encoder.model))
    learner.transformer.set_attn_implementation("eager")
    learner.model.requires_grad_(False)
    return learner.halved()


def _adapt(encoder: Encoder, rank: int) -> dict[str, tuple[Any, Any]]:
    """Add to each linear layer's output what its two factors make of its input."""
    import torch  # type: ignore[import-not-found]

    factors = {}
    for name, layer in encoder.transformer.named_modules():
        if isinstance(layer, torch.nn.Linear) and "pooler" not in name:
            down = torch.randn(rank, layer.in_features) / layer.in_features**0.5
            up = torch.zeros(layer.out_features, rank)
            pair = tuple(factor.to(encoder.device).requires_grad_() for factor in (up, down))
            factors[name] = pair

            def add(_: Any, inputs: Any, output: Any, pair: Any = pair) -> Any:
                linear, (up, down) = torch.nn.functional.linear, (factor.to(output.dtype) for factor in pair)
                return output + linear(linear(inputs[0], down), up)

            layer.register_forward_hook(add)
    return factors


def _parts(tokenised: Sequence[Sequence[int]], tokens: int, seed: int, epoch: int) -> list[list[int]]:
    """Of each row at most so many tokens in a row, from a place of chance, between its first and its last."""
    chance = np.random.default_rng([seed, epoch, 1])
    starts = (chance.random(len(tokenised)) * [max(len(row) - tokens, 0) + 1 for row in tokenised]).astype(int)
    return [
        [row[0], *row[start + 1 : min(start + tokens, len(row)) - 1], row[-1]]
        for row, start in zip(tokenised, starts.tolist(), strict=True)
    ]


def _batches(lengths: Sequence[int], size: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """All rows once, in an order of chance in which rows of like length come together."""
    chance = np.random.default_rng([seed, epoch])
    order = chance.permutation(len(lengths))
    batches = []
    for first in range(0, len(order), size * SORTED_TOGETHER):
        rows = sorted(order[first : first + size * SORTED_TOGETHER].tolist(), key=lambda row: lengths[row])
        batches += [rows[place : place + size] for place in range(0, len(rows), size)]
    yield from (batches[place] for place in chance.permutation(len(batches)))


def _numbers(tensor: Any) -> Floats:
    return tensor.detach().float().cpu().numpy()
