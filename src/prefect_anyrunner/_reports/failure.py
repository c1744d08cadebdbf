"""`TaskRunsFailed`: one exception for all runs that did not complete."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from prefect_anyrunner._base.errors import AnyRunnerError
from prefect_anyrunner._base.public import public
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._reports.digest import digest_of_failures
from prefect_anyrunner._reports.notebook import MAX_IN_NOTEBOOK, fragment
from prefect_anyrunner._reports.printed import is_printer, print_by_traceback, printed_members
from prefect_anyrunner._reports.render import part_headline
from prefect_anyrunner._serialization.unpack import PortableError


@public
class TaskRunsFailed(ExceptionGroup[Exception], AnyRunnerError):
    """Task runs did not complete.

    Its members are in submission order: the exception that each body raised, and Prefect's `CrashedRun`,
    `CancelledRun`, `UpstreamTaskError` or `UnfinishedRun` for the other ways to fail. `outcomes` holds the outcome of
    each member's run, in the same order. The message counts all failures, including those that are not members
    because a member blocked them.

    `except*`, `split` and `subgroup` keep the type and the outcomes that match; the message of a part counts its
    members. A pickle contains stand-ins for the members that cannot be pickled; it refers to no future, runner or
    connection.

    When printed, it shows one traceback for each group of alike failures, and the summary last.
    `ANYRUNNER_TRACEBACKS=all` prints all members. Only printing differs: all other code that reads `exceptions` gets
    every member.
    """

    outcomes: tuple[Outcome, ...]
    _printed: tuple[BaseException, ...] | None = None

    # Extra data has to come through __new__, positionally, because BaseExceptionGroup takes no keywords.
    def __new__(cls, message: str, exceptions: Sequence[Exception], outcomes: Iterable[Outcome] = ()) -> TaskRunsFailed:
        self = super().__new__(cls, message, exceptions)
        self.outcomes = tuple(outcomes)
        print_by_traceback()
        return self

    def __init__(self, message: str, exceptions: Sequence[Exception], outcomes: Iterable[Outcome] = ()) -> None:
        super().__init__(message, exceptions)

    @property
    def exceptions(self) -> tuple[Any, ...]:
        """The members, in submission order. See `_reports/printed.py` for what a printer gets."""
        members = super().exceptions
        if not is_printer(sys._getframe(1)):
            return members
        if self._printed is None:  # kept, because printers read twice and distinguish exceptions by their ids
            self._printed = printed_members(members, self.outcomes, self.message)
        return self._printed

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, <{len(self.exceptions)} exceptions>)"

    def _repr_html_(self) -> str:
        counts = Counter(outcome.status for outcome in self.outcomes)
        digest = digest_of_failures(self.outcomes, self.outcomes, counts, most=MAX_IN_NOTEBOOK)
        return fragment(digest, f"{type(self).__name__}: {self.message.partition(': ')[0]}")

    def derive(self, excs: Sequence[Exception], /) -> TaskRunsFailed:  # type: ignore[override]  # typeshed: generic
        """Return a group of the same type with `excs` and their outcomes.

        A group that a task itself raised is one member. `split` may make a new group of a part of that member, so
        outcomes are found by the exceptions at the leaves.
        """
        kept = {id(leaf) for exc in excs for leaf in _leaves(exc)}
        outcomes = [outcome for outcome in self.outcomes if any(id(leaf) in kept for leaf in _leaves(outcome.error))]
        is_part = 0 < len(outcomes) < len(self.outcomes)
        message = part_headline(outcomes, len(self.outcomes)) if is_part else self.message
        return type(self)(message, excs, outcomes)

    def __reduce__(self) -> tuple[Any, ...]:
        number_of = {id(member): number for number, member in enumerate(self.exceptions)}
        # An outcome whose error is a member is pickled with the member's number instead, so that both stay one object.
        outcomes = [
            (outcome, None)
            if id(outcome.error) not in number_of
            else (replace(outcome, error=None), number_of[id(outcome.error)])
            for outcome in self.outcomes
        ]
        members = [PortableError(member) for member in self.exceptions]
        notes = {"__notes__": list(self.__notes__)} if hasattr(self, "__notes__") else None
        return _rebuilt, (type(self), self.message, members, outcomes), notes


def _rebuilt(
    kind: type[TaskRunsFailed], message: str, members: list[BaseException], outcomes: list[tuple[Outcome, int | None]]
) -> TaskRunsFailed:
    errors = [_as_exception(member) for member in members]
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
