"""A case leaves nothing behind in the API of the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client

from prefect_anyrunner.backends.thread import ThreadPoolTaskRunner
from prefect_anyrunner.conformance import CASES, SharedFlow, Subject


def limits() -> list[str]:
    with get_client(sync_client=True) as client:
        return [limit.tag for limit in client.read_concurrency_limits(limit=200, offset=0)]


def test_case_deletes_its_concurrency_limit(prefect_server: str, tmp_path: Path) -> None:
    def make(**options: Any) -> ThreadPoolTaskRunner:
        return ThreadPoolTaskRunner(max_workers=2, **options)

    before = limits()
    shared = SharedFlow(make)
    (case,) = (case for case in CASES if case.id == "X1-limit")
    case.body(Subject("thread", make, shared, tmp_path, {}))
    shared.close()
    assert limits() == before
