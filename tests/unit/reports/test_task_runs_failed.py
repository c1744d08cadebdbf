"""The exception for runs that did not complete: message, members, notes, parts and pickles."""

from __future__ import annotations

import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import pytest
from prefect.exceptions import CancelledRun, CrashedRun, UnfinishedRun, UpstreamTaskError
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

from prefect_anyrunner import AnyRunnerError, Outcome, Status, TaskRunsFailed, gather, settle
from prefect_anyrunner._serialization.pack import pack_error
from prefect_anyrunner._serialization.unpack import unpack_error
from tests.unit.fake_future import FakeFuture


@pytest.fixture(autouse=True)
def no_pages() -> Iterator[None]:
    with temporary_settings({PREFECT_UI_URL: "", PREFECT_API_URL: None}):
        yield


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Locked(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def failed(futures: Any, **options: Any) -> TaskRunsFailed:
    with pytest.raises(TaskRunsFailed) as raised:
        gather(futures, **options)
    return raised.value


def mixed() -> tuple[list[FakeFuture], list[BaseException]]:
    futures = [FakeFuture() for _ in range(1000)]
    errors: list[Exception] = [ValueError("bad 3"), ValueError("bad 17")]
    for number, future in enumerate(futures):
        if number in (3, 17):
            future.fails(errors[number == 17])
        elif number == 20:
            future.crashes("its worker died")
        elif number >= 995:
            future.is_blocked_by(futures[3])
        else:
            future.ends(number)
    return futures, [*errors]


# --- message and members --------------------------------------------------------------------------------------------


def test_the_message_counts_all_and_names_the_runs() -> None:
    group = failed(mixed()[0])
    assert group.message == (
        "3 of 1000 task runs failed: 2 ValueError: bad 3 (load[3], load[17]), "
        "1 crashed: its worker died (load[20]); 5 blocked by them"
    )


def test_members_are_the_very_exceptions_in_submission_order() -> None:
    futures, errors = mixed()
    group = failed(futures)
    assert group.exceptions[0] is errors[0]
    assert group.exceptions[1] is errors[1]
    assert isinstance(group.exceptions[2], CrashedRun)
    assert [outcome.index for outcome in group.outcomes] == [3, 17, 20]
    assert [outcome.error for outcome in group.outcomes] == list(group.exceptions)


def test_one_failure_raises_a_group_that_is_an_anyrunner_error() -> None:
    group = failed(FakeFuture().fails(ValueError("one")))
    assert isinstance(group, AnyRunnerError)
    assert isinstance(group, ExceptionGroup)
    assert group.message == "1 of 1 task run failed: 1 ValueError: one (load)"


def test_a_blocked_run_is_a_member_if_its_root_is_not() -> None:
    elsewhere = FakeFuture().fails(ValueError())
    group = failed([FakeFuture().is_blocked_by(elsewhere), FakeFuture().ends()])
    assert group.message == "1 of 2 task runs failed: 1 blocked (load[0])"
    assert isinstance(group.exceptions[0], UpstreamTaskError)


def test_cancelled_and_unfinished_runs_are_members() -> None:
    group = failed([FakeFuture().is_cancelled(), FakeFuture()], timeout=0.01)
    assert [type(member) for member in group.exceptions] == [CancelledRun, UnfinishedRun]
    assert group.message == "2 of 2 task runs failed: 1 cancelled (load[0]), 1 unfinished (load[1])"


def test_a_run_that_was_passed_twice_failed_once() -> None:
    future = FakeFuture().fails(ValueError())
    group = failed([future, FakeFuture().ends(), future])
    assert group.message == "1 of 2 task runs failed: 1 ValueError (load[0])"
    assert len(group.exceptions) == 1


def test_every_failure_is_a_member_but_the_message_stays_short() -> None:
    class Odd(Exception): ...

    kinds = [type(f"Kind{number % 30}Error", (Odd,), {}) for number in range(30)]
    group = failed([FakeFuture().fails(kinds[n % 30](n)) if n % 2 else FakeFuture().ends() for n in range(5000)])
    assert len(group.exceptions) == 2500
    assert len(group.message) < 700
    assert "of 7 other kinds" in group.message
    assert "and 163 more" in group.message


def test_the_message_stays_short_whatever_the_texts_and_names_are() -> None:
    kinds = [type(f"{'Kind' * 100}{number}", (Exception,), {}) for number in range(30)]
    futures = [FakeFuture("load" * 100).fails(kinds[number % 30]("why " * 5000)) for number in range(300)]
    assert len(failed(futures).message) < 700


def test_nothing_random_is_in_the_message() -> None:
    future, upstream = FakeFuture(), FakeFuture().fails(KeyError("k"))
    cause = UpstreamTaskError("Upstream task run 'load-c7b' (01a22117-140a-723c-8fc4-c1f7f3a73447) ended failed")
    cause.__cause__ = KeyError("k")
    blocked = FakeFuture()._end(Status.BLOCKED, error=cause, upstream=(upstream.task_run_id,))
    group = failed(
        [future.crashes("Task run 'load-c7b' crashed: its Dask worker tcp://10.0.0.1:4242 died while it ran"), blocked]
    )
    assert group.message == (
        "2 of 2 task runs failed: 1 crashed: its Dask worker … died while it ran (load[0]), "
        "1 blocked: KeyError: 'k' (load[1])"
    )


def test_runs_with_the_same_index_are_named_by_their_paths() -> None:
    bad = [FakeFuture().fails(ValueError()) for _ in range(3)]
    group = failed({"a": [bad[0]], "b": [bad[1]], "c": bad[2]})
    assert group.message == "3 of 3 task runs failed: 3 ValueError (load[a.0], load[b.0], load[c])"


# --- notes ----------------------------------------------------------------------------------------------------------


def test_each_member_has_one_note_that_names_its_run() -> None:
    error = ValueError()
    future = FakeFuture().fails(error)
    for _ in range(3):
        failed([FakeFuture().ends(), future])
    run_id = future.task_run_id
    assert error.__notes__ == [f"Task run {run_id}: load[1], named 'load-{str(run_id)[:3]}', on fake, worker here"]


def test_one_exception_in_two_runs_has_a_note_for_each() -> None:
    error = ValueError()
    futures = [FakeFuture().fails(error), FakeFuture().fails(error)]
    failed(futures)
    failed(futures)
    assert ["load[0]" in note for note in error.__notes__] == [True, False]
    assert len(error.__notes__) == 2


def test_settling_changes_no_error() -> None:
    error = ValueError()
    settle([FakeFuture().fails(error)])
    assert not hasattr(error, "__notes__")


def test_an_error_that_refuses_notes_is_still_a_member() -> None:
    class Closed(Exception):
        __notes__ = 3  # type: ignore[assignment]

    assert isinstance(failed([FakeFuture().fails(Closed())]).exceptions[0], Closed)


# --- split, subgroup, except* ---------------------------------------------------------------------------------------


def test_except_star_gets_our_type_with_the_outcomes_that_match() -> None:
    futures, errors = mixed()
    try:
        gather(futures)
    except* ValueError as values:
        assert type(values) is TaskRunsFailed
        assert [outcome.index for outcome in values.outcomes] == [3, 17]
        assert list(values.exceptions) == errors
    except* CrashedRun as crashes:
        assert type(crashes) is TaskRunsFailed
        assert [outcome.index for outcome in crashes.outcomes] == [20]


def test_split_and_subgroup_keep_type_and_outcomes() -> None:
    group = failed(mixed()[0])
    crashed, others = group.split(CrashedRun)
    assert isinstance(crashed, TaskRunsFailed)
    assert isinstance(others, TaskRunsFailed)
    assert crashed.message == "1 of 3 failed task runs: 1 crashed: its worker died (load[20])"
    assert others.message == "2 of 3 failed task runs: 2 ValueError: bad 3 (load[3], load[17])"
    assert group.subgroup(Exception) is group
    assert [outcome.index for outcome in crashed.outcomes] == [20]
    assert [outcome.index for outcome in others.outcomes] == [3, 17]
    assert group.subgroup(KeyError) is None


def test_a_group_out_of_a_body_stays_one_member_and_is_matched_by_its_leaves() -> None:
    inner = ExceptionGroup("several", [ValueError("one"), ExceptionGroup("deeper", [KeyError("two")])])
    group = failed([FakeFuture().fails(inner), FakeFuture().fails(KeyError("other"))])
    assert len(group.exceptions) == 2
    assert group.exceptions[0] is inner
    assert "1 ExceptionGroup: several (2 sub-exceptions) (load[0]), 1 KeyError: 'other' (load[1])" in group.message
    values, keys = group.split(ValueError)
    assert isinstance(values, TaskRunsFailed)
    assert isinstance(keys, TaskRunsFailed)
    assert [outcome.index for outcome in values.outcomes] == [0]
    assert [outcome.index for outcome in keys.outcomes] == [0, 1]


# --- pickle ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_an_unpickled_group_has_the_same_members_notes_and_outcomes(dumps: Callable[[Any], bytes]) -> None:
    futures, _ = mixed()
    futures[3].outcome()
    group = failed(futures)
    group.add_note("on Tuesday")
    copy = pickle.loads(dumps(group))
    assert type(copy) is TaskRunsFailed
    assert copy.message == group.message
    assert [repr(member) for member in copy.exceptions] == [repr(member) for member in group.exceptions]
    assert [member.__notes__ for member in copy.exceptions] == [member.__notes__ for member in group.exceptions]
    assert copy.__notes__ == group.__notes__
    assert all(outcome.error is member for outcome, member in zip(copy.outcomes, copy.exceptions, strict=True))
    assert [(o.index, o.status, o.task_run_id) for o in copy.outcomes] == [
        (o.index, o.status, o.task_run_id) for o in group.outcomes
    ]
    assert isinstance(copy.split(ValueError)[0], TaskRunsFailed)


def test_a_member_that_cannot_be_pickled_is_unpickled_as_a_stand_in() -> None:
    group = failed([FakeFuture().fails(Locked("mine")), FakeFuture().fails(KeyError("k"))])
    copy = pickle.loads(pickle.dumps(group))
    assert isinstance(copy.exceptions[0], Exception)
    assert "mine" in str(copy.exceptions[0])
    assert repr(copy.exceptions[1]) == "KeyError('k')"


def test_a_subgroup_with_a_part_of_a_member_can_be_pickled() -> None:
    inner = ExceptionGroup("several", [ValueError("one"), KeyError("two")])
    part = failed([FakeFuture().fails(inner)]).subgroup(ValueError)
    assert part is not None
    copy = pickle.loads(pickle.dumps(part))
    assert repr(copy.exceptions[0]) == "ExceptionGroup('several', [ValueError('one')])"
    assert repr(copy.outcomes[0].error) == repr(inner)


# --- rendering ------------------------------------------------------------------------------------------------------


def test_a_member_that_is_raised_from_its_group_is_packed_once() -> None:
    """As in `raise failure.exceptions[0] from failure`: the group is the cause of one of its members."""
    futures = [FakeFuture() for _ in range(20)]
    for number, future in enumerate(futures):
        future.fails(ValueError(number))
    group = failed(futures)
    member = group.exceptions[0]
    member.__cause__ = group
    for back in (unpack_error(pack_error(member)), pickle.loads(pickle.dumps(group)).exceptions[0]):
        assert back.args == member.args
        assert isinstance(back.__cause__, TaskRunsFailed)
        assert [each.args for each in back.__cause__.exceptions] == [each.args for each in group.exceptions]
        assert back.__cause__.exceptions[0] is back
        assert [each.error for each in back.__cause__.outcomes] == list(back.__cause__.exceptions)


def test_an_error_whose_str_raises_is_still_shown() -> None:
    report = settle([FakeFuture().fails(Unspeakable())])
    assert "__str__ raised RuntimeError" in report.summary()
    assert "__str__ raised RuntimeError" in report.to_json()
    group = failed([FakeFuture().fails(Unspeakable()), FakeFuture().fails(ValueError())])
    assert "1 Unspeakable: <its text cannot be shown: __str__ raised RuntimeError> (load[0])" in "".join(
        traceback.format_exception(group)
    )


def test_the_repr_is_short() -> None:
    group = failed([FakeFuture().fails(ValueError("x" * 1000)) for _ in range(500)])
    assert repr(group) == f"TaskRunsFailed({group.message!r}, <500 exceptions>)"
    assert len(repr(group)) < 700


def test_a_member_must_be_an_exception() -> None:
    future = FakeFuture()
    future._end(Status.CRASHED, error=KeyboardInterrupt())
    with pytest.raises(AssertionError, match="without an Exception"):
        gather([future])


def test_outcomes_of_the_group_are_plain_outcomes() -> None:
    group = failed(mixed()[0])
    assert all(type(outcome) is Outcome for outcome in group.outcomes)
