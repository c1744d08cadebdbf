"""The accounts of a flow run that has ended: whether the Prefect API says how each of its task runs ended."""

from __future__ import annotations

from collections.abc import Mapping
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
from prefect_anyrunner._publishing.journal import KnownRun, journal_files, read_journals
from prefect_anyrunner._publishing.unsent_file import unsent_files


@dataclass
class Accounts:
    """The records of one flow run in the API.

    `open`: task runs without an end, although the flow run has ended. `ended_twice`: task runs with several final
    states. `missing`: ids of task runs that others name as their input or parent, and that the API does not have.
    `files`: files of this machine that keep ends which the API has not recorded. `journals`: files of this machine that
    list the task runs that the flow's process knew. By them, `unrecorded` are task runs that the API does not have,
    and `ended_otherwise` are those that ended in another state there, each with its end in the journal.
    """

    flow_run: FlowRun
    task_runs: int = 0
    open: list[TaskRun] = field(default_factory=list)
    ended_twice: list[TaskRun] = field(default_factory=list)
    missing: list[UUID] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    journals: list[Path] = field(default_factory=list)
    known: Mapping[UUID, KnownRun] = field(default_factory=dict)
    unrecorded: list[KnownRun] = field(default_factory=list)
    ended_otherwise: list[tuple[TaskRun, State[Any]]] = field(default_factory=list)

    @property
    def balance(self) -> bool:
        """Whether every known task run has ended exactly once."""
        return not (
            self.open or self.ended_twice or self.missing or self.files or self.unrecorded or self.ended_otherwise
        )

    def end_of(self, run: TaskRun) -> State[Any] | None:
        """Return the end of a task run in the journals, None if they have none."""
        known = self.known.get(run.id)
        return known.end if known is not None else None


def read_accounts(client: SyncPrefectClient, flow_run: FlowRun, *, histories: bool) -> Accounts:
    """Return the accounts of a flow run that has ended; `histories`: read the states of each run, one by one.

    Raises `httpx.HTTPError`, and OSError if a journal cannot be read.
    """
    journals = journal_files(flow_run.id)
    accounts = Accounts(flow_run, files=unsent_files(flow_run.id), journals=journals, known=read_journals(journals))
    known: set[UUID] = set()
    named: set[UUID] = set()
    for run in of_flow_run(client, flow_run.id):
        known.add(run.id)
        named |= {each.id for some in run.task_inputs.values() for each in some if isinstance(each, TaskRunResult)}
        if status_of(run.state) is Status.UNFINISHED:
            accounts.open.append(run)
        elif histories and _number_of_ends(client, run) > 1:
            accounts.ended_twice.append(run)
        end = accounts.end_of(run)
        if end is not None and status_of(run.state) not in (Status.UNFINISHED, status_of(end)):
            accounts.ended_otherwise.append((run, end))
    accounts.unrecorded = [run for run_id, run in accounts.known.items() if run.published and run_id not in known]
    accounts.task_runs = len(known)
    elsewhere = named - known
    accounts.missing = sorted(elsewhere - {run.id for run in by_id(client, sorted(elsewhere))})
    return accounts


def _number_of_ends(client: SyncPrefectClient, run: TaskRun) -> int:
    """Return how many ends of a run the API has. One that was sent again under a new id has the same time."""
    return len({state.timestamp for state in client.read_task_run_states(run.id) if state.is_final()})


def repair(client: SyncPrefectClient, accounts: Accounts) -> None:
    """Give each open task run its end from a journal, else Cancelled if it had not started, else Crashed.

    Raises `httpx.HTTPError`.
    """
    for run in accounts.open:
        state: State[Any]
        if (end := accounts.end_of(run)) is not None:
            state = end
        elif run.state is not None and run.state.is_running():
            state = Crashed(message="The flow run ended, and nobody reported how this task run did.")
        else:
            state = Cancelled(message="The flow run ended before it started.")
        client.set_task_run_state(run.id, state, force=True)
