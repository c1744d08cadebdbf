"""One body in a thread of this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prefect_anyrunner._driver import ends
from prefect_anyrunner._driver.ledger import Sending
from prefect_anyrunner._driver.tracked_runner import TrackedRunner
from prefect_anyrunner._worker.engine import run_engine
from prefect_anyrunner._worker.interrupt import leave_body
from prefect_anyrunner._worker.messages import process_name
from prefect_anyrunner._worker.run import run_here_as_sent


def run_body(runner: TrackedRunner, sending: Sending) -> Callable[[], None]:
    """Run a body in the context that it was submitted in; return a function that ends its run."""
    run, claim, _ = sending
    raised: BaseException | None = None
    try:
        run.context.run(
            run_engine,
            run.task,
            run.task_run,
            run.parameters,
            runner.run_events,
            claim=claim,
            wait_for=run.wait_for,
        )
    except BaseException as exc:
        raised = exc
    leave_body(claim)  # again, because an interruption may have kept the body from doing it

    def end_run() -> None:
        try:
            end = ends.from_state(run, raised, worker=process_name())
        except BaseException as exc:  # a run must end, even if its state cannot be read
            end = ends.crashed(run, f"its result could not be read: {exc!r}", exc)
        runner.end(run, end)

    return end_run


def run_body_as_sent(runner: TrackedRunner, blobs: Mapping[str, bytes], sending: Sending) -> Callable[[], None]:
    """Run a body as `run_body` does, but from its request, and read its result as a worker's (rule V2)."""
    run, _, request = sending
    assert request is not None
    try:
        result = run.context.run(run_here_as_sent, ThreadHost(blobs), request)
    except BaseException as exc:  # a late interruption; a run must end
        end = ends.crashed(run, f"its result could not be packed: {exc!r}", exc)
        return lambda: runner.end(run, end)
    return lambda: runner.on_result(run, result)


class ThreadHost:
    """The worker's side of a portable thread."""

    backend = "thread"

    def __init__(self, blobs: Mapping[str, bytes]) -> None:
        self._blobs = blobs

    def name(self) -> str:
        """Return this process."""
        return process_name()

    def fetch(self, digest: str) -> bytes:
        """Return the bytes under `digest`."""
        return self._blobs[digest]

    def claim(self, claim: str) -> str | None:
        """Claim nothing, because only the thread that took the run from the queue can have it."""
        return None
