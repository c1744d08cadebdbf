"""A batch that Dask runs again, and the claims of the runs that a batch has returned."""

from __future__ import annotations

import time
from typing import Any

import pytest

distributed = pytest.importorskip("distributed")

from prefect_anyrunner._worker.messages import RunRequest, RunResult  # noqa: E402
from prefect_anyrunner.backends._dask import worker  # noqa: E402
from prefect_anyrunner.backends._dask.scheduler import AnyrunnerPlugin  # noqa: E402

LARGE = b"large" * worker.KEEP_ON_WORKER


class RecordingHost(worker.DaskHost):
    """Records what a batch publishes, without a worker around it."""

    def __init__(self, topic: str, key: str) -> None:
        self._topic, self._key = topic, key
        self._deferred = None
        self.published: list[Any] = []

    def withdraw_later(self, batch: Any) -> None:
        """Leave the batch as it is."""

    def _publish(self, event: dict[str, Any]) -> None:
        self.published.append(event)


def run_batch(monkeypatch: pytest.MonkeyPatch, results: dict[str, RunResult]) -> tuple[Any, list[Any]]:
    hosts: list[RecordingHost] = []

    def host(topic: str, key: str) -> RecordingHost:
        hosts.append(RecordingHost(topic, key))
        return hosts[-1]

    monkeypatch.setattr(worker, "DaskHost", host)
    monkeypatch.setattr(worker, "run_request", lambda _, request: results[request.claim])
    requests = [tuple(RunRequest(claim, "", "", "", b"", b"", {}, b"")) for claim in results]
    return worker._run_all(("topic", "key", *requests)), hosts[0].published


def test_a_large_result_is_kept_under_the_key_and_what_comes_after_it_is_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = RunResult("worker", value=LARGE, value_size=len(LARGE))
    kept, published = run_batch(monkeypatch, {"a": large, "b": large})
    assert kept == LARGE
    assert [sorted(event) for event in published] == [["claim", "key", "result"], ["key", "withdrawn"]]
    assert published[1]["withdrawn"] == ["b"]


def test_a_batch_that_runs_again_keeps_no_result_under_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    large = RunResult("worker", value=LARGE, value_size=len(LARGE))
    kept, published = run_batch(monkeypatch, {"a": RunResult("worker", refused="another worker"), "b": large})
    assert kept is None
    assert LARGE in published[-1]["result"]


def test_claims_of_returned_runs_stay_when_the_key_of_their_batch_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    plugin = AnyrunnerPlugin()

    class Scheduler:
        client_comms: dict[str, Any] = {}  # noqa: RUF012

    plugin.scheduler = Scheduler()
    plugin.open_topic("topic", "client")
    for claim in ("a", "b"):
        assert plugin.claim("topic", claim, "batch", "worker") is None
    plugin.publish("topic", {"key": "batch", "withdrawn": ["b"]})
    plugin.transition("batch", "memory", "forgotten")
    now[0] += 100
    assert plugin.claim("topic", "c", "other", "worker") is None
    plugin.transition("other", "memory", "forgotten")
    assert plugin.claim("topic", "a", "batch", "another worker") is None
    assert plugin.claim("topic", "b", "b alone", "another worker") == "worker"
    plugin.close_topic("topic")
    assert not plugin.withdrawn
