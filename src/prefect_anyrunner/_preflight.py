"""What a driver asks of a cluster before it gives it work: versions, the Prefect API, and the user's own modules.

    question() -> text -> the engine has it evaluated there -> judge() -> nothing, or one error that says what to do

Workers that join later are looked at when they enter a run's context (`_worker`), by the same rules.
"""

from __future__ import annotations

import inspect
import site
import sys
import sysconfig
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import cloudpickle
from prefect.context import FlowRunContext

from . import _there
from ._errors import ApiUnreachable
from ._versions import refuse_skew


def question(here: Mapping[str, str], *, api: str | None = None, modules: tuple[str, ...] = ()) -> str:
    """Return an expression that any Python evaluates to what `judge` wants to know of it.

    `here`: the driver's versions. `api`: the URL that must be reachable from there. `modules`: top-level names.
    """
    names = tuple(name for name in here if name != "python")
    arguments = (names, _host_and_port(api) if api else None, modules)
    source = inspect.getsource(_there)
    return f"(lambda there: (exec({source!r}, there), there['answer'](*{arguments!r}))[1])({{'__name__': 'there'}})"


def judge(where: str, answer: Mapping[str, Any], here: Mapping[str, str], *, api: str | None = None) -> set[str]:
    """Return which of the modules asked for are missing there. Raises VersionSkew and ApiUnreachable."""
    refuse_skew(where, answer["versions"], here)
    if answer["api"] is not None and api is not None:
        raise unreachable(where, api, answer["api"])
    return set(answer["missing"])


def unreachable(where: str, api: str, why: str) -> ApiUnreachable:
    """Return the error of a worker that cannot reach the API."""
    return ApiUnreachable(
        f"{where} cannot reach the Prefect API at {api} ({why}): where the flow runs, set PREFECT_API_URL to an "
        "address that workers can reach."
    )


def look_for(api: str) -> str | None:
    """Return why the API at this URL cannot be reached from this process, or None."""
    return _there.unreachable(_host_and_port(api))


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


# --- the user's own modules --------------------------------------------------------------------------------------


def api_of_flow() -> str | None:
    """Return the URL of the API that the current flow run talks to."""
    flow = FlowRunContext.get()
    return str(flow.client.api_url) if flow is not None else None


def own_modules() -> dict[str, ModuleType]:
    """Return the top-level modules that were imported from the folder of the current flow's file, by name."""
    flow = FlowRunContext.get()
    if flow is None or flow.flow is None:
        return {}
    try:
        folder = Path(inspect.getfile(inspect.unwrap(flow.flow.fn))).resolve().parent
    except (TypeError, OSError):
        return {}
    installed = [Path(path).resolve() for path in (*_installed(), str(Path(__file__).parent))]
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
        if not isinstance(file, str) or "." in name or name.startswith("__"):
            continue
        path = Path(file).resolve()
        if path.is_relative_to(folder) and not any(path.is_relative_to(other) for other in installed):
            found[name] = module
    return found


def _installed() -> set[str]:
    paths = sysconfig.get_paths()
    return {paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"], *site.getsitepackages()}


def say_how(error: ModuleNotFoundError) -> None:
    """Note on what a body raised for a module that is here, and not on its worker, how to have it there."""
    name = (error.name or "").partition(".")[0]
    if name and not _there.missing(name):
        error.add_note(
            f"Module {name!r} is where the flow runs, and not on the worker: install it there, or import it at the top "
            "of the file, instead of inside the task, so that what the task uses of it travels along."
        )


_shipped: Counter[str] = Counter()
_shipped_lock = threading.Lock()


@contextmanager
def shipping(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    """Have what tasks use of these modules travel with them, by value, until the block ends."""
    with _shipped_lock:
        registered = cloudpickle.list_registry_pickle_by_value()
        # What the user registered by hand stays so.
        modules = {name: each for name, each in modules.items() if _shipped[name] or name not in registered}
        for name, module in modules.items():
            _shipped[name] += 1
            cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        with _shipped_lock:
            for name, module in modules.items():
                _shipped[name] -= 1
                if not _shipped[name]:
                    cloudpickle.unregister_pickle_by_value(module)
