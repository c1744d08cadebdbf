"""A large argument is put away once for all runs that share it, and let go when the last of them has ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
from prefect import flow, task, unmapped
from prefect.context import FlowRunContext

from prefect_anyrunner import pick, settle
from prefect_anyrunner._worker.cache import BlobCache
from prefect_anyrunner.conformance.checks import until

LARGE = 2**20


@task
def size(value: bytes, number: int = 0) -> int:
    return len(value) + number


class Lazy:
    """An object that does not know its size, as a dataframe of Dask does not."""

    number = 7

    @property
    def nbytes(self) -> int:
        raise NotImplementedError("nbytes is not implemented")


@task
def number_of(value: Lazy) -> int:
    return value.number


@task
def make(number: int) -> bytes:
    return bytes([number]) * LARGE


@pytest.fixture(
    params=["process", pytest.param("dask", marks=pytest.mark.dask), pytest.param("ray", marks=pytest.mark.ray)]
)
def spec(request: pytest.FixtureRequest, prefect_server: str) -> str:
    match request.param:
        case "dask":
            address: str = request.getfixturevalue("dask_cluster")
            return address.replace("tcp://", "dask://")
        case "ray":
            request.getfixturevalue("ray_head")
            return "ray"
        case _:
            return "process://?max_workers=2"


def kept(runner: Any) -> Iterable[str]:
    """Return the digests of what a runner has put away and not let go."""
    match runner.name:
        case "processpool":
            return os.listdir(f"{runner._folder.path}/blobs")
        case "dask":
            found: Iterable[str] = runner._client.run_on_scheduler(
                lambda dask_scheduler, topic: list(dask_scheduler.plugins["prefect-anyrunner"].blobs.get(topic, ())),
                topic=runner._channel._topic,
            )
            return found
        case _:
            return list(runner._channel._blobs)


def current_runner() -> Any:
    context = FlowRunContext.get()
    assert context is not None
    return context.task_runner


def watched(runner: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the size of each large thing that `runner` puts away."""
    sizes: list[int] = []
    store_blob: Callable[[str, bytes], None] = runner.store_blob

    def counted(digest: str, data: bytes) -> None:
        if len(data) >= LARGE:
            sizes.append(len(data))
        store_blob(digest, data)

    monkeypatch.setattr(runner._parts.blobs, "_store", counted)
    return sizes


def test_shared_once_and_let_go_after_the_last_run(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @flow(task_runner=pick(spec))
    def sharing() -> None:
        runner = current_runner()
        sizes = watched(runner, monkeypatch)
        for value in (b"a" * LARGE, b"b" * LARGE, b"a" * LARGE):
            assert settle(size.map(unmapped(value), range(6))).results() == [LARGE + number for number in range(6)]
            until(lambda: len(set(kept(runner))) == 3)  # the context, the task and a run of it stay
        assert len(sizes) == 3
        upstream: Any = make.submit(1)
        settle(size.map(unmapped(upstream), range(6))).raise_for_failures()
        assert len(sizes) == 4
        until(lambda: len(set(kept(runner))) == 5)

    sharing()


def test_a_size_that_cannot_be_asked_for_is_no_failure(spec: str) -> None:
    @flow(task_runner=pick(spec))
    def one() -> None:
        assert settle(number_of.submit(Lazy())).results() == [7]

    one()


def test_threads_that_begin_together_fetch_once() -> None:
    asked: list[str] = []
    all_there, another = threading.Barrier(4), threading.Barrier(2)

    class Side:
        def fetch(self, digest: str) -> bytes:
            asked.append(digest)
            with suppress(threading.BrokenBarrierError):
                another.wait(0.5)  # for one that fetches as well
            return bytes(LARGE)

    side: Any = Side()
    held = BlobCache()
    got: list[bytes] = []

    def get() -> None:
        all_there.wait()
        got.append(held.get(side, "digest"))

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4
    assert asked == ["digest"]
