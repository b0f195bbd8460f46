"""Inputs to splits: which files there are, what they hold, and where large ones are cut."""

from collections.abc import Iterator
from itertools import pairwise

from ...schemas.errors import InputError
from ...schemas.recipe import Input, Reading
from . import Split
from .compression import Damage, codec_of, find_member, pieces
from .files import Found, RawFile, find, fingerprint, format_of, open_binary

__all__ = ["plan"]

HEAD_BYTES = 1 << 20


def plan(source: Input, reading: Reading) -> list[Split]:
    """See `plan_splits`."""
    if source.format == "huggingface":
        from .huggingface import plan_dataset

        return plan_dataset(source, reading)
    files = [(found, _format(found, source)) for found in find(source.paths, source.format)]
    parquet = next((found for found, kind in files if kind == "parquet"), None)
    if parquet is not None:
        from .parquet import check_schema

        check_schema(parquet.url, source)
    splits = []
    for found, kind in files:
        identity = fingerprint(found.url, found.size, found.checksum)
        for start, stop, size in _ranges(found, kind, reading.split_bytes):
            splits.append(Split(source.name, kind, found.url, found.file, start, stop, size, identity))
    return splits


def _format(found: Found, source: Input) -> str:
    """The format of a file: as the recipe says, by suffix, or by its first bytes."""
    if source.format != "auto":
        return source.format
    kind = format_of(found.url)
    if kind is None:
        kind = _sniff(found)
    if kind is None:
        raise InputError(
            f"{found.url}: unknown format; set `format` of input {source.name!r} to warc, wet, jsonl or parquet"
        )
    return kind


def _sniff(found: Found) -> str | None:
    with RawFile(open_binary(found.url)) as raw:
        head = raw.at(0, 16)
        if head.startswith(b"PAR1"):
            return "parquet"
        content = b""
        try:
            for piece in pieces(raw, codec_of(head, found.url)):
                content = (content + piece.data).lstrip(b"\xef\xbb\xbf\r\n\t ")
                if len(content) >= 16:
                    break
        except Damage:
            pass
    if content.startswith(b"filedesc:"):
        raise InputError(f"{found.url}: ARC files are not supported; convert them to WARC, as `warcio recompress` does")
    return "warc" if content.startswith(b"WARC/") else "jsonl" if content.startswith(b"{") else None


def _ranges(found: Found, kind: str, split_bytes: int) -> Iterator[tuple[int, int, int]]:
    """(start, stop, size) of a file's splits."""
    if found.size <= split_bytes:
        yield 0, -1, found.size
    elif kind == "parquet":
        from .parquet import row_group_ranges

        yield from row_group_ranges(found.url, found.size, split_bytes)
    elif _can_be_cut(found, kind):
        # Equal parts: the last one is not a crumb.
        count = -(-found.size // split_bytes)
        edges = [found.size * part // count for part in range(count + 1)]
        for part, (start, stop) in enumerate(pairwise(edges)):
            yield start, -1 if part == count - 1 else stop, stop - start
    else:
        yield 0, -1, found.size


def _can_be_cut(found: Found, kind: str) -> bool:
    """Whether reading can start inside: plain files, and archives whose second member begins with a record."""
    with RawFile(open_binary(found.url)) as raw:
        codec = codec_of(raw.at(0, 16), found.url)
        if codec == "none":
            return True
        if kind == "jsonl" or codec == "lz4":
            return False
        return find_member(raw, codec, 1, HEAD_BYTES) is not None
