"""The arguments of a task run as one short line: bounded, without secrets, whatever the objects' own code does."""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Mapping
from typing import Any

from prefect.utilities.annotations import BaseAnnotation

from prefect_anyrunner._base.safe_text import clipped
from prefect_anyrunner._base.secrets import HIDDEN, hide_in_prose, hide_in_text, is_secret
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.lazy_value import LazyValue

VARIABLE = "ANYRUNNER_INPUTS"
"""The environment variable of the flow's process that hides all arguments if it is `hide`."""
MAX_INPUTS = 160
"""Maximum number of characters for all arguments of one run."""
MAX_ARGUMENT = 60
"""Maximum number of characters for one argument."""
MAX_READ = 10_000
"""Number of characters above which only the length of a text is shown, because hiding secrets reads all of it."""

_NO_REPR: Any = object.__repr__
_NAME = type.__dict__["__name__"].__get__  # because a metaclass may define another one
_KEY = re.compile(r"(^|_)keys?$", re.I)
_PAIR = re.compile(
    r"""(?<![\w-])(?P<name>['"]?(?P<word>[\w-]+)['"]?\s*(?:=|:)\s*)(?P<value>'[^']*'|"[^"]*"|[^\s,)}\]]+)"""
)


def inputs_text(parameters: Mapping[str, Any]) -> str:
    """Return the arguments of a run, as in `day='wed', token=***`; empty if the user hides them."""
    if os.environ.get(VARIABLE, "").strip().lower() == "hide":
        return ""
    return clipped(", ".join(f"{name}={_argument(name, value)}" for name, value in parameters.items()), MAX_INPUTS)


def _argument(name: str, value: Any) -> str:
    if _hides(name):
        return HIDDEN
    try:
        return clipped(" ".join(_short.repr(value).split()), MAX_ARGUMENT)
    except BaseException:  # a user's __repr__ may raise anything, SystemExit too
        return f"<{_NAME(type(value))}>"


def _hides(name: object) -> bool:
    return isinstance(name, str) and (is_secret(name) or _KEY.search(name) is not None)


class _ShortRepr(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = MAX_ARGUMENT

    def repr_str(self, text: str, level: int) -> str:
        if len(text) > MAX_READ:
            return f"<str of {len(text)} characters>"
        # In text without an address, an "@" is no sign of a password.
        text = hide_in_text(text) if "://" in text else text
        return super().repr_str(_without_pairs(hide_in_prose(text)), level)

    def repr_bytes(self, data: bytes, level: int) -> str:
        return f"<bytes of length {len(data)}>" if len(data) > MAX_ARGUMENT else repr(data)

    def repr_dict(self, mapping: dict[Any, Any], level: int) -> str:
        hidden = {key: _Hidden() if _hides(key) else value for key, value in mapping.items()}
        return super().repr_dict(hidden, level)

    def repr_instance(self, value: Any, level: int) -> str:
        if isinstance(value, BaseAnnotation):
            return self.repr1(value.unwrap(), level)
        if callable(getattr(type(value), "outcome", None)):
            return self._repr_future(value, level)
        name = type(value).__name__
        if isinstance(getattr(value, "shape", None), tuple):  # the repr of an array or a table may take long
            return f"<{name} of shape {value.shape}>"
        if type(value).__repr__ is _NO_REPR:  # the address in it is of no use
            return f"<{name}>"
        return clipped(_without_pairs(repr(value)), self.maxother)

    def _repr_future(self, future: Any, level: int) -> str:
        """Return the result of an upstream run, if it is in this process, or else the name of its task."""
        outcome = future.outcome()
        if outcome is None or outcome.status is not Status.COMPLETED or isinstance(outcome._value, LazyValue):
            return f"<result of {getattr(future, 'task_name', 'a task')}>"
        return self.repr1(outcome._value, level)


class _Hidden:
    def __repr__(self) -> str:
        return HIDDEN


def _without_pairs(text: str) -> str:
    """Return `text` with the values of secret names hidden, as in `Login(user='me', password=***)`."""
    return _PAIR.sub(lambda pair: f"{pair['name']}{HIDDEN}" if _hides(pair["word"]) else pair[0], text)


_short = _ShortRepr()
