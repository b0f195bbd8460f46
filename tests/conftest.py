"""Tests that would make `make test` long run when they are asked for, by their mark."""

import pytest

ASKED_FOR = {
    "long": "kills and restarts whole runs; run it by `make test-long`",
    "engines": "starts a cluster or a store; run it by `make test-engines`",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("markexpr"):
        return
    for item in items:
        for mark, reason in ASKED_FOR.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))
