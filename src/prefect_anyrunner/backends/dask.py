"""Dask: prefect-dask's runner, whose scheduler also keeps the claims and what workers fetch once."""

from __future__ import annotations

import pickle
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Self
from uuid import UUID

import distributed
import prefect_dask
from dask.utils import format_bytes
from distributed import secede
from distributed.threadpoolexecutor import thread_state
from prefect.client.schemas.objects import RunInput
from prefect.task_runners import TaskRunner

from prefect_anyrunner._base.errors import EngineUnreachable, SpecError, VersionSkew
from prefect_anyrunner._base.versions import OURS, running
from prefect_anyrunner._driver.batching import Batcher
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.modules import own_modules, shipping
from prefect_anyrunner._driver.preflight import api_of_flow, judge, question
from prefect_anyrunner._driver.remote_runner import RemoteRunner
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner._worker.contexts import current_worker
from prefect_anyrunner._worker.interrupt import interrupt
from prefect_anyrunner._worker.messages import RunResult
from prefect_anyrunner.backends._dask.channel import _error_of, _Fetch
from prefect_anyrunner.backends._dask.cluster import _unreached, patience
from prefect_anyrunner.backends._dask.entry import import_worker, run_on_worker
from prefect_anyrunner.backends._dask.scheduler import PLUGIN_NAME, AnyrunnerPlugin


class DaskTaskRunner(RemoteRunner, prefect_dask.DaskTaskRunner):  # type: ignore[misc,name-defined]  # one future
    """Runs tasks on a Dask cluster: a temporary one, an existing one, or a `cluster` object.

    A drop-in for prefect-dask's class of the same name. A body is claimed on the scheduler before it runs, so
    Dask's own re-execution never runs one twice (rules C2, C3; PrefectHQ/prefect#15442);
    `rerun_lost=N` allows it N times per run
    (rule C4). `connect_timeout` is in seconds.
    """

    _client: Any
    client_kwargs: dict[str, Any]
    _both_sides = ("dask", "distributed")

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
    ) -> None:
        super().__init__(
            cluster, address, cluster_class, cluster_kwargs, adapt_kwargs, client_kwargs, performance_report_path
        )
        self.rerun_lost = rerun_lost
        self.connect_timeout = connect_timeout
        self._given_cluster = cluster
        self._reset_tracking()
        self._reset_dask()

    def _reset_dask(self) -> None:
        self._dask_lock = threading.RLock()
        self._sending = threading.Lock()
        self._nested = False
        self._outbox: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._topic = ""
        self._shipping = ExitStack()
        self._grouping = Batcher()

    @property
    def name(self) -> str:
        """The backend's name, as the stock class has it."""
        return "dask"

    def _settings(self) -> dict[str, Any]:
        return {
            "cluster": self._given_cluster,
            "address": self.address if self._given_cluster is None else None,
            "cluster_class": self.cluster_class,
            "cluster_kwargs": self.cluster_kwargs,
            "adapt_kwargs": self.adapt_kwargs,
            "client_kwargs": self.client_kwargs,
            "performance_report_path": self.performance_report_path,
            "rerun_lost": self.rerun_lost,
            "connect_timeout": self.connect_timeout,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DaskTaskRunner) and _comparable(self._settings()) == _comparable(other._settings())

    __hash__ = None  # type: ignore[assignment]  # as in prefect-dask: equal by settings, so not hashable

    def __getstate__(self) -> dict[str, Any]:
        settings = self._settings()
        if self._given_cluster is not None:  # a cluster object stays where it is; its address is what others need
            settings.update(cluster=None, address=self._given_cluster.scheduler_address, adapt_kwargs=None)
        return settings

    def __setstate__(self, state: dict[str, Any]) -> None:
        DaskTaskRunner.__init__(self, **state)

    # --- start and stop ------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        super().__enter__()
        self._reset_tracking()
        self._reset_dask()
        side = current_worker()
        self._nested = side is not None and side.backend == "dask"
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        try:
            # A nested runner may outlive its worker's client, when the worker ends: nothing is left to finish then.
            if self._topic and (self._is_connected() or not self._nested):
                if not self._is_connected():
                    self.give_up(self._connection_lost())
                self._finish(exc_type)
                self._outbox.put(None)
                self._inbox.put(None)
                for thread in self._threads:
                    thread.join()
                if self._is_connected():
                    self._client.unsubscribe_topic(self._topic)
                    self._ask("anyrunner_let_go", topic=self._topic)
        finally:
            self._shipping.close()
            if self._nested:
                self._client = None  # the worker's own, not ours to close
            self._topic = ""
            super().__exit__(exc_type, exc_value, traceback)
            self._client = None
            self._cluster = self._given_cluster  # a temporary one is closed; the next start makes another

    def _connect(self) -> Any:
        """Return the client, started at the first call: keeper on the scheduler, threads that send and collect."""
        with self._dask_lock:
            if self._topic:
                return self._client
            if self._nested:
                self._client = distributed.get_client()
            else:
                self._open_client()
                self.check_cluster()
            client = self._client
            client.register_plugin(AnyrunnerPlugin(), name=PLUGIN_NAME)
            self._topic = f"anyrunner-{id(self)}-{client.id}"
            self._ask("anyrunner_open", topic=self._topic, client=client.id)
            client.subscribe_topic(self._topic, self._told)
            if not self._nested:  # workers import Prefect and this package while the flow still submits
                client.loop.add_callback(client._run, import_worker, on_error="ignore")
            for target in (self._send_from_outbox, self._collect_from_inbox):
                thread = threading.Thread(target=target, name=f"anyrunner-dask-{target.__name__}", daemon=True)
                thread.start()
                self._threads.append(thread)
            return client

    def _open_client(self) -> None:
        if self.address is None:
            self._exit_stack.enter_context(patience())
            _ = self.client  # prefect-dask starts the cluster, and stops it in __exit__
            return
        given = self.client_kwargs
        self.client_kwargs = {"timeout": self.connect_timeout, **given}  # for this call: a runner equals its duplicate
        try:
            _ = self.client
        except (OSError, TimeoutError) as exc:
            raise EngineUnreachable(_unreached(self.address, self.connect_timeout, exc), address=self.address) from exc
        except TypeError as exc:
            if not self.address.startswith("tls://") or "ssl_context" not in str(exc):
                raise
            raise SpecError(
                f"{self.address} speaks TLS: give ca_file, cert and key, or set distributed.comm.tls in Dask's "
                "configuration"
            ) from exc
        finally:
            self.client_kwargs = given

    def check_cluster(self) -> None:
        """Ask the scheduler and all workers what they are, before they get work that they could not do.

        Raises VersionSkew and ApiUnreachable. Modules beside the flow that they do not have will travel with the tasks.
        """
        if isinstance(getattr(self, "_cluster", None), distributed.LocalCluster):
            return  # it was started here, from what is installed here
        client, here = self._client, running(*self._both_sides)
        own, api = own_modules(), api_of_flow()
        names = tuple(own)
        answer = client.run_on_scheduler(eval, question(here, modules=names))
        missing = judge(f"The Dask scheduler at {client.scheduler.address}", answer, here)
        try:
            answers = client.sync(
                client._run,
                eval,
                question(here, api=api, modules=names),
                on_error="return",
                callback_timeout=self.connect_timeout,
            )
        except TimeoutError:
            answers = {}
            self.logger.warning("Not all Dask workers said within %g seconds what they run.", self.connect_timeout)
        if answers:
            missing = set()
        for worker, answer in answers.items():
            if isinstance(answer, dict):  # else it went away meanwhile
                missing |= judge(f"Dask worker {worker}", answer, here, api=api)
        if missing:
            self.logger.info("Not on the workers, so sent along with the tasks: %s.", ", ".join(sorted(missing)))
            self._shipping.enter_context(shipping({name: own[name] for name in missing}))

    def _is_connected(self) -> bool:
        return self._client is not None and self._client.status == "running"

    def _connection_lost(self) -> str:
        return f"the connection to the Dask scheduler at {self._client.scheduler.address} was lost"

    def _ask(self, operation: str, **message: Any) -> Any:
        """Call one of the keeper's operations on the scheduler. Raises EngineUnreachable when it is gone."""
        client = self._client
        if not self._is_connected():  # Dask would try for half a minute, each time
            raise EngineUnreachable(self._connection_lost(), address=client.scheduler.address)
        try:
            return client.sync(getattr(client.scheduler, operation), **message)
        except OSError as exc:
            raise EngineUnreachable(self._connection_lost(), address=client.scheduler.address) from exc

    def submit(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Any = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> AnyFuture[Any]:
        """Submit one task run; see `TrackedRunner.submit`."""
        if self._started:
            self._connect()  # in the flow's own context: a client, and a performance report, are left where they began
        return super().submit(task, parameters, wait_for, dependencies)

    def _put_away(self, digest: str, data: bytes) -> None:
        self._connect()
        self._ask("anyrunner_put", topic=self._topic, digest=digest, data=data)

    def _drop(self, digests: list[str]) -> None:
        with suppress(EngineUnreachable):  # then all of it is gone
            self._ask("anyrunner_drop", topic=self._topic, digests=digests)

    # --- sending and collecting ----------------------------------------------------------------------------------

    def _dispatch(self, runs: list[Run]) -> None:
        self._connect()
        for run in runs:
            self._outbox.put(run)

    def _send_from_outbox(self) -> None:
        while (first := self._outbox.get()) is not None:
            batch = [first]
            while not self._outbox.empty() and len(batch) < 2000:
                more = self._outbox.get()
                if more is None:
                    self._outbox.put(None)
                    break
                batch.append(more)
            try:
                self._send(batch)
            except BaseException as exc:
                for run in batch:
                    self.lost(run, f"it could not be sent to the scheduler: {exc!r}", started=True, cause=exc)

    def _send(self, batch: list[Run], *, alone: bool = False) -> None:
        if not self._is_connected():
            raise EngineUnreachable(self._connection_lost())
        # Looked at once: a run that another thread ends meanwhile, a cancelled one, loses its parcel.
        sent = [(run, parcel._replace(claim=run.claim)) for run in batch if (parcel := run.parcel) is not None]
        if not sent:
            return
        groups = [[one] for one in sent] if alone else self._grouping.cut(sent, self._threads_there)
        keys = [f"{group[0][0].task.name}-{group[0][1].claim}{'-alone' * alone}" for group in groups]
        with self._sending:
            futures = self._client.map(
                run_on_worker,
                [
                    (self._topic, key, *(tuple(parcel) for _, parcel in group))
                    for key, group in zip(keys, groups, strict=True)
                ],
                key=keys,
                pure=False,
                retries=0,
                batch_size=len(keys),
            )
            for group, future in zip(groups, futures, strict=True):
                for run, _ in group:
                    run.engine = future
        for group, future in zip(groups, futures, strict=True):
            runs = [(run, parcel.claim) for run, parcel in group]
            future.add_done_callback(lambda done, runs=runs: self._inbox.put((runs, done)))

    def _threads_there(self) -> int:
        return sum(self._client.ncores().values())

    def _collect_from_inbox(self) -> None:
        while (first := self._inbox.get()) is not None:
            if isinstance(first, dict):
                self._take_in(first)
                continue
            runs, future = first
            for run, claim in runs:
                try:
                    self._done(run, claim, future)
                except BaseException as exc:
                    self.lost(run, f"its outcome could not be collected: {exc!r}", started=True, cause=exc)
            # The last references: what Dask still holds for us it would compute again when lost.
            del first, runs, run, future

    def _told(self, event: Any) -> None:
        # Called in the client's event loop, where nothing may wait: what follows is the collecting thread's.
        for told in event[1]:
            self._inbox.put(told)

    def _take_in(self, message: dict[str, Any]) -> None:
        if "outcome" in message:
            self._take_in_outcome(message["claim"], message["key"], message["outcome"])
            return
        if "returned" in message:
            self._send_again(set(message["returned"]), message["key"])
            return
        claims = set(message["claims"])
        with self._runs_lock:
            lost = [run for run in self._runs.values() if run.claim in claims]
        why = f"its Dask worker {message['worker']} died while it ran"
        if (memory := message["memory"]) is not None:
            why = (
                f"its Dask worker {message['worker']} was ended because memory ran out: "
                f"it used {format_bytes(memory)}, near its memory_limit"
            )
        for run in lost:
            self.lost(run, why, started=True)

    def _take_in_outcome(self, claim: str, key: str, outcome: bytes) -> None:
        with self._runs_lock:
            run = self._runs.get(UUID(claim.partition(".")[0]))
        if run is None or run.claim != claim:  # word of an execution that was given up before
            return
        try:
            packed: RunResult = pickle.loads(outcome)
            future = self._sent_as(run)
            if future is None or future.key != key:
                if packed.refused is not None:
                    return  # Dask ran a group again, and this run is on its way by itself
                future = distributed.Future(key, self._client)
            self._grouping.note(run, packed)
            self.arrived(run, packed, _Fetch(future, run.id))
        except BaseException as exc:
            self.lost(run, f"its outcome could not be read: {exc!r}", started=True, cause=exc)

    def _sent_as(self, run: Run) -> Any:
        """Return the Dask future that carries `run`; None once it has ended."""
        if run.engine is None:  # word of it was faster than the thread that sent it
            with self._sending:
                pass
        return run.engine

    def _send_again(self, claims: set[str], key: str) -> None:
        """Send runs by themselves that a worker gave back, as their group took too long."""
        with self._runs_lock:
            runs = [run for run in self._runs.values() if run.claim in claims]
        runs = [run for run in runs if (future := self._sent_as(run)) is not None and future.key == key]
        try:
            self._send(runs, alone=True)
        except BaseException as exc:
            for run in runs:
                self.lost(run, f"it could not be sent to the scheduler: {exc!r}", started=True, cause=exc)

    def _done(self, run: Run, claim: str, future: Any) -> None:
        """End a run whose key is done without an outcome, which would have come before."""
        if claim != run.claim or run.phase is Phase.ENDED or run.engine is not future:
            return
        if future.status == "cancelled":  # we cancel none: Dask does it to all when it loses the scheduler
            self._end_crashed(run, self._connection_lost())
            return
        claimed = self._ask("anyrunner_claimed", topic=self._topic, claims=[claim])
        error = _error_of(future)
        if claimed or error is None or isinstance(error, distributed.KilledWorker):
            self.lost(run, "its Dask worker was lost while it ran", started=bool(claimed), cause=error)
            return
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in OURS:
            lacking = str(error.name).partition(".")[0].replace("_", "-")
            error = VersionSkew("A Dask worker", [(lacking, None, running()[lacking])])
        self._end_crashed(run, f"its Dask worker could not begin it: {error}", error)

    # --- stopping ------------------------------------------------------------------------------------------------

    def _revoke(self, runs: list[Run]) -> list[bool]:
        try:
            revoked = set(self._ask("anyrunner_revoke", topic=self._topic, claims=[run.claim for run in runs]))
        except EngineUnreachable as exc:
            self.give_up(str(exc), exc)
            revoked = set()
        return [run.claim in revoked for run in runs]

    def _interrupt(self, run: Run) -> None:
        try:
            owner = self._ask("anyrunner_claimed", topic=self._topic, claims=[run.claim]).get(run.claim)
        except EngineUnreachable as exc:
            self.give_up(str(exc), exc)
            return
        if owner is not None:  # not waited for: a worker that is about to die answers late, or never
            client = self._client
            client.loop.add_callback(client._run, interrupt, run.claim, workers=[owner], on_error="ignore")

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """Free the worker that the calling thread holds while it waits (rule N1)."""
        # Only the thread that Dask gave a task has a place to give back, and it gives it back once for good: taking it
        # again would wait for whatever took it, which may be waiting for this very task.
        if self._nested and getattr(thread_state, "proceed", False):
            secede()  # type: ignore[no-untyped-call]
        yield


def _comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings that can be compared: a `distributed.Security` is equal only to itself."""
    client_kwargs = dict(settings["client_kwargs"])
    if isinstance(security := client_kwargs.get("security"), distributed.Security):
        client_kwargs["security"] = {name: getattr(security, name) for name in security.__slots__}
    return {**settings, "client_kwargs": client_kwargs}


def build(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the task runner of a `dask://` spec."""
    settings = dict(options)
    local = {
        name: settings.pop(name)
        for name in ("n_workers", "threads_per_worker", "memory_limit", "processes")
        if name in settings
    }
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
        return DaskTaskRunner(cluster_kwargs=cluster_kwargs, **settings)
    return DaskTaskRunner(address=address, **settings)
