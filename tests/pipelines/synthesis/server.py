"""A chat endpoint that really listens on this machine: it writes dialogues of the composer, and fails on demand."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zlib import crc32

from florilegium.pipelines.synthesis.composer import compose
from florilegium.pipelines.synthesis.grid import Cell, plan_cells
from florilegium.schemas.recipe import Synthesis

KEY = "sk-secret-0123456789abcdef"


def library() -> dict[str, list[str]]:
    """Documents that pass the gates, by kind."""
    found: dict[str, list[str]] = {"dialogue": [], "essay": []}
    for kind, name in (("dialogue", "dialogue"), ("reasons", "essay")):
        cells: list[Cell] = plan_cells(Synthesis(documents=207, kinds={kind: 1.0}), 3)  # type: ignore[dict-item]
        found[name] = [compose(cell) for cell in cells]
    return found


@dataclass
class Server:
    """What it was asked, and how it answers the n-th request (from 0)."""

    fault: Callable[[int], str] = lambda number: ""
    answer: Callable[[int, dict[str, Any]], str] | None = None
    latency: float = 0.0
    key: str = KEY
    asked: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""
    under_way: int = 0
    busy: list[tuple[float, int]] = field(default_factory=list)  # moments, and how many requests were under way
    hanging: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve(server: Server, port: int = 0) -> Iterator[Server]:
    lock, documents = threading.Lock(), library()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(server.asked)
                server.asked.append({"body": body, "authorization": self.headers["Authorization"]})
                server.under_way += 1
                server.busy.append((time.monotonic(), server.under_way))
            try:
                time.sleep(server.latency)
                self._answer(number, server.fault(number), body)
            finally:
                with lock:
                    server.under_way -= 1
                    server.busy.append((time.monotonic(), server.under_way))

        def _answer(self, number: int, fault: str, body: dict[str, Any]) -> None:
            if server.key and self.headers["Authorization"] != f"Bearer {server.key}":
                told = f"Incorrect API key provided: {self.headers['Authorization']}"
                self._send(401, json.dumps({"error": {"message": told}}))
            elif fault == "429":
                self._send(429, "{}", {"Retry-After": "0"})
            elif fault == "500":
                self._send(500, f"oops {server.key}")
            elif fault == "hang":
                server.hanging.wait(20)
                self.close_connection = True
            elif fault == "half":
                self._send(200, '{"choices": [{"message": {"content": "{', length=4000)
            elif fault == "garbage":
                self._send(200, "<html>busy</html>")
            elif fault == "none":
                self._send(200, json.dumps({"choices": []}))
            elif fault == "empty":
                self._completion("")
            elif fault == "cut":
                self._completion(self._text(number, body)[:-30], "length")
            elif fault == "german":
                self._completion("\n\n".join(["Ana: Ich mache mir Sorgen um ihn, er ist wieder gefallen.",
                    "Bo: Das tut mir leid. Hat er sich dabei verletzt, oder ist es gut gegangen?"] * 2))  # fmt: skip
            else:
                self._completion(self._text(number, body))

        def _text(self, number: int, body: dict[str, Any]) -> str:
            if server.answer is not None:
                return server.answer(number, body)
            system, *others = (message["content"] for message in body["messages"])
            asked = others[0] if others else system
            if system.startswith("You examine"):
                return json.dumps({"faults": []})
            kind = "dialogue" if "Write a dialogue" in asked else "essay"
            place = crc32(asked.encode())
            return documents[kind][place % len(documents[kind])]

        def _completion(self, content: str, finish: str = "stop") -> None:
            usage = {"prompt_tokens": 100, "completion_tokens": len(content) // 4}
            choice = {"message": {"content": content}, "finish_reason": finish}
            self._send(200, json.dumps({"choices": [choice], "usage": usage}))

        def _send(self, status: int, body: str, headers: dict[str, str] | None = None, length: int = -1) -> None:
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

    class Listening(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    listening = Listening(("127.0.0.1", port), Handler)
    server.address = f"http://127.0.0.1:{listening.server_port}/v1"
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.hanging.set()
        listening.shutdown()
        thread.join()
        listening.server_close()
