"""A run's folder, local or on any fsspec file system, in which a reader only ever sees whole files.

Local files are written under a temporary name, synced and renamed. Elsewhere a file is finished on
local disk and then uploaded in one call, which object stores make visible at once or not at all. No
listing decides what is there where names are known: stores may list late (`object_stores.py`).
"""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import fsspec
import orjson

from ..schemas.errors import FlorilegiumError, OutputError, RunError
from .object_stores import StoredObject, is_store, object_size, open_filesystem, patiently

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

__all__ = ["Folder", "StoredFile", "explain_os_error"]

TEMPORARY_SUFFIX = ".tmp"
AT_A_TIME = 16  # requests
Result = TypeVar("Result")


@dataclass
class StoredFile:
    """A file being written: `path` is where to write it; the rest is known after it was stored."""

    path: Path
    bytes: int = 0
    sha256: str = ""


class Folder:
    """Reads and writes the files of one folder by names relative to it.

    What is read may also have a full address, as `absolute` makes it: a file of another run, left where it lies.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") if url not in ("/", "memory://") else url
        try:
            filesystem, self.root = open_filesystem(self.url)
        except (ValueError, ImportError) as error:
            raise OutputError(
                f"{url}: {error}. Give a local path or an fsspec URL whose package is installed"
            ) from error
        self.filesystem: fsspec.AbstractFileSystem = filesystem
        self.is_local = "file" in _protocols(filesystem)
        self.is_in_memory = "memory" in _protocols(filesystem)
        self.is_in_store = is_store(filesystem)

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"

    def absolute_url(self) -> str:
        """The folder's URL, independent of the working folder."""
        return self.root if self.is_local else self.filesystem.unstrip_protocol(self.root)

    def address(self, name: str) -> str:
        """The full address of a file, for people."""
        return name if _is_absolute(name) else f"{self.url}/{name}"

    def absolute(self, name: str) -> str:
        """A name by which any folder finds the file."""
        return name if _is_absolute(name) else f"{self.absolute_url()}/{name}"

    def _patiently(self, name: str, call: Callable[[], Result]) -> Result:
        return patiently(self.filesystem, self.address(name), call)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _holder(self, name: str) -> "tuple[Folder, str]":
        """The folder that a file lies in, and its name there."""
        if not _is_absolute(name):
            return self, name
        parent, _, leaf = name.rpartition("/")
        return _folder(parent), leaf

    def exists(self, name: str) -> bool:
        folder, name = self._holder(name)
        if not folder.is_in_store:
            return folder.filesystem.exists(folder._path(name))
        try:
            folder.size(name)
        except FileNotFoundError:
            return False
        return True

    def is_empty(self) -> bool:
        """True when nothing but our own lock file, and documents that were generated for the run, lies here."""
        return self._patiently("", self._is_empty)

    def _is_empty(self) -> bool:
        if not self.filesystem.exists(self.root):
            return True
        if not self.filesystem.isdir(self.root):
            raise OutputError(f"{self.url} is a file; give a folder for the run")
        return all(
            entry.rsplit("/", 1)[-1] in ("run.lock", "synthetic")
            for entry in self.filesystem.ls(self.root, detail=False)
        )

    def names(self, pattern: str) -> list[str]:
        """Names that match a glob pattern, sorted; what was written a moment ago may be missing from a store's."""
        prefix = len(self.root.rstrip("/")) + 1
        found = self._patiently(pattern, lambda: self.filesystem.glob(self._path(pattern)))
        return sorted(str(path)[prefix:] for path in found)

    def read_bytes(self, name: str) -> bytes:
        # Reading parts at the same time would cost a request for the size first.
        options = {"max_concurrency": 1} if self.is_in_store else {}
        data = self._patiently(name, lambda: self.filesystem.cat_file(self._path(name), **options))
        return bytes(data)  # type: ignore[arg-type]

    def open(self, name: str) -> IO[bytes]:
        """A file opened for reading, at any position."""
        if self.is_in_store:
            return StoredObject(self.filesystem, self._path(name))  # type: ignore[return-value]
        return self.filesystem.open(self._path(name), "rb")  # type: ignore[return-value]

    def read_json(self, name: str) -> Any:
        try:
            return orjson.loads(self.read_bytes(name))
        except orjson.JSONDecodeError as error:
            raise RunError(f"{self.address(name)} is damaged ({error}); delete it and run again") from error

    def read_jsons(self, names: Iterable[str]) -> list[Any]:
        """Many JSON files in their order, None for those that are not there; from a store, some at a time."""
        if not self.is_in_store:
            return [self._json_or_none(name) for name in names]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            return list(pool.map(self._json_or_none, names))

    def _json_or_none(self, name: str) -> Any:
        try:
            return self.read_json(name)
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[StoredFile]:
        """Yield a local path to write; on leaving, the whole file appears under `name`, or nothing does."""
        target = self._path(name)
        if self.is_local:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            stored = StoredFile(Path(f"{target}.{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}"))
        else:
            handle, temporary = tempfile.mkstemp(prefix="florilegium-")
            os.close(handle)
            stored = StoredFile(Path(temporary))
        try:
            yield stored
            with stored.path.open("rb") as written:
                os.fsync(written.fileno())
                stored.sha256 = hashlib.file_digest(written, "sha256").hexdigest()
                stored.bytes = written.tell()
            if self.is_local:
                stored.path.replace(target)
            elif self.is_in_store:
                self._upload(stored.path, name)
            else:
                self.filesystem.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
                self.filesystem.put_file(str(stored.path), target)
        finally:
            stored.path.unlink(missing_ok=True)

    def _upload(self, path: Path, name: str) -> None:
        """One request, or for a large file the parts of one upload; the object is there when the last one is."""
        try:
            self._patiently(name, lambda: self.filesystem.put_file(str(path), self._path(name)))
        except FileNotFoundError as error:
            raise OutputError(f"{self.url}: no such bucket. Create it, or correct --output") from error

    def write_bytes(self, name: str, data: bytes) -> None:
        with self.create(name) as stored:
            stored.path.write_bytes(data)

    def write_json(self, name: str, value: Any) -> None:
        self.write_bytes(name, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))

    @contextlib.contextmanager
    def open_parquet(self, name: str, dictionary: Sequence[str] = ()) -> "Iterator[ParquetFile]":
        """A Parquet file that reads only the ranges asked for; columns of `dictionary` stay dictionaries."""
        from pyarrow.parquet import ParquetFile  # questions about a run need none of it, and start in half the time

        folder, name = self._holder(name)
        columns = list(dictionary)
        if folder.is_local:
            with ParquetFile(folder._path(name), read_dictionary=columns) as file:
                yield file
        else:
            # Columns that lie side by side are one request.
            with (
                folder.open(name) as handle,
                ParquetFile(handle, read_dictionary=columns, pre_buffer=folder.is_in_store) as file,
            ):
                yield file

    @contextlib.contextmanager
    def as_local(self, name: str) -> Iterator[str]:
        """A local path with a file's content, for libraries that open paths only."""
        folder, name = self._holder(name)
        if folder.is_local:
            yield folder._path(name)
            return
        with tempfile.TemporaryDirectory(prefix="florilegium-") as scratch:
            target = str(Path(scratch, "file"))
            folder._patiently(name, lambda: folder.filesystem.get_file(folder._path(name), target))
            yield target

    def sha256(self, name: str) -> str:
        folder, name = self._holder(name)
        if folder.is_in_store:
            with folder.as_local(name) as path, open(path, "rb") as handle:
                return hashlib.file_digest(handle, "sha256").hexdigest()
        with folder.filesystem.open(folder._path(name), "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()  # type: ignore[arg-type]

    def size(self, name: str) -> int:
        folder, name = self._holder(name)
        return folder._patiently(name, lambda: object_size(folder.filesystem, folder._path(name)))

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._patiently(name, lambda: self.filesystem.rm_file(self._path(name)))

    def remove_temporaries(self) -> None:
        """Delete what killed writers left; call only while holding the run."""
        if self.is_local:
            for path in Path(self.root).rglob(f"*{TEMPORARY_SUFFIX}"):
                path.unlink(missing_ok=True)

    def free_bytes(self) -> int | None:
        """Free space, where the file system knows it."""
        if not self.is_local:
            return None
        path = Path(self.root)
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free


def _is_absolute(name: str) -> bool:
    return name.startswith("/") or "://" in name


@cache
def _folder(url: str) -> Folder:
    return Folder(url)


def _protocols(filesystem: fsspec.AbstractFileSystem) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def explain_os_error(error: OSError, folder: str = "the output folder") -> FlorilegiumError:
    """The sentence for what a disk or a permission refused, in `folder` where the error names no file."""
    place = error.filename or folder
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(
            f"{place}: the disk is full. Free some space or choose another --output, then run the same command "
            "again: finished tasks are kept"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"{place}: no permission. Check its owner and mode, or choose another folder")
    if error.errno == errno.ENOTDIR:
        return OutputError(f"{place}: a part of this path is a file, not a folder")
    if error.errno == errno.ENOENT:
        return OutputError(f"{place}: no such file or folder, and it cannot be made. Check the path")
    return RunError(f"{place}: {error.strerror or error}")
