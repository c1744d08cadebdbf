"""Checks whether the classes that a spec names can be imported, at first without importing them."""

from __future__ import annotations

import importlib
import importlib.util
import sys

from prefect_anyrunner._base.errors import BackendUnavailable, SpecError

_INSTALL = {
    name: name.replace("_", "-")
    for name in (
        "coiled", "dask_cloudprovider", "dask_cuda", "dask_gateway", "dask_jobqueue", "dask_kubernetes", "dask_mpi",
        "dask_yarn",
    )
}  # fmt: skip
"""Packages with cluster classes for Dask, each with the name that pip installs it by."""


def why_not(name: str) -> str | None:
    """Return why the class of this dotted name cannot be imported, as far as that is known without importing it."""
    package, dot, _ = name.partition(".")
    if not dot or not all(part.isidentifier() for part in name.split(".")):
        return "is not the dotted name of a class, such as dask_jobqueue.SLURMCluster"
    if sys.modules.get(package) is None and importlib.util.find_spec(package) is None:
        hint = f"; install it with: pip install {_INSTALL[package]}" if package in _INSTALL else ""
        return f"cannot be imported, because {package} is not installed{hint}"
    return None


def check_class(option: str, name: str) -> None:
    """Import the class of this dotted name.

    Raises BackendUnavailable if its module cannot be imported, SpecError if the module has no such class.
    """
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:
        raise BackendUnavailable(
            f"option {option!r} = {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not callable(found):
        raise SpecError(f"option {option!r} = {name!r} cannot be used, because {module} has no class {attribute!r}")
