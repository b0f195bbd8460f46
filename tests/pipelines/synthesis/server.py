"""A chat endpoint that really listens on this machine: it writes dialogues of the composer, and fails on demand."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from florilegium.pipelines.synthesis.composer import compose
from florilegium.pipelines.synthesis.grid import Cell, plan_cells
from florilegium.schemas.recipe import Synthesis

from tests.chat_endpoint import ChatHandler, listening

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

    class Handler(ChatHandler):
        protocol_version = "HTTP/1.1"
        hanging = server.hanging
        under_way = False  # whether a request is being answered

        def do_POST(self) -> None:
            body = self.asked()
            with lock:
                number = len(server.asked)
                server.asked.append(
                    {"body": body, "authorization": self.headers["Authorization"], "from": self.client_address,
                     "path": self.path}
                )  # fmt: skip
                self._count(1)
            self.under_way = True
            try:
                time.sleep(server.latency)
                self._answer(number, server.fault(number), body)
            finally:
                self._leave()

        def answer(self, status: int, body: str, headers: dict[str, str] | None = None, length: int = -1) -> None:
            self._leave()  # before the client can know, and ask again while this thread waits for its turn
            super().answer(status, body, headers, length)

        def _leave(self) -> None:
            with lock:
                if self.under_way:
                    self.under_way = False
                    self._count(-1)

        def _count(self, more: int) -> None:
            server.under_way += more
            server.busy.append((time.monotonic(), server.under_way))

        def _answer(self, number: int, fault: str, body: dict[str, Any]) -> None:
            self.key = server.key  # which may have expired by now
            if self.fail(fault):
                return
            if fault == "garbage":
                self.answer(200, "<html>busy</html>")
            elif fault == "none":
                self.answer(200, json.dumps({"choices": []}))
            elif fault == "empty":
                self.complete("")
            elif fault == "cut":
                self.complete(self._text(number, body)[:-30], "length")
            elif fault == "german":
                self.complete("\n\n".join(["Ana: Ich mache mir Sorgen um ihn, er ist wieder gefallen.",
                    "Bo: Das tut mir leid. Hat er sich dabei verletzt, oder ist es gut gegangen?"] * 2))  # fmt: skip
            else:
                self.complete(self._text(number, body))

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

    with listening(Handler, port) as server.address:
        yield server
