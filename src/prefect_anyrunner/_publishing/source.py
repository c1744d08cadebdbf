"""One started runner as the publisher knows it."""

from __future__ import annotations

import contextvars

from prefect_anyrunner._publishing.change import Change
from prefect_anyrunner._publishing.options import EventOptions


class Source:
    """Where changes come from: the runs of one started runner.

    `ends` counts the ends of its runs, and `unrecorded` those that the API has not been seen to record, under the
    publisher's lock. `context` is the one in which events are emitted; it is set before the first one.
    """

    def __init__(self, options: EventOptions) -> None:
        self.options = options
        self.ends = 0
        self.unrecorded = 0
        self.context: contextvars.Context | None = None

    def emit(self, change: Change, context: contextvars.Context | None) -> None:
        """Emit the event of a change, in the context that it came with or else as Prefect's task engine does."""
        if context is not None:
            context.copy().run(change.emit)
            return
        assert self.context is not None
        self.context.copy().run(change.emit_as_engine)
