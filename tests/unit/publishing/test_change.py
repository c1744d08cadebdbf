"""A change as it is packed, and as a line of a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.serializers import PickleSerializer
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.states import Completed, Failed, Pending, Running

from prefect_anyrunner._prefect.private import ResultRecordMetadata, create_task_run
from prefect_anyrunner._publishing.change import Change, change_to
from prefect_anyrunner._publishing.unsent_file import read_unsent, write_unsent


@task(tags=["nightly", "load"])
def load(day: str, number: int) -> int:
    return number


def run() -> TaskRun:
    task_run = create_task_run(task=load, parameters={"day": "mon", "number": 7}, wait_for=None, extra_task_inputs=None)
    task_run.flow_run_id = uuid4()
    return task_run


def ended(state: State[object]) -> Change:
    task_run = run()
    task_run.run_count = 1
    return change_to(task_run, state).kept()


def facts(some: Change) -> tuple[object, ...]:
    return (
        some.task_run.model_dump(mode="json"),
        some.before.model_dump(mode="json") if some.before is not None else None,
        some.state.model_dump(mode="json"),
        some.metadata,
        some.follows,
    )


def test_a_change_is_the_same_after_it_was_packed() -> None:
    original = replace(ended(Failed(message="ValueError: row 7")), follows=True)
    packed = original.pack()
    assert len(packed) < 1000
    assert facts(Change.unpack(packed)) == facts(original)


def test_the_place_of_a_stored_result_is_packed_too() -> None:
    metadata = ResultRecordMetadata(
        storage_key="key", expiration=None, serializer=PickleSerializer(), prefect_version="3", storage_block_id=None
    )
    task_run = run()
    original = Change(task_run, task_run.state, Completed(), metadata).kept()
    assert Change.unpack(original.pack()).metadata == metadata


def test_a_change_keeps_no_result_and_stays_as_it_was() -> None:
    task_run = run()
    state: State[object] = Completed(data=object())
    new = change_to(task_run, state).kept()
    task_run.name = "renamed later"
    assert new.state.data is None
    assert new.task_run.state is None
    assert new.task_run.name != "renamed later"
    assert task_run.state is state


@pytest.mark.parametrize(
    ("state", "is_end"),
    [(Pending(), False), (Running(), False), (Pending(name="NotReady"), True), (Completed(), True), (Failed(), True)],
)
def test_an_end_is_a_final_state_or_a_blocked_run(state: State[object], is_end: bool) -> None:
    assert ended(state).is_end is is_end


def test_a_file_keeps_changes(tmp_path: Path) -> None:
    changes = [ended(Completed()), ended(Failed(message="one\nmore line"))]
    with temporary_settings({PREFECT_HOME: tmp_path}):
        first, second = write_unsent(changes), write_unsent(changes)
    assert first != second
    assert [facts(each) for each in read_unsent(first)] == [facts(each) for each in changes]
    with first.open("a") as file:
        file.write("not one\n")
    with pytest.raises(ValueError, match=r"line 3 is not the end of a task run"):
        read_unsent(first)


def test_a_change_with_a_text_that_json_cannot_hold_is_kept() -> None:
    kept = ended(Failed(message="bad file \udc80")).kept()
    assert Change.unpack(kept.pack()).state.message == "bad file \\udc80"


def test_a_file_that_was_not_written_to_its_end_is_read(tmp_path: Path) -> None:
    with temporary_settings({PREFECT_HOME: tmp_path}):
        path = write_unsent([ended(Completed()), ended(Completed())])
    path.write_text(path.read_text()[:-20])
    assert len(read_unsent(path)) == 1
    path.write_text("[]\n")
    with pytest.raises(ValueError, match="line 1 is not the end of a task run"):
        read_unsent(path)


def test_a_renewed_change_is_another_event_that_says_the_same() -> None:
    one = ended(Completed(message="done"))
    other = one.renewed()
    assert other.state.id != one.state.id
    assert facts(replace(other, state=one.state)) == facts(one)
    assert other.state.model_dump(exclude={"id"}) == one.state.model_dump(exclude={"id"})
