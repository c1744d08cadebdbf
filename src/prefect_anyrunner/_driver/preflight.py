"""What a driver asks of a cluster before it gives it work: versions, the Prefect API, and the user's own modules.

    question() -> text -> the engine has it evaluated there -> judge() -> nothing, or one error that says what to do

Workers that join later are looked at when they enter a run's context (`_worker`), by the same rules.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from prefect.context import FlowRunContext

from prefect_anyrunner._base.versions import refuse_skew
from prefect_anyrunner._worker import probe
from prefect_anyrunner._worker.api_check import host_and_port_of_api, unreachable


def question(here: Mapping[str, str], *, api: str | None = None, modules: tuple[str, ...] = ()) -> str:
    """Return an expression that any Python evaluates to what `judge` wants to know of it.

    `here`: the driver's versions. `api`: the URL that must be reachable from there. `modules`: top-level names.
    """
    names = tuple(name for name in here if name != "python")
    arguments = (names, host_and_port_of_api(api) if api else None, modules)
    source = inspect.getsource(probe)
    return f"(lambda there: (exec({source!r}, there), there['answer'](*{arguments!r}))[1])({{'__name__': 'there'}})"


def judge(where: str, answer: Mapping[str, Any], here: Mapping[str, str], *, api: str | None = None) -> set[str]:
    """Return which of the modules asked for are missing there. Raises VersionSkew and ApiUnreachable."""
    refuse_skew(where, answer["versions"], here)
    if answer["api"] is not None and api is not None:
        raise unreachable(where, api, answer["api"])
    return set(answer["missing"])


# --- the user's own modules --------------------------------------------------------------------------------------


def api_of_flow() -> str | None:
    """Return the URL of the API that the current flow run talks to."""
    flow = FlowRunContext.get()
    return str(flow.client.api_url) if flow is not None else None
