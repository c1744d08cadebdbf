"""The compact rows of a report: the facts that they keep, and reports made of them."""

from __future__ import annotations

import sys
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from prefect_anyrunner import Outcome, Report, Status, TaskRunsFailed
from prefect_anyrunner._reports.rows import Rows

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def outcome(index: int, error: Exception | None = None) -> Outcome:
    return Outcome(
        index=index,
        path=(index,),
        task_name="load",
        task_run_id=uuid.uuid4(),
        status=Status.COMPLETED if error is None else Status.FAILED,
        error=error,
        attempts=2,
        started=AT,
        ended=AT,
        worker=f"worker-{index % 2}",
        runner="dask",
        _value=index * 10,
    )


def test_rows_that_are_put_in_any_order_are_read_in_the_order_of_indexes() -> None:
    given = [outcome(0), outcome(1, ValueError("no")), outcome(2), outcome(3)]
    rows = Rows(keep_values=True)
    for each in (given[2], given[1], given[3], given[0]):
        rows.put(each)
    assert tuple(rows) == tuple(given)
    assert [row.worker for row in rows] == [each.worker for each in given]
    assert rows[2].started == AT
    assert rows[-1].value == 30
    assert rows[1:3] == tuple(given[1:3])
    with pytest.raises(IndexError):
        rows[4]


def test_a_report_of_rows_is_like_a_report_of_outcomes() -> None:
    given = [outcome(0), outcome(1, ValueError("no")), outcome(2, KeyError("x")), outcome(3)]
    rows = Rows(keep_values=True)
    for each in given:
        rows.put(each)
    one, other = Report(rows), Report(given)
    assert one.counts == other.counts
    assert one.failures == other.failures
    assert one.summary() == other.summary()
    assert one.to_json() == other.to_json()
    assert one == Report(rows)
    with pytest.raises(TaskRunsFailed) as caught:
        one.raise_for_failures()
    assert str(caught.value).startswith("2 of 4 task runs failed")


def test_a_completed_run_without_an_id_has_not_failed() -> None:
    rows = Rows()
    rows.put(replace(outcome(0), task_run_id=None))
    rows.put(outcome(1, ValueError("no")))
    assert (len(rows), rows.failed, rows.failed_ids) == (2, 1, {rows[1].task_run_id})
    assert Report(rows).counts == {Status.COMPLETED: 1, Status.FAILED: 1}
    assert [each.index for each in rows.not_completed] == [1]


def test_rows_are_equal_to_a_tuple_and_have_its_hash() -> None:
    given = tuple(outcome(index) for index in range(3))
    rows = Rows(keep_values=True)
    for each in given:
        rows.put(each)
    assert rows == given
    assert hash(rows) == hash(given)
    assert len({Report(rows), Report(given)}) == 1


def test_a_completed_row_is_small() -> None:
    rows = Rows()
    for index in range(10_000):
        rows.put(outcome(index))
    held = sum(sys.getsizeof(getattr(rows, name)) for name in ("_ids", "_attempts", "_started", "_ended", "_words"))
    assert held < 80 * 10_000
    assert rows._whole == {}
    assert len(rows._texts) == 2
