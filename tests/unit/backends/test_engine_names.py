"""Names that multiprocessing, pebble, loky, Dask and Ray do not document: a release that moves one fails here.

Each library's names stand in one file of ours.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import prefect_anyrunner

BACKENDS = Path(prefect_anyrunner.__file__).parent / "backends"

FUNCTIONS = {
    "pebble": {
        "pebble.common.process:process_exit": {"exitcode"},
        "pebble.common.types:Result": {"status", "value"},
        "pebble.pool.process:dictionary_values": {"dictionary"},
        "pebble.pool.process:PoolManager": {"context", "mp_context"},
        "pebble.pool.process:PoolManager.handle_worker_expiration": {"expiration"},
        "pebble.pool.process:PoolManager.handle_broken_pool": {"error"},
        "pebble.pool.process:PoolManager.update_workers": set(),
        "pebble.pool.process:PoolManager.stop": set(),
        "pebble.pool.process:TaskManager.task_done": {"task_id", "result"},
        "pebble.pool.base_pool:PoolStatus.ERROR": set(),
        "pebble.common.types:ResultStatus.ERROR": set(),
    },
    "loky": {
        "loky.backend:get_context": {"method"},
        "loky.backend.context:LokyContext.Process": set(),
        "loky.backend.process:LokyProcess": {"name", "target", "args", "kwargs"},
        "loky.backend.process:LokyProcess.run": set(),
        "loky.backend.process:LokyProcess.kill": set(),
        "loky.backend.spawn:get_preparation_data": {"name", "init_main_module"},
        "multiprocessing.context:_concrete_contexts": set(),
        "multiprocessing.spawn:_check_not_importing_main": set(),
    },
    "multiprocessing": {
        "multiprocessing.forkserver:main": {"listener_fd", "alive_r", "preload"},
        "multiprocessing.forkserver:ForkServer.connect_to_new_process": {"fds"},
        "multiprocessing.forkserver:ForkServer.ensure_running": set(),
        "multiprocessing.forkserver:get_inherited_fds": set(),
        "multiprocessing.forkserver:read_signed": {"fd"},
        "multiprocessing.popen_forkserver:Popen._launch": {"process_obj"},
        "multiprocessing.connection:arbitrary_address": {"family"},
        "multiprocessing.util:is_abstract_socket_namespace": {"address"},
    },
    "distributed": {
        "distributed:Client._run": {"function", "workers", "on_error"},
        "distributed:Client.sync": {"callback_timeout"},
        "distributed.threadpoolexecutor:thread_state": set(),
        "distributed.utils:sync": {"loop", "func"},
        "distributed.comm:connect": {"addr", "timeout"},
        "distributed.comm:parse_address": {"addr"},
        "distributed.comm:parse_host_port": {"address"},
        "distributed.comm:CommClosedError": set(),
        "distributed:Scheduler.identity": set(),
        "distributed:Scheduler.report": {"msg", "client"},
        "distributed.diagnostics.plugin:SchedulerPlugin.transition": {"key", "start", "finish"},
        "distributed.diagnostics.plugin:SchedulerPlugin.remove_worker": {"scheduler", "worker"},
        "distributed.diagnostics.plugin:SchedulerPlugin.remove_client": {"scheduler", "client"},
        "distributed.diagnostics.plugin:SchedulerPlugin.log_event": {"topic", "msg"},
    },
    "ray": {
        "ray.experimental.internal_kv:_internal_kv_put": {"key", "value", "overwrite", "namespace"},
        "ray.experimental.internal_kv:_internal_kv_get": {"key", "namespace"},
        "ray.experimental.internal_kv:_internal_kv_list": {"prefix", "namespace"},
        "ray.experimental.internal_kv:_internal_kv_del": {"key", "del_by_prefix", "namespace"},
        "ray.runtime_context:get_runtime_context": set(),
        "ray.runtime_context:RuntimeContext.get_job_id": set(),
        "ray:WORKER_MODE": set(),
        "ray.core.generated.ray_client_pb2_grpc:RayletDriverServicer.ClusterInfo": set(),
        "ray.util.client:ray.get_context": set(),
    },
}
HOMES = {
    "multiprocessing": ["_fork_server.py", "_template.py", "_worker_process.py"],
    "pebble": ["_process/pool.py"],
    "loky": ["_worker_process.py", "_fork_server.py"],
    "distributed": ["_dask/private.py", "_dask/scheduler.py", "_dask/greeting.py"],
    "ray": ["_ray/store.py", "_ray/connection.py", "_ray/addresses.py", "_ray/greeting.py"],
}
PRIVATE = {
    "multiprocessing": r"multiprocessing import .*(forkserver|util)|multiprocessing\.(forkserver|util|context)",
    "pebble": r"from pebble\.(common|pool)",
    "loky": r"\bloky\b.*import|import loky|_concrete_contexts|_inheriting",
    "distributed": r"\bclient\._run\b|thread_state|batched_stream|client_comms|stream_handlers",
    "ray": r"internal_kv|ray\.util\.client|ray\.runtime_context",
}


@pytest.mark.parametrize(
    ("library", "name"), [(library, name) for library, names in FUNCTIONS.items() for name in names]
)
def test_the_name_is_where_we_use_it(library: str, name: str) -> None:
    pytest.importorskip(library)
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part, None)
        assert found is not None, f"{library} has no {name} any more: see {' and '.join(HOMES[library])}"
    wanted = FUNCTIONS[library][name]
    if wanted:
        missing = wanted - set(inspect.signature(found).parameters)
        assert not missing, (
            f"{name} of {library} takes no {sorted(missing)} any more: see {' and '.join(HOMES[library])}"
        )


@pytest.mark.parametrize("library", PRIVATE)
def test_private_names_of_a_library_stand_in_its_files(library: str) -> None:
    pattern = re.compile(PRIVATE[library])
    allowed = {BACKENDS / home for home in HOMES[library]}
    found = [
        f"{path.relative_to(BACKENDS)}:{number}: {line.strip()}"
        for path in Path(prefect_anyrunner.__file__).parent.rglob("*.py")
        if path not in allowed
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, f"private names of {library} outside {HOMES[library]}:\n" + "\n".join(found)
