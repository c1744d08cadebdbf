"""`Origin`: the flow run that a report is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from prefect_anyrunner._prefect.flow_run import SPEC_ATTRIBUTE, current_flow_run
from prefect_anyrunner._prefect.pages import flow_run_page


@dataclass(frozen=True)
class Origin:
    """The flow run whose wait a report is about.

    `runner`: the class of its task runner, and the spec that it was built from, if there was one. `chosen_by`: the
    source of that spec. Both are empty if they are not known. `attempt`: the number of its attempt.
    """

    flow_run_id: UUID
    flow_run_name: str = ""
    flow_name: str = ""
    runner: str = ""
    chosen_by: str = ""
    attempt: int = 1

    @property
    def url(self) -> str | None:
        """The address of the flow run's page; None if no UI is known."""
        return flow_run_page(self.flow_run_id)

    def sentence(
        self, link: Callable[[str, str | None], str], code: Callable[[str], str], plain: Callable[[str], str]
    ) -> str:
        """Return a sentence about the flow run; the functions format a link, a name and other text for the page."""
        text = f"Flow run {link(self.flow_run_name or str(self.flow_run_id), self.url)}"
        if self.flow_name:
            text += f" of {code(self.flow_name)}"
        if self.attempt > 1:
            text += f", attempt {self.attempt}"
        if self.runner:
            text += f", on {code(self.runner)}"
        if self.chosen_by:
            text += f", chosen by {plain(self.chosen_by)}"
        return f"{text}."


def origin_here() -> Origin | None:
    """Return the flow run whose own code is calling; None in a task and outside of flow runs."""
    context = current_flow_run()
    if context is None or context.flow_run is None:
        return None
    spec = getattr(context.task_runner, SPEC_ATTRIBUTE, None)
    name = type(context.task_runner).__name__
    return Origin(
        flow_run_id=context.flow_run.id,
        flow_run_name=context.flow_run.name,
        flow_name=context.flow.name if context.flow is not None else "",
        runner=name if spec is None else f"{name}, {spec}",
        attempt=max(context.flow_run.run_count, 1),
        chosen_by="the code of the flow" if spec is None else str(spec.source),
    )
