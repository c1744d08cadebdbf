"""These tests are slow: memory takes a minute to run out."""

from __future__ import annotations

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test of this folder as slow, so that only `make test-all` runs it."""
    item.add_marker(pytest.mark.slow)
