"""The checks of a cluster before work is sent to it: versions, the Prefect API, the user's own modules.

    probe_expression() -> text -> the engine evaluates it on workers -> check_answer() -> nothing, or one clear error

Workers that join later are checked by the same rules when they enter the context of a run (`_worker/contexts.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from prefect.context import FlowRunContext

from prefect_anyrunner._base.versions import refuse_skew
from prefect_anyrunner._worker import probe
from prefect_anyrunner._worker.api_check import host_and_port_of_api, unreachable


def probe_expression(here: Mapping[str, str], *, api: str | None = None, modules: tuple[str, ...] = ()) -> str:
    """Return an expression that any Python evaluates to the answer that `check_answer` takes.

    `here`: the versions in the flow's process. `api`: the URL that must be reachable from there. `modules`: the names
    of top-level modules that should be importable there.
    """
    names = tuple(name for name in here if name != "python")
    arguments = (names, host_and_port_of_api(api) if api else None, modules)
    source = inspect.getsource(probe)
    return f"(lambda there: (exec({source!r}, there), there['probe'](*{arguments!r}))[1])({{'__name__': 'there'}})"


def check_answer(where: str, answer: Mapping[str, Any], here: Mapping[str, str], *, api: str | None = None) -> set[str]:
    """Return those of the requested modules that are missing there. Raises VersionSkew and ApiUnreachable."""
    refuse_skew(where, answer["versions"], here)
    if answer["api"] is not None and api is not None:
        raise unreachable(where, api, answer["api"])
    return set(answer["missing"])


def api_of_flow() -> str | None:
    """Return the URL of the API that the current flow run uses."""
    flow = FlowRunContext.get()
    return str(flow.client.api_url) if flow is not None else None
