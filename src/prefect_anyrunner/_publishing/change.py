"""One change of the state of a task run, and the event that reports it."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.exceptions import EventTooLarge
from prefect.logging import get_logger
from prefect.utilities.engine import emit_task_run_state_change_event

from prefect_anyrunner._base.safe_text import printable
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._prefect.models import copy_with
from prefect_anyrunner._prefect.private import ResultRecord, ResultRecordMetadata
from prefect_anyrunner._prefect.states import put_state, status_of, with_data

logger = get_logger("anyrunner")
_LONGEST_MESSAGE = 10_000
"""Characters of a state's message in an event that was too large."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change: the run, and its states before and after it.

    `metadata` says where the result is stored. `follows` is true if the state before was published by the same engine.
    """

    task_run: TaskRun
    before: State[Any] | None
    state: State[Any]
    metadata: ResultRecordMetadata | None = None
    follows: bool = False

    @property
    def run_id(self) -> UUID:
        return self.task_run.id

    @property
    def is_end(self) -> bool:
        """Whether the run has ended with this change: the state is final, or an upstream run blocks the run."""
        return status_of(self.state) is not Status.UNFINISHED

    def kept(self) -> Change:
        """Return a snapshot of the change, without the results of its states."""
        state = with_data(self.state, None)
        if state.message is not None:  # Prefect drops an event that JSON cannot hold
            state = copy_with(state, {"message": printable(state.message)})
        return replace(
            self,
            task_run=copy_with(self.task_run, {"state": None, "name": printable(self.task_run.name)}),
            before=with_data(self.before, None) if self.before is not None else None,
            state=state,
        )

    def renewed(self) -> Change:
        """Return the same change as another event, for a server that drops the first one because it has seen its id."""
        return replace(self, state=copy_with(self.state, {"id": uuid4()}))

    def pack(self) -> bytes:
        """Return the change in less than a kilobyte, for `unpack`."""
        return zlib.compress(self.to_json().encode(), 1)

    @classmethod
    def unpack(cls, packed: bytes) -> Change:
        """Return the change that was packed."""
        return cls.from_json(zlib.decompress(packed).decode())

    def to_json(self) -> str:
        """Return the change as one line of JSON."""
        parts = {"task_run": self.task_run, "before": self.before, "state": self.state, "metadata": self.metadata}
        packed: dict[str, Any] = {
            name: part.model_dump(mode="json", exclude_none=True) for name, part in parts.items() if part is not None
        }
        if self.follows:
            packed["follows"] = True
        return json.dumps(packed)

    @classmethod
    def from_json(cls, line: str) -> Change:
        """Return the change of one line of JSON. Raises ValueError if the line is not a change."""
        parts = json.loads(line)
        before, metadata = parts.get("before"), parts.get("metadata")
        return cls(
            TaskRun.model_validate(parts["task_run"]),
            State.model_validate(before) if before is not None else None,
            State.model_validate(parts["state"]),
            ResultRecordMetadata.model_validate(metadata) if metadata is not None else None,
            parts.get("follows", False),
        )

    def emit(self) -> None:
        """Emit the event of this change in the current context. The event names the run's inputs only if they fit."""
        state = self.state
        if self.metadata is not None:
            state = with_data(state, ResultRecord(metadata=self.metadata, result=None))
        before: Any = self.before
        follows: Any = _event_of(before) if self.follows and before is not None else None
        try:
            _emit(self.task_run, before, state, follows)
        except EventTooLarge as exc:
            logger.warning(
                "The event of task run %r is too large for the API, so it leaves out the inputs of the run: %s",
                self.task_run.name,
                exc,
            )
            message = (state.message or "")[:_LONGEST_MESSAGE]
            _emit(copy_with(self.task_run, {"task_inputs": {}}), None, copy_with(state, {"message": message}), follows)

    def emit_as_engine(self) -> None:
        """Emit the event as Prefect's task engine does, inside the context of the task run itself."""
        # Prefect puts the place of a stored result into the event only inside a task run that persists its result.
        context = TaskRunContext.model_construct(
            task_run=self.task_run, parameters={}, persist_result=self.metadata is not None
        )
        with context:
            self.emit()


def change_to(task_run: TaskRun, state: State[Any], metadata: ResultRecordMetadata | None = None) -> Change:
    """Put `state` on `task_run` and return that change."""
    before = task_run.state
    put_state(task_run, state)
    return Change(task_run, before, state, metadata)


def _event_of(state: State[Any]) -> Any:
    """Return the facts of the event that another one follows: the event of a state has the id and time of the state."""
    return SimpleNamespace(id=state.id, occurred=state.timestamp)


def _emit(task_run: TaskRun, before: State[Any] | None, state: State[Any], follows: Any) -> None:
    emit_task_run_state_change_event(task_run=task_run, initial_state=before, validated_state=state, follows=follows)
