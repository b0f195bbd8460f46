"""Stock datatrove's filters on a sample: `python stock_datatrove.py TEXTS.jsonl LANGUAGE_MODEL CLASSIFIER` → JSON.

Each filter alone, one document at a time as datatrove calls it, reading and writing not counted. The
language filter wants lid.176, which lies on a web server: it gets a local model of the same shape.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def filters(language_model: str, classifier: str) -> Iterator[tuple[str, Any]]:
    """Name and filter, in the order of a usual pipeline."""
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FastTextClassifierFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        LanguageFilter,
    )
    from datatrove.utils.lid import FT176LID
    from fasttext.FastText import _FastText

    FT176LID.MODEL_URL = language_model
    label = _FastText(classifier).labels[0].removeprefix("__label__")
    yield "language (fastText)", LanguageFilter(["en"])
    yield "Gopher quality", GopherQualityFilter()
    yield "Gopher repetition", GopherRepetitionFilter()
    yield "C4 quality", C4QualityFilter(filter_no_terminal_punct=False)
    yield "FineWeb quality", FineWebQualityFilter()
    yield "fastText classifier", FastTextClassifierFilter(classifier, keep_labels=(label, 0.0), newline_replacement=" ")


def main() -> None:
    texts_file, language_model, classifier = sys.argv[1:]
    # datatrove copies models into the hub's cache before it opens them.
    os.environ["HF_ASSETS_CACHE"] = str(Path(texts_file).parent / "datatrove-assets")
    os.environ["HF_HUB_OFFLINE"] = "1"
    from datatrove.data import Document
    from loguru import logger

    logger.remove()
    texts = [json.loads(line)["text"] for line in Path(texts_file).read_text("utf-8").splitlines()]
    seconds = {}
    for name, step in filters(language_model, classifier):
        step.filter(Document(text=texts[0], id="first"))
        documents = [Document(text=text, id=str(index)) for index, text in enumerate(texts)]
        started = time.process_time()
        for document in documents:
            step.filter(document)
        seconds[name] = time.process_time() - started
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
