"""A Dask cluster that is started for many flow runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import dask
import distributed

from prefect_anyrunner.backends import _registry
from prefect_anyrunner.backends._builtin import BUILT_IN, SHARED
from prefect_anyrunner.backends._dask.cluster import adapt, local_cluster_is_up, start_cluster
from prefect_anyrunner.backends._record import SharedEngine

_KEPT = ("client_kwargs", "rerun_lost", "worker_timeout", *SHARED)
"""Options that are about a runner, not about the cluster."""


@contextmanager
def share(options: Mapping[str, Any], workers: int) -> Iterator[SharedEngine]:
    """Start the cluster that the options of a `dask://` spec describe, yield it, and stop it."""
    wanted = dict(options)
    if "cluster_class" not in wanted:
        wanted = {"n_workers": workers, "threads_per_worker": 1, **wanted}
    runner: Any = _registry.build(
        BUILT_IN["dask"], None, wanted
    )  # it knows which arguments of a cluster these options are
    cluster_class = runner.resolved_cluster_class or runner.cluster_class or distributed.LocalCluster
    arguments = dict(runner.cluster_kwargs)
    with ExitStack() as stack:
        if cluster_class is distributed.LocalCluster:
            folder = stack.enter_context(TemporaryDirectory(prefix="anyrunner-", ignore_cleanup_errors=True))
            ours = {"host": "127.0.0.1", "silence_logs": "CRITICAL", "local_directory": folder}
            arguments = {**ours, **arguments}
            stack.enter_context(dask.config.set({"temporary-directory": folder}))  # the scheduler uses this one
        stack.enter_context(local_cluster_is_up())
        # No client is opened here, because a flow run in this process would take it for its own.
        cluster = stack.enter_context(start_cluster(cluster_class, arguments))
        if runner.adapt_kwargs:
            adapt(cluster, runner.adapt_kwargs)
        yield SharedEngine(
            # A cluster that starts without workers, to grow by itself, says nothing about their number.
            workers=(arguments.get("n_workers") or workers) * (arguments.get("threads_per_worker") or 1),
            address=cluster.scheduler_address,
            options={name: value for name, value in options.items() if name in _KEPT},
        )
