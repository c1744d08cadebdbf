"""The API has every run's end when the flow's process has ended, whatever the server does meanwhile (rule S2)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engines.own_server import OwnServer
from tests.engines.published import LONG, RUNNERS, SLOW, Flow, check_both_halves


@pytest.mark.parametrize("spec", RUNNERS)
def test_the_api_has_every_end_when_a_fast_flow_has_ended(own_server: OwnServer, spec: str) -> None:
    run = Flow(own_server, spec, "many", 400)
    assert run.receive() == {"completed": 400}
    assert not [line for line in run.end() if "recorded" in line]
    assert own_server.states(run.flow_run_id) == {"Completed": 400}


@pytest.mark.parametrize("spec", RUNNERS)
def test_ends_of_nested_runs_are_there_too(own_server: OwnServer, spec: str) -> None:
    run = Flow(own_server, spec, "nested", 60)
    assert run.receive() == {"completed": 1}
    assert not [line for line in run.end() if "recorded" in line]
    assert own_server.states(run.flow_run_id) == {"Completed": 61}


@pytest.mark.parametrize("spec", RUNNERS)
def test_a_killed_server_that_comes_back_gets_what_it_lost(own_server: OwnServer, spec: str) -> None:
    check_both_halves(own_server, spec, own_server.away())


@pytest.mark.parametrize("spec", RUNNERS)
def test_a_server_that_stands_still_loses_nothing(own_server: OwnServer, spec: str) -> None:
    check_both_halves(own_server, spec, own_server.standing_still())


@pytest.mark.slow
@pytest.mark.parametrize("spec", RUNNERS)
def test_a_server_that_answers_503_for_a_while_gets_the_rest_later(own_server: OwnServer, spec: str) -> None:
    @contextmanager
    def refusing() -> Iterator[None]:
        with own_server.unavailable() as refused:
            yield
            assert refused.wait(LONG)

    check_both_halves(own_server, spec, refusing())


def test_what_the_api_did_not_record_is_in_a_file_that_can_be_sent(own_server: OwnServer) -> None:
    # With more tries, Prefect itself tries for minutes to report the end of a flow run to a server that is gone.
    run = Flow(own_server, "thread://?events_timeout=0.5", "in_two_halves", 40, PREFECT_CLIENT_MAX_RETRIES="0")
    assert run.receive() == "half"
    own_server.kill()
    run.child.send("go on, without a server")
    assert run.receive() == "whole"
    run.child.send("end")
    assert run.child.wait(LONG) == 1  # Prefect cannot report that the flow run has ended
    printed = "\n".join(run.child.tail(1000))
    found = re.search(r"has not recorded how (\d+) of 40 task runs ended.*anyrunner events send (\S+\.jsonl)", printed)
    assert found is not None, printed
    run.child.stop()
    own_server.start()
    recorded = own_server.states(run.flow_run_id)["Completed"]
    assert int(found[1]) >= 40 - recorded
    path = Path(found[2])
    assert _send(own_server, path) == (
        0,
        f"The API has recorded {found[1]} task runs. {path} is not needed any more and was deleted.\n",
    )
    assert not path.exists()
    assert own_server.states(run.flow_run_id) == {"Completed": 40}


def test_a_file_that_keeps_no_ends_is_refused(own_server: OwnServer, tmp_path: Path) -> None:
    path = tmp_path / "unsent.jsonl"
    assert _send(own_server, path)[0] == 2
    path.write_text("{}\n")
    assert _send(own_server, path) == (2, "")
    assert path.exists()


def _send(server: OwnServer, path: Path) -> tuple[int, str]:
    main = "import sys; from prefect_anyrunner.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", main, "events", "send", str(path)]
    done = subprocess.run(command, env=server.environment, capture_output=True, text=True, timeout=LONG, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("spec", RUNNERS)
def test_a_small_flow_has_the_states_that_prefect_gives_it(own_server: OwnServer, spec: str) -> None:
    stock = Flow(own_server, "stock+thread", "failing", 11)
    assert stock.receive() == {"completed": 9, "failed": 2}
    stock.end()
    ours = Flow(own_server, spec, "failing", 11)
    assert ours.receive() == {"completed": 9, "failed": 2}
    ours.end()

    def histories(flow_run_id: str) -> list[list[str]]:
        return sorted(own_server.history(run["id"]) for run in own_server.task_runs(flow_run_id))

    expected = [["Pending", "Running", "Completed"]] * 9 + [["Pending", "Running", "Failed"]] * 2
    assert histories(ours.flow_run_id) == histories(stock.flow_run_id) == sorted(expected)


@pytest.mark.parametrize("spec", RUNNERS)
def test_final_publishes_ends_and_what_runs_for_two_seconds(own_server: OwnServer, spec: str, tmp_path: Path) -> None:
    spec = f"{spec}{'&' if '?' in spec else '?'}events=final"
    short = Flow(own_server, spec, "many", 5)
    assert short.receive() == {"completed": 5}
    short.end()
    assert [own_server.history(run["id"]) for run in own_server.task_runs(short.flow_run_id)] == [["Completed"]] * 5

    running = Flow(own_server, spec, "waiting", str(tmp_path / "go"))
    while own_server.states(running.flow_run_id) != {"Running": 1}:
        pass
    (tmp_path / "go").touch()
    assert running.receive() == {"completed": 1}
    running.end()
    (run,) = own_server.task_runs(running.flow_run_id)
    assert own_server.history(run["id"]) == ["Running", "Completed"]


@pytest.mark.parametrize("spec", RUNNERS)
def test_failures_publishes_what_did_not_complete_and_counts_the_rest(own_server: OwnServer, spec: str) -> None:
    run = Flow(own_server, f"{spec}{'&' if '?' in spec else '?'}events=failures", "failing", 50)
    assert run.receive() == {"completed": 45, "failed": 5}
    run.end()
    assert [own_server.history(each["id"]) for each in own_server.task_runs(run.flow_run_id)] == [["Failed"]] * 5
    assert own_server.artifacts(run.flow_run_id) == [("progress", 90.0, "45 of 50 task runs completed")]


@SLOW  # it needs a server of its own
def test_an_event_that_is_too_large_is_sent_without_its_inputs(tmp_path: Path) -> None:
    server = OwnServer(tmp_path, PREFECT_SERVER_EVENTS_MAXIMUM_SIZE_BYTES="6000")
    server.start()
    run = Flow(server, "thread", "many_inputs", 100)
    assert run.receive() == {"completed": 101}
    assert any("leaves out the inputs" in line for line in run.end())
    assert server.states(run.flow_run_id) == {"Completed": 101}
    server.stop()
