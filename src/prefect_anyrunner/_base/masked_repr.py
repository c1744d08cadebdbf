"""A short `repr` of any object, in which secrets are hidden."""

from __future__ import annotations

import os
import re
import reprlib
from typing import Any

from prefect_anyrunner._base.safe_text import clipped, printable, readable
from prefect_anyrunner._base.secrets import HIDDEN, hide_in_prose, hide_in_text, is_secret

VARIABLE = "ANYRUNNER_INPUTS"
"""The environment variable of the flow's process that hides all arguments if it is `hide`."""
MAX_READ = 10_000
"""Number of characters above which only the length of a text is shown, because hiding secrets reads all of it."""
MAX_SHOWN = 60
"""Maximum number of characters for one text or one object of a class."""

_NO_REPR: Any = object.__repr__
_NAME = type.__dict__["__name__"].__get__  # because a metaclass may define another one
_KEY = re.compile(r"(^|_)keys?$", re.I)
_PAIR = re.compile(
    r"""(?<![\w-])(?P<name>['"]?(?P<word>[\w-]+)['"]?\s*(?:=|:)\s*)(?P<value>'[^']*'|"[^"]*"|[^\s,)}\]]+)"""
)


def arguments_are_hidden() -> bool:
    """Return whether the user wants no arguments in texts."""
    return os.environ.get(VARIABLE, "").strip().lower() == "hide"


def is_secret_name(name: object) -> bool:
    """Return whether an argument, an attribute or a key of this name holds a secret."""
    return isinstance(name, str) and (is_secret(name) or _KEY.search(name) is not None)


class MaskedRepr(reprlib.Repr):
    """Makes the `repr` of values; a subclass may know more types."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = MAX_SHOWN

    def safe(self, value: Any, limit: int) -> str:
        """Return the `repr` on one line of at most `limit` characters, or the name of the type if it raises."""
        try:
            return clipped(" ".join(readable(printable(self.repr(value))).split()), limit)
        except BaseException:  # a user's __repr__ may raise anything, SystemExit too
            return f"<{_NAME(type(value))}>"

    def repr_str(self, text: str, level: int) -> str:
        if len(text) > MAX_READ:
            return f"<str of {len(text)} characters>"
        # In text without an address, an "@" is no sign of a password.
        text = hide_in_text(text) if "://" in text else text
        return super().repr_str(_without_pairs(hide_in_prose(text)), level)

    def repr_bytes(self, data: bytes, level: int) -> str:
        return f"<bytes of length {len(data)}>" if len(data) > MAX_SHOWN else repr(data)

    def repr_dict(self, mapping: dict[Any, Any], level: int) -> str:
        hidden = {key: _Hidden() if is_secret_name(key) else value for key, value in mapping.items()}
        return super().repr_dict(hidden, level)

    def repr_instance(self, value: Any, level: int) -> str:
        name = type(value).__name__
        if isinstance(getattr(value, "shape", None), tuple):  # the repr of an array or a table may take long
            return f"<{name} of shape {value.shape}>"
        if type(value).__repr__ is _NO_REPR:  # the address in it is of no use
            return f"<{name}>"
        return clipped(_without_pairs(repr(value)), self.maxother)


class _Hidden:
    def __repr__(self) -> str:
        return HIDDEN


def _without_pairs(text: str) -> str:
    """Return `text` with the values of secret names hidden, as in `Login(user='me', password=***)`."""
    return _PAIR.sub(lambda pair: f"{pair['name']}{HIDDEN}" if is_secret_name(pair["word"]) else pair[0], text)
