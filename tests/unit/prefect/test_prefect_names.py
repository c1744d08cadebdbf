"""The private names of Prefect that this package uses: a release that moves one fails here, with a sentence.

The names are imported by `_prefect/private.py` alone; the subclasses in `backends` use attributes of the stock runners.
"""

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from prefect.task_engine import AsyncTaskRunEngine, SyncTaskRunEngine

import prefect_anyrunner
from prefect_anyrunner._worker import engine as worker_engine

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
    assert found is not None, f"Prefect moved {place}: find its new place, or its successor, for _prefect/private.py"
    missing = NAMES[place] - set(inspect.signature(found).parameters)
    assert not missing, f"{place} no longer takes {sorted(missing)}: see who calls it through _prefect/private.py"


ENGINE = {"dask": pytest.mark.dask, "ray": pytest.mark.ray}
# The class that has a private attribute which we use, and the attribute.
ATTRIBUTES = {
    ("prefect.futures:PrefectTaskRunFuture", "_final_state"),
    ("prefect._internal.concurrency.services:QueueService", "_queue"),
    ("prefect.flow_engine:FlowRunEngine", r"enter_context\(self\.flow\.task_runner\.duplicate"),
    ("prefect.flow_engine:AsyncFlowRunEngine", r"enter_context\(self\.flow\.task_runner\.duplicate"),
    ("prefect.flow_engine:FlowRunEngine", r"call_with_parameters\(self\.flow\.fn"),
    ("prefect.flow_engine:AsyncFlowRunEngine", r"call_with_parameters\(self\.flow\.fn"),
    ("prefect.flow_engine:FlowRunEngine", "_raised"),
    ("prefect.flow_engine:AsyncFlowRunEngine", "_raised"),
    ("prefect.flow_engine:FlowRunEngine", "short_circuit"),
    ("prefect.flow_engine:AsyncFlowRunEngine", "short_circuit"),
    ("prefect.task_runners:TaskRunner", "_started"),
    ("prefect.task_runners:ThreadPoolTaskRunner", "_max_workers"),
    ("prefect.task_runners:ThreadPoolTaskRunner", "_executor"),
    ("prefect.task_runners:ProcessPoolTaskRunner", "_max_workers"),
    ("prefect.task_runners:ProcessPoolTaskRunner", "_initializer"),
    ("prefect.task_runners:ProcessPoolTaskRunner", "_initargs"),
    ("prefect.task_runners:ProcessPoolTaskRunner", "_subprocess_message_queue"),
    ("prefect._internal.compatibility.async_dispatch:async_dispatch", "_sync"),
    ("prefect_dask.task_runners:DaskTaskRunner", "_client"),
    ("prefect_dask.task_runners:DaskTaskRunner", "_exit_stack"),
    ("prefect_dask.task_runners:DaskTaskRunner", "_cluster"),
    ("prefect_ray.task_runners:RayTaskRunner", "_ray_context"),
    ("prefect_ray.task_runners:RayTaskRunner", "_owns_ray"),
}


@pytest.mark.parametrize(("place", "attribute"), sorted(ATTRIBUTES))
def test_prefect_still_uses(place: str, attribute: str) -> None:
    module, _, name = place.partition(":")
    source = inspect.getsource(getattr(importlib.import_module(module), name))
    assert re.search(rf"\b{attribute}\b", source), (
        f"{name} no longer has {attribute}: see who uses it in prefect_anyrunner, and find its successor"
    )


RUNNERS = {
    "thread": "ThreadPoolTaskRunner",
    "process": "ProcessPoolTaskRunner",
    "dask": "DaskTaskRunner",
    "ray": "RayTaskRunner",
}


@pytest.mark.parametrize("backend", [pytest.param(name, marks=ENGINE.get(name, ())) for name in RUNNERS])
def test_private_attributes_of_stock_runners_are_all_listed(backend: str) -> None:
    runner = getattr(importlib.import_module(f"prefect_anyrunner.backends.{backend}"), RUNNERS[backend])
    ours = [kind for kind in runner.__mro__ if kind.__module__.startswith("prefect_anyrunner.")]
    stock = [kind for kind in runner.__mro__ if kind.__module__.startswith("prefect") and kind not in ours]
    listed = {attribute for place, attribute in ATTRIBUTES if place in map(place_of, stock)}
    missing = (own_names(ours) & own_names(stock)) - listed
    assert not missing, f"{runner.__name__} uses {sorted(missing)} of the stock runner: add it to ATTRIBUTES"


def place_of(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def own_names(kinds: list[type]) -> set[str]:
    """Return the private names that the source of classes reads or writes on `self`, or defines."""
    source = "\n".join(map(inspect.getsource, kinds))
    return {name for found in re.findall(r"\bself\.(_[a-z]\w*)|\bdef (_[a-z]\w*)", source) for name in found if name}


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


@pytest.mark.parametrize("engine", [worker_engine.SyncEngine, worker_engine.AsyncEngine])
def test_the_engine_still_has_what_runners_override(engine: Any) -> None:
    """`run_sync` and `run_async` call these as Prefect's own functions do."""
    steps = {"start", "is_running", "wait_until_ready", "asset_context", "run_context", "transaction_context"}
    missing = {*steps, "call_task_fn", "handle_success", "handle_crash", "set_state"} - set(dir(engine))
    assert not missing, f"Prefect's task engine has no {sorted(missing)} any more: compare _worker/engine.py with it"
    assert "_telemetry" in engine.__dataclass_fields__, "Prefect's task engine keeps its telemetry elsewhere now"
    assert "_raised" in engine.__dataclass_fields__, (
        "Prefect's task engine keeps what the body has raised elsewhere now"
    )


CALL_TASK_FN = """
parameters = self.parameters or {}
if transaction.is_committed():
    result = transaction.read()
else:
    result = call_with_parameters(self.task.fn, parameters)
self.handle_success(result, transaction=transaction)
return result
"""
"""The statements of `call_task_fn` of Prefect's engines, without `await`."""


@pytest.mark.parametrize("engine", [SyncTaskRunEngine, AsyncTaskRunEngine])
def test_the_body_still_begins_in_call_task_fn_and_ends_before_handle_success(engine: Any) -> None:
    """So `_worker/engine.py` finds the body without a function of its own in the place of the user's."""
    method = ast.parse(textwrap.dedent(inspect.getsource(engine.call_task_fn))).body[0]
    assert isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
    statements = [ast.unparse(each).replace("await ", "") for each in method.body[1:]]
    assert statements == [ast.unparse(each) for each in ast.parse(CALL_TASK_FN).body], (
        f"{engine.__name__}.call_task_fn has changed: see that in _worker/engine.py nothing but the user's function "
        "stands between run_body and leave_body, then bring CALL_TASK_FN up to date"
    )
