"""A chat endpoint that really listens on this machine, with faults on demand."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from florilegium.classifiers.rubric import dimensions

from tests.chat_endpoint import ChatHandler, listening

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

    class Handler(ChatHandler):
        key, hanging = KEY, endpoint.hanging

        def do_POST(self) -> None:
            body = self.asked()
            with lock:
                number = len(endpoint.asked)
                endpoint.asked.append({"path": self.path, "body": body, "authorization": self.headers["Authorization"]})
            fault, content = endpoint.fault(number), body["messages"][-1]["content"]
            if self.fail(fault):
                return
            if fault == "redirect":
                self.answer(307, "", {"Location": f"{endpoint.address}/elsewhere"})
            elif fault == "404":
                self.answer(404, json.dumps({"error": f"no such model, said {KEY}"}))
            elif fault == "prose":
                self.complete("Here you are: all zeros!")
            elif fault == "scale":
                self.complete(json.dumps({**grades(content), "hate": 3}))
            else:
                self.complete(json.dumps(grades(content)))

    with listening(Handler) as endpoint.address:
        yield endpoint
