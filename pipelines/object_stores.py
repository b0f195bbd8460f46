"""Object stores, `s3://` and `gs://`: patient with outages, fresh in what they list, plain in what they refuse.

    outage      429, 5xx, a connection lost: tried again for PATIENCE_SECONDS with growing, jittered pauses; the
                clients' own retries end after 7 to 10 seconds (s3fs) and 33 (gcsfs)
    refusal     credentials, permissions, a bucket that is not there: one sentence with the remedy, at once
    not found   FileNotFoundError, as on a disk

No listing is cached: what another worker wrote is seen. Nothing is read ahead: a range is one request.
"""

import io
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

import fsspec
from fsspec.asyn import sync
from fsspec.core import url_to_fs

from ..schemas.errors import FlorilegiumError, MissingExtraError, RequestError, StoreError

__all__ = ["StoredObject", "is_store", "object_size", "open_filesystem", "patiently"]

STORES = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # protocol → extra
PATIENCE_SECONDS = 300.0  # an outage is waited for
STRANGER_SECONDS = 20.0  # while nothing answered yet in this process: it may be a wrong address
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
CLIENTS = {"aiobotocore", "aiohttp", "asyncio", "botocore", "fsspec", "gcsfs", "google", "requests", "s3fs", "urllib3"}
TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}
TRANSIENT_CODES = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling"}
EXPIRED_CODES = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
UNKNOWN_CODES = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity"}
NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ProfileNotFound"}
EXPIRED = {"RefreshError", "UnauthorizedSSOTokenError", "SSOTokenLoadError", "TokenRetrievalError"}
UNREACHED = {"EndpointConnectionError", "ClientConnectorError", "ClientConnectorDNSError", "ConnectTimeoutError"}
RENEW = {
    "s3": "Renew them (`aws sso login`, or new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN)",
    "gcs": "Renew them (`gcloud auth application-default login`, or a new key in GOOGLE_APPLICATION_CREDENTIALS)",
}
GIVE = {
    "s3": "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives some; for a "
    "public bucket set FSSPEC_S3_ANON=true",
    "gcs": "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key file; for a "
    "public bucket set FSSPEC_GS_TOKEN=anon",
}
ALLOW = {
    "s3": "Grant s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject",
    "gcs": "Grant the role Storage Object User",
}
ENDPOINT = {"s3": "AWS_ENDPOINT_URL", "gcs": "STORAGE_EMULATOR_HOST"}
RERUN = "Finished tasks are kept: run the same command again to go on"

Result = TypeVar("Result")
_answered: set[str] = set()  # extras of stores that have answered this process
_log = logging.getLogger(__name__)


def open_filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URL or local path, and the path there.

    Raises MissingExtraError where a store's package is missing, ValueError and ImportError as fsspec does.
    """
    protocol, separator, _ = url.rpartition("::")[2].partition("://")
    extra = STORES.get(protocol) if separator else None
    if extra is None:
        return url_to_fs(url)
    options: dict[str, Any] = {"use_listings_cache": False}
    try:
        if "::" in url:
            return url_to_fs(url, **{protocol: options})
        if extra == "gcs":
            _keep_to_http()
            logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs what it then raises
            options["consistency"] = "md5"  # what arrived is compared with what was sent; S3 does so by itself
        return url_to_fs(url, **options)
    except ImportError as error:
        raise MissingExtraError(f"{url}: {protocol}:// needs: pip install 'florilegium[{extra}]'") from error
    except Exception as error:
        raise _explain(error, url, extra) or error from error


@cache
def _keep_to_http() -> None:
    """Have gcsfs speak HTTP alone: its gRPC outlives no fork, and knows no address but Google's own."""
    if os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false") == "false":
        core = import_module("gcsfs.core")
        for protocol in ("gs", "gcs"):
            fsspec.register_implementation(protocol, core.GCSFileSystem, clobber=True)


def is_store(filesystem: fsspec.AbstractFileSystem) -> bool:
    return _extra_of(filesystem) is not None


def _extra_of(filesystem: fsspec.AbstractFileSystem) -> str | None:
    protocols = filesystem.protocol
    return STORES.get(protocols if isinstance(protocols, str) else protocols[0])


def patiently(filesystem: fsspec.AbstractFileSystem, place: str, call: Callable[[], Result]) -> Result:
    """The result of a call to a file system; where that is a store, outages are waited for and refusals explained.

    Raises StoreError for an outage that lasts, RequestError for a refusal, FileNotFoundError as it comes. `call`
    is harmless to repeat.
    """
    extra = _extra_of(filesystem)
    if extra is None:
        return call()
    pauses = _pauses()
    started = time.monotonic()
    while True:
        try:
            result = call()
        except FileNotFoundError:
            _answered.add(extra)
            raise
        except FlorilegiumError:
            raise
        except Exception as error:
            waited = time.monotonic() - started
            patience = PATIENCE_SECONDS if extra in _answered or not _is_unreached(error) else STRANGER_SECONDS
            if not _is_transient(error) or waited > patience:
                raise _explain(error, place, extra, waited) or error from error
            _log.debug("%s: %s; trying again", place, error)
            time.sleep(next(pauses))
        else:
            _answered.add(extra)
            return result


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def object_size(filesystem: fsspec.AbstractFileSystem, path: str) -> int:
    """The bytes of an object, by one request; gcsfs's own `info` also asks twice whether it is a folder.

    Raises FileNotFoundError where there is none.
    """
    if _extra_of(filesystem) == "gcs":
        return int(sync(filesystem.loop, filesystem._get_object, path)["size"])  # type: ignore[attr-defined]
    return int(filesystem.info(path)["size"] or 0)


class StoredObject(io.RawIOBase):
    """An object opened for reading at any position; each `read` is one request of exactly that range."""

    def __init__(self, filesystem: fsspec.AbstractFileSystem, path: str) -> None:
        self._filesystem, self._path = filesystem, path
        self._place = filesystem.unstrip_protocol(path)
        self._position = 0
        self.size = patiently(filesystem, self._place, lambda: object_size(filesystem, path))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence] + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        start = self._position
        stop = self.size if size is None or size < 0 else min(start + size, self.size)
        if start >= stop:
            return b""
        data = patiently(self._filesystem, self._place, lambda: self._range(start, stop))
        self._position = stop
        return data

    def _range(self, start: int, stop: int) -> bytes:
        data = bytes(self._filesystem.cat_file(self._path, start=start, end=stop))  # type: ignore[arg-type]
        if len(data) != stop - start:
            raise ConnectionError(f"{len(data)} of {stop - start} bytes came")
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, outermost first."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__


def _names(error: BaseException) -> set[str]:
    """The class names of an error, its bases and its causes, as far as clients of stores define them."""
    return {
        kind.__name__
        for each in _chain(error)
        for kind in type(each).__mro__
        if kind.__module__.partition(".")[0] in CLIENTS
    }


def _status_and_code(error: BaseException) -> tuple[int, str]:
    """The HTTP status that a store answered and its own word for it; 0 and "" where it did not answer."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict) and "Error" in response:
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return int(status), str(response["Error"].get("Code", ""))
        told = getattr(each, "code", None) or getattr(each, "status", None)
        if told is not None and str(told).isdigit():
            return int(told), ""
        if str(each).startswith("Forbidden: "):
            return 403, ""
    return 0, ""


def _is_unreached(error: BaseException) -> bool:
    return bool(_names(error) & UNREACHED) or any(isinstance(each, ConnectionRefusedError) for each in _chain(error))


def _is_transient(error: BaseException) -> bool:
    names = _names(error)
    if names & (NO_CREDENTIALS | EXPIRED):
        return False
    status, code = _status_and_code(error)
    if status or code:
        return status in TRANSIENT_STATUS or code in TRANSIENT_CODES
    if any(isinstance(each, ConnectionError | TimeoutError) for each in _chain(error)):
        return True
    # What clients raise without an answer: connections, time-outs, broken bodies and checksums.
    return bool(names & {"HTTPClientError", "ClientError", "RequestException", "TransportError", "ChecksumError"})


def _explain(error: BaseException, place: str, extra: str, waited: float = 0.0) -> FlorilegiumError | None:
    """The sentence for what a store refused or failed at; None for what is no store's error."""
    names = _names(error)
    status, code = _status_and_code(error)
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    anonymous = "Anonymous caller" in str(error)
    if names & NO_CREDENTIALS or anonymous:
        return RequestError(f"{place}: no credentials were found for it. {GIVE[extra]}")
    if names & EXPIRED or code in EXPIRED_CODES or status == 401:
        return RequestError(f"{place}: the credentials have expired, or are refused. {RENEW[extra]}")
    if code in UNKNOWN_CODES:
        return RequestError(f"{place}: the store does not know these credentials ({code}). {RENEW[extra]}")
    if status == 403 or isinstance(error, PermissionError):
        return RequestError(f"{place}: these credentials may not do that ({said}). {ALLOW[extra]}")
    if status in (301, 307) or code in ("PermanentRedirect", "AuthorizationHeaderMalformed"):
        return RequestError(f"{place}: the bucket is in another region. Set AWS_REGION to the bucket's own")
    if _is_unreached(error) or (isinstance(error, ValueError) and "endpoint" in said.lower()):
        kind = StoreError if extra in _answered else RequestError
        return kind(
            f"{place}: the store cannot be reached ({said}). Check the network, and {ENDPOINT[extra]} if it is set"
        )
    if "NoSuchBucket" in code or "bucket name" in said.lower():
        return RequestError(f"{place}: no such bucket ({said}). Create it, or correct the address")
    if _is_transient(error):
        return StoreError(f"{place}: the store has failed for {waited:.0f} seconds ({said}). {RERUN}")
    if status or names:
        return StoreError(f"{place}: the store answered: {said}")
    return None
