"""Modules next to the flow's file that workers lack."""

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

import cloudpickle
from prefect.context import FlowRunContext

from prefect_anyrunner._worker import probe


def user_modules() -> dict[str, ModuleType]:
    """Return the top-level modules that were imported from the folder of the current flow's file, by name."""
    flow = FlowRunContext.get()
    if flow is None or flow.flow is None:
        return {}
    try:
        folder = Path(inspect.getfile(inspect.unwrap(flow.flow.fn))).resolve().parent
    except (TypeError, OSError):
        return {}
    installed = [Path(path).resolve() for path in (*_installed(), str(Path(__file__).parents[1]))]
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
        if not isinstance(file, str) or "." in name or name.startswith("__"):
            continue
        path = Path(file).resolve()
        if path.is_relative_to(folder) and not any(path.is_relative_to(other) for other in installed):
            found[name] = module
    return found


def module_without_spec() -> dict[str, ModuleType]:
    """Return the module of the current flow, by its name, if no process can import it, as under `runpy.run_path`."""
    flow = FlowRunContext.get()
    name = getattr(flow and flow.flow and flow.flow.fn, "__module__", None) or "__main__"
    module = sys.modules.get(name)
    if (
        module is None or name == "__main__" or getattr(module, "__spec__", None) is not None
    ):  # `__main__` always travels by value
        return {}
    return {name: module}


def _installed() -> set[str]:
    paths = sysconfig.get_paths()
    return {paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"], *site.getsitepackages()}


def note_missing_module(error: ModuleNotFoundError) -> None:
    """Add a note to a ModuleNotFoundError from a worker: how to make a module that exists here available there."""
    name = (error.name or "").partition(".")[0]
    if name and not probe.missing(name):
        error.add_note(
            f"Module {name!r} exists where the flow runs, but not on the worker: install it there, or import it at the "
            "top of the file instead of inside the task, so that the task carries what it uses of it."
        )


_shipped: Counter[str] = Counter()
_shipped_lock = threading.Lock()


@contextmanager
def pickled_by_value(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    """Make tasks carry the parts of these modules that they use, by value, until the block ends."""
    with _shipped_lock:
        registered = cloudpickle.list_registry_pickle_by_value()
        # A module that the user registered stays registered.
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
