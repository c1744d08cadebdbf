"""The arguments of a task run as one short line: bounded, without secrets, whatever the objects' own code does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.utilities.annotations import BaseAnnotation

from prefect_anyrunner._base.masked_repr import MAX_SHOWN, MaskedRepr, arguments_are_hidden, is_secret_name
from prefect_anyrunner._base.safe_text import clipped
from prefect_anyrunner._base.secrets import HIDDEN
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.lazy_value import LazyValue

MAX_INPUTS = 160
"""Maximum number of characters for all arguments of one run."""


def inputs_text(parameters: Mapping[str, Any]) -> str:
    """Return the arguments of a run, as in `day='wed', token=***`; empty if the user hides them."""
    if arguments_are_hidden():
        return ""
    return clipped(", ".join(f"{name}={_argument(name, value)}" for name, value in parameters.items()), MAX_INPUTS)


def _argument(name: str, value: Any) -> str:
    return HIDDEN if is_secret_name(name) else _short.safe(value, MAX_SHOWN)


class _Argument(MaskedRepr):
    def repr_instance(self, value: Any, level: int) -> str:
        if isinstance(value, BaseAnnotation):
            return self.repr1(value.unwrap(), level)
        if callable(getattr(type(value), "outcome", None)):
            return self._repr_future(value, level)
        return super().repr_instance(value, level)

    def _repr_future(self, future: Any, level: int) -> str:
        """Return the result of an upstream run, if it is in this process, or else the name of its task."""
        outcome = future.outcome()
        if outcome is None or outcome.status is not Status.COMPLETED or isinstance(outcome._value, LazyValue):
            return f"<result of {getattr(future, 'task_name', 'a task')}>"
        return self.repr1(outcome._value, level)


_short = _Argument()
