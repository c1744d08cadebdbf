"""What a run depends on: futures and states among its arguments, which block it, and who is to blame (rules U1-U3)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.exceptions import UpstreamTaskError
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import allow_failure, quote
from prefect.utilities.collections import StopVisiting, visit_collection

from prefect_anyrunner._base.safe_text import described
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._prefect.private import final_state
from prefect_anyrunner._prefect.states import because, error_of, status_of

_SCALARS = (int, float, str, bool, bytes, type(None))


def find_upstreams(parameters: dict[str, Any], wait_for: Any) -> list[Any]:
    """Return the futures and states anywhere in the arguments, those inside `quote` left out."""
    if wait_for is None and all(isinstance(value, _SCALARS) for value in parameters.values()):
        return []
    found: list[Any] = []

    def visit(expr: Any, context: dict[str, Any]) -> Any:
        if isinstance(context.get("annotation"), quote):
            raise StopVisiting()
        if isinstance(expr, PrefectFuture | State):
            found.append(expr)
        return expr

    visit_collection([parameters, wait_for], visit_fn=visit, return_data=False, max_depth=-1, context={})
    return found


def blockers(parameters: dict[str, Any], wait_for: Any) -> list[Any]:
    """Return the ended futures and states among the arguments that keep a task from running, as Prefect sees it."""
    found: list[Any] = []

    def visit(expr: Any, context: dict[str, Any]) -> Any:
        annotation = context.get("annotation")
        if isinstance(annotation, quote):
            raise StopVisiting()
        if isinstance(expr, PrefectFuture | State):
            state = expr if isinstance(expr, State) else expr.state
            status = status_of(state)
            forgiven = isinstance(annotation, allow_failure) and status in (Status.FAILED, Status.BLOCKED)
            if status is not Status.COMPLETED and not forgiven:
                found.append(expr)
        return expr

    visit_collection([parameters, wait_for], visit_fn=visit, return_data=False, max_depth=-1, context={})
    return found


def blame(blocking: list[Any]) -> tuple[tuple[UUID, ...], UpstreamTaskError]:
    """Return the ids of the runs to blame, walked to their roots, and the error that names the first (rule U1)."""
    roots: dict[UUID, tuple[str, BaseException | None]] = {}
    for each in blocking:
        outcome = each.outcome() if isinstance(each, AnyFuture) else None
        if outcome is not None and outcome.status is Status.BLOCKED and outcome.error is not None:
            text = str(outcome.error)
            for root in outcome.upstream:
                roots.setdefault(root, (text, outcome.error.__cause__))
        elif outcome is not None and outcome.task_run_id is not None and outcome.error is not None:
            roots.setdefault(
                outcome.task_run_id,
                (
                    f"Upstream task run {outcome.task_run_name!r} ({outcome.task_run_id}) "
                    f"ended {outcome.status.value}: {described(outcome.error)}",
                    outcome.error,
                ),
            )
        else:
            state: State[Any] = each if isinstance(each, State) else each.state
            task_run_id = state.state_details.task_run_id or getattr(each, "task_run_id", None)
            if task_run_id is not None:
                cause = error_of(state)
                said = described(cause) if cause is not None else state.message or state.name
                roots.setdefault(task_run_id, (f"Upstream task run '{task_run_id}' ended {state.name}: {said}", cause))
    text, cause = next(iter(roots.values()), ("An upstream task run did not complete.", None))
    return tuple(roots), because(UpstreamTaskError(text), cause)


def has_ended(future: PrefectFuture[Any]) -> bool:
    """Tell whether an upstream future of any runner has ended, without asking the API."""
    if isinstance(future, AnyFuture):
        return future.outcome() is not None
    return final_state(future) is not None
