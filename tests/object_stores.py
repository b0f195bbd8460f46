"""Local object stores for tests, moto and gcp-storage-emulator, behind a proxy that counts, fails and forgets."""

import contextlib
import http.client
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

__all__ = ["Proxy", "Request", "gcs_environment", "gcs_server", "s3_environment", "s3_server"]

BUCKET = "curated"
HOP = {"content-length", "transfer-encoding", "connection"}  # headers that are not passed on


class Request:
    """One request as the proxy saw it."""

    def __init__(self, method: str, path: str, headers: dict[str, str], size: int) -> None:
        self.method, self.path, self.size = method, unquote(path), size
        self.range = headers.get("Range") or headers.get("range")

    @property
    def is_listing(self) -> bool:
        return self.method == "GET" and ("list-type=2" in self.path or re.search(r"/o/?\?", self.path) is not None)

    def __repr__(self) -> str:
        return f"{self.method} {self.path} {self.range or ''}"


class Proxy:
    """Passes requests on to a store at `port` and keeps them in `requests`.

    `fault` may answer a request itself, with a status. While `late_seconds` is set, listings of S3 leave out
    what was put so recently.
    """

    def __init__(self, port: int) -> None:
        self.upstream = port
        self.requests: list[Request] = []
        self.fault: Callable[[Request], int | None] = lambda request: None
        self.late_seconds = 0.0
        self.put_at: dict[str, float] = {}
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @contextlib.contextmanager
    def counted(self) -> Iterator[list[Request]]:
        """The requests that come in the meantime."""
        self.requests = []
        yield self.requests

    def fail_for(self, seconds: float, status: int = 503) -> None:
        """Answer every request with `status` until `seconds` have passed."""
        end = time.monotonic() + seconds
        self.fault = lambda request: status if time.monotonic() < end else None

    def _forget(self, body: bytes) -> bytes:
        """A listing of S3 without what was put too recently."""
        recent = {key for key, at in self.put_at.items() if time.monotonic() - at < self.late_seconds}
        if not recent:
            return body

        def kept(match: re.Match[bytes]) -> bytes:
            key = re.search(rb"<Key>(.*?)</Key>", match[0])
            return b"" if key and unquote(key[1].decode()) in recent else match[0]

        return re.sub(rb"<Contents>.*?</Contents>", kept, body, flags=re.DOTALL)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _body(self) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def _pass_on(self) -> None:
                body = self._body()
                request = Request(self.command, self.path, dict(self.headers), len(body))
                with proxy.lock:
                    proxy.requests.append(request)
                status = proxy.fault(request)
                if status is not None:
                    self._answer(status, [("Content-Type", "text/plain")], b"the store is away")
                    return
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=30)) as store:
                    headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
                    headers |= {"Content-Length": str(len(body)), "Connection": "close"}
                    store.request(self.command, self.path, body, headers)
                    answer = store.getresponse()
                    content = answer.read()
                if self.command == "PUT" and answer.status == 200:
                    proxy.put_at[request.path.partition("?")[0].split("/", 2)[-1]] = time.monotonic()
                if proxy.late_seconds and request.is_listing:
                    content = proxy._forget(content)
                with contextlib.suppress(ConnectionError):  # clients cancel what they no longer need
                    self._answer(answer.status, answer.getheaders(), content)

            def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                length = next((v for n, v in headers if n.lower() == "content-length"), "0")
                self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _pass_on

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@contextlib.contextmanager
def s3_server() -> Iterator[Proxy]:
    """S3 by moto with an empty bucket BUCKET."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()  # fsspec keeps those of an earlier server, at another port
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    proxy = Proxy(server.get_host_and_port()[1])
    try:
        _put(proxy, "PUT", f"/{BUCKET}")
        yield proxy
    finally:
        proxy.close()
        server.stop()


@contextlib.contextmanager
def gcs_server() -> Iterator[Proxy]:
    """Google's store by gcp-storage-emulator with an empty bucket BUCKET."""
    from gcp_storage_emulator.server import create_server
    from gcsfs import GCSFileSystem

    GCSFileSystem.clear_instance_cache()  # as for S3
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    server._api.is_running.wait(10)
    proxy = Proxy(server._api._httpd.server_address[1])
    try:
        yield proxy
    finally:
        proxy.close()
        server.stop()


def _put(proxy: Proxy, method: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=30)
    connection.request(method, path)
    assert connection.getresponse().status == 200
    connection.close()


def s3_environment(proxy: Proxy) -> dict[str, str]:
    """What a client of the local store finds in its environment."""
    return {
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def gcs_environment(proxy: Proxy) -> dict[str, str]:
    return {"STORAGE_EMULATOR_HOST": proxy.url, "FSSPEC_GS_TOKEN": "anon", "NO_GCE_CHECK": "true"}
