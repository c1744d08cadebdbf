"""Reports and outcomes: counts, groups, results, JSON and pickles."""

from __future__ import annotations

import json
import pickle
import uuid
from collections.abc import Iterator

import pytest
from prefect.exceptions import MissingResult
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

from prefect_anyrunner import CannotTravel, Outcome, Report, Status, TaskRunsFailed, settle
from prefect_anyrunner._outcomes.lazy_value import LazyValue
from prefect_anyrunner._reports.files import FORMATS
from prefect_anyrunner._reports.render import ranges
from tests.unit.fake_future import FakeFuture


def raise_value_error(text: str) -> ValueError:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def raise_elsewhere(text: str) -> ValueError:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


@pytest.fixture(autouse=True)
def no_pages() -> Iterator[None]:
    with temporary_settings({PREFECT_UI_URL: "", PREFECT_API_URL: None}):
        yield


def report() -> Report:
    return settle(
        [
            FakeFuture().ends(0),
            FakeFuture().fails(raise_value_error("no file '/data/a.csv' at 0xf00")),
            FakeFuture("save").crashes("its worker died"),
            FakeFuture().fails(raise_value_error("no file '/data/b.csv' at 0xbaa")),
            FakeFuture().fails(raise_elsewhere("no file '/data/c.csv' at 0x1")),
            FakeFuture().fails(raise_value_error("other text")),
        ]
    )


def test_a_report_is_a_sequence_of_outcomes() -> None:
    outcomes = report()
    assert len(outcomes) == 6
    assert outcomes[0].value == 0
    assert [outcome.index for outcome in outcomes[1:3]] == [1, 2]
    assert outcomes[-1] in outcomes


def test_a_report_counts_statuses_and_lists_failures() -> None:
    outcomes = report()
    assert outcomes.counts == {Status.COMPLETED: 1, Status.FAILED: 4, Status.CRASHED: 1}
    assert [outcome.index for outcome in outcomes.failures] == [1, 2, 3, 4, 5]
    assert not outcomes.ok
    assert repr(outcomes) == "<Report: 1 completed, 4 failed, 1 crashed>"


def test_alike_failures_are_one_group_and_the_largest_group_is_first() -> None:
    """The texts may differ; type and the raising line may not."""
    groups = [[outcome.index for outcome in group] for group in report().groups()]
    assert groups == [[1, 3, 5], [2], [4]]


def test_failures_that_no_line_raised_are_alike_by_their_texts() -> None:
    texts = ["no file '/data/a.csv' at 0xf00", "no file '/data/b.csv' at 0xbaa", "other text"]
    report = settle([FakeFuture().fails(ValueError(text)) for text in texts] + [FakeFuture().crashes(t) for t in texts])
    assert [[outcome.index for outcome in group] for group in report.groups()] == [[0, 1], [3, 4], [2], [5]]


def test_a_summary_has_a_line_for_each_group() -> None:
    lines = report().summary().splitlines()
    assert lines[0] == "6 task runs: 1 completed, 4 failed, 1 crashed"
    assert lines[1].startswith("  3 x ValueError: no file '/data/a.csv' at 0xf00 (test_report.py:")
    assert lines[1].endswith(" in raise_value_error): load[1, 3, 5]")
    assert lines[2].startswith("      load[1] (load-")
    assert "  1 x crashed: its worker died: save[2]" in lines


def test_a_summary_of_very_many_groups_is_cut() -> None:
    many = settle([FakeFuture().fails(type(f"E{'x' * number}", (Exception,), {})()) for number in range(50)])
    lines = many.summary().splitlines()
    assert len(lines) == 1 + 10 * 2 + 1
    assert lines[-1] == "  … and 40 more in 40 other groups"


def test_a_summary_shows_runs_whose_texts_differ_first() -> None:
    futures = [FakeFuture().fails(raise_value_error(f"no file '/data/{name}.csv'")) for name in "aaaabaaac"]
    lines = [line for line in settle(futures).summary().splitlines() if line.startswith("      ")]
    assert [line.partition(" (")[0].strip() for line in lines] == ["load[0]", "load[4]", "load[8]"]
    assert [": no file" in line for line in lines] == [False, True, True]


def test_results_raise_without_a_default() -> None:
    assert report().results(default="-") == [0, "-", "-", "-", "-", "-"]
    with pytest.raises(TaskRunsFailed):
        report().results()
    assert settle([FakeFuture().ends(1)]).results() == [1]


def test_json_contains_everything_but_values() -> None:
    data = json.loads(report().to_json())
    assert data["counts"] == {"completed": 1, "failed": 4, "crashed": 1}
    assert data["total"] == 6
    assert data["ok"] is False
    assert data["groups"][0]["runs"] == ["load[1]", "load[3]", "load[5]"]
    record = data["outcomes"][2]
    assert record["status"] == "crashed"
    assert record["error"] == {"type": "CrashedRun", "text": "its worker died"}
    assert record["inputs"] == "" and "url" in record
    assert uuid.UUID(record["task_run_id"])
    assert "value" not in data["outcomes"][0]


def test_an_unpickled_report_is_equal() -> None:
    one = report()
    copy = pickle.loads(pickle.dumps(one))
    assert copy == one
    assert copy.results(default=None) == one.results(default=None)


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ([], []),
        ([3], [("3", 1)]),
        ([20, 7, 8, 9, 3], [("3", 1), ("7-9", 3), ("20", 1)]),
        ([1, 2, 2], [("1-2", 2)]),
    ],
)
def test_ranges_join_neighbours(numbers: list[int], found: list[tuple[str, int]]) -> None:
    assert ranges(numbers) == found


# --- outcomes -------------------------------------------------------------------------------------------------------


def made(**facts: object) -> Outcome:
    return Outcome(**{"task_name": "load", "status": Status.COMPLETED, **facts})  # type: ignore[arg-type]


def test_a_lazy_value_is_loaded_once_when_it_is_asked_for() -> None:
    calls = iter([1, 2])
    outcome = made(_value=LazyValue(lambda: next(calls)))
    repr(outcome)
    assert [outcome.value, outcome.value] == [1, 1]
    assert next(calls) == 2


def test_a_pickled_outcome_has_its_value_and_its_error() -> None:
    assert pickle.loads(pickle.dumps(made(_value=LazyValue(lambda: 5)))).value == 5
    failed = made(status=Status.FAILED, error=ValueError("x", 1))
    assert pickle.loads(pickle.dumps(failed)) == failed


class Odd:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    __hash__ = None  # type: ignore[assignment]


def test_outcomes_are_equal_by_run_status_value_and_error() -> None:
    run_id = uuid.uuid4()
    assert made(task_run_id=run_id, _value=[1], worker="a") == made(task_run_id=run_id, _value=[1], worker="b")
    assert made(_value=1) != made(_value=2)
    assert made(index=1) != made(index=2)
    assert made(error=ValueError(1)) != made(error=ValueError(2))
    assert made(error=ValueError(1)) != made(error=KeyError(1))
    assert made(_value=Odd()) != made(_value=Odd())
    assert made() != 3


def lost(error: Exception) -> LazyValue:
    def load() -> object:
        raise error

    return LazyValue(load)


def test_outcomes_whose_values_are_lost_are_compared_by_what_is_known() -> None:
    run_id = uuid.uuid4()

    def gone(text: str) -> Outcome:
        return made(task_run_id=run_id, _value=lost(MissingResult(text)))

    assert gone("lost") == gone("lost")
    assert gone("lost") != gone("lost elsewhere")
    assert gone("lost") != made(task_run_id=run_id, _value=1)
    assert made(task_run_id=run_id, _value=1) != gone("lost")
    assert gone("lost") != made(task_run_id=run_id, _value=lost(CannotTravel("lost")))
    assert made(task_run_id=run_id, _value=lost(OSError("for now"))) != made(task_run_id=run_id, _value=1)


def failed(error: Exception) -> FakeFuture:
    future = FakeFuture()
    future.fails(error)
    return future


@pytest.mark.parametrize("keys", [(-1, 0, 2), (True, 2, 3), (-2, -1, 7)])
def test_keys_that_are_numbers_are_not_taken_for_indices(keys: tuple[int, ...]) -> None:
    failing = {key: failed(ValueError("no")) for key in keys}
    with pytest.raises(TaskRunsFailed) as raised:
        settle(failing).raise_for_failures()
    for key in keys:
        assert str(key) in str(raised.value)


@pytest.mark.parametrize("text", ["y" * 170 + " password='hunter2hunter2hunter2'", "password='hunter2\nfoo'"])
def test_secrets_are_hidden_before_a_text_is_cut(text: str) -> None:
    shown = settle([failed(ValueError(text))])
    assert "hunter2" not in shown.to_json()
    assert "hunter2" not in FORMATS["text"](shown)
    assert "hunter2" not in shown.summary()
    with pytest.raises(TaskRunsFailed) as raised:
        shown.raise_for_failures()
    assert "hunter2" not in str(raised.value)  # it becomes the message of the flow run's state


def test_an_error_that_answers_for_every_attribute_is_reported() -> None:
    class Proxy(Exception):
        def __getattr__(self, name: str) -> dict[str, str]:
            return {"body": "of the answer"}

    assert "Proxy" in settle([failed(Proxy("no"))]).to_json()
