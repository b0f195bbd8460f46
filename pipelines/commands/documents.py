"""Documents for a command that works on texts alone, from any input that a run reads."""

from collections.abc import Sequence

import pyarrow as pa

from ...schemas.errors import InputError
from ...schemas.recipe import ExtractionOptions, Fields, Input, Reading
from ..sources import RecordReader, plan_splits

__all__ = ["read_documents"]


def read_documents(paths: Sequence[str], text_field: str = "text", id_field: str = "id") -> pa.Table:
    """`id`, `text` and `source` (the file) of every record with text, in the order of the inputs.

    A record without an id of its own gets its file and place. Raises `InputError` where none has text.
    """
    source = Input(name="input", paths=list(paths), fields=Fields(text=text_field, id=id_field))
    ids: list[str] = []
    texts: list[str] = []
    sources: list[str] = []
    for split in plan_splits(source, Reading()):
        for batch in RecordReader(split, source, Reading(), ExtractionOptions()):
            for row in batch.select(["source_id", "provenance", "text", "error"]).to_pylist():
                if row["error"] is None and row["text"].strip():
                    place = row["provenance"]
                    ids.append(row["source_id"] or f"{place['file']}:{place['offset']}")
                    texts.append(row["text"])
                    sources.append(place["file"])
    if not ids:
        raise InputError(f"{', '.join(paths)}: no record with text; name its column or key with --text-field")
    return pa.table({"id": ids, "source": sources, "text": texts})
