"""What the table of rules says of a case that failed: never a failure of its own."""

from __future__ import annotations

import sys

from prefect_anyrunner.conformance import hostile_tasks as nasty_tasks
from prefect_anyrunner.conformance._harness.diagnose import _values


def test_values_that_cannot_be_printed_are_told_as_such() -> None:
    value = nasty_tasks.NoText(3)
    (shown,) = _values("assert not value", sys._getframe())
    assert shown.startswith("value = <NoText instance at 0x")
    assert value.args == (3,)
