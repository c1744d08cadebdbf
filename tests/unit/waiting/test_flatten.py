"""The futures in nested arguments, the states that stand for them, and results in the same shape."""

from __future__ import annotations

import collections
import threading
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State
from prefect.exceptions import CrashedRun
from prefect.states import Completed, Crashed, Failed, Running

from prefect_anyrunner import Status, gather, settle
from tests.unit.fake_future import FakeFuture


def done(value: Any = None) -> FakeFuture:
    return FakeFuture().ends(value)


# --- states stand for their runs (rule E2) ---------------------------------------------------------------------------


def state_of(state: State[Any], **ids: Any) -> State[Any]:
    state.state_details.task_run_id = ids.get("task", uuid4())
    return state


def test_final_states_are_settled_in_their_shape() -> None:
    error = ValueError("boom")
    good, bad = state_of(Completed(data=4)), state_of(Failed(data=error))
    report = settle({"a": [good, bad], "b": good})
    assert [(each.path, each.status) for each in report] == [
        (("a", 0), Status.COMPLETED),
        (("a", 1), Status.FAILED),
        (("b",), Status.COMPLETED),
    ]
    assert [each.value for each in report] == [4, None, 4]
    assert report[1].error is error
    assert gather([good]) == [4]


def test_state_of_a_flow_run_stands_for_the_states_it_holds() -> None:
    inner = [state_of(Completed(data=1)), {"b": state_of(Crashed(data=CrashedRun("gone")))}]
    report = settle(Failed(data=inner))
    assert [(each.path, each.status) for each in report] == [((0,), Status.COMPLETED), ((1, "b"), Status.CRASHED)]


def test_state_of_a_flow_run_that_holds_none_stands_for_itself() -> None:
    (outcome,) = settle(Completed(data=[1, 2]))
    assert (outcome.task_name, outcome.value) == ("flow", [1, 2])


def test_a_state_that_is_not_final_is_refused_with_its_position() -> None:
    with pytest.raises(TypeError, match=r"futures\[0\] is a state that is not final \(Running\)"):
        settle([state_of(Running())])


# --- what can be passed ---------------------------------------------------------------------------------------------


Pair = collections.namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (lambda f: f(1), 1),
        (lambda f: [f(1), f(2)], [1, 2]),
        (lambda f: (f(1), f(2)), (1, 2)),
        (lambda f: {"a": f(1), 2: [f(2), {"c": (f(3),)}]}, {"a": 1, 2: [2, {"c": (3,)}]}),
        (lambda f: Pair(f(1), [f(2)]), Pair(1, [2])),
        (lambda f: {f(1)}, [1]),
        (lambda f: (f(n) for n in range(3)), [0, 1, 2]),
        (lambda f: iter([f(1)]), [1]),
        (lambda f: [], []),
        (lambda f: {}, {}),
        (lambda f: {"a": []}, {"a": []}),
    ],
)
def test_gather_returns_the_shape_of_the_argument(shape: Any, expected: Any) -> None:
    result = gather(shape(done))
    assert result == expected
    assert type(result) is type(expected)


def test_outcomes_have_the_positions_of_their_futures() -> None:
    report = settle({"a": [done(), done()], 7: done(), ("x",): done()})
    assert [outcome.path for outcome in report] == [("a", 0), ("a", 1), (7,), ("('x',)",)]
    assert [outcome.index for outcome in report] == [0, 1, 2, 3]
    assert settle(done())[0].path == ()


def test_a_future_that_is_passed_twice_is_waited_for_once_and_answered_twice() -> None:
    one, other = done(1), done(2)
    assert gather([one, other, one]) == [1, 2, 1]
    assert one.looked_at == 1


def test_a_report_without_futures_is_empty() -> None:
    report = settle([])
    assert list(report) == []
    assert report.ok
    assert report.summary() == "0 task runs: nothing to wait for"


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ([done(), [3]], r"futures\[1\]\[0\] is a int, not a future: pass what `.submit\(\)`"),
        ({"a": "text"}, r"futures\['a'\] is a str, not a future"),
        (None, "futures is a NoneType, not a future"),
        (threading.Lock(), "futures is a lock, not a future"),
    ],
)
def test_an_item_that_is_not_a_future_is_refused_with_its_position(item: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        settle(item)


def test_a_coroutine_is_refused_with_the_hint_to_await_it() -> None:
    waiting = coroutine()
    with pytest.raises(TypeError, match="has to be awaited first"):
        settle([waiting])
    waiting.close()
