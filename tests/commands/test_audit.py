"""`anyrunner audit`, against a real Prefect server."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow, runtime, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import TaskRun, TaskRunResult
from prefect.states import Completed, Failed, Pending, Running

from prefect_anyrunner import cli, gather, pick
from prefect_anyrunner._prefect.api import of_flow_run
from prefect_anyrunner._publishing.journal import journal_files, read_journals


@task
def double(number: int) -> int:
    return 2 * number


@flow(task_runner=pick("thread"))
def balanced() -> UUID:
    gather(double.map(range(3)))
    return UUID(runtime.flow_run.id)


def abandoned(*, ended: bool = True) -> tuple[UUID, TaskRun, TaskRun]:
    """Leave a flow run with a Running and a Pending task run; the second names one that the API does not have."""
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(balanced, state=Running())
        running = client.create_task_run(double, flow_run.id, "0", state=Running())
        missing: dict[str, Any] = {"number": [TaskRunResult(id=uuid4())]}
        pending = client.create_task_run(double, flow_run.id, "1", state=Pending(), task_inputs=missing)
        if ended:
            client.set_flow_run_state(flow_run.id, Failed(), force=True)
    return flow_run.id, running, pending


def state_names(*runs: TaskRun) -> list[str | None]:
    with get_client(sync_client=True) as client:
        return [client.read_task_run(run.id).state_name for run in runs]


def test_a_flow_run_whose_runs_have_all_ended(prefect_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    flow_run_id = balanced()
    assert cli.main(["audit", str(flow_run_id), "--states"]) == 0
    assert "Completed, with 3 task runs in the API\n  every task run has ended\n" in capsys.readouterr().out


def test_runs_without_an_end_and_missing_ones_are_named(
    prefect_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flow_run_id, running, pending = abandoned()
    assert cli.main(["audit", str(flow_run_id)]) == 1
    out = capsys.readouterr().out
    assert "2 without an end: " in out
    assert f"{running.name} is Running" in out
    assert f"{pending.name} is Pending" in out
    assert "1 named by others, and not in the API: " in out


def test_repair_ends_what_nobody_ended(prefect_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    flow_run_id, running, pending = abandoned()
    assert cli.main(["audit", str(flow_run_id), "--repair"]) == 1  # what is missing cannot be repaired
    assert "repaired: 2 task runs have an end now" in capsys.readouterr().out
    assert state_names(running, pending) == ["Crashed", "Cancelled"]
    assert cli.main(["audit", str(flow_run_id)]) == 1
    assert "without an end" not in capsys.readouterr().out


def test_a_flow_run_whose_process_was_killed_is_ended_if_asked_for(
    prefect_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flow_run_id, running, pending = abandoned(ended=False)
    assert cli.main(["audit", str(flow_run_id), "--repair"]) == 2
    assert "is Running: its accounts can be balanced once it has ended, or with --gone" in capsys.readouterr().err
    assert cli.main(["audit", str(flow_run_id), "--repair", "--gone"]) == 1
    assert "is Crashed, with 2 task runs in the API" in capsys.readouterr().out
    assert state_names(running, pending) == ["Crashed", "Cancelled"]


def test_runs_that_ended_twice_are_named_if_states_are_read(
    prefect_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flow_run_id, running, _ = abandoned()
    with get_client(sync_client=True) as client:
        client.set_task_run_state(running.id, Completed(), force=True)
        client.set_task_run_state(running.id, Failed(), force=True)
    assert cli.main(["audit", str(flow_run_id), "--states"]) == 1
    assert f"1 ended more than once: {running.name}" in capsys.readouterr().out


def test_the_api_is_compared_with_a_journal(prefect_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    flow_run_id = balanced.with_options(task_runner=pick("thread://?events_journal=true"))()
    assert cli.main(["audit", str(flow_run_id)]) == 0
    assert f"  compared with the journal {journal_files(flow_run_id)[0]}\n" in capsys.readouterr().out
    with get_client(sync_client=True) as client:
        lost, other, half = of_flow_run(client, flow_run_id)
        client.request("DELETE", "/task_runs/{id}", path_params={"id": lost.id})
        client.set_task_run_state(other.id, Failed(), force=True)
        client.set_task_run_state(half.id, Running(), force=True)
    assert cli.main(["audit", str(flow_run_id)]) == 1
    out = capsys.readouterr().out
    assert f"1 without an end: {half.name} is Running\n" in out
    assert f"1 in a journal, and not in the API: {lost.name}\n" in out
    assert f"1 ended otherwise by a journal: {other.name} is Failed, and was Completed\n" in out
    assert cli.main(["audit", str(flow_run_id), "--repair"]) == 1
    assert state_names(half, other) == ["Completed", "Failed"]


def test_a_journal_does_not_miss_what_is_not_published(prefect_server: str) -> None:
    flow_run_id = balanced.with_options(task_runner=pick("thread://?events_journal=true&events=failures"))()
    assert len(read_journals(journal_files(flow_run_id))) == 3
    assert cli.main(["audit", str(flow_run_id)]) == 0


def test_a_journal_is_read_although_its_last_line_is_not_whole(prefect_server: str) -> None:
    flow_run_id = balanced.with_options(task_runner=pick("thread://?events_journal=true"))()
    [journal] = journal_files(flow_run_id)
    written = journal.read_bytes()
    journal.write_bytes(written[:-10])
    ends = [run.end for run in read_journals(journal_files(flow_run_id)).values()]
    assert [end is None for end in ends] == [False, False, True]
    journal.with_name(f"journal-{flow_run_id}-of-another-process.jsonl").write_bytes(written)
    assert all(run.end is not None for run in read_journals(journal_files(flow_run_id)).values())


def test_wrong_input_is_one_sentence(prefect_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "nightly"]) == 2
    assert "'nightly' is not the id of a flow run" in capsys.readouterr().err
    assert cli.main(["audit", str(uuid4())]) == 2
    assert "the API does not know flow run" in capsys.readouterr().err
    flow_run_id, _, _ = abandoned(ended=False)
    assert cli.main(["audit", str(flow_run_id)]) == 2
    assert "is Running: its accounts can be balanced once it has ended" in capsys.readouterr().err
