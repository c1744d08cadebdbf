"""`anyrunner audit`: checks that the Prefect API knows how each task run of a flow run ended."""

from __future__ import annotations

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from prefect_anyrunner._publishing.accounts import Accounts, read_accounts, repair
from prefect_anyrunner.cli.flow_run_id import flow_run_id
from prefect_anyrunner.cli.usage_error import UsageError

_SHOWN = 10
"""Maximum number of task runs of one kind that are named."""


def audit(flow_run: str, *, histories: bool, mend: bool, gone: bool) -> int:
    """Print the accounts of a flow run, give open task runs an end if asked to, and return the exit code.

    `gone`: the process of the flow run was killed, so that the flow run is ended as Crashed first.
    """
    wanted = flow_run_id(flow_run)
    try:
        with get_client(sync_client=True) as client:
            found = client.read_flow_run(wanted)
            if found.state is None or not found.state.is_final():
                if not gone:
                    state = found.state.name if found.state is not None else "without a state"
                    raise UsageError(
                        f"flow run {found.name!r} is {state}: its accounts can be balanced once it has ended, or with "
                        "--gone if its process was killed"
                    )
                client.set_flow_run_state(wanted, Crashed(message="Its process was killed."), force=True)
                found = client.read_flow_run(wanted)
            accounts = read_accounts(client, found, histories=histories)
            _print(accounts)
            if mend and accounts.open:
                repair(client, accounts)
                print(f"repaired: {len(accounts.open):,} task runs have an end now")
                accounts.open = []
    except ObjectNotFound:
        raise UsageError(f"the API does not know flow run {wanted}") from None
    except httpx.HTTPError as error:
        raise UsageError(f"the API does not answer: {error}") from error
    except OSError as error:
        raise UsageError(f"a journal of the flow run cannot be read: {error}") from error
    return 0 if accounts.balance else 1


def _print(accounts: Accounts) -> None:
    flow_run = accounts.flow_run
    assert flow_run.state is not None
    print(f"flow run {flow_run.name!r} is {flow_run.state.name}, with {accounts.task_runs:,} task runs in the API")
    lists: list[tuple[str, list[str]]] = [
        ("without an end", [f"{run.name} is {run.state_name}" for run in accounts.open]),
        ("ended more than once", [run.name for run in accounts.ended_twice]),
        ("named by others, and not in the API", [str(each) for each in accounts.missing]),
        ("in a journal, and not in the API", [run.name for run in accounts.unrecorded]),
        (
            "ended otherwise by a journal",
            [f"{run.name} is {run.state_name}, and was {end.name}" for run, end in accounts.ended_otherwise],
        ),
    ]
    for what, names in lists:
        if names:
            more = f", and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            print(f"  {len(names):,} {what}: {', '.join(names[:_SHOWN])}{more}")
    for path in accounts.journals:
        print(f"  compared with the journal {path}")
    for path in accounts.files:
        print(f"  ends that the API has not recorded are in a file: anyrunner events send {path}")
    if accounts.balance:
        print("  every task run has ended")
