"""The private names of Prefect that have no public twin, all in one place.

`tests/unit/test_prefect_names.py` tells when one moves. `create_task_run` builds the local `TaskRun` as Prefect's own
engine does (name, keys, inputs, parents, tags); its public twin,
`Task.create_local_run`, is asynchronous and opens a client for each call.
`initialize_process_worker` connects a process worker's events and logs as the stock runner does.
`ResultRecord` and its metadata are what a state holds when the result is stored.
`raise_if_suspended` is what every future of Prefect calls after a wait, so that a suspended flow run stops there.
"""

from __future__ import annotations

from prefect._flow_run_suspension import (
    raise_if_flow_run_suspension_requested as raise_if_suspended,
)
from prefect._internal.result_records import ResultRecord, ResultRecordMetadata
from prefect.task_engine import _create_task_run_locally as create_task_run
from prefect.task_runners import _initialize_process_pool_worker as initialize_process_worker

__all__ = ["ResultRecord", "ResultRecordMetadata", "create_task_run", "initialize_process_worker", "raise_if_suspended"]
