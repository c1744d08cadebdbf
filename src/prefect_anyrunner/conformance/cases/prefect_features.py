"""Rules F6, U2 and X1: hooks, retries, caches, stored results, assets and limits work as on threads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect import tags
from prefect.assets import materialize
from prefect.client.orchestration import get_client
from prefect.events.filters import EventAnyResourceFilter, EventFilter
from prefect.utilities.annotations import opaque

from prefect_anyrunner import Status, settle
from prefect_anyrunner.conformance import tasks as plain
from prefect_anyrunner.conformance import tasks_in_context as tasks
from prefect_anyrunner.conformance.checks import lines, read_task_run, until
from prefect_anyrunner.conformance.subject import Subject
from prefect_anyrunner.conformance.table import case


@case("F6-hooks", "Each hook of a task is called once for its state.")
def hooks(run: Subject) -> None:
    """Let the hooks write the states to files."""
    good, bad = run.path("good"), run.path("bad")
    run.inside(lambda: settle([tasks.hooked.submit(good, False), tasks.hooked.submit(bad, True)]))
    assert Path(good).read_text().split() == ["RUNNING", "COMPLETED"]
    assert Path(bad).read_text().split() == ["RUNNING", "FAILED"]


@case("F6-retry-condition", "retry_condition_fn sees the state with the error itself, and decides about a retry.")
def retry_condition(run: Subject) -> None:
    """Fail with an error that is retried, then with one that is not."""
    (outcome,) = run.inside(lambda: settle(tasks.retried_on_condition.submit(run.path("ran"))))
    assert isinstance(outcome.error, KeyError)
    assert lines(run.path("ran")) == 2


@case("X1-cache", "A later run finds a cached result, on any worker.")
def cache(run: Subject) -> None:
    """Run the same task with the same arguments twice, and with others."""
    ran = run.path("ran")  # a new path, so that the cache is empty for these arguments

    def body() -> list[Any]:
        settle(tasks.cached.submit(ran, 3))
        return list(settle([tasks.cached.submit(ran, 3), tasks.cached.submit(ran, 4)]))

    again, other = run.inside(body)
    assert (again.value, other.value, lines(ran)) == (6, 8, 2)
    assert again.state.name == "Cached"
    until(lambda: (state := read_task_run(again.task_run_id).state) is not None and state.name == "Cached")


@case("X1-stored", "A result that Prefect stores can be read back through the API.")
def stored(run: Subject) -> None:
    """Read the run from the API, and the result from its state."""
    (outcome,) = run.inside(lambda: settle(tasks.stored.submit(21)))
    assert outcome.value == 42
    assert outcome.task_run_id is not None
    run_id = outcome.task_run_id
    until(lambda: (state := read_task_run(run_id).state) is not None and state.is_completed())
    state: Any = read_task_run(run_id).state
    assert state.data is not None, "the API does not know where the result is stored"
    assert asyncio.run(state.aresult()) == 42


@case("X1-assets", "The API shows assets with their lineage.")
def assets(run: Subject) -> None:
    """Materialize one asset from another, and read the events back."""
    base = f"x://anyrunner/{uuid4()}"
    raw: Any = materialize(f"{base}/raw", name="raw")(tasks.pass_on)
    clean: Any = materialize(f"{base}/clean", name="clean")(tasks.pass_on)
    report = run.inside(lambda: settle(clean.submit(raw.submit("rows"))))
    assert report[0].value == "rows", report[0]

    def lineage() -> list[list[str]]:
        where = EventFilter(any_resource=EventAnyResourceFilter(id=[f"{base}/clean"]))
        with get_client(sync_client=True) as client:
            answer = client.request(
                "POST", "/events/filter", json={"filter": where.model_dump(mode="json", exclude_unset=True)}
            )
        return [
            [related["prefect.resource.id"] for related in event["related"]]
            for event in answer.json()["events"]
            if event["event"] == "prefect.asset.materialization.succeeded"
        ]

    until(lambda: any(f"{base}/raw" in related for related in lineage()))


@case("X1-limit", "A concurrency limit on a tag counts the running runs.")
def limit(run: Subject) -> None:
    """Read the limit inside a run that has the tag."""
    tag = f"anyrunner-{uuid4()}"
    with get_client(sync_client=True) as client:
        client.create_concurrency_limit(tag=tag, concurrency_limit=1)

        def body() -> list[Any]:
            with tags(tag):
                return list(settle([tasks.slots_in_use.submit(tag)]))

        try:
            (outcome,) = run.inside(body)
            assert outcome.value == 1, outcome
            until(lambda: not client.read_concurrency_limit_by_tag(tag).active_slots)
        finally:
            client.delete_concurrency_limit_by_tag(tag)


@case("U2-opaque", "opaque passes the result of a future.")
def opaque_argument(run: Subject) -> None:
    """Pass the future of a list, and the future of a failed run."""

    def body() -> list[Any]:
        numbers: Any = plain.echo.submit([1, 2])
        failed: Any = plain.raise_rich.submit()
        return list(settle([plain.echo.submit(opaque(numbers)), plain.echo.submit(opaque(failed))]))

    resolved, blocked = run.inside(body)
    assert resolved.value == [1, 2]
    assert blocked.status is Status.BLOCKED
