"""Judges over real connections: grades, agreement, and the place that a judge prefers."""

import json
from typing import Any

import pytest
from florilegium.pipelines.synthesis.judges import judge
from florilegium.schemas.recipe import Judge

from .server import KEY, Server, serve


def test_position_bias_and_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLORILEGIUM_API_KEY", KEY)

    def answer(number: int, body: dict[str, Any]) -> str:
        system, asked = body["messages"][0]["content"], body["messages"][1]["content"]
        if system.startswith("You grade"):
            return json.dumps({"grade": 4 if "good" in asked else 2})
        first = asked.index("better version")  # always a place before the other
        if body["model"] == "fair":
            return json.dumps({"better": 1 if first < asked.index("poor version") else 2})
        return json.dumps({"better": 1})

    rows = [
        {"id": f"{n:032x}", "text": f"better version {n} {'good' if n % 2 else ''}", "versions": [f"poor version {n}"]}
        for n in range(6)
    ]
    with serve(Server(answer=answer)) as server:
        judges = [Judge(name=name, endpoint=server.address, model=name) for name in ("fair", "lazy")]
        report = judge(rows, judges)
    assert report["judges"]["fair"]["position_bias"] == 0
    assert report["judges"]["fair"]["prefers_last_version"] == 6
    assert report["judges"]["lazy"]["position_bias"] == 1
    assert report["judges"]["lazy"]["mean_grade"] == 3
    assert report["agreement"]["fair and lazy"] == {"documents": 6, "kappa": pytest.approx(1)}
