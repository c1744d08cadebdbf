"""What became of a task run, in one word."""

from __future__ import annotations

from enum import StrEnum

from prefect_anyrunner._base.public import public


@public
class Status(StrEnum):
    """How a task run ended, in one word that means the same on every runner."""

    COMPLETED = "completed"
    """The body returned."""
    FAILED = "failed"
    """The body raised an `Exception` (retries used up), timed out, or returned a failed state."""
    CRASHED = "crashed"
    """The body raised another `BaseException`, or its worker was lost."""
    CANCELLED = "cancelled"
    """Cancelled by a policy or by hand, or never started because the flow run ended."""
    BLOCKED = "blocked"
    """Never ran, because an upstream run did not complete."""
    UNFINISHED = "unfinished"
    """Our own timeout ran out before it ended."""
