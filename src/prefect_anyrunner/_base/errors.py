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

from collections.abc import Iterable

from prefect_anyrunner._base.public import public


@public
class AnyRunnerError(Exception):
    """Whatever this package raises on its own account."""


@public
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


@public
class BackendUnavailable(AnyRunnerError, ImportError):
    """The backend asked for is known, but a package it needs is not installed; the text holds the install line."""


@public
class EngineUnreachable(AnyRunnerError, ConnectionError):
    """No engine answered at `address` within the connect timeout, or the one that did has gone since.

    The text holds the address (never a password in it) and the timeout in seconds.
    """

    def __init__(self, message: str, *, address: str | None = None) -> None:
        super().__init__(message)
        self.address = address

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args, {"address": self.address}


@public
class ApiUnreachable(AnyRunnerError, ConnectionError):
    """A worker cannot reach the Prefect API; the text names the worker and the URL, and says what to set."""


@public
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


@public
class CannotTravel(AnyRunnerError, TypeError):
    """An argument or a result cannot be pickled on its way to or from a worker, or not rebuilt there (rule V1)."""
