"""Short texts of any object and any exception, even if its `__str__` or `__repr__` raises."""

from __future__ import annotations

import re
import reprlib
from typing import Any

MAX_TEXT = 100_000
"""Maximum number of characters of a text that travels between processes."""
MAX_LINE = 200
"""Maximum number of characters of an error's text in a report or a message of ours."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_QUALNAME = type.__dict__["__qualname__"].__get__  # because a metaclass may define another one
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 200


def text_of(error: BaseException, limit: int = MAX_TEXT) -> str | None:
    """Return `str(error)`, cut after `limit` characters, or None if its `__str__` raises."""
    try:
        return cut(str(error), limit)
    except BaseException:  # a user's __str__ may raise anything, even SystemExit
        return None


def full_text(error: BaseException) -> str:
    """Return the text of `error`, or a sentence in its place if its `__str__` raises."""
    try:
        return printable(cut(str(error)))
    except BaseException as problem:  # as above
        return f"<its text cannot be shown: __str__ raised {type(problem).__name__}>"


def error_text(error: BaseException, limit: int = MAX_LINE) -> str:
    """Return the first line of the text of `error`, in at most `limit` characters."""
    return first_line(full_text(error), limit)


def first_line(text: str, limit: int) -> str:
    """Return the first line of `text` that is not empty, in at most `limit` characters."""
    lines = text.strip().splitlines()
    return clipped(lines[0].strip(), limit) if lines else ""


def described(error: BaseException, limit: int = MAX_LINE) -> str:
    """Return type and text of `error` in one line: `ValueError: no such day`."""
    return with_type(error, error_text(error, limit))


def with_type(error: BaseException, text: str) -> str:
    """Return the type of `error` and a text of it in one line."""
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def short_repr(value: Any, limit: int = 500) -> str:
    """Return a short `repr` of any object, or the name of its type if its `__repr__` raises."""
    try:
        return cut(_repr.repr(value), limit)
    except BaseException:  # as above, for __repr__
        return f"<{_QUALNAME(type(value))} object>"


def clipped(text: str, limit: int) -> str:
    """Return `text` in at most `limit` characters, for display: an ellipsis replaces the rest."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def printable(text: str) -> str:
    """Return `text` with lone surrogates escaped, because neither JSON nor a file can hold them."""
    return text.encode("utf-8", "backslashreplace").decode()


def readable(text: str) -> str:
    """Return `text` for files and pages: without a terminal's colours, and with other control characters escaped."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", _ANSI.sub("", text))


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """Return `text` as an exact `str`, for travel: after `limit` characters, it gives the number of those left out."""
    text = str.__str__(text)  # a subclass of str may override everything else
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit} more characters)"
