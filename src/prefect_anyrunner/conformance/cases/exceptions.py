"""Rules F1 to F6 and C1: an exception of a body arrives as itself, and ends only its own run."""

from __future__ import annotations

import traceback

from prefect.exceptions import CrashedRun

from prefect_anyrunner import Status, TaskRunsFailed, gather, settle
from prefect_anyrunner.backends import Capability
from prefect_anyrunner.conformance import task_errors, tasks
from prefect_anyrunner.conformance.checks import ended, lines, statuses
from prefect_anyrunner.conformance.subject import Subject
from prefect_anyrunner.conformance.table import case


@case("F1-whole", "An exception arrives with its class, args, attributes, notes, cause and the task's own lines.")
def whole(run: Subject) -> None:
    """Check every part of the exception of `raise_rich`."""
    outcome = run.inside(lambda: ended(tasks.raise_rich.submit()))
    assert outcome.status is Status.FAILED
    error = outcome.error
    assert type(error) is task_errors.Broken
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


@case("F1-context", "An exception that is raised while another one is handled has that one as its context.")
def context(run: Subject) -> None:
    """Check the chain that Python makes by itself."""
    error = run.inside(lambda: ended(tasks.raise_while_handling.submit())).error
    assert type(error) is task_errors.Broken
    assert error.__cause__ is None
    assert not error.__suppress_context__
    assert type(error.__context__) is KeyError
    assert error.__context__.args == ("first",)


@case("F2-init", "An exception arrives as itself whatever arguments its __init__ takes.")
def special_init(run: Subject) -> None:
    """Try two arguments, a keyword-only one, and none."""

    def body() -> list[BaseException | None]:
        futures = [tasks.raise_special.submit(which) for which in ("two", "keyword", "none")]
        outcomes = [ended(future) for future in futures]
        assert [outcome.status for outcome in outcomes] == [Status.FAILED] * 3
        return [outcome.error for outcome in outcomes]

    two, keyword, none = run.inside(body)
    assert type(two) is task_errors.TwoArguments
    assert (two.code, two.args) == (7, ("7: why",))
    assert type(keyword) is task_errors.KeywordOnly
    assert (keyword.shard, keyword.args) == (4, ("shard 4",))
    assert type(none) is task_errors.NoArguments
    assert str(none) == "always the same"


@case("F2-built-in", "Built-in exceptions arrive with their text and their fields.")
def built_in(run: Subject) -> None:
    """Raise exceptions whose fields pickle does not store by itself."""

    def body() -> list[BaseException | None]:
        return [ended(future).error for future in tasks.raise_built_in.map(["syntax", "unicode", "os"])]

    syntax, decoding, missing = run.inside(body)
    assert type(syntax) is SyntaxError
    assert (syntax.filename, syntax.lineno, syntax.text) == ("user.py", 1, "a = \n"), repr(syntax)
    assert "invalid syntax" in str(syntax)
    assert type(decoding) is UnicodeDecodeError
    assert (decoding.object, decoding.start) == (b"\xff", 0)
    assert "can't decode byte 0xff" in str(decoding)
    assert type(missing) is FileNotFoundError
    assert (missing.errno, missing.filename) == (2, "missing.csv")
    assert "missing.csv" in str(missing)


@case("F3-group", "An ExceptionGroup arrives with all its members, each as itself.")
def group(run: Subject) -> None:
    """Check a nested group, which is one member of the combined failure."""

    def body() -> TaskRunsFailed:
        try:
            gather([tasks.double.submit(1), tasks.raise_special.submit("group")])
        except TaskRunsFailed as failure:
            return failure
        raise AssertionError("gather() did not raise")

    failure = run.inside(body)
    assert len(failure.exceptions) == 1, failure.exceptions
    error = failure.exceptions[0]
    assert type(error) is ExceptionGroup
    assert error.message == "several"
    first, more = error.exceptions
    assert type(first) is task_errors.TwoArguments
    assert first.code == 1
    assert type(more) is ExceptionGroup
    assert [type(each) for each in more.exceptions] == [task_errors.KeywordOnly]
    assert getattr(more.exceptions[0], "shard", None) == 2


@case("F4-stand-in", "For an exception that cannot be pickled a stand-in arrives, with its text and its bases.")
def stand_in(run: Subject) -> None:
    """Raise an exception that holds a lock."""
    outcome = run.inside(lambda: ended(tasks.raise_special.submit("lock")))
    assert outcome.status is Status.FAILED
    error = outcome.error
    assert error is not None
    text = "".join(traceback.format_exception(error))
    for part in ("HoldsLock", "holds a lock", "look here", "in raise_special"):
        assert part in text, f"{part!r} is not in:\n{text}"
    caught: list[BaseException] = []
    try:
        raise ExceptionGroup("ours", [error])  # type: ignore[type-var]
    except* ValueError as matched:
        caught.extend(matched.exceptions)
    assert caught == [error]


@case("F4-local-class", "An exception of a local class that cannot be pickled is caught by its importable base.")
def local_class(run: Subject) -> None:
    """Raise a `LookupError` of a class inside the task's function."""
    outcome = run.inside(lambda: ended(tasks.raise_special.submit("local")))
    assert outcome.status is Status.FAILED
    assert isinstance(outcome.error, LookupError), repr(outcome.error)
    text = "".join(traceback.format_exception(outcome.error))
    for part in ("Local", "of a local class", "in raise_special"):
        assert part in text, f"{part!r} is not in:\n{text}"


@case("F5-ours-too", "A task's own TimeoutError, CancelledError, StopIteration and the like are its failure.")
def ours_too(run: Subject) -> None:
    """Raise each of them in a task."""
    names = list(task_errors.OURS_TOO)
    outcomes = run.inside(lambda: [ended(future) for future in [tasks.raise_ours_too.submit(name) for name in names]])
    for name, outcome in zip(names, outcomes, strict=True):
        assert outcome.status is Status.FAILED, (name, outcome)
        assert type(outcome.error) is task_errors.OURS_TOO[name], (name, outcome)
        assert outcome.error.args == ("from the task",), (name, outcome)


@case("F6-retries", "A task is retried as often as its settings say.")
def retries(run: Subject) -> None:
    """Fail twice, then complete."""
    path = run.path("ran")
    outcome = run.inside(lambda: ended(tasks.third_time.submit(path)))
    assert (outcome.status, outcome.value) == (Status.COMPLETED, 3)
    assert lines(path) == 3


@case("F6-attempts", "attempts is the number of times that the body was called.")
def attempts(run: Subject) -> None:
    """Fail twice, then complete."""
    outcome = run.inside(lambda: ended(tasks.third_time.submit(run.path("ran"))))
    assert outcome.attempts == 3


@case("F6-timeout", "A task that takes longer than its timeout_seconds fails with a TimeoutError.")
def timeout(run: Subject) -> None:
    """Compute for longer than the timeout allows."""
    outcome = run.inside(lambda: ended(tasks.too_slow.submit()))
    assert outcome.status is Status.FAILED
    assert isinstance(outcome.error, TimeoutError)
    assert outcome.state is not None
    assert outcome.state.name == "TimedOut"


@case(
    "F6-blocking-timeout",
    "A call into C that takes longer than timeout_seconds is interrupted.",
    needs=(Capability.INTERRUPT_BLOCKING,),
)
def blocking_timeout(run: Subject) -> None:
    """Sleep for much longer than the case waits."""
    outcome = run.inside(lambda: settle(tasks.too_long_in_one_call.submit(), timeout=10)[0])
    assert outcome.status is Status.FAILED
    assert isinstance(outcome.error, TimeoutError)


@case(
    "F6-returned-state",
    "A task that returns a state has ended in that state, with its message and its data.",
)
def returned_state(run: Subject) -> None:
    """Return `Failed`, then `Completed`."""
    outcome = run.inside(lambda: ended(tasks.return_failed.submit()))
    assert outcome.status is Status.FAILED
    assert "on purpose" in str(outcome.error), repr(outcome.error)
    completed = run.inside(lambda: ended(tasks.return_completed.submit(5)))
    assert (completed.status, completed.value) == (Status.COMPLETED, 5), completed


@case("C1-base-exceptions", "SystemExit, KeyboardInterrupt and own BaseExceptions crash only their run, executed once.")
def base_exceptions(run: Subject) -> None:
    """Raise them between peers, then submit more."""
    names = ["none", *task_errors.BASES, "none"]
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
        assert [lines(path) for path in paths] == [1] * len(paths), "executed again, later"

    run.inside(body)
