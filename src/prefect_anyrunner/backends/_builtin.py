"""The built-in backends, described without importing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from prefect_anyrunner._publishing.options import Events
from prefect_anyrunner.backends._record import Backend, Capability, Option

_RERUN_LOST = Option("int", "how often a run lost with its worker is executed again; never by default (C4)", minimum=0)
_CONNECT_TIMEOUT = Option(
    "float", "seconds until an address that does not answer is given up; 10 by default", 0, above=True, when="address"
)
_WORKER_TIMEOUT = Option(
    "float", "seconds until runs that wait for a cluster without any worker crash; never by default", 0, above=True
)
SHARED: Mapping[str, Option] = MappingProxyType(
    {
        "events": Option(
            "text",
            "which states of a run are published in the API; auto by default (S2)",
            choices=tuple(Events),
        ),
        "events_timeout": Option(
            "float",
            "seconds without progress until the end of a flow run waits no longer for the API to record how its runs "
            "ended; 60 by default, 0 does not wait",
            minimum=0,
        ),
        "events_confirm": Option("bool", "ask the API what it has recorded, and send the rest again; true by default"),
        "events_journal": Option(
            "bool", "keep what the flow's process knows of each run in a file, for anyrunner audit; false by default"
        ),
        "stop_timeout": Option(
            "float",
            "seconds in which a flow run that is cancelled, timed out or ended by a signal stops; 20 by default (Q1)",
            minimum=0,
            above=True,
        ),
    }
)
_OTHER_PROCESS = "Prefect rolls back the tasks of a transaction that ran in its process, and these run in another one"
LOCAL_CLUSTER = ("n_workers", "threads_per_worker", "memory_limit", "processes")


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
                **SHARED,
            },
        ),
        "process": Backend(
            name="process",
            build="prefect_anyrunner.backends.process:build",
            lacks={Capability.ROLL_BACK_IN_FLOW: _OTHER_PROCESS},
            options={
                "max_workers": Option("int", "processes at most", minimum=1),
                "rerun_lost": _RERUN_LOST,
                **SHARED,
            },
        ),
        "dask": Backend(
            name="dask",
            build="prefect_anyrunner.backends.dask:build",
            share="prefect_anyrunner.backends._dask.shared:share",
            requires=("prefect_dask", "distributed"),
            install="pip install 'prefect-anyrunner[dask]'",
            schemes={"dask": "tcp://", "dask+tls": "tls://"},
            lacks={
                Capability.INTERRUPT_BLOCKING: "Dask runs tasks in threads, and Python cannot interrupt a C call there",
                Capability.ROLL_BACK_IN_TASK: _OTHER_PROCESS,
                Capability.ROLL_BACK_IN_FLOW: _OTHER_PROCESS,
            },
            options={
                "n_workers": Option("int", "worker processes", minimum=1, when="temporary"),
                "threads_per_worker": Option("int", "threads in each worker", minimum=1, when="temporary"),
                "memory_limit": Option("bytes", "memory of each worker", when="temporary"),
                "processes": Option("bool", "workers are processes of their own", when="temporary"),
                "cluster_class": Option(
                    "class", "dotted name of the cluster class", when="temporary", excludes=LOCAL_CLUSTER
                ),
                "cluster_kwargs": Option("table", "arguments of the cluster class", when="temporary"),
                "adapt_kwargs": Option("table", "arguments of the cluster's adapt()", when="temporary"),
                "client_kwargs": Option("table", "arguments of distributed.Client"),
                "ca_file": Option("file", "certificate of the authority", when="address", scheme="dask+tls"),
                "cert": Option("file", "own certificate", when="address", scheme="dask+tls"),
                "key": Option("file", "key of the own certificate", when="address", scheme="dask+tls"),
                "connect_timeout": _CONNECT_TIMEOUT,
                "worker_timeout": _WORKER_TIMEOUT,
                "rerun_lost": _RERUN_LOST,
                **SHARED,
            },
        ),
        "ray": Backend(
            name="ray",
            build="prefect_anyrunner.backends.ray:build",
            share="prefect_anyrunner.backends._ray.shared:share",
            requires=("prefect_ray", "ray"),
            install="pip install 'prefect-anyrunner[ray]'",
            schemes={"ray": "ray://"},
            words=("auto",),
            lacks={Capability.ROLL_BACK_IN_TASK: _OTHER_PROCESS, Capability.ROLL_BACK_IN_FLOW: _OTHER_PROCESS},
            options={
                "num_cpus": Option("int", "CPUs that Ray may use", minimum=1, when="temporary"),
                "num_gpus": Option("int", "GPUs that Ray may use", minimum=0, when="temporary"),
                "init_kwargs": Option("table", "arguments of ray.init()"),
                "connect_timeout": _CONNECT_TIMEOUT,
                "worker_timeout": _WORKER_TIMEOUT,
                "rerun_lost": _RERUN_LOST,
                **SHARED,
            },
        ),
    }
)


_OURS_ALONE = ("portable", "rerun_lost", "connect_timeout", "worker_timeout", *SHARED)


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
OWN: Mapping[str, Backend] = MappingProxyType({**BUILT_IN, **STOCK})
