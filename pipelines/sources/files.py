"""Files wherever they are: listing, identity and random access.

Local files are opened directly, everything else through fsspec. A file's identity is its content (the
object store's checksum, else a hash of both ends), never its path or time, so that a copied corpus is
recognised as the same one.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ...schemas.errors import InputError, MissingExtraError
from ..object_stores import StoredObject, is_store, open_filesystem, patiently

__all__ = ["SUFFIXES", "Found", "RawFile", "find", "fingerprint", "format_of", "in_memory", "open_binary"]

SUFFIXES: dict[str, tuple[str, ...]] = {
    "wet": (".wet", ".wet.gz", ".wet.zst"),
    "warc": (".warc", ".warc.gz", ".warc.zst", ".warc.lz4"),
    "jsonl": (".jsonl", ".ndjson", *(f"{name}{z}" for name in (".jsonl", ".ndjson", ".json") for z in (".gz", ".zst"))),
    "parquet": (".parquet", ".pq"),
}
CHECKSUMS = ("md5Hash", "content_md5", "md5", "crc32c", "ETag", "etag", "checksum")
END_BYTES = 64 << 10
WINDOW_BYTES = 1 << 20


@dataclass(frozen=True)
class Found:
    """A file of an input: where it is, what it is called in provenance, how many bytes it has, the store's checksum."""

    url: str
    file: str
    size: int
    checksum: str = ""


def format_of(name: str) -> str | None:
    """The format that a file's suffix tells, or None."""
    return next((kind for kind, suffixes in SUFFIXES.items() if name.lower().endswith(suffixes)), None)


def find(paths: Sequence[str], kind: str) -> list[Found]:
    """The files behind paths, globs and folders, each once, sorted by their name in provenance.

    Folders, and globs whose format is "auto", give the files with a known suffix; names that begin with
    "." or "_" are markers of other tools. `file` is relative to the folder before the first wildcard;
    where two files would share it, folder names from their paths go before it until they differ.
    """
    found: dict[str, Found] = {}
    for path in paths:
        matches = _matches(path, kind)
        if not matches:
            known = ", ".join(SUFFIXES[kind] if kind in SUFFIXES else [s[0] for s in SUFFIXES.values()])
            raise InputError(f"{path}: no file matches; name a file, a glob or a folder that holds {known} files")
        for match in matches:
            found.setdefault(match.url, match)
    return sorted(_distinct(list(found.values())), key=lambda item: item.file)


def _matches(path: str, kind: str) -> list[Found]:
    try:
        fs, root = open_filesystem(str(Path(path).expanduser()) if "://" not in path else path)
        return patiently(fs, path, lambda: _listed(fs, root, path, kind))
    except PermissionError as error:
        raise InputError(f"{path}: no permission to read it; grant it or leave the path out ({error})") from error
    except ImportError as error:
        raise MissingExtraError(f"{path}: its protocol needs another package; install it ({error})") from error
    except ValueError as error:
        raise InputError(f"{path}: cannot be opened; check the URL's protocol ({error})") from error


def _listed(fs: Any, root: str, path: str, kind: str) -> list[Found]:
    """What lies behind a path in its file system, listed once."""
    itself = _info(fs, root)
    wildcard = itself is None and any(sign in root for sign in "*?[")
    if wildcard:
        base = root[: min(root.index(sign) for sign in "*?[" if sign in root)].rpartition("/")[0]
        listing = fs.glob(root, detail=True)
    elif itself is None:
        raise InputError(f"{path}: no such file or folder; correct the path")
    elif itself["type"] == "directory" or (not is_store(fs) and fs.isdir(root)):  # HTTP calls a folder a file
        base = root.rstrip("/")
        listing = fs.find(root, detail=True)
    else:
        return [Found(_url(fs, root, path), PurePosixPath(root).name, int(itself["size"] or 0), _checksum(itself))]
    matches = []
    for name, info in listing.items():
        leaf = PurePosixPath(name).name
        known = format_of(leaf)
        fits = known is not None if kind == "auto" else wildcard or known == kind
        if info["type"] == "file" and not leaf.startswith((".", "_")) and fits:
            file = name[len(base) :].lstrip("/")
            matches.append(Found(_url(fs, name, path), file, int(info["size"] or 0), _checksum(info)))
    return matches


def _info(fs: Any, root: str) -> dict[str, Any] | None:
    """What a file system says of a path; None where nothing lies there."""
    try:
        return fs.info(root)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _url(fs: Any, name: str, given: str) -> str:
    if isinstance(fs, LocalFileSystem):
        return name
    _, chain, outer = given.partition("::")
    return f"{given.partition('://')[0]}://{name.lstrip('/')}::{outer}" if chain else fs.unstrip_protocol(name)


def _distinct(files: list[Found]) -> list[Found]:
    depth = 0
    while True:
        names: dict[str, list[Found]] = {}
        for item in files:
            names.setdefault(item.file, []).append(item)
        if len(names) == len(files):
            return files
        depth += 1
        shared = {item.url for group in names.values() if len(group) > 1 for item in group}
        files = [_with_parent(item) if item.url in shared else item for item in files]


def _with_parent(item: Found) -> Found:
    parts = item.url.split("/")
    keep = item.file.count("/") + 2
    return replace(item, file="/".join(parts[-keep:]))


def open_binary(url: str) -> IO[bytes]:
    """A file for reading bytes; InputError where it is gone or closed to us."""
    try:
        if "://" not in url:
            return open(url, "rb", buffering=0)
        fs, path = open_filesystem(url)
        if is_store(fs):
            return StoredObject(fs, path)  # type: ignore[return-value]
        return fsspec.open(url, "rb").open()  # type: ignore[return-value]
    except FileNotFoundError as error:
        raise InputError(f"{url}: the file is gone; plan the run again") from error
    except PermissionError as error:
        raise InputError(f"{url}: no permission to read it; grant it or leave the path out") from error


def _checksum(info: Mapping[str, Any]) -> str:
    """What a store tells of a file's content, with the name of its kind; "" where it tells nothing."""
    return next((f"{name}:{info[name]}" for name in CHECKSUMS if info.get(name)), "")


def fingerprint(url: str, size: int, checksum: str = "") -> str:
    """Identity of a file's content: its size and the store's checksum, else a hash of both ends."""
    if "://" in url and not checksum:
        fs, path = open_filesystem(url)
        checksum = _checksum(patiently(fs, url, lambda: fs.info(path)))
    if checksum:
        return f"{size}-{checksum}"
    with RawFile(open_binary(url)) as raw:
        content = hashlib.blake2b(raw.at(0, END_BYTES), digest_size=16)
        if size > END_BYTES:
            content.update(raw.at(max(END_BYTES, size - END_BYTES), END_BYTES))
    return f"{size}-blake2b:{content.hexdigest()}"


class RawFile:
    """Bytes of a file by position, through a window so that scans and steps back cost no request.

    `consumed` is where its reader stands; readers set it for progress.
    """

    def __init__(self, file: IO[bytes], start: int = 0) -> None:
        self._file = file
        self._window = b""
        self._window_start = start
        self._position = 0
        self._size = -1
        self.consumed = start

    def __enter__(self) -> "RawFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def size(self) -> int:
        """The file's bytes."""
        if self._size < 0:
            self._size = self._file.seek(0, io.SEEK_END)
            self._position = self._size
        return self._size

    def at(self, position: int, count: int) -> bytes:
        """`count` bytes from `position`; fewer only where the file ends."""
        offset = position - self._window_start
        if offset >= 0 and offset + count <= len(self._window):
            return self._window[offset : offset + count]
        kept = self._window[offset:] if 0 <= offset < len(self._window) else b""
        self._window = kept + self._read(position + len(kept), max(count - len(kept), WINDOW_BYTES))
        self._window_start = position
        return self._window[:count]

    def _read(self, position: int, count: int) -> bytes:
        if position != self._position:
            self._file.seek(position)
            self._position = position
        parts = []
        while count > 0 and (part := self._file.read(count)):
            parts.append(part)
            count -= len(part)
            self._position += len(part)
        return b"".join(parts)


def in_memory(data: bytes) -> RawFile:
    """Bytes as a file."""
    return RawFile(io.BytesIO(data))
