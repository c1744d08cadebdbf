"""Rules F1 to F6 and C1: what a body raises arrives as itself, and takes nothing with it."""

from __future__ import annotations

import traceback

from prefect.exceptions import CrashedRun

from .. import Status, settle
from ..backends import Capability
from . import tasks
from ._subject import Subject, ended, lines, statuses
from ._table import case


@case("F1-whole", "An exception arrives with its class, args, attributes, notes, cause and the task's own lines.")
def whole(run: Subject) -> None:
    """Look at everything that `raise_rich` raised."""
    outcome = run.inside(lambda: ended(tasks.raise_rich.submit()))
    assert outcome.status is Status.FAILED
    error = outcome.error
    assert type(error) is tasks.Broken
    assert error.args == ("outer", 3)
    assert getattr(error, "code", None) == 42
    assert error.__notes__ == ["look here"]
    assert type(error.__cause__) is KeyError
    assert error.__cause__.args == ("inner",)
    assert error.__suppress_context__
    last = traceback.extract_tb(error.__traceback__)[-1]
    assert (last.name, last.line) == ("raise_rich", "raise error from inner")
    inner = traceback.extract_tb(error.__cause__.__traceback__)[-1]
    assert (inner.name, inner.line) == ("raise_rich", 'raise KeyError("inner")')


@case("F2-init", "An exception arrives as itself whatever arguments its __init__ takes.")
def special_init(run: Subject) -> None:
    """Try two arguments, a keyword-only one, and none."""

    def body() -> list[BaseException | None]:
        futures = [tasks.raise_special.submit(which) for which in ("two", "keyword", "none")]
        outcomes = [ended(future) for future in futures]
        assert [outcome.status for outcome in outcomes] == [Status.FAILED] * 3
        return [outcome.error for outcome in outcomes]

    two, keyword, none = run.inside(body)
    assert type(two) is tasks.TwoArguments
    assert (two.code, two.args) == (7, ("7: why",))
    assert type(keyword) is tasks.KeywordOnly
    assert (keyword.shard, keyword.args) == (4, ("shard 4",))
    assert type(none) is tasks.NoArguments
    assert str(none) == "always the same"


@case("F3-group", "An ExceptionGroup arrives with all its members, each as itself.")
def group(run: Subject) -> None:
    """Look into a nested group."""
    outcome = run.inside(lambda: ended(tasks.raise_special.submit("group")))
    assert outcome.status is Status.FAILED
    error = outcome.error
    assert type(error) is ExceptionGroup
    assert error.message == "several"
    first, more = error.exceptions
    assert type(first) is tasks.TwoArguments
    assert first.code == 1
    assert type(more) is ExceptionGroup
    assert [type(each) for each in more.exceptions] == [tasks.KeywordOnly]
    assert getattr(more.exceptions[0], "shard", None) == 2


@case("F4-stand-in", "An exception that cannot travel arrives as one that tells the same and is caught the same way.")
def stand_in(run: Subject) -> None:
    """Raise an exception that holds a lock."""
    outcome = run.inside(lambda: ended(tasks.raise_special.submit("lock")))
    assert outcome.status is Status.FAILED
    error = outcome.error
    assert error is not None
    told = "".join(traceback.format_exception(error))
    for part in ("HoldsLock", "holds a lock", "look here", "in raise_special"):
        assert part in told, f"{part!r} is not in:\n{told}"
    caught: list[BaseException] = []
    try:
        raise ExceptionGroup("ours", [error])  # type: ignore[type-var]
    except* ValueError as matched:
        caught.extend(matched.exceptions)
    assert caught == [error]


@case("F5-ours-too", "A task's own TimeoutError, CancelledError, StopIteration and the like are its failure.")
def ours_too(run: Subject) -> None:
    """Raise each of them in a task."""
    names = list(tasks.OURS_TOO)
    outcomes = run.inside(lambda: [ended(future) for future in [tasks.raise_ours_too.submit(name) for name in names]])
    for name, outcome in zip(names, outcomes, strict=True):
        assert outcome.status is Status.FAILED, (name, outcome)
        assert type(outcome.error) is tasks.OURS_TOO[name], (name, outcome)
        assert outcome.error.args == ("from the task",), (name, outcome)


@case("F6-retries", "A task is retried as often as it says, and attempts tells how often it ran.")
def retries(run: Subject) -> None:
    """Fail twice, then complete."""
    path = run.path("ran")
    outcome = run.inside(lambda: ended(tasks.third_time.submit(path)))
    assert (outcome.status, outcome.value, outcome.attempts) == (Status.COMPLETED, 3, 3)
    assert lines(path) == 3


@case("F6-timeout", "A task that takes longer than its timeout_seconds fails with a TimeoutError.")
def timeout(run: Subject) -> None:
    """Compute for longer than allowed."""
    outcome = run.inside(lambda: ended(tasks.too_slow.submit()))
    assert outcome.status is Status.FAILED
    assert isinstance(outcome.error, TimeoutError)
    assert outcome.state is not None
    assert outcome.state.name == "TimedOut"


@case(
    "F6-blocking-timeout",
    "A call into C that takes longer than timeout_seconds is interrupted, not awaited.",
    needs=(Capability.INTERRUPT_BLOCKING,),
)
def blocking_timeout(run: Subject) -> None:
    """Sleep for much longer than this waits."""
    outcome = run.inside(lambda: settle(tasks.too_long_in_one_call.submit(), timeout=10)[0])
    assert outcome.status is Status.FAILED
    assert isinstance(outcome.error, TimeoutError)


@case("F6-returned-state", "A task that returns a failed state has failed, with its message.")
def returned_state(run: Subject) -> None:
    """Return `Failed`."""
    outcome = run.inside(lambda: ended(tasks.return_failed.submit()))
    assert outcome.status is Status.FAILED
    assert "on purpose" in str(outcome.error), repr(outcome.error)


@case("C1-base-exceptions", "SystemExit, KeyboardInterrupt and own BaseExceptions crash their run, once, nothing else.")
def base_exceptions(run: Subject) -> None:
    """Raise them between peers, then submit more."""
    names = ["none", *tasks.BASES, "none"]
    paths = [run.path(f"ran-{place}") for place in range(len(names))]

    def body() -> None:
        futures = tasks.raise_base.map(paths, names)
        outcomes = [ended(future) for future in futures]
        for name, path, outcome in zip(names, paths, outcomes, strict=True):
            assert lines(path) == 1, f"{name} was executed {lines(path)} times"
            if name == "none":
                assert outcome.status is Status.COMPLETED, outcome
                continue
            assert outcome.status is Status.CRASHED, (name, outcome)
            assert isinstance(outcome.error, CrashedRun), (name, outcome)
            assert name in "".join(traceback.format_exception(outcome.error)), (name, outcome)
        assert statuses(tasks.double.map([1, 2, 3])) == ["completed"] * 3

    run.inside(body)
