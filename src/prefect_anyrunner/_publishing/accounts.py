"""The accounts of a flow run that has ended: whether the Prefect API says how each of its task runs ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State, TaskRun, TaskRunResult
from prefect.states import Cancelled, Crashed

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._prefect.api import by_id, of_flow_run
from prefect_anyrunner._prefect.states import status_of
from prefect_anyrunner._publishing.unsent_file import unsent_files


@dataclass
class Accounts:
    """What the API has of one flow run.

    `open`: task runs without an end, although the flow run has ended. `ended_twice`: task runs with several final
    states. `missing`: ids of task runs that others name as their input or parent, and that the API does not have.
    `files`: files of this machine that keep ends which the API has not recorded.
    """

    flow_run: FlowRun
    task_runs: int = 0
    open: list[TaskRun] = field(default_factory=list)
    ended_twice: list[TaskRun] = field(default_factory=list)
    missing: list[UUID] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    @property
    def balance(self) -> bool:
        """Whether every task run that is known of has ended once."""
        return not (self.open or self.ended_twice or self.missing or self.files)


def read_accounts(client: SyncPrefectClient, flow_run: FlowRun, *, histories: bool) -> Accounts:
    """Return the accounts of a flow run that has ended; `histories`: read the states of each run, one by one.

    Raises `httpx.HTTPError`.
    """
    accounts = Accounts(flow_run, files=unsent_files(flow_run.id))
    known: set[UUID] = set()
    named: set[UUID] = set()
    for run in of_flow_run(client, flow_run.id):
        known.add(run.id)
        named |= {each.id for some in run.task_inputs.values() for each in some if isinstance(each, TaskRunResult)}
        if status_of(run.state) is Status.UNFINISHED:
            accounts.open.append(run)
        elif histories and sum(state.is_final() for state in client.read_task_run_states(run.id)) > 1:
            accounts.ended_twice.append(run)
    accounts.task_runs = len(known)
    elsewhere = named - known
    accounts.missing = sorted(elsewhere - {run.id for run in by_id(client, sorted(elsewhere))})
    return accounts


def repair(client: SyncPrefectClient, accounts: Accounts) -> None:
    """Give each open task run an end: Cancelled if it had not started, else Crashed. Raises `httpx.HTTPError`."""
    for run in accounts.open:
        state: State[Any] = (
            Crashed(message="The flow run ended, and nobody reported how this task run did.")
            if run.state is not None and run.state.is_running()
            else Cancelled(message="The flow run ended before it started.")
        )
        client.set_task_run_state(run.id, state, force=True)
