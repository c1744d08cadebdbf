"""The status of a task run."""

from __future__ import annotations

from enum import StrEnum

from prefect_anyrunner._base.public import public


@public
class Status(StrEnum):
    """How a task run ended; each status means the same on every runner."""

    COMPLETED = "completed"
    """The body returned."""
    FAILED = "failed"
    """The body raised an `Exception` (retries used up), timed out, or returned a failed state."""
    CRASHED = "crashed"
    """The body raised another `BaseException`, or its worker was lost."""
    CANCELLED = "cancelled"
    """The run was cancelled by a policy or by hand, or never started because the flow run ended."""
    BLOCKED = "blocked"
    """The body never ran, because an upstream run did not complete."""
    UNFINISHED = "unfinished"
    """The timeout of the wait ran out before the run ended."""
