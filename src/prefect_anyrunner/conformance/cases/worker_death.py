"""Rules C2 to C4: a worker that dies crashes only the run that it was executing."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import unmapped
from prefect.exceptions import CrashedRun

from prefect_anyrunner import Status
from prefect_anyrunner.backends import Capability
from prefect_anyrunner.conformance import tasks
from prefect_anyrunner.conformance.checks import ended, lines, read_task_run, statuses, until
from prefect_anyrunner.conformance.open_flow import api_limit
from prefect_anyrunner.conformance.subject import Subject
from prefect_anyrunner.conformance.table import case

MORTAL = (Capability.SURVIVE_WORKER_DEATH,)


@case("C2-dies-in-a-map", "A worker that dies crashes one run, executed once; its peers complete.", needs=MORTAL)
def dies_in_a_map(run: Subject) -> None:
    """Kill workers in the middle of a map, then submit more."""
    ways = ["live", "kill", "live", "exit", "live", "live"]
    paths = [run.path(f"ran-{place}") for place in range(len(ways))]

    def body() -> None:
        outcomes = [ended(future) for future in tasks.live_or_die.map(paths, ways)]
        for way, path, outcome in zip(ways, paths, outcomes, strict=True):
            if way == "live":
                assert outcome.status is Status.COMPLETED, outcome
            else:
                assert outcome.status is Status.CRASHED, (way, outcome)
                assert isinstance(outcome.error, CrashedRun), (way, outcome)
                assert lines(path) == 1, f"{way} was executed {lines(path)} times"
        assert statuses(tasks.double.map([1, 2, 3, 4])) == ["completed"] * 4
        assert [lines(path) for path in paths] == [1] * len(paths)

    run.inside(body)


@case("C2-all-die", "When all workers die, the running runs crash and the others still run.", needs=MORTAL)
def all_die(run: Subject) -> None:
    """Kill all workers at once while more runs are waiting."""
    ways = ["kill"] * run.workers + ["live"] * 3
    paths = [run.path(f"ran-{place}") for place in range(len(ways))]

    def body() -> list[str]:
        return statuses(tasks.live_or_die.map(paths, ways))

    assert run.inside(body) == ["crashed"] * run.workers + ["completed"] * 3
    assert [lines(path) for path in paths] == [1] * len(paths)


@case("C2-memory", "A worker that runs out of memory crashes one run, executed once.", only="dask")
def out_of_memory(run: Subject) -> None:
    """Take more memory than the worker of a small cluster may have."""
    path = run.path("ran")
    kind: Any = type(run.make())
    cluster = {
        "n_workers": 1,
        "threads_per_worker": 1,
        "memory_limit": "600MiB",
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": "CRITICAL",
    }

    def body() -> None:
        outcome = ended(tasks.take_memory.submit(path))
        assert outcome.status is Status.CRASHED, outcome
        assert isinstance(outcome.error, CrashedRun), outcome
        assert ended(tasks.double.submit(1)).value == 2
        assert lines(path) == 1, f"it was executed {lines(path)} times"

    run.flow_on(kind(cluster_kwargs=cluster), body)


@case("C3-completed", "A completed run is never executed again, even if workers die later.", needs=MORTAL)
def completed_stays(run: Subject) -> None:
    """Complete a run, kill workers, then use the result."""
    path = run.path("ran")

    def body() -> None:
        kept: Any = tasks.note.submit(path, 21)
        assert ended(kept).status is Status.COMPLETED
        deaths = tasks.live_or_die.map([run.path(f"died-{n}") for n in range(4)], unmapped("kill"))
        assert statuses(deaths) == ["crashed"] * 4
        assert ended(tasks.double.submit(kept)).value == 42
        # If the engine executes runs again, it does so before it executes these.
        assert statuses(tasks.double.map(range(run.workers * 2))) == ["completed"] * run.workers * 2
        assert lines(path) == 1

    run.inside(body)


@case("C4-rerun-lost", "With rerun_lost=1 a lost run is executed once more, and attempts shows it.", needs=MORTAL)
def rerun_lost(run: Subject) -> None:
    """Let a task kill its worker the first time."""
    path = run.path("ran")
    outcome = run.flow(lambda: ended(tasks.die_the_first_time.submit(path)), rerun_lost=1)
    assert (outcome.status, outcome.value) == (Status.COMPLETED, "alive")
    assert outcome.attempts == 2
    assert lines(path) == 2


@case("C4-no-more-than-that", "With rerun_lost=1 a run is not executed a third time.", needs=MORTAL)
def rerun_lost_ends(run: Subject) -> None:
    """Let a task kill its worker each time."""
    path = run.path("ran")
    outcome = run.flow(lambda: ended(tasks.live_or_die.submit(path, "kill")), rerun_lost=1)
    assert outcome.status is Status.CRASHED
    assert outcome.attempts == 2
    assert lines(path) == 2


@case("S1-orphans", "Runs that a task had submitted before its worker died end in the API, too.", needs=MORTAL)
def orphans(run: Subject) -> None:
    """Let a task submit another task and be killed while that one runs."""
    started, go, child = run.path("started"), run.path("go"), run.path("child")

    def body() -> None:
        try:
            assert ended(tasks.submit_and_die.submit(started, go, child)).status is Status.CRASHED
        finally:
            Path(go).touch()

    run.flow(body)
    run_id = UUID(Path(child).read_text())
    until(lambda: (state := read_task_run(run_id).state) is not None and state.is_final(), within=api_limit())
