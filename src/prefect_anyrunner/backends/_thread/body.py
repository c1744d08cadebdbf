"""One body in a thread of this process."""

from __future__ import annotations

from collections.abc import Callable

from prefect_anyrunner._driver import ends
from prefect_anyrunner._driver.ledger import Sending
from prefect_anyrunner._driver.tracked_runner import TrackedRunner
from prefect_anyrunner._worker.engine import run_engine
from prefect_anyrunner._worker.interrupt import bind_claim, leave_body, stoppable
from prefect_anyrunner._worker.messages import process_name


def run_body(runner: TrackedRunner, sending: Sending) -> Callable[[], None]:
    """Run a body in the context that it was submitted in; return a function that ends its run."""
    run, claim, _ = sending
    raised: BaseException | None = None
    try:
        run.context.run(bind_claim, claim)
        run.context.run(run_engine, stoppable(run.task), run.task_run, run.parameters, wait_for=run.wait_for)
    except BaseException as exc:
        raised = exc
    leave_body(claim)  # once more: an interruption may have come before the body's own took hold

    def end_run() -> None:
        try:
            end = ends.from_state(run, raised, worker=process_name())
        except BaseException as exc:  # a run must end, even if its state cannot be read
            end = ends.crashed(run, f"its result could not be read: {exc!r}", exc)
        runner.end(run, end)

    return end_run
