"""Ray: prefect-ray's runner, with one exported function for all tasks and Ray's own re-execution switched off."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import MappingProxyType
from typing import Any, ClassVar, Unpack

import prefect_ray
import ray
from prefect.task_runners import TaskRunner

from prefect_anyrunner._base.errors import EngineUnreachable
from prefect_anyrunner._base.versions import running
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.map_scope import MapScope
from prefect_anyrunner._driver.modules import pickled_by_value, user_modules
from prefect_anyrunner._driver.preflight import check_answer, probe_expression
from prefect_anyrunner._driver.remote_runner import RemoteRunner
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._driver.shared_settings import SHARED_SETTINGS, SharedArguments
from prefect_anyrunner._worker.contexts import current_worker, own_runner
from prefect_anyrunner.backends._no_workers import WorkerWatch
from prefect_anyrunner.backends._ray.addresses import OWN, version_skew
from prefect_anyrunner.backends._ray.channel import RayChannel
from prefect_anyrunner.backends._ray.connection import Connection, check_same, in_worker, join, leave
from prefect_anyrunner.backends._ray.greeting import greet
from prefect_anyrunner.backends._ray.store import job_prefix
from prefect_anyrunner.backends._ray.waiting import wait_in_ray

_PROBE_SECONDS = 60.0
"""Seconds to wait for the answer of a worker, which a cluster may have to start first."""


class RayTaskRunner(RemoteRunner, prefect_ray.RayTaskRunner[Any]):  # type: ignore[misc]  # one future for all
    """A task runner on Ray: the one at `address`, one that runs already (`"auto"`), or one of its own (`"local"`).

    Without an address it uses what `ray.init()` finds, as prefect-ray's class does: the Ray that `RAY_ADDRESS` names or
    that runs on this machine, else one of its own. A process can be connected to one Ray only: all flow runs in it, and
    the user's own `ray.init()`, share that one, and the last runner stops what the first has started (rule L1).

    It is a drop-in for prefect-ray's class of the same name. Ray re-runs a lost task up to three times; here a lost run
    is Crashed (rule C2) unless `rerun_lost=N` allows it to be executed again N times (rule C4). `connect_timeout` and
    `worker_timeout` are in seconds. Runs that wait for a cluster without any worker crash after `worker_timeout`, or
    never if it is None.
    """

    settings: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "address": "address",
            "init_kwargs": "init_kwargs",
            "rerun_lost": "rerun_lost",
            **SHARED_SETTINGS,
            "connect_timeout": "connect_timeout",
            "worker_timeout": "worker_timeout",
        }
    )

    def __init__(
        self,
        address: str | None = None,
        init_kwargs: dict[str, Any] | None = None,
        *,
        rerun_lost: int = 0,
        connect_timeout: float = 10,
        worker_timeout: float | None = None,
        **shared: Unpack[SharedArguments],
    ) -> None:
        super().__init__(address, init_kwargs)
        self.rerun_lost = rerun_lost
        self.use_shared(**shared)
        self.connect_timeout = connect_timeout
        self.worker_timeout = worker_timeout
        self._nested = False  # started by a task of ours, on its worker
        self._in_worker = False  # started by any Ray task
        self._connection: Connection | None = None
        self._channel: RayChannel | None = None
        self._beginning = threading.Lock()  # held by the thread that probes a worker or starts the watch
        self._workers_probed = False
        self._watch: WorkerWatch | None = None
        self._modules = ExitStack()  # modules that travel by value while the runner is connected

    @property
    def name(self) -> str:
        """The backend's name, as the stock class has it."""
        return "ray"

    # --- start and stop ------------------------------------------------------------------------------------------

    def start_engine(self) -> None:
        """Connect to Ray, unless a task of that Ray starts the runner."""
        host = current_worker()
        self._nested = host is not None and host.backend == "ray"
        if self._nested:
            self._check_ray_of_worker()
        else:
            self._connection = self._connect()
        TaskRunner.__enter__(self)
        self._workers_probed = False
        self._in_worker = in_worker()
        prefix = job_prefix() if self._connection is None else self._connection.prefix
        self._channel = RayChannel(self, f"{prefix}{os.urandom(8).hex()}.", self._is_connected, self._connection_lost)

    def _check_ray_of_worker(self) -> None:
        """Raise EngineUnreachable if a flow that a Ray task calls asks for another Ray, since a process uses one."""
        own = own_runner()
        if own is None or self.address in (None, OWN):
            return
        if not (isinstance(own, RayTaskRunner) and own.address == self.address):
            check_same(self.address)

    def finish(self, exc_type: type[BaseException] | None) -> None:
        """Bring every run to its end; those that were sent have crashed if Ray is gone."""
        if not self._is_connected():
            self.on_engine_lost(self._connection_lost())
        super().finish(exc_type)
        self._started_channel().close(self.connect_timeout)

    def stop_engine(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """End the use of the process's connection to Ray; the last user stops a Ray that was started here."""
        self._modules.close()
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        self._channel = None
        TaskRunner.__exit__(self, exc_type, exc_value, traceback)
        if (connection := self._connection) is not None:
            self._connection = None
            leave(connection)

    def _connect(self) -> Connection:
        try:
            connection = join(self.address, self._init)
        except EngineUnreachable:
            raise
        except (OSError, RuntimeError, ValueError) as exc:
            if self.address in (None, OWN):
                raise
            if (skew := version_skew(f"The Ray cluster at {self.address}", str(exc))) is not None:
                raise skew from exc
            lines = str(exc).strip().splitlines() or [type(exc).__name__]
            why = " ".join(dict.fromkeys([lines[0], lines[-1]]))  # the last line of a traceback from there
            text = f"The Ray cluster at {self.address} cannot be used: {why}"
            if isinstance(exc, OSError):  # Ray's own error for a lost connection is one, too
                text = f"No Ray cluster answered at {self.address} within {self.connect_timeout:g} seconds: {why}"
            raise EngineUnreachable(text, address=self.address) from exc
        if connection.users > 1 or not connection.ours:
            self.logger.info("The flow run uses the Ray that this process is already connected to.")
        return connection

    def _init(self) -> None:
        """Have this process start a Ray or connect to one."""
        where = [] if self.address is None else [self.address]  # without one, Ray looks for a running cluster first
        if self.address not in (None, OWN, "auto"):
            greet(self.address, self.connect_timeout)
        context = ray.init(*where, **self.init_kwargs)
        if dashboard := getattr(context, "dashboard_url", None):
            self.logger.info("The Ray dashboard is available at %s.", dashboard)

    def _is_connected(self) -> bool:
        return self._nested or (self._connection is not None and self._connection.lasts())

    def _connection_lost(self) -> str:
        where = "" if self.address in (None, OWN) else f" at {self.address}"
        return f"the connection to the Ray cluster{where} was lost"

    def _started_channel(self) -> RayChannel:
        assert self._channel is not None, "the runner is not started"
        return self._channel

    # --- hooks ---------------------------------------------------------------------------------------------------

    def prepare(self, run: Run, scope: MapScope | None) -> bool:
        """Build the request of `run`; before the first one, look at a worker of an existing cluster."""
        if not self._workers_probed and self.address not in (None, OWN) and not self._nested:
            with self._beginning:  # other threads wait, because they must not pickle without the modules
                if not self._workers_probed:
                    try:
                        run.context.run(self._probe_worker)
                    finally:
                        self._workers_probed = True
        return super().prepare(run, scope)

    def _probe_worker(self) -> None:
        """Send modules beside the flow with the tasks if workers lack them.

        A worker is asked only if the flow has such modules. Each worker checks itself whether its releases fit, when it
        gets the run's context.
        """
        own = user_modules()
        if not own:
            return
        here = running(*self.both_sides)
        try:
            missing = check_answer("A Ray worker", _ask_worker(probe_expression(here, modules=tuple(own))), here)
        except ray.exceptions.GetTimeoutError:
            missing = set(own)  # they are of use on every worker, while without them a run may fail
            self.logger.warning("No Ray worker answered within %g seconds which modules it has.", _PROBE_SECONDS)
        if missing:
            self.logger.info("Not on the workers, so sent along with the tasks: %s.", ", ".join(sorted(missing)))
            self._modules.enter_context(pickled_by_value({name: own[name] for name in missing}))

    def _has_workers(self) -> bool:
        resources: Any = ray.cluster_resources
        return not self._is_connected() or bool(resources().get("CPU", 0))

    def dispatch(self, runs: list[Run]) -> None:
        """Give runs to Ray."""
        with self._beginning:
            if self._watch is None and not self._nested:
                self._watch = WorkerWatch(
                    "The Ray cluster",
                    self._has_workers,
                    self.is_waiting,
                    self.logger,
                    timeout=self.worker_timeout,
                    give_up=self.on_no_workers,
                )
        self._started_channel().send(runs)

    def revoke(self, runs: list[Run]) -> list[bool]:
        """Make sure that runs that were sent never start; return for each whether that came in time."""
        return self._started_channel().revoke(runs)

    def interrupt(self, run: Run) -> None:
        """Ask a running body to stop."""
        self._started_channel().interrupt(run)

    def store_blob(self, digest: str, data: bytes) -> None:
        """Put `data` into Ray's object store."""
        self._started_channel().store_blob(digest, data)

    def delete_blobs(self, digests: list[str]) -> None:
        """Drop bytes from Ray's object store."""
        self._started_channel().delete_blobs(digests)

    def workers(self) -> str:
        """Return the number of CPUs, each of which runs one task at a time, after checking a worker's versions.

        Raises EngineUnreachable if no worker answers.
        """
        resources: Any = ray.cluster_resources
        here = running(*self.both_sides)
        try:
            check_answer("A Ray worker", _ask_worker(probe_expression(here)), here)
        except ray.exceptions.GetTimeoutError:
            raise EngineUnreachable(f"No Ray worker answered within {_PROBE_SECONDS:g} seconds.") from None
        return f"{resources().get('CPU', 0):g} CPUs, of which each runs a task, and workers whose versions fit"

    def release_worker(self) -> AbstractContextManager[None]:
        """Free no worker: Ray does that only in `wait_in_engine`."""
        return nullcontext()

    @property
    def waits_in_engine(self) -> bool:
        """Whether a Ray task uses this runner: Ray frees its CPU only while that task itself waits for Ray."""
        return self._in_worker

    def wait_in_engine(self, futures: Sequence[AnyFuture[Any]], timeout: float | None) -> None:
        """Free the CPU of the calling task until one of `futures` has ended, for `timeout` seconds at most (N1)."""
        wait_in_ray(self.ledger, futures, timeout)


def _ask_worker(expression: str) -> Any:
    """Return what any worker evaluates `expression` to. Raises ray.exceptions.GetTimeoutError if none answers."""
    evaluate: Any = ray.remote(lambda text: eval(text)).options(num_cpus=0, max_retries=0)
    reference = evaluate.remote(expression)
    try:
        return ray.get(reference, timeout=_PROBE_SECONDS)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(reference)
        raise


def build(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the task runner of a `ray://` spec."""
    settings = dict(options)
    own = address is None
    local = {name: settings.pop(name) for name in ("num_cpus", "num_gpus") if name in settings}
    init_kwargs = {
        # Ray's INFO lines say where it runs, which does not matter to a flow that starts and stops it.
        **({"include_dashboard": False, "logging_level": "WARNING"} if own else {}),
        **local,
        **settings.pop("init_kwargs", {}),
    }
    if own and "address" not in init_kwargs:
        address = OWN  # else Ray would use one that `RAY_ADDRESS` names or that runs on this machine
    return RayTaskRunner(address=address, init_kwargs=init_kwargs, **settings)
