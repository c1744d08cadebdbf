"""The errors of this package; `TaskRunsFailed`, which needs outcomes, is in `_reports/failure.py`.

AnyRunnerError
  ├─ SpecError            a runner specification is wrong; it lists every problem with its place  (ValueError)
  ├─ BackendUnavailable   the backend is known, but a package that it needs is not installed      (ImportError)
  ├─ EngineUnreachable    the engine did not answer in time, or answers no longer                 (ConnectionError)
  ├─ ApiUnreachable       a worker cannot reach the Prefect API                                   (ConnectionError)
  ├─ VersionSkew          a worker runs other versions than the flow, so pickles would be misread (RuntimeError)
  ├─ CannotTravel         an argument or a result cannot reach or leave a worker                  (TypeError)
  └─ TaskRunsFailed       task runs did not complete; it holds the error of each                  (ExceptionGroup)

A `TaskRunsFailed` holds one error for each run that did not complete, by the status of the run:

  FAILED      the exception that the body raised, or a stand-in for it that the same `except` catches
  CRASHED     prefect.exceptions.CrashedRun, with the cause
  CANCELLED   prefect.exceptions.CancelledRun
  BLOCKED     prefect.exceptions.UpstreamTaskError, with the upstream run's error as the cause
  UNFINISHED  prefect.exceptions.UnfinishedRun
"""

from __future__ import annotations

from collections.abc import Iterable

from prefect_anyrunner._base.public import public


@public
class AnyRunnerError(Exception):
    """Base class of all errors that this package raises itself."""


@public
class SpecError(AnyRunnerError, ValueError):
    """A runner specification cannot be used.

    `problems` holds one text for each problem. It begins with the place of the problem: the file and table, the
    environment variable, or the argument. Secrets are hidden in it.
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
    """A known backend needs a package that is not installed; the text holds the command that installs it."""


@public
class EngineUnreachable(AnyRunnerError, ConnectionError):
    """The engine at `address` did not answer within the connect timeout, or answers no longer.

    The text holds the address, with its password hidden, and the timeout in seconds.
    """

    def __init__(self, message: str, *, address: str | None = None) -> None:
        super().__init__(message)
        self.address = address

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args, {"address": self.address}


@public
class ApiUnreachable(AnyRunnerError, ConnectionError):
    """A worker cannot reach the Prefect API; the text names the worker, the URL, and the variable to set."""


@public
class VersionSkew(AnyRunnerError, RuntimeError):
    """A scheduler or worker runs other versions than the flow, so that each would misread the other's pickles.

    `where` names the scheduler or worker. `differing` holds, for each package (or `python`), its name, the version
    there (None if it is not installed), and the version that the flow runs.
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
    """An argument or a result cannot be pickled for a worker or by one, or cannot be rebuilt there (rule V1)."""
