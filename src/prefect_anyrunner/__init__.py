"""One Prefect flow on any task runner: chosen by configuration, waited for once, one combined failure.

    choosing   RunnerSpec, AnyTaskRunner, pick, use_runner        which runner a flow runs on
    waiting    settle, gather, as_settled, asettle, agather       until all task runs have ended
    mapping    map_settled                                        inputs without end, a window of runs at a time
    policy     FailurePolicy                                      when failures are too many
    telling    Report, Outcome, Status, TaskRunsFailed            what became of them
    errors     AnyRunnerError and its tree                         what can go wrong (see `_errors`)

Importing this package imports neither Dask nor Ray, and Prefect only once one of these names is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_anyrunner._errors import AnyRunnerError as AnyRunnerError
    from prefect_anyrunner._errors import ApiUnreachable as ApiUnreachable
    from prefect_anyrunner._errors import BackendUnavailable as BackendUnavailable
    from prefect_anyrunner._errors import CannotTravel as CannotTravel
    from prefect_anyrunner._errors import EngineUnreachable as EngineUnreachable
    from prefect_anyrunner._errors import SpecError as SpecError
    from prefect_anyrunner._errors import TaskRunsFailed as TaskRunsFailed
    from prefect_anyrunner._errors import VersionSkew as VersionSkew
    from prefect_anyrunner._map import map_settled as map_settled
    from prefect_anyrunner._outcome import Outcome as Outcome
    from prefect_anyrunner._outcome import Status as Status
    from prefect_anyrunner._policy import FailurePolicy as FailurePolicy
    from prefect_anyrunner._report import Report as Report
    from prefect_anyrunner._runner import AnyTaskRunner as AnyTaskRunner
    from prefect_anyrunner._runner import pick as pick
    from prefect_anyrunner._runner import use_runner as use_runner
    from prefect_anyrunner._settle import agather as agather
    from prefect_anyrunner._settle import as_settled as as_settled
    from prefect_anyrunner._settle import asettle as asettle
    from prefect_anyrunner._settle import gather as gather
    from prefect_anyrunner._settle import settle as settle
    from prefect_anyrunner._spec import RunnerSpec as RunnerSpec

__version__ = "0.1.0"

_HOMES = {
    "AnyRunnerError": "_errors",
    "ApiUnreachable": "_errors",
    "BackendUnavailable": "_errors",
    "CannotTravel": "_errors",
    "EngineUnreachable": "_errors",
    "SpecError": "_errors",
    "TaskRunsFailed": "_errors",
    "VersionSkew": "_errors",
    "map_settled": "_map",
    "Outcome": "_outcome",
    "Status": "_outcome",
    "FailurePolicy": "_policy",
    "Report": "_report",
    "AnyTaskRunner": "_runner",
    "pick": "_runner",
    "use_runner": "_runner",
    "agather": "_settle",
    "as_settled": "_settle",
    "asettle": "_settle",
    "gather": "_settle",
    "settle": "_settle",
    "RunnerSpec": "_spec",
}


def __getattr__(name: str) -> Any:
    # pytest loads this package's plugin at the start of every run: Prefect is imported when a name is first used.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
