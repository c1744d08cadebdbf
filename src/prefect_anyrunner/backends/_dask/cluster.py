"""The cluster that a Dask runner uses: checked before it gets work, patient with workers that die."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import dask.config
import distributed
from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_anyrunner._base.environment import restore_environment
from prefect_anyrunner._base.errors import EngineUnreachable
from prefect_anyrunner._base.versions import running
from prefect_anyrunner._driver.modules import user_modules
from prefect_anyrunner._driver.preflight import api_of_flow, check_answer, probe_expression
from prefect_anyrunner.backends._dask.private import ask_workers
from prefect_anyrunner.backends._dask.quiet import be_as_before, be_quiet
from prefect_anyrunner.backends._worker_process import METHOD, refuse_in_import_of_script

_METHOD = "distributed.worker.multiprocessing-method"
_SETTINGS = {
    # A cluster gives up for good on a worker that it does not see 15 s after a death, although that worker may have
    # come back and died again. This is a day, in a spelling that no user chooses, so that it is recognised as ours.
    "distributed.deploy.lost-worker-timeout": ("15s", "86400.0s"),
    # Read at each start of a worker, also of one that takes the place of a dead one (rule M1).
    _METHOD: ("spawn", METHOD),
}
"""Settings of Dask, each with Dask's default and our value."""
_WORKERS_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
_clusters = 0
_environment: dict[str, str | None] = {}
_lock = threading.Lock()


@contextmanager
def local_cluster_is_up() -> Iterator[None]:
    """Hold this while a cluster of this process is up, because such clusters change the state of the whole process.

    The first cluster changes Dask's configuration, so that a worker that died comes back each time and no worker
    imports the script. It also makes Dask's log quiet. The last cluster restores both. It also restores the environment
    variables that Dask sets here for good before it starts workers.
    """
    global _clusters
    with _lock:
        if _clusters == 0:
            for setting, (default, ours) in _SETTINGS.items():
                if dask.config.get(setting) == default:  # else somebody chose it, so it stays
                    dask.config.set({setting: ours})
            names = (*(dask.config.get(_WORKERS_ENVIRONMENT) or ()), "PYTHONHASHSEED", "__DASK_PARENT_PID")
            _environment.update({name: os.environ.get(name) for name in names})
            be_quiet()
        _clusters += 1
    try:
        yield
    finally:
        with _lock:
            _clusters -= 1
            if _clusters == 0:
                for setting, (default, ours) in _SETTINGS.items():
                    if dask.config.get(setting) == ours:  # else somebody chose it meanwhile
                        dask.config.set({setting: default})
                restore_environment(_environment)
                be_as_before()


def start_cluster(made_by: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Return a new cluster.

    Raises EngineUnreachable if its workers could not start and the user's choice of a start method may be the reason.
    """
    refuse_in_import_of_script()
    try:
        return made_by(**arguments)
    except RuntimeError as exc:
        method = dask.config.get(_METHOD)
        if method == METHOD or "failed to start" not in str(exc):
            raise
        raise EngineUnreachable(
            f"The workers of the Dask cluster did not start ({exc.__cause__ or exc}). Dask's configuration starts them "
            f"by {method!r}, which imports the script in each of them: put the call of the flow under "
            f'`if __name__ == "__main__":`, or leave {_METHOD} at its default.'
        ) from None  # Dask has logged it


def default_cluster() -> Any:
    """Return the cluster of this process's default client, or its address; None without a client."""
    try:
        client = distributed.get_client()
    except ValueError:
        return None
    scheduler: Any = client.scheduler
    return client.cluster or scheduler.address


def adapt(cluster: Any, adapt_kwargs: Mapping[str, Any]) -> None:
    """Let `cluster` grow and shrink by itself; some cluster classes return a coroutine for that."""
    adapting = cluster.adapt(**adapt_kwargs)
    if asyncio.iscoroutine(adapting):
        run_coro_as_sync(adapting)


def check_cluster(
    client: Any, both_sides: tuple[str, ...], timeout: float, logger: logging.Logger
) -> dict[str, ModuleType]:
    """Ask the scheduler and all workers what they run, before they get work that they could not do.

    Returns the modules beside the flow that workers lack. Raises VersionSkew and ApiUnreachable.
    """
    here, own, api = running(*both_sides), user_modules(), api_of_flow()
    names = tuple(own)
    answer = client.run_on_scheduler(eval, probe_expression(here, modules=names))
    missing = check_answer(f"The Dask scheduler at {client.scheduler.address}", answer, here)
    try:
        answers = ask_workers(client, eval, probe_expression(here, api=api, modules=names), timeout=timeout)
    except TimeoutError:
        answers = {}
        logger.warning("Not all Dask workers answered within %g seconds what they run.", timeout)
    if answers:
        missing = set()
    for worker, answer in answers.items():
        if isinstance(answer, dict):  # else the worker went away meanwhile
            missing |= check_answer(f"Dask worker {worker}", answer, here, api=api)
    if missing:
        logger.info("Not on the workers, so sent along with the tasks: %s.", ", ".join(sorted(missing)))
    return {name: own[name] for name in missing}
