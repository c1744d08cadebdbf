"""Dask: prefect-dask's runner, whose scheduler also keeps the claims and what workers fetch once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, ClassVar, Unpack

import distributed
import prefect_dask
from distributed import secede
from prefect.task_runners import TaskRunner
from prefect_dask.client import PrefectDaskClient

from prefect_anyrunner._base.errors import EngineUnreachable
from prefect_anyrunner._driver.modules import module_without_spec, pickled_by_value
from prefect_anyrunner._driver.remote_runner import RemoteRunner
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._driver.shared_settings import SHARED_SETTINGS, SharedArguments
from prefect_anyrunner._driver.stop_limit import signals_held_back
from prefect_anyrunner._worker.contexts import current_worker, own_runner
from prefect_anyrunner.backends._builtin import LOCAL_CLUSTER
from prefect_anyrunner.backends._classes import check_class
from prefect_anyrunner.backends._dask.channel import DaskChannel
from prefect_anyrunner.backends._dask.cluster import (
    adapt,
    check_cluster,
    default_cluster,
    local_cluster_is_up,
    start_cluster,
)
from prefect_anyrunner.backends._dask.entry import import_worker
from prefect_anyrunner.backends._dask.greeting import greet, unreachable
from prefect_anyrunner.backends._dask.private import call_on_workers, holds_worker_thread
from prefect_anyrunner.backends._no_workers import WorkerWatch


class DaskTaskRunner(RemoteRunner, prefect_dask.DaskTaskRunner):  # type: ignore[misc,name-defined]  # one future
    """A task runner on a Dask cluster: a temporary one, an existing one, or a `cluster` object.

    It is a drop-in for prefect-dask's class of the same name. A body is claimed on the scheduler before it runs, so
    that Dask's own re-execution never runs one twice (rules C2, C3; PrefectHQ/prefect#15442). `rerun_lost=N` allows it
    N times per run (rule C4). `connect_timeout` and `worker_timeout` are in seconds. Runs that wait for a cluster
    without any worker crash after `worker_timeout`, or never if it is None.
    """

    settings: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "cluster": "_given_cluster",
            "address": "_given_address",
            "cluster_class": "cluster_class",
            "cluster_kwargs": "cluster_kwargs",
            "adapt_kwargs": "adapt_kwargs",
            "client_kwargs": "client_kwargs",
            "performance_report_path": "performance_report_path",
            "rerun_lost": "rerun_lost",
            **SHARED_SETTINGS,
            "connect_timeout": "connect_timeout",
            "worker_timeout": "worker_timeout",
        }
    )
    both_sides = ("dask", "distributed")
    _client: Any
    client_kwargs: dict[str, Any]

    def __init__(
        self,
        cluster: Any = None,
        address: str | None = None,
        cluster_class: Any = None,
        cluster_kwargs: dict[str, Any] | None = None,
        adapt_kwargs: dict[str, Any] | None = None,
        client_kwargs: dict[str, Any] | None = None,
        performance_report_path: str | None = None,
        *,
        rerun_lost: int = 0,
        connect_timeout: float = 10,
        worker_timeout: float | None = None,
        **shared: Unpack[SharedArguments],
    ) -> None:
        super().__init__(
            cluster, address, cluster_class, cluster_kwargs, adapt_kwargs, client_kwargs, performance_report_path
        )
        self.rerun_lost = rerun_lost
        self.use_shared(**shared)
        self.connect_timeout = connect_timeout
        self.worker_timeout = worker_timeout
        self._given_cluster = cluster
        self._given_address = self.address if cluster is None else None
        self._nested = False
        self._channel: DaskChannel | None = None
        self._connecting = threading.RLock()
        self._watch: WorkerWatch | None = None
        self._modules = ExitStack()  # modules that travel by value while the runner is connected

    @property
    def name(self) -> str:
        """The backend's name, as the stock class has it."""
        return "dask"

    def comparable_settings(self) -> dict[str, Any]:
        """Return the settings, with the contents of `Security` objects, because each object is equal only to itself."""
        client_kwargs = dict(self.client_kwargs)
        if isinstance(security := client_kwargs.get("security"), distributed.Security):
            client_kwargs["security"] = {name: getattr(security, name) for name in security.__slots__}
        return {**self.current_settings(), "client_kwargs": client_kwargs}

    def __getstate__(self) -> dict[str, Any]:
        settings = self.current_settings()
        if self._given_cluster is not None:  # a cluster object stays where it is; another process needs its address
            settings.update(cluster=None, address=self._given_cluster.scheduler_address, adapt_kwargs=None)
        return settings

    # --- start and stop ------------------------------------------------------------------------------------------

    def start_engine(self) -> None:
        """Make sure that a scheduler answers at the address, if one is given; the first submit connects to it."""
        self._nested = self._uses_cluster_of_worker()
        if not self._nested:
            self._greet()
        super().start_engine()

    def _uses_cluster_of_worker(self) -> bool:
        """Return whether the runner uses the cluster of the Dask worker that it starts on, so that it needs no client.

        The own runner of the task's flow, made anew there, does. So does that of a flow that the task calls, if it asks
        for the same cluster or for none.
        """
        host, own, asked = current_worker(), own_runner(), self._asked_for()
        if host is None or host.backend != "dask":
            return False
        if own is None or (isinstance(own, DaskTaskRunner) and own._asked_for() == asked):
            return True
        return asked in ((None, None, {}), (distributed.get_worker().scheduler.address, None, {}))

    def _asked_for(self) -> tuple[str | None, Any, dict[str, Any]]:
        cluster = self._given_cluster
        return self.address if cluster is None else cluster.scheduler_address, self.cluster_class, self.cluster_kwargs

    def finish(self, exc_type: type[BaseException] | None) -> None:
        """Bring every run to its end; those that were sent have crashed if the scheduler is gone."""
        channel = self._channel
        if channel is None:
            super().finish(exc_type)
            return
        if not channel.is_connected():
            if self._nested:  # its worker ends, and the worker's client with it: nothing is left to finish
                return
            self.on_engine_lost(channel.connection_lost())
        super().finish(exc_type)
        channel.close()

    def stop_engine(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """Close the client, and a cluster that was started here."""
        self._modules.close()
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        self._channel = None
        if self._nested:
            self._client = None  # it belongs to the worker, which closes it
        super().stop_engine(exc_type, exc_value, traceback)
        self._client = None
        self._cluster = self._given_cluster  # the next start makes another temporary cluster

    def _connect(self) -> DaskChannel:
        """Return the channel, opened by the first call."""
        with self._connecting:
            if self._channel is None:
                with signals_held_back():  # a cluster that is left half started cannot be stopped
                    self._channel = self._open_channel()
            return self._channel

    def _open_channel(self) -> DaskChannel:
        """Open the client, put our plugin on the scheduler and start two threads."""
        if self._nested:
            self._client = distributed.get_client()
            return DaskChannel(self, self._client)
        self._open_client()
        self._check_cluster()
        channel = DaskChannel(self, self._client)
        call_on_workers(self._client, import_worker)
        self._watch = WorkerWatch(
            f"The Dask cluster at {self._client.scheduler.address}",
            self._has_workers,
            self.is_waiting,
            self.logger,
            timeout=self.worker_timeout,
            give_up=self.on_no_workers,
        )
        return channel

    @property
    def client(self) -> Any:
        """The Dask client, connected when it is first asked for.

        A runner that was given a cluster, an address, a cluster class or arguments for one uses that. A runner that was
        given nothing uses the cluster of this process's default client, as prefect-dask's class does, or else starts
        one.
        """
        if self._client is None:
            asked = self.address or self._cluster
            if asked is None and self.cluster_class is None and not self.cluster_kwargs:
                asked = default_cluster()
            if not isinstance(asked, str):
                self._exit_stack.enter_context(local_cluster_is_up())
            if asked is None:
                made_by: Any = self.resolved_cluster_class or self.cluster_class or distributed.LocalCluster
                asked = self._exit_stack.enter_context(start_cluster(made_by, self.cluster_kwargs))
            if not isinstance(asked, str):
                self._cluster = asked
                if self.adapt_kwargs:
                    adapt(asked, self.adapt_kwargs)
            connect: Any = PrefectDaskClient
            client = self._exit_stack.enter_context(connect(asked, **self.client_kwargs))
            self.logger.info("The flow run uses Dask at %s; its dashboard: %s.", asked, client.dashboard_link)
            if self.performance_report_path:
                report: Any = distributed.performance_report
                self._exit_stack.enter_context(distributed.Client.as_current(client))
                self._exit_stack.enter_context(report(self.performance_report_path))
            self._client = client
        return self._client

    def _open_client(self) -> None:
        if self.address is None:
            _ = self.client
            return
        self._greet()
        given = self.client_kwargs
        # Only for this call, because a runner must equal its duplicate.
        self.client_kwargs = {"timeout": self.connect_timeout, **given}
        try:
            _ = self.client
        except (OSError, TimeoutError) as exc:
            raise EngineUnreachable(unreachable(self.address, self.connect_timeout, exc), address=self.address) from exc
        finally:
            self.client_kwargs = given

    def _greet(self) -> None:
        """Make sure that a scheduler answers at the address; do nothing without an address."""
        if self.address is not None:
            greet(
                self.address,
                self.client_kwargs.get("timeout", self.connect_timeout),
                self.client_kwargs.get("security"),
            )

    def _has_workers(self) -> bool:
        # Without a connection, Dask would try for half a minute, and the end of the flow run would wait for that.
        return self._client.status != "running" or bool(self._client.ncores())

    def _check_cluster(self) -> None:
        if isinstance(getattr(self, "_cluster", None), distributed.LocalCluster):
            missing = module_without_spec()  # it was started here, with the packages that are installed here
        else:
            missing = check_cluster(self._client, self.both_sides, self.connect_timeout, self.logger)
        if missing:
            self._modules.enter_context(pickled_by_value(missing))

    # --- hooks ---------------------------------------------------------------------------------------------------

    def before_submit(self) -> None:
        """Connect in the flow's own context, because a client and a performance report end where they began."""
        self._connect()

    def dispatch(self, runs: list[Run]) -> None:
        """Send runs to the cluster."""
        self._connect().send(runs)

    def revoke(self, runs: list[Run]) -> list[bool]:
        """Make sure that runs that were sent never start; return for each whether that came in time."""
        return self._connect().revoke(runs)

    def interrupt(self, run: Run) -> None:
        """Ask a running body to stop."""
        self._connect().interrupt(run)

    def store_blob(self, digest: str, data: bytes) -> None:
        """Keep `data` on the scheduler."""
        self._connect().store_blob(digest, data)

    def delete_blobs(self, digests: list[str]) -> None:
        """Drop bytes from the scheduler."""
        self._connect().delete_blobs(digests)

    def workers(self) -> str:
        """Return the number of workers and threads, whose versions fit."""
        self._connect()
        threads = self._client.ncores()
        return f"{len(threads)} workers with {sum(threads.values())} threads in all, whose versions fit"

    @contextmanager
    def release_worker(self) -> Iterator[None]:
        """Free the worker that the calling thread holds while it waits (rule N1)."""
        # A task gives its thread back for good: to take it again, it would have to wait for the task that has it now,
        # which may be waiting for this very task.
        if holds_worker_thread():
            secede()  # type: ignore[no-untyped-call]
        yield


def build(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the task runner of a `dask://` spec."""
    settings = dict(options)
    if "cluster_class" in settings:
        check_class("cluster_class", settings["cluster_class"])
    local = {name: settings.pop(name) for name in LOCAL_CLUSTER if name in settings}
    security = {name: settings.pop(name) for name in ("ca_file", "cert", "key") if name in settings}
    if security:
        client_kwargs = dict(settings.pop("client_kwargs", {}))
        client_kwargs["security"] = distributed.Security(  # type: ignore[no-untyped-call]
            tls_ca_file=security.get("ca_file"),
            tls_client_cert=security.get("cert"),
            tls_client_key=security.get("key"),
            require_encryption=True,
        )
        settings["client_kwargs"] = client_kwargs
    if address is None and "cluster_class" not in settings:
        cluster_kwargs = {"dashboard_address": "127.0.0.1:0", **local, **settings.pop("cluster_kwargs", {})}
        return DaskTaskRunner(cluster_kwargs=cluster_kwargs, **settings)  # arguments ask for a cluster of its own
    return DaskTaskRunner(address=address, **settings)
