"""The private names of Prefect that this package uses: a Prefect that moves one fails here, with a sentence.

Names stand in `_prefect/private.py`; attributes of the stock runners are used by the subclasses in `backends`.
"""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import prefect_anyrunner
from prefect_anyrunner._worker import engine as _worker_engine

NAMES = {
    "prefect.task_engine:_create_task_run_locally": {
        "task", "id", "parameters", "flow_run_context", "parent_task_run_context", "wait_for", "extra_task_inputs",
    },
    "prefect._flow_run_suspension:raise_if_flow_run_suspension_requested": set(),
    "prefect.task_runners:_initialize_process_pool_worker": {"message_queue", "initializer", "initargs"},
    "prefect._internal.result_records:ResultRecord": {"metadata", "result"},
    "prefect._internal.result_records:ResultRecordMetadata": {"storage_key"},
    "prefect.states:get_state_exception": set(),
}  # fmt: skip


@pytest.mark.parametrize("place", NAMES)
def test_prefect_still_has(place: str) -> None:
    module, _, name = place.partition(":")
    found = getattr(importlib.import_module(module), name, None)
    assert found is not None, f"Prefect moved {place}: find its new place, or what replaced it, for _prefect.py"
    missing = NAMES[place] - set(inspect.signature(found).parameters)
    assert not missing, f"{place} no longer takes {sorted(missing)}: see who calls it through _prefect.py"


# Where an attribute is used, and by what in its own class.
ATTRIBUTES = {
    ("prefect.futures:PrefectTaskRunFuture", "_final_state"),
    ("prefect._internal.concurrency.services:QueueService", "_queue"),
    ("prefect.task_runners:TaskRunner", "_started"),
    ("prefect.task_runners:ThreadPoolTaskRunner", "_max_workers"),
    ("prefect.task_runners:ThreadPoolTaskRunner", "_executor"),
    ("prefect.task_runners:ProcessPoolTaskRunner", "_max_workers"),
    ("prefect.task_runners:ProcessPoolTaskRunner", "_initializer"),
    ("prefect.task_runners:ProcessPoolTaskRunner", "_initargs"),
    ("prefect.task_runners:ProcessPoolTaskRunner", "_subprocess_message_queue"),
    ("prefect._internal.compatibility.async_dispatch:async_dispatch", "_sync"),
    ("prefect_dask.task_runners:DaskTaskRunner", "_client"),
    ("prefect_dask.task_runners:DaskTaskRunner", "_cluster"),
    ("prefect_ray.task_runners:RayTaskRunner", "_ray_context"),
    ("prefect_ray.task_runners:RayTaskRunner", "_owns_ray"),
}


@pytest.mark.parametrize(("place", "attribute"), sorted(ATTRIBUTES))
def test_prefect_still_uses(place: str, attribute: str) -> None:
    module, _, name = place.partition(":")
    source = inspect.getsource(getattr(importlib.import_module(module), name))
    assert re.search(rf"\b{attribute}\b", source), (
        f"{name} no longer has {attribute}: see who uses it in prefect_anyrunner, and what replaced it"
    )


def test_private_names_stand_in_one_place() -> None:
    names = (
        r"from prefect\.[\w.]*\b_",
        r"from prefect\.[\w.]+ import .*\b_[a-z]",
        r"prefect\._",
        "_sync=True",
        '"_final_state"',
    )
    private = re.compile("|".join(names))
    folder = Path(prefect_anyrunner.__file__).parent
    found = [
        f"{path.relative_to(folder)}:{number}: {line.strip()}"
        for path in folder.rglob("*.py")
        if path != folder / "_prefect" / "private.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if private.search(line)
    ]
    assert not found, "private names of Prefect outside _prefect/private.py:\n" + "\n".join(found)


@pytest.mark.parametrize("engine", [_worker_engine._SyncEngine, _worker_engine._AsyncEngine])
def test_the_engine_still_has_what_workers_override(engine: Any) -> None:
    """`run_sync` and `run_async` go through these as Prefect's own functions do."""
    steps = {"start", "is_running", "wait_until_ready", "asset_context", "run_context", "transaction_context"}
    missing = {*steps, "call_task_fn", "set_state"} - set(dir(engine))
    assert not missing, f"Prefect's task engine has no {sorted(missing)} any more: compare _worker_engine.py with it"
    assert "_telemetry" in engine.__dataclass_fields__, "Prefect's task engine keeps its telemetry elsewhere now"
