"""The errors of this package.

AnyRunnerError
  ├─ SpecError            a runner specification is wrong; lists every problem with its place   (ValueError)
  ├─ BackendUnavailable   the backend is known, what it needs is not installed                  (ImportError)
  ├─ EngineUnreachable    nobody answers at the address within the connect timeout, or any more (ConnectionError)
  ├─ ApiUnreachable       a worker cannot reach the Prefect API                                 (ConnectionError)
  ├─ VersionSkew          a worker runs other versions than the flow, and would misunderstand   (RuntimeError)
  ├─ CannotTravel         an argument or a result cannot reach or leave a worker                (TypeError)
  └─ TaskRunsFailed       task runs did not complete; holds what each one raised                (ExceptionGroup)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_anyrunner._outcome import Outcome


class AnyRunnerError(Exception):
    """Whatever this package raises on its own account."""


class SpecError(AnyRunnerError, ValueError):
    """A runner specification cannot be used.

    `problems` holds every problem found, one text each, each beginning with its place: the file and table, the
    environment variable, or the argument it came from. Text that may hold a secret is never part of it.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0]
        return f"{len(self.problems)} problems:\n" + "\n".join(f"  - {problem}" for problem in self.problems)


class BackendUnavailable(AnyRunnerError, ImportError):
    """The backend asked for is known, but a package it needs is not installed; the text holds the install line."""


class EngineUnreachable(AnyRunnerError, ConnectionError):
    """No engine answered at `address` within the connect timeout, or the one that did has gone since.

    The text holds the address (never a password in it) and the timeout in seconds.
    """

    def __init__(self, message: str, *, address: str | None = None) -> None:
        super().__init__(message)
        self.address = address

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args, {"address": self.address}


class ApiUnreachable(AnyRunnerError, ConnectionError):
    """A worker cannot reach the Prefect API; the text names the worker and the URL, and says what to set."""


class VersionSkew(AnyRunnerError, RuntimeError):
    """A scheduler or worker runs other versions than the flow, so that one would misread what the other pickles.

    `where` names it. `differing` holds each package (or `python`) with the version there, None where it is not
    installed, and the version that the flow runs.
    """

    def __init__(self, where: str, differing: Iterable[tuple[str, str | None, str]]) -> None:
        self.where = where
        self.differing = tuple(differing)
        super().__init__(where, self.differing)

    def __str__(self) -> str:
        there = " and ".join(f"{name} {found}" if found else f"no {name}" for name, found, _ in self.differing)
        here = " and ".join(f"{name} {version}" for name, _, version in self.differing)
        return f"{self.where} has {there}, this flow runs {here}: install the same on both."


class CannotTravel(AnyRunnerError, TypeError):
    """An argument or a result cannot be pickled on its way to or from a worker, or not rebuilt there (rule V1)."""


class TaskRunsFailed(ExceptionGroup[Exception], AnyRunnerError):
    """Task runs did not complete.

    Its members stand in submission order: what each body raised, and `CrashedRun`, `CancelledRun`, `UpstreamTaskError`
    or `UnfinishedRun` of Prefect's for the other ways to fail. `outcomes` holds the outcome of each member's run, in
    the same order. The message counts all that failed, also what is no member because it was blocked by one.

    `except*`, `split` and `subgroup` keep the type and the outcomes that match. Pickled, it carries members that cannot
    be pickled as stand-ins; nothing live is inside.
    """

    outcomes: tuple[Outcome, ...]

    # Extra data has to come through __new__, positionally: BaseExceptionGroup takes no keywords.
    def __new__(cls, message: str, exceptions: Sequence[Exception], outcomes: Iterable[Outcome] = ()) -> TaskRunsFailed:
        self = super().__new__(cls, message, exceptions)
        self.outcomes = tuple(outcomes)
        return self

    def __init__(self, message: str, exceptions: Sequence[Exception], outcomes: Iterable[Outcome] = ()) -> None:
        super().__init__(message, exceptions)

    def derive(self, excs: Sequence[Exception], /) -> TaskRunsFailed:  # type: ignore[override]  # typeshed: generic
        """Return a group of the same type with `excs` and the outcomes that they belong to.

        A task that itself raised a group is one member; `split` may take that member apart and make a new object of
        some of it, so outcomes are found by the exceptions at the leaves.
        """
        kept = {id(leaf) for exc in excs for leaf in _leaves(exc)}
        return type(self)(
            self.message,
            excs,
            [outcome for outcome in self.outcomes if any(id(leaf) in kept for leaf in _leaves(outcome.error))],
        )

    def __reduce__(self) -> tuple[Any, ...]:
        from dataclasses import replace

        from prefect_anyrunner._transport import pack_error

        place = {id(member): number for number, member in enumerate(self.exceptions)}
        # An outcome whose error is a member gives it away and remembers which, so that it is that member again later.
        outcomes = [
            (outcome, None)
            if id(outcome.error) not in place
            else (replace(outcome, error=None), place[id(outcome.error)])
            for outcome in self.outcomes
        ]
        members = [pack_error(member) for member in self.exceptions]
        notes = {"__notes__": list(self.__notes__)} if hasattr(self, "__notes__") else None
        return _rebuilt, (type(self), self.message, members, outcomes), notes


def _rebuilt(
    kind: type[TaskRunsFailed], message: str, members: list[bytes], outcomes: list[tuple[Outcome, int | None]]
) -> TaskRunsFailed:
    from dataclasses import replace

    from prefect_anyrunner._transport import unpack_error

    errors = [_as_exception(unpack_error(member)) for member in members]
    return kind(
        message,
        errors,
        [outcome if number is None else replace(outcome, error=errors[number]) for outcome, number in outcomes],
    )


def _as_exception(error: BaseException) -> Exception:
    assert isinstance(error, Exception), "a stand-in for an Exception is one"
    return error


def _leaves(error: BaseException | None) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    elif error is not None:
        yield error
