"""An engine that many flow runs share: started once for a spec, stopped when the block ends."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from prefect_anyrunner._base.errors import BackendUnavailable
from prefect_anyrunner._choosing.spec import RunnerSpec
from prefect_anyrunner.backends import _registry

WORKERS = 2
"""How many task runs an engine of ours runs at a time where the spec does not say."""


@dataclass(frozen=True)
class Engine:
    """What runs tasks: `spec` says where it is now, `workers` how many task runs it runs at a time."""

    spec: RunnerSpec
    workers: int


@contextmanager
def shared_engine(spec: RunnerSpec) -> Iterator[Engine]:
    """Start the engine that `spec` asks for and yield the spec with which any number of flow runs use it.

    Dask and Ray start here, the stock ones too, with two workers unless the spec says otherwise. An engine that exists
    already, and backends whose runner starts what it needs by itself, are left as they are. Raises BackendUnavailable.
    """
    backend = _registry.get(spec.backend)
    assert backend is not None, "a spec is checked"
    if missing := backend.missing():
        raise BackendUnavailable(_registry.unavailable(backend, missing))
    kind = spec.backend.removeprefix("stock+")
    if kind == "dask" and spec.address is None:
        with _dask_cluster(spec) as engine:
            yield engine
    elif kind == "ray" and spec.address is None:
        with _ray_here(spec) as engine:
            yield engine
    else:
        yield _small(spec, backend.options)


def _small(spec: RunnerSpec, known: Any) -> Engine:
    if spec.address is None and "max_workers" in known:
        spec = _with(spec, {"max_workers": WORKERS, **spec.options})
    return Engine(spec, spec.options.get("max_workers", WORKERS))


def _with(spec: RunnerSpec, options: dict[str, Any], address: str | None = None) -> RunnerSpec:
    return RunnerSpec(spec.backend, address or spec.address, options, spec.source, spec.origins)


@contextmanager
def _dask_cluster(spec: RunnerSpec) -> Iterator[Engine]:
    import dask
    import distributed

    from prefect_anyrunner.backends._dask.cluster import keep_dead_workers_coming_back

    options = dict(spec.options)
    if "cluster_class" not in options:
        options = {"n_workers": WORKERS, "threads_per_worker": 1, **options}
    runner: Any = _with(spec, options).runner()  # it knows what its options mean for a cluster
    cluster_class = runner.resolved_cluster_class or runner.cluster_class or distributed.LocalCluster
    arguments = dict(runner.cluster_kwargs)
    with ExitStack() as stack:
        if cluster_class is distributed.LocalCluster:
            folder = stack.enter_context(TemporaryDirectory(prefix="anyrunner-", ignore_cleanup_errors=True))
            ours = {"host": "127.0.0.1", "silence_logs": "CRITICAL", "local_directory": folder}
            arguments = {**ours, **arguments}
            stack.enter_context(dask.config.set({"temporary-directory": folder}))  # its scheduler's
            stack.enter_context(keep_dead_workers_coming_back())
        # No client here: a flow run in this process would take it for its own.
        cluster = stack.enter_context(cluster_class(**arguments))
        if runner.adapt_kwargs:
            cluster.adapt(**runner.adapt_kwargs)
        kept = {name: value for name, value in spec.options.items() if name in ("client_kwargs", "rerun_lost")}
        workers = options.get("n_workers", WORKERS) * options.get("threads_per_worker", 1)
        yield Engine(_with(spec, kept, cluster.scheduler_address), workers)


@contextmanager
def _ray_here(spec: RunnerSpec) -> Iterator[Engine]:
    # A Ray that is started without a token writes one into the user's home folder.
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    options = {"num_cpus": WORKERS, **spec.options}
    runner: Any = _with(spec, options).runner()
    folder = tempfile.mkdtemp(prefix="r")  # Ray puts sockets there, whose paths must be short
    arguments = {"_temp_dir": folder, "log_to_driver": False, "logging_level": "CRITICAL", **runner.init_kwargs}
    here = threading.current_thread() is threading.main_thread()
    signals: dict[int, Any] = (
        {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if here else {}
    )
    try:
        ray.init(**arguments)
        _restore(signals)
        kept = {name: value for name, value in spec.options.items() if name == "rerun_lost"}
        yield Engine(_with(spec, kept), options["num_cpus"])  # a Ray of this process is used without an address
    finally:
        ray.shutdown()
        _restore(signals)
        shutil.rmtree(folder, ignore_errors=True)


def _restore(signals: dict[int, Any]) -> None:
    for number, before in signals.items():  # ray.init takes Ctrl-C and SIGTERM for itself
        signal.signal(number, before)
