"""A batch that Dask runs again, and what a worker may start and report of a batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

distributed = pytest.importorskip("distributed")

from prefect_anyrunner._base.claims import GRANTED, REVOKED  # noqa: E402
from prefect_anyrunner._worker.batch import Batch  # noqa: E402
from prefect_anyrunner._worker.messages import RunRequest, RunResult  # noqa: E402
from prefect_anyrunner.backends._dask import worker  # noqa: E402
from prefect_anyrunner.backends._dask.scheduler import AnyrunnerPlugin  # noqa: E402

LARGE = b"large" * worker.KEEP_ON_WORKER


class RecordingHost(worker.DaskHost):
    """Records what a batch publishes, without a worker around it."""

    def __init__(self, topic: str, key: str, batch: Batch) -> None:
        self._topic, self._key, self._batch = topic, key, batch
        self._deferred = None
        self.published: list[Any] = []

    def _publish(self, event: dict[str, Any]) -> None:
        self.published.append(event)


def run_batch(monkeypatch: pytest.MonkeyPatch, results: dict[str, RunResult | None]) -> tuple[Any, list[Any]]:
    """Run a batch whose runs have these results; None stands for a claim that nobody answers."""
    hosts: list[RecordingHost] = []

    def host(topic: str, key: str, batch: Batch) -> RecordingHost:
        hosts.append(RecordingHost(topic, key, batch))
        return hosts[-1]

    def run_request(_: Any, request: RunRequest) -> RunResult:
        result = results[request.claim]
        if result is None:
            raise worker.NothingToStart
        return result

    monkeypatch.setattr(worker, "DaskHost", host)
    monkeypatch.setattr(worker, "run_request", run_request)
    requests = [tuple(RunRequest(claim, "", "", "", b"", b"", {}, b"")) for claim in results]
    return worker._run_all(("topic", "key", *requests)), hosts[0].published


def test_a_large_result_is_kept_under_the_key_and_what_comes_after_it_is_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = RunResult("worker", value=LARGE, value_size=len(LARGE))
    kept, published = run_batch(monkeypatch, {"a": large, "b": large})
    assert kept == LARGE
    assert [sorted(event) for event in published] == [["claim", "result"], ["withdrawn"]]
    assert published[1]["withdrawn"] == ["b"]


def test_a_batch_that_runs_again_keeps_no_result_under_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    large = RunResult("worker", value=LARGE, value_size=len(LARGE))
    kept, published = run_batch(monkeypatch, {"a": RunResult("worker", refused="another worker"), "b": large})
    assert kept is None
    assert LARGE in published[-1]["result"]


def test_a_worker_that_gets_no_answer_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler without our plugin ends a worker that publishes anything."""
    kept, published = run_batch(monkeypatch, {"a": None, "b": RunResult("worker")})
    assert kept is None
    assert published == []


@pytest.fixture
def plugin() -> AnyrunnerPlugin:
    """Return the plugin of a scheduler on which the worker `here` works on the keys `batch` and `alone`."""
    made = AnyrunnerPlugin()
    works = SimpleNamespace(processing_on=SimpleNamespace(address="here"))
    made.scheduler = SimpleNamespace(
        client_comms={},
        tasks={"batch": works, "alone": works, "done": SimpleNamespace(processing_on=None)},
    )
    made.open_topic("topic", "client")
    return made


def test_a_run_that_was_returned_starts_under_its_new_claim_only(plugin: AnyrunnerPlugin) -> None:
    assert plugin.claim("topic", "a.0", "batch", "here") == GRANTED
    event = {"withdrawn": ["a.0", "b.0"]}
    plugin.publish("topic", event)
    assert event["withdrawn"] == ["b.0"]  # somebody has started the other one, and reports it
    assert plugin.claim("topic", "b.0", "batch", "here") == REVOKED  # as when Dask runs the batch again
    assert plugin.claim("topic", "b.1", "alone", "here") == GRANTED
    assert plugin.claim("topic", "b.1", "alone", "here") == "here"


@pytest.mark.parametrize(
    ("topic", "key", "who"),
    [
        ("topic", "batch", "lost"),  # Dask has given up that worker, or has given the key to another one
        ("topic", "done", "here"),
        ("topic", "dropped", "here"),  # with the connection of its client
        ("closed", "batch", "here"),
    ],
)
def test_nobody_else_may_start_a_body(plugin: AnyrunnerPlugin, topic: str, key: str, who: str) -> None:
    assert plugin.claim(topic, "a.0", key, who) is None
    assert plugin.claim("topic", "a.0", "batch", "here") == GRANTED


def test_a_closed_topic_keeps_nothing(plugin: AnyrunnerPlugin) -> None:
    assert plugin.claimed("topic", ["a.0"]) == {}
    assert plugin.store("topic", "digest", b"bytes")
    plugin.close_topic("topic")
    assert plugin.claimed("topic", ["a.0"]) is None
    assert plugin.store("topic", "digest", b"bytes") is None
    assert plugin.fetch("topic", "digest", "here") is None
