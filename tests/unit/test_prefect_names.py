"""The private names of Prefect that `_prefect.py` uses: a Prefect that moves one fails here, with a sentence."""

import importlib
import inspect

import pytest

NAMES = {
    "prefect.task_engine:_create_task_run_locally": {
        "task", "id", "parameters", "flow_run_context", "parent_task_run_context", "wait_for", "extra_task_inputs",
    },
    "prefect._flow_run_suspension:raise_if_flow_run_suspension_requested": set(),
    "prefect.task_runners:_initialize_process_pool_worker": {"message_queue", "initializer", "initargs"},
    "prefect._internal.result_records:ResultRecord": {"metadata", "result"},
    "prefect._internal.result_records:ResultRecordMetadata": {"storage_key"},
}  # fmt: skip


@pytest.mark.parametrize("place", NAMES)
def test_prefect_still_has(place: str) -> None:
    module, _, name = place.partition(":")
    found = getattr(importlib.import_module(module), name, None)
    assert found is not None, f"Prefect moved {place}: find its new place, or what replaced it, for _prefect.py"
    missing = NAMES[place] - set(inspect.signature(found).parameters)
    assert not missing, f"{place} no longer takes {sorted(missing)}: see who calls it through _prefect.py"
