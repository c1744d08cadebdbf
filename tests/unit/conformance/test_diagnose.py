"""The explanation of a case that failed never fails itself."""

from __future__ import annotations

import sys

from prefect_anyrunner.conformance import hostile_tasks
from prefect_anyrunner.conformance._harness.diagnose import describe_values


def test_values_that_cannot_be_printed_are_described_as_such() -> None:
    value = hostile_tasks.NoText(3)
    (described,) = describe_values("assert not value", sys._getframe())
    assert described.startswith("value = <NoText instance at 0x")
    assert value.args == (3,)
