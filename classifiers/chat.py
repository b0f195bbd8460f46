"""Chat completions from any OpenAI-compatible endpoint, over the standard library.

    POST {endpoint}/chat/completions    {"model": …, "messages": […], "temperature": 0}

What may pass (429, 5xx, a broken connection, half an answer, silence) is tried again with growing pauses; what will
not (a wrong key, an unknown model) stops at once. The key comes from the environment, goes into one header, is
never sent in clear over a network or to where a redirect points, and is cut out of every message.
"""

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

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


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


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
            except urllib.error.HTTPError as error:
                with error:
                    told = self._told(error)
                    if error.code not in PASSING and error.code < 500:
                        message = f"{self.endpoint} answered {error.code}{told}; {self._remedy(error.code)}"
                        raise RequestError(message) from None
                    trouble, asked = f"status {error.code}", error.headers.get("Retry-After", "")
            except (OSError, HTTPException) as error:  # URLError and timeouts are OSErrors
                trouble, asked = self._clean(f"{type(error).__name__}: {getattr(error, 'reason', error)}"), ""
            except ValueError as error:
                trouble, asked = self._clean(f"answer refused: {error}"), ""
        raise Unanswered(f"{trouble} (after {self.attempts} attempts)")

    def _post(self, messages: Sequence[dict[str, str]]) -> Reply:
        body = {"model": self.model, "messages": list(messages), **self.parameters}
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "florilegium"}
        request = urllib.request.Request(
            f"{self.endpoint.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers, method="POST"
        )
        if key := self._key():
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=self.timeout) as response:
            payload = self._read(response)
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

    def _read(self, response: Any) -> bytes:
        """The whole answer, unless it is endless in bytes or in time."""
        parts, size, end = [], 0, time.monotonic() + self.timeout
        while part := response.read1(1 << 16):
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise ValueError("longer than a megabyte")
            if time.monotonic() > end:
                raise TimeoutError("the answer did not end")
        return b"".join(parts)

    def _key(self) -> str:
        return os.environ.get(self.key_variable, "").strip()

    def _pause(self, name: str, attempt: int, asked: str) -> float:
        """Doubling from a second to a minute, times .5–1.5 by hash; at least what the server asks, up to a minute."""
        high, low = id_words(pa.array([document_id(name.encode())], pa.string()))
        spread = float(uniform(hash64(self.seed, f"pause:{attempt}", high, low))[0]) + 0.5
        pause = min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE) * spread
        return max(pause, min(float(asked), LONGEST_PAUSE)) if asked.isdecimal() else pause

    def _told(self, error: urllib.error.HTTPError) -> str:
        """The server's own words, short and without the key."""
        try:
            answer = json.loads(error.read(4096))
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


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
