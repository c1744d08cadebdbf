"""The backends there are: four built in, the stock runners beneath them, more through entry points.

Knowing one does not import it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from prefect.task_runners import TaskRunner

from .._errors import BackendUnavailable, SpecError
from ._base import Backend, Capability, Option

GROUP = "prefect_anyrunner.backends"

_RERUN_LOST = Option("int", "how often a run lost with its worker is executed again; never by default (C4)", minimum=0)
_CONNECT_TIMEOUT = Option(
    "float", "seconds until an address that does not answer is given up; 10 by default", 0, above=True, when="address"
)
_LOCAL_CLUSTER = ("n_workers", "threads_per_worker", "memory_limit", "processes")

BUILT_IN: Mapping[str, Backend] = MappingProxyType(
    {
        "thread": Backend(
            name="thread",
            build="prefect_anyrunner.backends.thread:build",
            lacks={
                Capability.SEPARATE_PROCESS: "threads are part of the flow's process",
                Capability.SURVIVE_WORKER_DEATH: "what ends the process of a thread ends the flow with it",
                Capability.INTERRUPT_BLOCKING: "Python cannot interrupt a C call in a thread",
            },
            options={
                "max_workers": Option("int", "threads at most", minimum=1),
                "portable": Option("bool", "arguments, results and errors make the round trip of a cluster (V2)"),
            },
        ),
        "process": Backend(
            name="process",
            build="prefect_anyrunner.backends.process:build",
            options={
                "max_workers": Option("int", "processes at most", minimum=1),
                "rerun_lost": _RERUN_LOST,
            },
        ),
        "dask": Backend(
            name="dask",
            build="prefect_anyrunner.backends.dask:build",
            requires=("prefect_dask", "distributed"),
            install="pip install 'prefect-anyrunner[dask]'",
            schemes={"dask": "tcp://", "dask+tls": "tls://"},
            lacks={
                Capability.INTERRUPT_BLOCKING: "Dask runs tasks in threads, and Python cannot interrupt a C call there",
            },
            options={
                "n_workers": Option("int", "worker processes", minimum=1, when="temporary"),
                "threads_per_worker": Option("int", "threads in each worker", minimum=1, when="temporary"),
                "memory_limit": Option("bytes", "memory of each worker", when="temporary"),
                "processes": Option("bool", "workers are processes of their own", when="temporary"),
                "cluster_class": Option(
                    "text", "dotted name of the cluster class", when="temporary", excludes=_LOCAL_CLUSTER
                ),
                "cluster_kwargs": Option("table", "arguments of the cluster class", when="temporary"),
                "adapt_kwargs": Option("table", "arguments of the cluster's adapt()", when="temporary"),
                "client_kwargs": Option("table", "arguments of distributed.Client"),
                "ca_file": Option("file", "certificate of the authority", when="address", scheme="dask+tls"),
                "cert": Option("file", "own certificate", when="address", scheme="dask+tls"),
                "key": Option("file", "key of the own certificate", when="address", scheme="dask+tls"),
                "connect_timeout": _CONNECT_TIMEOUT,
                "rerun_lost": _RERUN_LOST,
            },
        ),
        "ray": Backend(
            name="ray",
            build="prefect_anyrunner.backends.ray:build",
            requires=("prefect_ray", "ray"),
            install="pip install 'prefect-anyrunner[ray]'",
            schemes={"ray": "ray://"},
            words=("auto",),
            options={
                "num_cpus": Option("int", "CPUs that Ray may use", minimum=1, when="temporary"),
                "num_gpus": Option("int", "GPUs that Ray may use", minimum=0, when="temporary"),
                "init_kwargs": Option("table", "arguments of ray.init()"),
                "connect_timeout": _CONNECT_TIMEOUT,
                "rerun_lost": _RERUN_LOST,
            },
        ),
    }
)

_OURS_ALONE = ("portable", "rerun_lost", "connect_timeout")


def _stock(backend: Backend) -> Backend:
    """Return the record of the stock runner that a built-in one is made from: the same options, without ours."""
    return replace(
        backend,
        name=f"stock+{backend.name}",
        build=f"prefect_anyrunner.backends.stock:build_{backend.name}",
        schemes={f"stock+{scheme}": prefix for scheme, prefix in backend.schemes.items()},
        options={
            name: option if option.scheme is None else replace(option, scheme=f"stock+{option.scheme}")
            for name, option in backend.options.items()
            if name not in _OURS_ALONE
        },
    )


STOCK: Mapping[str, Backend] = MappingProxyType({record.name: record for record in map(_stock, BUILT_IN.values())})
"""Prefect's, prefect-dask's and prefect-ray's own classes, to compare with: `stock+dask://`."""
_OWN: Mapping[str, Backend] = MappingProxyType({**BUILT_IN, **STOCK})


def names() -> tuple[str, ...]:
    """Return the names to choose from, the built-in ones first; loads no entry point.

    The stock runners are known, too, but are there to compare with.
    """
    return (*BUILT_IN, *sorted({point.name for point in _entry_points()} - _OWN.keys()))


def knows(name: str) -> bool:
    """Tell whether there is a backend of that name; loads no entry point."""
    return name in _OWN or name in names()


def of_scheme(scheme: str) -> str:
    """Return the name of the backend that a URL scheme belongs to: the longest name before a `+` that is one."""
    parts = scheme.split("+")
    candidates = ("+".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next(filter(knows, candidates), parts[0])


def get(name: str) -> Backend | None:
    """Return the backend of that name, or None when there is none.

    Raises SpecError when two packages registered the name, or a package registered something else than a `Backend`
    under it; BackendUnavailable when its record cannot be imported.
    """
    points = [point for point in _entry_points() if point.name == name]
    owners = ["prefect-anyrunner"] * (name in _OWN) + [_owner(point) for point in points]
    if len(owners) > 1:
        raise SpecError(f"backend {name!r} is registered by several packages: {', '.join(owners)}; keep one of them")
    if not points:
        return _OWN.get(name)
    try:
        backend = points[0].load()
    except Exception as error:
        raise BackendUnavailable(
            f"backend {name!r} of package {owners[0]} cannot be imported ({points[0].value}): "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(backend, Backend) or backend.name != name:
        raise SpecError(
            f"entry point {name!r} of package {owners[0]} ({points[0].value}) is not a Backend record named {name!r}"
        )
    return backend


def build(backend: Backend, address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the backend's task runner, not started.

    Raises BackendUnavailable, with the install line, when a package it needs is not installed or cannot be imported.
    """
    if missing := backend.missing():
        raise BackendUnavailable(unavailable(backend, missing))
    if not isinstance(backend.build, str):
        return backend.build(address, options)
    module, _, function = backend.build.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except ImportError as error:
        hint = f"; to install what it needs: {backend.install}" if backend.install else ""
        raise BackendUnavailable(f"backend {backend.name!r} cannot be imported: {error}{hint}") from error
    runner: TaskRunner[Any] = make(address, options)
    return runner


def unavailable(backend: Backend, missing: tuple[str, ...]) -> str:
    """Return the sentence that says what is not installed and how to install it."""
    how = backend.install or f"pip install {' '.join(name.replace('_', '-') for name in missing)}"
    return f"backend {backend.name!r} is not installed ({', '.join(missing)} missing); install it with: {how}"


def _entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    return _entry_points_on(tuple(sys.path))


@lru_cache(maxsize=1)
def _entry_points_on(_: tuple[str, ...]) -> tuple[importlib.metadata.EntryPoint, ...]:
    # Reads a file of every installed distribution, and is asked several times whenever a run starts.
    points = importlib.metadata.entry_points(group=GROUP)
    # The same distribution can be found twice, by an editable install and on the path.
    return tuple({(_owner(point), point.name): point for point in points}.values())


def _owner(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
