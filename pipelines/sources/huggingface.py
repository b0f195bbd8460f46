"""Hugging Face data sets: a hub name, a local folder, or a `save_to_disk` folder, read as Arrow by row ranges."""

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...schemas.errors import InputError, MissingExtraError
from ...schemas.recipe import Input, Reading
from . import Split
from .columns import check_columns, needed_columns, to_records
from .files import END_BYTES, RawFile, open_binary

__all__ = ["HuggingfaceReader", "plan_dataset"]

ROWS_AT_ONCE = 1024


def plan_dataset(source: Input, reading: Reading) -> list[Split]:
    """Row ranges of about `reading.split_bytes` Arrow bytes."""
    dataset = _load(source)
    name = str(source.dataset)
    check_columns(name, dataset.features.arrow_schema, source)
    rows, size = dataset.num_rows, int(dataset.data.nbytes)
    count = max(1, min(rows, -(-size // reading.split_bytes)))
    file = Path(name).name if Path(name).expanduser().exists() else name
    identity = _fingerprint(dataset)
    edges = [rows * part // count for part in range(count + 1)]
    return [
        Split(source.name, "huggingface", name, file, start, stop, size * (stop - start) // max(rows, 1), identity)
        for start, stop in pairwise(edges)
    ]


class HuggingfaceReader:
    """Documents of a range of rows; `offset` is the row's number in the data set."""

    def __init__(self, split: Split, source: Input, reading: Reading) -> None:
        self.skipped: dict[str, int] = {}
        self.bytes_read = 0
        self._split = split
        self._source = source
        self._reading = reading

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        dataset = _load(self._source)
        split = self._split
        paths = needed_columns(dataset.features.arrow_schema, self._source.fields)
        names = [path if path in dataset.column_names else path.partition(".")[0] for path in paths]
        arrow = dataset.select_columns(list(dict.fromkeys(names))).with_format("arrow")
        stop = dataset.num_rows if split.stop < 0 else split.stop
        for row in range(split.start, stop, ROWS_AT_ONCE):
            table = arrow[row : min(row + ROWS_AT_ONCE, stop)]
            yield from to_records(table, row, self._source, split.file, self._reading)
            self.bytes_read = split.size * (row + table.num_rows - split.start) // max(stop - split.start, 1)


def _load(source: Input) -> Any:
    """The data set, memory-mapped."""
    try:
        import datasets
    except ImportError:
        raise MissingExtraError(
            f"input {source.name!r}: Hugging Face data sets need `pip install florilegium[huggingface]`"
        ) from None
    name = str(source.dataset)
    folder = Path(name).expanduser()
    try:
        if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
            dataset = datasets.load_from_disk(str(folder))
        else:
            target = str(folder) if folder.exists() else name
            dataset = datasets.load_dataset(target, source.config, split=source.split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"{name}: the data set cannot be loaded; check `dataset`, `config` and `split` of input {source.name!r} "
            f"({error})"
        ) from error
    if isinstance(dataset, datasets.DatasetDict):
        if source.split not in dataset:
            raise InputError(
                f"{name}: no split {source.split!r}; set `split` to one of: {', '.join(map(str, dataset))}"
            )
        return dataset[source.split]
    return dataset


def _fingerprint(dataset: Any) -> str:
    """Identity of a data set's content: rows, columns and both ends of each of its Arrow files."""
    content = hashlib.blake2b(f"{dataset.num_rows}:{dataset.features}".encode(), digest_size=16)
    for name in [str(item["filename"]) for item in dataset.cache_files]:
        with RawFile(open_binary(name)) as raw:
            content.update(raw.at(0, END_BYTES))
            content.update(raw.at(max(0, raw.size - END_BYTES), END_BYTES))
    return f"{dataset.num_rows}-blake2b:{content.hexdigest()}"
