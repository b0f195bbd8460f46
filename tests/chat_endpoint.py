"""What the chat endpoints of tests have in common: they really listen on this machine, and fail on demand."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["ChatHandler", "listening"]


class ChatHandler(BaseHTTPRequestHandler):
    """Answers that every endpoint can give; a subclass sets `key` and `hanging`, and says what it answers."""

    key: str
    hanging: threading.Event  # set when those that hang may go

    def asked(self) -> dict[str, Any]:
        """The request's body."""
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def fail(self, fault: str) -> bool:
        """Give the answer of a fault, or of a wrong key; False where there is neither."""
        if self.key and self.headers["Authorization"] != f"Bearer {self.key}":
            told = f"Incorrect API key provided: {self.headers['Authorization']}"
            self.answer(401, json.dumps({"error": {"message": told}}))
        elif fault == "429":
            self.answer(429, "{}", {"Retry-After": "0"})
        elif fault == "500":
            self.answer(500, f"oops {self.key}")
        elif fault == "hang":
            self.hanging.wait(20)
            self.close_connection = True
        elif fault == "half":
            self.answer(200, '{"choices": [{"message": {"content": "{', length=4000)
        else:
            return False
        return True

    def complete(self, content: str, finish: str = "stop") -> None:
        """A chat completion."""
        usage = {"prompt_tokens": 100, "completion_tokens": max(len(content) // 4, 1)}
        choice = {"message": {"content": content}, "finish_reason": finish}
        self.answer(200, json.dumps({"choices": [choice], "usage": usage}))

    def answer(self, status: int, body: str, headers: dict[str, str] | None = None, length: int = -1) -> None:
        """Any answer; with `length` it promises so many bytes and breaks off."""
        payload = body.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload) if length < 0 else length))
        self.end_headers()
        self.wfile.write(payload)
        if length >= 0:
            self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


@contextmanager
def listening(handler: type[ChatHandler], port: int = 0) -> Iterator[str]:
    """The address of an endpoint while it listens."""
    server = _Listening(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        handler.hanging.set()
        server.shutdown()
        thread.join()
        server.server_close()
