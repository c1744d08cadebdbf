"""The contexts of flow runs on a worker: one that cannot be entered is not kept."""

from __future__ import annotations

import pytest
from prefect.context import serialize_context
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_anyrunner import ApiUnreachable
from prefect_anyrunner._worker import contexts


class Host:
    backend = "dask"

    def name(self) -> str:
        return "here"

    def fetch(self, digest: str) -> bytes:
        raise AssertionError(digest)

    def claim(self, claim: str) -> str | None:
        return None


def test_a_context_that_cannot_be_entered_is_not_kept() -> None:
    kept = set(contexts._entered)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # nothing answers at the port "discard"
        serialized = serialize_context()
    with pytest.raises(ApiUnreachable, match="dask worker here cannot reach the Prefect API"):
        contexts.EnteredContext(serialized, Host())
    assert contexts._entered == kept
