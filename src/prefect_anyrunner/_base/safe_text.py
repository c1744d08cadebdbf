"""Short texts of any object, also of one whose `__str__` or `__repr__` raises."""

from __future__ import annotations

import reprlib
from typing import Any

MAX_TEXT = 100_000


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """Return `text` as an exact string of at most `limit` characters and a mark."""
    text = str.__str__(text)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit} more characters)"


def text_of(exc: BaseException, limit: int = MAX_TEXT) -> str | None:
    """Return `str(exc)`, or None when the class cannot say it."""
    try:
        return cut(str(exc), limit)
    except BaseException:  # whatever a user's __str__ raises, the error must still travel
        return None


_QUALNAME = type.__dict__["__qualname__"].__get__  # a metaclass may define another one

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 200


def short_repr(value: Any) -> str:
    """Return a short `repr`, or the type's name where that raises."""
    try:
        return cut(_repr.repr(value), 500)
    except BaseException:  # as above, for __repr__
        return f"<{_QUALNAME(type(value))} object>"


TEXT_AT_MOST = 200
"""How many characters of one error's own text are shown."""


def error_text(error: BaseException, limit: int = TEXT_AT_MOST) -> str:
    """Return the first line of what `error` says, at most `limit` characters; never raises."""
    try:
        text = str(error)
    except Exception as problem:
        return f"<its text cannot be shown: __str__ raised {type(problem).__name__}>"
    lines = text.strip().splitlines()
    return clipped(lines[0].strip(), limit) if lines else ""


def described(error: BaseException) -> str:
    """Return type and text of `error` in one line: `ValueError: no such day`."""
    text = error_text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def clipped(text: str, limit: int) -> str:
    """Return `text`, cut to `limit` characters with an ellipsis where it was longer."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a user's __str__ may raise; the type is still worth telling
        return "(its text cannot be had)"
