"""Why a record became no document: the `error` of its row, one line of meaning each."""

__all__ = ["REASONS", "SKIPPED"]

REASONS: dict[str, str] = {
    "read.truncated": "the file ends in the middle of this record",
    "read.damaged": "the bytes here cannot be decompressed or parsed; reading went on where the format allows",
    "read.too_large": "larger than reading.max_document_bytes",
    "read.not_json": "the line is not JSON",
    "read.not_an_object": "the line is JSON, but not an object",
    "read.no_text": "the text field is missing, null or not a string",
    "read.empty": "the text field or the body is empty",
    "read.schema": "the file lacks the text column, or it does not hold strings",
    "read.http_head": "a response without a readable HTTP status line",
    "read.http_body": "the body cannot be decoded (chunked transfer, gzip, deflate, brotli, zstd)",
    "extract.empty": "no text was found in the page",
    "extract.failed": "the extractor refused the page",
    "extract.timeout": "extraction took longer than extraction.timeout_seconds",
    "extract.crashed": "the extraction process died on this page",
    "extract.too_large": "extraction needed more than extraction.memory_bytes, or its text is over the limit",
}

SKIPPED: dict[str, str] = {
    "file.empty": "a file of 0 bytes",
    "jsonl.blank": "blank lines",
    "warc.<type>": "WARC records of a type that holds no document (request, metadata, revisit, warcinfo, …)",
    "warc.not_http": "response records of another protocol, for example dns",
    "http.status_<code>": "responses other than 2xx",
    "http.content_type": "responses that are neither HTML, XHTML nor plain text",
}
