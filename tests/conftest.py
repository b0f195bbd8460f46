"""Tests that start a cluster or a store are long; they run when they are asked for: `make test-engines`."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("markexpr"):
        return
    for item in items:
        if item.get_closest_marker("engines"):
            item.add_marker(pytest.mark.skip(reason="starts a cluster or a store; run it by `make test-engines`"))
