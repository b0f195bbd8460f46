"""`florilegium export`: a run's corpus for trainers that cannot read weighted Parquet.

    jsonl          one JSON line a document, with weight and repeats; nothing is copied (.jsonl.zst)
    materialized   Parquet in which every document stands as often as it repeats, spread over the corpus
    tokens         the same order as token ids (.ds), with the documents' ends (.ds.index), by datatrove's tokeniser

An export is a folder of its own; `export.json`, written last, names its files with their checksums.
"""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from ...schemas.errors import BalanceError, MissingExtraError, OutputError, RequestError, RunError
from ..progress import SILENT, Listener
from ..runs import write_parquet
from ..storage import Folder
from .copies import ROWS_AT_ONCE, spread_copies
from .survey import Survey, survey

__all__ = ["EXPORT", "FORMATS", "export"]

FORMATS = ("jsonl", "materialized", "tokens")
EXPORT = "export.json"
ENCODE_AT_ONCE = 256
_SCORES = ("quality", "harm", "prosocial")


def export(
    url: str,
    form: str,
    output: str,
    tokenizer: str | None = None,
    end_of_text: str | None = None,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """Write a finished run in another form into `output`, an empty folder or none; returns `export.json`.

    `tokenizer` is a file `tokenizer.json` or a name on the Hugging Face hub, `end_of_text` the token that
    it puts after each document. Raises RequestError, OutputError, MissingExtraError, or RunError where the
    run is unfinished or damaged: an export is whole, or there is none.
    """
    if form not in FORMATS:
        raise RequestError(f"--format {form}: choose one of {', '.join(FORMATS)}")
    if form == "tokens" and tokenizer is None:
        raise RequestError("--format tokens needs --tokenizer, a tokenizer.json or a name on the Hugging Face hub")
    found = survey(url)
    if found.manifest is None or not found.complete:
        raise RunError(f"{url} cannot be exported: {'; '.join(found.faults)}")
    target = Folder(output)
    if not target.is_empty():
        raise OutputError(f"{output} is not empty; choose another --output or remove it")
    description: dict[str, Any] = {
        "format": form,
        "recipe": found.manifest.recipe_digest,
        "florilegium": found.manifest.florilegium,
    }
    tokens = _Tokens(str(tokenizer), end_of_text) if form == "tokens" else None
    if form == "jsonl":
        files = _json_lines(found, target, listener)
    else:
        with _scratch(target) as scratch:
            if tokens is None:
                files = _materialized(found, target, scratch, listener)
            else:
                files = tokens.write(found, target, scratch, listener)
                description |= tokens.description
        expected = _repeats(found)
        if sum(file["rows"] for file in files) != expected:
            raise BalanceError(f"{output} holds {sum(file['rows'] for file in files)} rows instead of {expected}")
    description["files"] = files
    target.write_json(EXPORT, description)
    return description


@contextlib.contextmanager
def _scratch(target: Folder) -> Iterator[Folder]:
    """A folder for what is needed meanwhile, on the disk of a local target."""
    parent = target.root if target.is_local else None
    if parent:
        Path(parent).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".florilegium-", dir=parent) as place:
        yield Folder(place)


def _repeats(found: Survey) -> int:
    total = 0
    for file in found.files["documents"]:
        with file.folder.open_parquet(file.name) as parquet:
            for batch in parquet.iter_batches(columns=["repeats"]):
                total += pc.sum(batch["repeats"]).as_py() or 0
    return total


def _json_lines(found: Survey, target: Folder, listener: Listener) -> list[dict[str, Any]]:
    assert found.manifest is not None
    files, rows, size = [], 0, 0
    listener.phase("export", len(found.files["documents"]), 0)
    for index, file in enumerate(found.files["documents"]):
        name = file.name.rsplit("/", 1)[-1].replace(".parquet", ".jsonl.zst")
        written = 0
        with (
            target.create(name) as stored,
            stored.path.open("wb") as raw,
            zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as stream,
            file.folder.open_parquet(file.name) as parquet,
        ):
            for batch in parquet.iter_batches(ENCODE_AT_ONCE):
                for row in batch.to_pylist():
                    size += stream.write(_json_line(row))
                written += batch.num_rows
        rows += written
        files.append({"name": name, "rows": written, "bytes": stored.bytes, "sha256": stored.sha256})
        listener.update(index + 1, rows, size, 0)
    return files


def _json_line(row: dict[str, Any]) -> bytes:
    """A row without `key`, which readers of signed integers refuse; scores in the thousandths that they are."""
    del row["key"]
    for name in _SCORES:
        row[name] = _thousandths(row[name])
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)


def _thousandths(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _thousandths(part) for name, part in value.items()}
    return value if value is None else round(value, 3)


def _spread(found: Survey, scratch: Folder, listener: Listener) -> Iterator[tuple[str, pa.Table]]:
    """Shards of the spread corpus under their names, without an ending."""
    assert found.manifest is not None
    recipe = found.manifest.recipe
    rows = size = 0
    for index, count, table in spread_copies(found.files["documents"], recipe.seed, recipe.output.shard_bytes, scratch):
        if not index:
            listener.phase("export", count, 0)
        yield f"train-{index:05d}-of-{count:05d}", table
        rows, size = rows + table.num_rows, size + table["text"].nbytes
        listener.update(index + 1, rows, size, 0)


def _materialized(found: Survey, target: Folder, scratch: Folder, listener: Listener) -> list[dict[str, Any]]:
    assert found.manifest is not None
    options = found.manifest.recipe.output
    return [
        write_parquet(
            target,
            f"{name}.parquet",
            table,
            row_group_bytes=options.row_group_bytes,
            compression_level=options.compression_level,
            metadata={"florilegium.recipe": found.manifest.recipe_digest, "florilegium.export": "materialized"},
            sizes=pc.binary_length(table["text"]).to_numpy().astype(np.int64) + 256,
        )
        for name, table in _spread(found, scratch, listener)
    ]


class _Tokens:
    """datatrove's tokeniser step over the spread corpus."""

    def __init__(self, tokenizer: str, end_of_text: str | None) -> None:
        try:
            from datatrove.utils.tokenization import load_tokenizer
        except ImportError as error:
            raise MissingExtraError("tokens need: pip install 'florilegium[tokenizers]'") from error
        try:
            loaded = load_tokenizer(tokenizer)
        except Exception as error:  # tokenizers raises bare Exceptions
            raise RequestError(
                f"--tokenizer {tokenizer}: {error}. Give a tokenizer.json or a name on the hub"
            ) from error
        if end_of_text is not None and loaded.token_to_id(end_of_text) is None:
            raise RequestError(f"--end-of-text {end_of_text}: the tokenizer has no such token")
        self.tokenizer, self.end_of_text = tokenizer, end_of_text
        self.name = Path(tokenizer).name if Path(tokenizer).is_file() else tokenizer
        self.description = {
            "tokenizer": self.name,
            "tokenizer_sha256": hashlib.sha256(loaded.to_str().encode()).hexdigest(),
            "vocabulary": loaded.get_vocab_size(),
            "end_of_text": end_of_text,
        }

    def write(self, found: Survey, target: Folder, scratch: Folder, listener: Listener) -> list[dict[str, Any]]:
        files = []
        for name, table in _spread(found, scratch, listener):
            with tempfile.TemporaryDirectory(prefix="tokens-", dir=scratch.root) as place:
                token_size, ends = self._tokenize(table, Path(place))
                self.description["token_bytes"] = token_size
                starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
                for written in sorted(Path(place).iterdir()):
                    with target.create(f"{name}.{written.name.split('.', 1)[1]}") as stored:
                        shutil.copyfile(written, stored.path)
                    if written.suffix == ".ds":
                        rows = table.num_rows
                        files.append(
                            {"name": f"{name}.ds", "rows": rows, "bytes": stored.bytes, "sha256": stored.sha256}
                        )
            documents = table.select(["id", "copy"]).append_column("start", pa.array(starts))
            documents = documents.append_column("end", pa.array(ends))
            write_parquet(target, f"{name}.documents.parquet", documents, row_group_bytes=8 << 20)
            files[-1]["tokens"] = int(ends[-1]) if len(ends) else 0
        return files

    def _tokenize(self, table: pa.Table, place: Path) -> tuple[int, np.ndarray[Any, np.dtype[np.int64]]]:
        """Write the three files into `place`; returns the bytes of a token and the ends of the documents in tokens."""
        from datatrove.data import Document
        from datatrove.pipeline.tokens import DocumentTokenizer

        step = DocumentTokenizer(
            str(place), self.tokenizer, eos_token=self.end_of_text, shuffle_documents=False, batch_size=ROWS_AT_ONCE
        )
        texts = (text.as_py() for chunk in table["text"].chunks for text in chunk)
        step.run(Document(text=text, id=str(row)) for row, text in enumerate(texts))
        metadata = next(place.glob("*.metadata"))
        lines = metadata.read_text().splitlines()
        metadata.write_text("\n".join([f"{self.name}|{step.token_size}", *lines[1:]]))
        ends = np.fromfile(next(place.glob("*.index")), np.dtype("<u8")).astype(np.int64)
        if len(ends) != table.num_rows:
            raise BalanceError(f"{len(ends)} documents were tokenised instead of {table.num_rows}")
        return step.token_size, ends
