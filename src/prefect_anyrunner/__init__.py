"""One Prefect flow on any task runner: chosen by configuration, waited for once, one combined failure.

    choosing   RunnerSpec, AnyTaskRunner, pick, use_runner        which runner a flow runs on
    waiting    settle, gather, as_settled, asettle, agather       until all task runs have ended
    mapping    map_settled                                        inputs without end, a window of runs at a time
    policy     FailurePolicy                                      when failures are too many
    outcomes   Report, Outcome, Status, TaskRunsFailed            what became of the task runs
    errors     AnyRunnerError and its tree                        what can go wrong (see `_base/errors.py`)

The packages are the stages that a run passes through, from top to bottom. A package imports only packages below it:

    cli  conformance  pytest_plugin     the command, the table of rules, the fixture for tests
    _provisioning                       servers, engines and child processes that commands and tests start
    _choosing | _waiting                which runner; until all runs have ended
    _reports                            what became of many runs
    backends                            the four runners and what is special about each engine
    _driver                             the flow's side of a run, the same for all backends
    _worker | _outcomes                 the worker's side of a run; what became of it
    _serialization | _prefect           values and exceptions to bytes and back; everything that leans on Prefect
    _base                               errors, statuses, short texts, versions

Importing this package imports neither Dask nor Ray, and Prefect only once one of these names is used.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_anyrunner._base.errors import AnyRunnerError as AnyRunnerError
    from prefect_anyrunner._base.errors import ApiUnreachable as ApiUnreachable
    from prefect_anyrunner._base.errors import BackendUnavailable as BackendUnavailable
    from prefect_anyrunner._base.errors import CannotTravel as CannotTravel
    from prefect_anyrunner._base.errors import EngineUnreachable as EngineUnreachable
    from prefect_anyrunner._base.errors import SpecError as SpecError
    from prefect_anyrunner._base.errors import VersionSkew as VersionSkew
    from prefect_anyrunner._base.status import Status as Status
    from prefect_anyrunner._choosing.runner import AnyTaskRunner as AnyTaskRunner
    from prefect_anyrunner._choosing.runner import pick as pick
    from prefect_anyrunner._choosing.runner import use_runner as use_runner
    from prefect_anyrunner._choosing.spec import RunnerSpec as RunnerSpec
    from prefect_anyrunner._outcomes.outcome import Outcome as Outcome
    from prefect_anyrunner._reports.failure import TaskRunsFailed as TaskRunsFailed
    from prefect_anyrunner._reports.report import Report as Report
    from prefect_anyrunner._waiting.map import map_settled as map_settled
    from prefect_anyrunner._waiting.policy import FailurePolicy as FailurePolicy
    from prefect_anyrunner._waiting.settle import agather as agather
    from prefect_anyrunner._waiting.settle import as_settled as as_settled
    from prefect_anyrunner._waiting.settle import asettle as asettle
    from prefect_anyrunner._waiting.settle import gather as gather
    from prefect_anyrunner._waiting.settle import settle as settle

    __version__: str

_HOMES = {
    "AnyRunnerError": "_base.errors",
    "ApiUnreachable": "_base.errors",
    "BackendUnavailable": "_base.errors",
    "CannotTravel": "_base.errors",
    "EngineUnreachable": "_base.errors",
    "SpecError": "_base.errors",
    "TaskRunsFailed": "_reports.failure",
    "VersionSkew": "_base.errors",
    "map_settled": "_waiting.map",
    "Outcome": "_outcomes.outcome",
    "Status": "_base.status",
    "FailurePolicy": "_waiting.policy",
    "Report": "_reports.report",
    "AnyTaskRunner": "_choosing.runner",
    "pick": "_choosing.runner",
    "use_runner": "_choosing.runner",
    "agather": "_waiting.settle",
    "as_settled": "_waiting.settle",
    "asettle": "_waiting.settle",
    "gather": "_waiting.settle",
    "settle": "_waiting.settle",
    "RunnerSpec": "_choosing.spec",
}


def __getattr__(name: str) -> Any:
    # pytest loads this package's plugin at the start of every run: Prefect is imported when a name is first used.
    if name == "__version__":
        return importlib.metadata.version("prefect-anyrunner")  # only pyproject.toml states it
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({"__version__", *(name for name in globals() if name.startswith("__")), *_HOMES})
