"""Ray: prefect-ray's runner, with one exported function for all tasks and Ray's own re-execution switched off."""

from __future__ import annotations

import math
import os
import pickle
import queue
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Self
from uuid import UUID

import prefect_ray
import ray
from prefect.task_runners import TaskRunner
from prefect_ray.context import RemoteOptionsContext
from ray.experimental import internal_kv

from prefect_anyrunner._base.errors import EngineUnreachable
from prefect_anyrunner._base.versions import running
from prefect_anyrunner._driver.batching import Batcher, Sent
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.modules import own_modules, shipping
from prefect_anyrunner._driver.preflight import judge, question
from prefect_anyrunner._driver.remote_runner import RemoteRunner
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner._worker.batch import BATCH_PATIENCE
from prefect_anyrunner._worker.contexts import current_worker
from prefect_anyrunner._worker.messages import RunResult
from prefect_anyrunner.backends._ray.channel import _WORD, RayBatch, _death, _lacking, _stop
from prefect_anyrunner.backends._ray.connection import (
    _skew,
    connected_to,
    host_and_port_of_ray,
    is_same,
    set_token,
    unset_token,
)
from prefect_anyrunner.backends._ray.store import NAMESPACE, REVOKED, Word, get, outcomes_before, put_if_absent
from prefect_anyrunner.backends._ray.worker import run_here

_LOOK_AGAIN = 0.5
"""Seconds after which a task that waits for what Ray runs looks what has been given to Ray meanwhile."""
_ON_ITS_WAY = 0.02
"""The same while nothing of what it waits for is with Ray."""
_LOOK_FOR_WORDS = BATCH_PATIENCE
"""Seconds after which the driver looks again whether a worker left word of a group that takes its time."""
_LOOK_IN_VAIN = 10.0
"""The same after it could not look."""


class RayTaskRunner(RemoteRunner, prefect_ray.RayTaskRunner[Any]):  # type: ignore[misc]  # one future for all
    """Runs tasks on Ray: one of its own on this machine, or an existing one at `address` (`"auto"`: or fail).

    A drop-in for prefect-ray's class of the same name. Ray re-runs what it lost up to three times; here a lost run is
    Crashed (rule C2) unless `rerun_lost=N` allows it to be executed again N times (rule C4).
    `connect_timeout` is in seconds.
    """

    def __init__(
        self,
        address: str | None = None,
        init_kwargs: dict[str, Any] | None = None,
        *,
        rerun_lost: int = 0,
        connect_timeout: float = 10,
    ) -> None:
        super().__init__(address, init_kwargs)
        self.rerun_lost = rerun_lost
        self.connect_timeout = connect_timeout
        self._nested = False
        self._lent_token = False
        self._reset_tracking()
        self._reset_ray()

    def _reset_ray(self) -> None:
        self._kept: dict[str, Any] = {}
        self._remote: dict[tuple[tuple[str, str], ...], Any] = {}
        self._revoked: set[RayBatch] = set()
        self._prefix = ""
        self._workers_probed = False
        self._shipping = ExitStack()
        self._grouping = Batcher()
        self._claims_lock = threading.Lock()
        self._in_flight: set[RayBatch] = set()  # what Ray is at
        self._inbox: queue.SimpleQueue[tuple[RayBatch, Any] | None] = queue.SimpleQueue()
        self._collecting: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The backend's name, as the stock class has it."""
        return "ray"

    def _settings(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "init_kwargs": self.init_kwargs,
            "rerun_lost": self.rerun_lost,
            "connect_timeout": self.connect_timeout,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RayTaskRunner) and self._settings() == other._settings()

    __hash__ = None  # type: ignore[assignment]  # as in prefect-ray: equal by settings, so not hashable

    def __getstate__(self) -> dict[str, Any]:
        return self._settings()

    def __setstate__(self, state: dict[str, Any]) -> None:
        RayTaskRunner.__init__(self, **state)

    # --- start and stop ------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        side = current_worker()
        self._nested = side is not None and side.backend == "ray"
        if self._nested:
            TaskRunner.__enter__(self)
        else:
            self._connect()
        self._reset_tracking()
        self._reset_ray()
        self._prefix = f"{os.urandom(8).hex()}."
        return self

    def _connect(self) -> None:
        if self.address is not None and ray.is_initialized():
            self._check_same(self.address)
        if self.address is None or ray.is_initialized():
            if self.address is None and not ray.is_initialized():
                self._lent_token = set_token()
            super().__enter__()
            return
        try:
            if self.address == "auto":
                TaskRunner.__enter__(self)
                self._ray_context = ray.init("auto", **self.init_kwargs)
                self._owns_ray = True
            else:
                self._within_timeout()
        except (OSError, RuntimeError, ValueError) as exc:
            self._started = False
            if (skew := _skew(f"The Ray cluster at {self.address}", str(exc))) is not None:
                raise skew from exc
            lines = str(exc).strip().splitlines() or [type(exc).__name__]
            why = " ".join(dict.fromkeys([lines[0], lines[-1]]))  # the end of a traceback from there
            told = f"The Ray cluster at {self.address} cannot be used: {why}"
            if isinstance(exc, OSError):  # Ray's own word for no connection is one, too
                told = f"No Ray cluster answered at {self.address} within {self.connect_timeout:g} seconds: {why}"
            raise EngineUnreachable(told, address=self.address) from exc

    def _check_same(self, address: str) -> None:
        """Raise EngineUnreachable if this process is connected to another Ray than the one asked for."""
        wanted = os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address
        connected = connected_to()
        if wanted == "auto" or is_same(wanted, connected):
            return
        raise EngineUnreachable(
            f"The task runner is to use the Ray cluster at {wanted}, but this process is connected to the one at "
            f"{connected}, and can only use one: call ray.shutdown() first, or leave the address out to use that one.",
            address=wanted,
        )

    def _within_timeout(self) -> None:
        """Connect as prefect-ray does, but only once somebody listens: Ray itself retries for half a minute or more."""
        assert self.address is not None
        with socket.create_connection(host_and_port_of_ray(self.address), self.connect_timeout):
            pass
        super().__enter__()

    def __exit__(self, *exc_info: Any) -> None:
        try:
            if not self._is_connected():
                self.give_up(self._connection_lost())
            self._finish(exc_info[0])
            if self._collecting is not None:
                self._inbox.put(None)
                self._collecting.join()
            if self._prefix and self._runs_ever and self._is_connected() and self._revoked_are_done():
                internal_kv._internal_kv_del(self._prefix, del_by_prefix=True, namespace=NAMESPACE)
        finally:
            self._shipping.close()
            there = self._is_connected()
            self._reset_ray()
            if self._nested or not there:  # what is gone cannot be asked to stop
                TaskRunner.__exit__(self, *exc_info)
            else:
                super().__exit__(*exc_info)
            if self._lent_token:
                unset_token()
                self._lent_token = False

    def _is_connected(self) -> bool:
        return self._nested or ray.is_initialized()

    def _connection_lost(self) -> str:
        return f"the connection to the Ray cluster{f' at {self.address}' if self.address else ''} was lost"

    def _check_there(self) -> None:
        """Raise EngineUnreachable if Ray is gone: its own calls would start another one, here."""
        if not self._is_connected():
            raise EngineUnreachable(self._connection_lost(), address=self.address)

    def _drop(self, digests: list[str]) -> None:
        for digest in digests:
            self._kept.pop(digest, None)

    def _put_away(self, digest: str, data: bytes) -> None:
        self._check_there()
        try:
            self._kept[digest] = ray.put(data)
        except ConnectionError as exc:
            raise EngineUnreachable(self._connection_lost(), address=self.address) from exc

    def _prepare(self, run: Run) -> bool:
        if not self._workers_probed and self.address is not None and not self._nested:
            self._workers_probed = True
            run.context.run(self._look_at_worker)
        return super()._prepare(run)

    def _look_at_worker(self) -> None:
        """Have modules beside the flow that a worker does not have travel with the tasks.

        Only where there are such modules: it takes a worker. What else must be the same there is compared by workers
        when they get the run's context.
        """
        own = own_modules()
        if not own:
            return
        here = running(*self._both_sides)
        evaluate: Any = ray.remote(lambda text: eval(text)).options(num_cpus=0, max_retries=0)
        answer = ray.get(evaluate.remote(question(here, modules=tuple(own))))
        missing = judge("A Ray worker", answer, here)
        if missing:
            self.logger.info("Not on the workers, so sent along with the tasks: %s.", ", ".join(sorted(missing)))
            self._shipping.enter_context(shipping({name: own[name] for name in missing}))

    # --- sending -------------------------------------------------------------------------------------------------

    _runs_ever = False

    def _function(self, options: dict[str, Any]) -> Any:
        key = tuple(sorted((name, repr(value)) for name, value in options.items()))
        if key not in self._remote:  # built once: each new one is exported to every worker (PrefectHQ/prefect#5653)
            self._remote[key] = ray.remote(run_here).options(**{"max_retries": 0, **options})
        return self._remote[key]

    def _dispatch(self, runs: list[Run]) -> None:
        self._runs_ever = True
        with self._runs_lock:
            if self._collecting is None:
                self._collecting = threading.Thread(target=self._collect, name="anyrunner-ray-collect", daemon=True)
                self._collecting.start()
        # Looked at once: a run that another thread ends meanwhile, a cancelled one, loses its parcel.
        for options, sent in self._by_options([(run, parcel) for run in runs if (parcel := run.parcel) is not None]):
            # What asks for resources of its own is placed by itself.
            groups = [[one] for one in sent] if options else self._grouping.cut(sent, self._cpus)
            for group in groups:
                self._send(group, options)

    def _cpus(self) -> float:
        try:
            self._check_there()
            return float(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        except Exception:  # whoever sends will say so, of each run
            return 0

    def _by_options(self, sent: list[Sent]) -> Iterator[tuple[dict[str, Any], list[Sent]]]:
        """Yield neighbours that have the same remote options together."""
        options: dict[str, Any] = {}
        same: list[Sent] = []
        for run, parcel in sent:
            own = run.context.run(lambda: dict(RemoteOptionsContext.get().current_remote_options))
            if same and own != options:
                yield options, same
                same = []
            options = own
            same.append((run, parcel))
        if same:
            yield options, same

    def _send(self, sent: list[Sent], options: dict[str, Any]) -> None:
        key = sent[0][0].claim
        claims = f"{self._prefix}{key}+" if len(sent) > 1 else self._prefix
        for run, _ in sent:
            if run.cancel_asked:  # after it was lost, or given back
                self._end_cancelled(run, "It was cancelled before it started.")
        with self._claims_lock:
            sent = [(run, parcel._replace(claim=claims + run.claim)) for run, parcel in sent if run.parcel is not None]
            for run, parcel in sent:
                run.parcel = parcel
        if not sent:
            return
        carried = RayBatch(sent, claims, f"{self._prefix}{_WORD}{key}")
        inbox = self._inbox
        try:
            needed = {
                digest
                for _, parcel in sent
                for digest in (parcel.context, parcel.task, parcel.like, *parcel.shared.values())
            }
            kept = {digest: [self._kept[digest]] for digest in needed}  # in a list, a reference stays one
            work = pickle.dumps([tuple(parcel) for _, parcel in sent], pickle.HIGHEST_PROTOCOL)
            self._check_there()
            function = self._function({**options, "name": sent[0][0].task.name})
            carried.reference = function.remote(carried.word, work, kept)
            self._in_flight.add(carried)
            for run, parcel in sent:
                run.engine = carried
                if run.parcel is not parcel:  # cancelled meanwhile
                    self._revoked.add(carried)
                elif run.cancel_asked:
                    self._interrupt(run)
            carried.reference.future().add_done_callback(lambda future: inbox.put((carried, future)))
        except Exception as exc:
            for run, _ in sent:
                self.lost(run, f"it could not be given to Ray: {exc!r}", started=True, cause=exc)

    # --- collecting ----------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        # In a thread of its own: the one that Ray calls back in brings the answers to all calls into Ray, also to those
        # of whoever waits for the end of a run.
        look = 0.0
        while True:
            try:
                ended = self._inbox.get(timeout=_LOOK_FOR_WORDS)
            except queue.Empty:
                pass
            else:
                if ended is None:
                    return
                self._ended(*ended)
                del ended
            if (now := time.monotonic()) > look:
                look = now + (_LOOK_FOR_WORDS if self._poll_updates() else _LOOK_IN_VAIN)

    def _ended(self, carried: RayBatch, future: Any) -> None:
        """Take in that Ray is done with a task. Never raises."""
        self._in_flight.discard(carried)
        try:
            self._take_in_end(carried, future)
        except BaseException as exc:
            left = carried.left().values()
            if not left:  # no run will tell of it
                self.logger.warning("Ray's store could not be tidied up.", exc_info=True)
            for run in left:
                self.lost(run, f"its outcome could not be collected: {exc!r}", started=True, cause=exc)

    def _take_in_end(self, carried: RayBatch, future: Any) -> None:
        problem: BaseException | None = None
        try:
            word: Word = pickle.loads(future.result())
        except BaseException as exc:
            problem = exc
        else:
            self._take_in(carried, word)
        if len(carried.runs) > 1:
            if problem is not None or word.told:
                try:
                    self._read_word(carried)
                except Exception as exc:
                    problem = problem or exc
            if not carried.left():  # nobody is left who could claim them
                internal_kv._internal_kv_del(carried.claims, del_by_prefix=True, namespace=NAMESPACE)
        if left := carried.left():
            self._resolve_from_claims(carried, left, problem)

    def _poll_updates(self) -> bool:
        """Take in what workers have put into the store; tell whether it could be looked at."""
        try:
            groups = {each.word: each for each in [*self._in_flight] if not each.alone}
            if not groups or not self._is_connected():
                return True
            for key in internal_kv._internal_kv_list(f"{self._prefix}{_WORD}", namespace=NAMESPACE):
                if (carried := groups.get(key.decode())) is not None:
                    self._read_word(carried)
        except Exception:  # what it is about is told all the same when Ray is done with it
            self.logger.warning("Ray's store could not be looked at; runs may be told of late.", exc_info=True)
            return False
        return True

    def _read_word(self, carried: RayBatch) -> None:
        """Take in what the worker said of a group while it was at it: from then on it has one run at most."""
        if carried.alone or (found := get(carried.word)) is None:
            return
        self._take_in(carried, pickle.loads(found))
        with self._runs_lock:
            carried.alone = True
            wanted = any(run.id in carried.interrupted for run in carried.left().values())
        if wanted:
            _stop(carried)
        internal_kv._internal_kv_del(carried.word, namespace=NAMESPACE)

    def _take_in(self, carried: RayBatch, word: Word) -> None:
        for claim, packed in word.outcomes:
            self._take_in_outcome(carried, claim, packed)
        for claim in word.returned:
            run = carried.runs[claim]
            if carried.has(run) and (parcel := run.parcel) is not None:
                self._send([(run, parcel)], {})

    def _take_in_outcome(self, carried: RayBatch, claim: str, packed: RunResult) -> None:
        run = carried.runs[claim]
        if carried.has(run):  # else word of an execution that was given up before, or told twice
            self._grouping.note(run, packed)
            self.arrived(run, packed)

    def _resolve_from_claims(self, carried: RayBatch, left: dict[str, Run], exc: BaseException | None) -> None:
        """Find out from the claims what became of runs that Ray told nothing of, and have none of them begin now."""
        claimed: dict[str, bytes] = {}
        try:
            self._check_there()
            for claim in left:
                if not put_if_absent(claim, REVOKED):
                    claimed[claim] = get(claim) or b""
        except Exception:  # then nobody is left to tell
            for run in left.values():
                self._end_crashed(run, self._connection_lost(), exc)
            return
        for found in claimed.values():
            for claim, packed in outcomes_before(found):
                self._take_in_outcome(carried, claim, packed)
        for claim, run in left.items():
            if not carried.has(run):
                continue
            if claimed.get(claim) == REVOKED:
                self._end_cancelled(run, "It was cancelled before it started.")
            elif isinstance(exc, ray.exceptions.TaskCancelledError):
                self.lost(run, "Ray cancelled it", started=True, cause=exc)
            elif isinstance(exc, ray.exceptions.RayTaskError) and not claimed:  # a worker, which could not begin it
                error = _lacking(exc) or exc
                self._end_crashed(run, f"its Ray worker could not begin it: {error}", error)
            else:
                self.lost(run, _death(exc), started=claim in claimed, cause=exc)

    # --- stopping ------------------------------------------------------------------------------------------------

    def _revoke(self, runs: list[Run]) -> list[bool]:
        in_time = [False] * len(runs)
        try:
            for number, run in enumerate(runs):
                in_time[number] = self._revoke_one(run)
        except ConnectionError as exc:
            self.give_up(self._connection_lost(), exc)
        except Exception:  # those that were told so far never start
            self.logger.exception("Ray could not be told which task runs shall not start.")
        return in_time

    def _revoke_one(self, run: Run) -> bool:
        with self._claims_lock:
            if (parcel := run.parcel) is None:
                return False
            if parcel.claim.startswith(self._prefix):  # else it is not yet with Ray
                self._check_there()
                if not put_if_absent(parcel.claim, REVOKED) or run.phase is Phase.ENDED:  # ended, no claim is left
                    return False
            run.parcel = None  # nothing that a worker gives back is sent again
            if run.engine is not None:
                self._revoked.add(run.engine)
            return True

    def _revoked_are_done(self) -> bool:
        """Tell whether Ray is done with all revoked runs: as long as it is not, their claims must stay."""
        if not self._revoked:
            return True
        references = [carried.reference for carried in self._revoked]
        for reference in references:
            ray.cancel(reference, force=False, recursive=False)
        _, left = ray.wait(references, num_returns=len(references), timeout=self.connect_timeout)
        return not left

    def _interrupt(self, run: Run) -> None:
        with self._runs_lock:
            carried: RayBatch | None = run.engine
            if carried is None or not carried.has(run):  # it ends anyway, or Ray has not got it yet
                return
            if not carried.alone:  # the worker soon says so, if the run takes its time
                carried.interrupted.add(run.id)
                return
        if self._is_connected():
            _stop(carried)

    def blocking(self) -> AbstractContextManager[None]:
        """Free no worker: Ray does that only in `lend`."""
        return nullcontext()

    @property
    def lends(self) -> bool:
        """Whether this is the runner of a task: Ray frees the CPU of one only while that task itself waits for Ray."""
        return self._nested

    def lend(self, futures: Sequence[AnyFuture[Any]], timeout: float | None) -> None:
        """Free the CPU of the calling task until one of `futures` has ended, for `timeout` seconds (rule N1)."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        told: set[Any] = set()  # what Ray is done with, whose outcome is on its way here
        while (left := end - time.monotonic()) > 0 and all(each.outcome() is None for each in futures):
            if waited := self._with_ray(futures) - told:
                ready, _ = ray.wait(list(waited), num_returns=1, timeout=min(left, _LOOK_AGAIN))
                told.update(ready)
            else:
                wait([each.wrapped_future for each in futures], min(left, _ON_ITS_WAY), FIRST_COMPLETED)

    def _with_ray(self, futures: Sequence[AnyFuture[Any]]) -> set[Any]:
        """Return what Ray is at for `futures`: the runs themselves, or those that they wait for in turn."""
        found: set[Any] = set()
        todo: list[Any] = list(futures)
        seen: set[UUID] = set()
        with self._runs_lock:
            while todo:
                run = self._runs.get(getattr(todo.pop(), "task_run_id", None))  # type: ignore[arg-type]  # or a state
                if run is None or run.id in seen:
                    continue
                seen.add(run.id)
                if run.engine is not None:
                    found.add(run.engine.reference)
                else:
                    todo += run.upstreams
        return found


def build(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the task runner of a `ray://` spec."""
    settings = dict(options)
    local = {name: settings.pop(name) for name in ("num_cpus", "num_gpus") if name in settings}
    init_kwargs = {
        **({"include_dashboard": False} if address is None else {}),
        **local,
        **settings.pop("init_kwargs", {}),
    }
    return RayTaskRunner(address=address, init_kwargs=init_kwargs, **settings)
