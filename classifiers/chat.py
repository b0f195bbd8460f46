"""Chat completions from any OpenAI-compatible endpoint, over the standard library.

    POST {endpoint}/chat/completions    {"model": …, "messages": […], "temperature": 0}

What may pass (429, 5xx, a broken connection, half an answer, silence) is tried again with growing pauses; what will
not (a wrong key, an unknown model) stops at once. The key comes from the environment, goes into one header, is
never sent in clear over a network or to where a redirect points, and is cut out of every message. Connections are
kept for the next request, since opening them is most of what a request costs here.
"""

import base64
import json
import os
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import pyarrow as pa

from ..schemas.errors import InputError, RequestError
from ..schemas.hashing import document_id, hash64, id_words, uniform

__all__ = ["KEY_VARIABLE", "Chat", "Reply", "Unanswered"]

KEY_VARIABLE = "FLORILEGIUM_API_KEY"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds
MOST_BYTES = 1 << 20
LOCAL = ("localhost", "127.0.0.1", "::1")
PASSING = (408, 409, 425, 429)


class Unanswered(Exception):
    """No usable answer after all attempts; the message says what happened to the last."""


@dataclass(frozen=True)
class Reply:
    """One answer and what it cost."""

    content: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None = None  # `length` where the model was cut off


class _Status(Exception):
    """An answer other than the one asked for."""

    def __init__(self, code: int, told: str, retry_after: str) -> None:
        super().__init__(f"status {code}")
        self.code, self.told, self.retry_after = code, told, retry_after


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@dataclass(frozen=True)
class Chat:
    """One model at one endpoint. Raises `InputError` for an endpoint that would expose the key."""

    endpoint: str
    model: str
    key_variable: str = KEY_VARIABLE
    timeout: float = 60.0  # seconds, for the first byte and again for the rest
    attempts: int = 6
    seed: int = 7
    parameters: dict[str, Any] = field(default_factory=lambda: {"temperature": 0})
    _idle: list[HTTPConnection] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"--endpoint {self.endpoint!r}: not an HTTP address; give one such as https://host/v1")
        if parts.username or parts.password or parts.query:
            raise InputError(f"--endpoint: put no credentials into the address; set {self.key_variable} instead")
        if parts.scheme == "http" and parts.hostname not in LOCAL and self._key():
            raise InputError(
                f"--endpoint {self.endpoint!r}: the key would travel in clear; use https, or unset {self.key_variable} "
                "if this server needs none"
            )

    def ask(
        self, messages: Sequence[dict[str, str]], name: str, accept: Callable[[str], Any], stop: threading.Event
    ) -> tuple[Any, Reply]:
        """What `accept` makes of the answer, and the answer; `accept` raises ValueError for one of no use.

        `name` identifies the request, for its pauses; `stop` ends them. Raises `Unanswered` after all attempts, and
        `RequestError` where no attempt could help.
        """
        trouble, asked = "", ""
        for attempt in range(self.attempts):
            if attempt and stop.wait(self._pause(name, attempt, asked)):
                raise Unanswered(f"{trouble} (stopped)")
            try:
                reply = self._post(messages)
                return accept(reply.content), reply
            except _Status as error:
                if error.code not in PASSING and error.code < 500:
                    message = f"{self.endpoint} answered {error.code}{error.told}; {self._remedy(error.code)}"
                    raise RequestError(message) from None
                trouble, asked = str(error), error.retry_after
            except (OSError, HTTPException) as error:  # timeouts and failed handshakes are OSErrors
                trouble, asked = self._clean(f"{type(error).__name__}: {error}"), ""
            except ValueError as error:
                trouble, asked = self._clean(f"answer refused: {error}"), ""
        raise Unanswered(f"{trouble} (after {self.attempts} attempts)")

    def _post(self, messages: Sequence[dict[str, str]]) -> Reply:
        body = json.dumps({"model": self.model, "messages": list(messages), **self.parameters}).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "florilegium"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        payload = self._exchange(body, headers)
        try:
            answer = json.loads(payload)
            choice = answer["choices"][0]
            content = choice["message"]["content"]
        except (ValueError, LookupError, TypeError):
            raise ValueError("not a chat completion") from None
        if not isinstance(content, str):
            raise ValueError("a chat completion without text")
        usage = answer.get("usage") if isinstance(answer.get("usage"), dict) else {}
        finish = choice.get("finish_reason")
        counts = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        return Reply(content, *counts, finish if isinstance(finish, str) else None)

    def _exchange(self, body: bytes, headers: dict[str, str]) -> bytes:
        """Send a request and read the whole answer. A kept connection may have been closed by now: then a new one."""
        try:
            connection, kept = self._idle.pop(), True
        except IndexError:
            connection, kept = self._connection(), False
        try:
            connection.request("POST", self._target(connection), body, headers)
            response = connection.getresponse()
        except ConnectionError:  # also where the other side closed without a word
            connection.close()
            if not kept:
                raise
            self._idle.clear()  # of the same age
            return self._exchange(body, headers)
        except BaseException:
            connection.close()
            raise
        whole = False
        try:
            if not 200 <= response.status < 300:
                raise _Status(response.status, self._told(response), response.headers.get("Retry-After", ""))
            payload, whole = self._read(response)
        finally:
            if whole and not response.will_close:
                response.close()
                self._idle.append(connection)
            else:
                connection.close()
        return payload

    def _connection(self) -> HTTPConnection:
        """To the endpoint, or to the proxy that the environment names; what is local needs none."""
        parts = urlsplit(self.endpoint)
        host, secure = parts.hostname or "", parts.scheme == "https"
        proxy = "" if host in LOCAL or proxy_bypass(host) else getproxies().get(parts.scheme, "")
        via = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else parts
        address: tuple[str, int | None] = via.hostname or "", via.port
        if not secure:
            return HTTPConnection(*address, timeout=self.timeout)
        connection = HTTPSConnection(*address, timeout=self.timeout, context=_tls())
        if proxy:
            connection.set_tunnel(host, parts.port, _credentials(via.username, via.password))
        return connection

    def _target(self, connection: HTTPConnection) -> str:
        """What is asked for: a path, and the whole address where a proxy passes it on in clear."""
        parts = urlsplit(self.endpoint)
        path = f"{parts.path.rstrip('/')}/chat/completions"
        through = parts.scheme == "http" and connection.host != parts.hostname
        return f"http://{parts.netloc}{path}" if through else path

    def _read(self, response: HTTPResponse) -> tuple[bytes, bool]:
        """The answer, unless it is endless in bytes or in time, and whether all of it came."""
        parts, size, end, promised = [], 0, time.monotonic() + self.timeout, response.length
        while (promised is None or size < promised) and (part := response.read1(1 << 16)):
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise ValueError("longer than a megabyte")
            if time.monotonic() > end:
                raise TimeoutError("the answer did not end")
        return b"".join(parts), promised is None or size == promised

    def _key(self) -> str:
        return os.environ.get(self.key_variable, "").strip()

    def _pause(self, name: str, attempt: int, asked: str) -> float:
        """Doubling from a second to a minute, times .5–1.5 by hash; at least what the server asks, up to a minute."""
        high, low = id_words(pa.array([document_id(name.encode())], pa.string()))
        spread = float(uniform(hash64(self.seed, f"pause:{attempt}", high, low))[0]) + 0.5
        pause = min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE) * spread
        return max(pause, min(float(asked), LONGEST_PAUSE)) if asked.isdecimal() else pause

    def _told(self, response: HTTPResponse) -> str:
        """The server's own words, short and without the key."""
        try:
            answer = json.loads(response.read(4096))
            told = answer["error"]["message"] if isinstance(answer["error"], dict) else answer["error"]
        except (OSError, HTTPException, ValueError, LookupError, TypeError):
            return ""
        return f" ({self._clean(str(told))[:200]})"

    def _remedy(self, code: int) -> str:
        if code in (401, 403):
            return f"check the key in {self.key_variable}" if self._key() else f"set {self.key_variable} to your key"
        if code in range(300, 400):
            return "give the address that it points to"
        return "check --endpoint and --model"

    def _clean(self, text: str) -> str:
        """Without the key, also where a server repeats only its ends."""
        key = self._key()
        if not key:
            return text
        text = text.replace(key, "[key]")
        for size in range(len(key) - 1, 7, -1):
            text = text.replace(key[:size], "[key]").replace(key[-size:], "[key]")
        return text


def _credentials(name: str | None, password: str | None) -> dict[str, str]:
    """The header by which a proxy knows its user."""
    if not name:
        return {}
    pair = f"{unquote(name)}:{unquote(password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
