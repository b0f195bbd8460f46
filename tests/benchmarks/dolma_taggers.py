"""Dolma's taggers on a sample: `python dolma_taggers.py TEXTS.jsonl LANGUAGE_MODEL CLASSIFIER` → JSON.

Runs in an environment of its own (Dolma needs NumPy 1) and imports nothing of ours. Of each kind the
fastest tagger that does the work is taken; reading and writing are not counted. Language and classifier
models lie on web servers: local ones stand in, through Dolma's own taggers.
"""

import json
import sys
import time
from pathlib import Path

from dolma.core.data_types import DocResult, Document, InputSpec, Span
from dolma.core.ft_tagger import BaseFastTextTagger
from dolma.core.registry import TaggerRegistry
from dolma.taggers.language import FastTextAllLanguagesDocumentTagger

REGISTERED = {
    "Gopher with repetition (gopher_v2)": "gopher_v2",
    "C4 (c4_v2)": "c4_v2",
    "personal data (pii_regex_…_fast_v2)": "pii_regex_with_counts_fast_v2",
}


class _Classifier(BaseFastTextTagger):
    def predict(self, doc: Document) -> DocResult:
        labels, scores = self.classifier.predict(doc.text.replace("\n", " "), k=-1)
        spans = [Span(0, len(doc.text), label, float(score)) for label, score in zip(labels, scores)]  # noqa: B905
        return DocResult(doc=doc, spans=spans)


def main() -> None:
    texts_file, language_model, classifier = sys.argv[1:]
    rows = [json.loads(line) for line in Path(texts_file).read_text("utf-8").splitlines()]
    specs = [InputSpec(id=str(index), text=row["text"]) for index, row in enumerate(rows)]
    FastTextAllLanguagesDocumentTagger.MODEL_PATH = language_model
    taggers = {"language (fastText)": FastTextAllLanguagesDocumentTagger()}
    taggers |= {title: TaggerRegistry.get(name)() for title, name in REGISTERED.items()}
    taggers["fastText classifier"] = _Classifier(classifier, "document")
    seconds = {}
    for name, tagger in taggers.items():
        tagger.tag(specs[0])
        started = time.process_time()
        for spec in specs:
            tagger.tag(spec)
        seconds[name] = time.process_time() - started
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
