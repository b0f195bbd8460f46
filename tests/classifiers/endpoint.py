"""A chat endpoint that really listens on this machine, with faults on demand."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from florilegium.classifiers.rubric import dimensions

KEY = "sk-test-0123456789abcdef"


def grades(text: str) -> dict[str, int]:
    """Made up from the text alone: every reading of a document gets the same."""
    return {name: (len(text) + place) % (highest + 1) for place, (name, highest) in enumerate(dimensions().items())}


@dataclass
class Endpoint:
    """What it was asked, and how it answers the n-th request (from 0)."""

    fault: Callable[[int], str] = lambda number: ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""
    hanging: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve(endpoint: Endpoint) -> Iterator[Endpoint]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(endpoint.asked)
                endpoint.asked.append({"path": self.path, "body": body, "authorization": self.headers["Authorization"]})
            self._answer(endpoint.fault(number), body["messages"][-1]["content"])

        def _answer(self, fault: str, content: str) -> None:
            if self.headers["Authorization"] != f"Bearer {KEY}":
                told = f"Incorrect API key provided: {self.headers['Authorization']}"
                self._send(401, json.dumps({"error": {"message": told}}))
            elif fault == "429":
                self._send(429, "{}", {"Retry-After": "0"})
            elif fault == "500":
                self._send(500, f"oops {KEY}")
            elif fault == "redirect":
                self._send(307, "", {"Location": f"{endpoint.address}/elsewhere"})
            elif fault == "404":
                self._send(404, json.dumps({"error": f"no such model, said {KEY}"}))
            elif fault == "hang":
                endpoint.hanging.wait(20)
            elif fault == "half":
                self._send(200, '{"choices": [{"message": {"content": "{', length=4000)
            elif fault == "prose":
                self._completion("Here you are: all zeros!")
            elif fault == "scale":
                self._completion(json.dumps({**grades(content), "hate": 3}))
            else:
                self._completion(json.dumps(grades(content)))

        def _completion(self, content: str) -> None:
            usage = {"prompt_tokens": 100, "completion_tokens": 50}
            self._send(200, json.dumps({"choices": [{"message": {"content": content}}], "usage": usage}))

        def _send(self, status: int, body: str, headers: dict[str, str] | None = None, length: int = -1) -> None:
            payload = body.encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload) if length < 0 else length))
            self.end_headers()
            self.wfile.write(payload)
            self.close_connection = True

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.address = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.hanging.set()
        server.shutdown()
        server.server_close()
        thread.join()
