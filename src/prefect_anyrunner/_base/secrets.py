"""Hide secrets before anything is printed: passwords in addresses, and options with a name such as `token`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
"""Text that replaces a secret."""

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|pwd|token|secret|credential|auth(orization)?$|(api|access|private)[_-]?key", re.I
)
_SECRET_PAIR = re.compile(r"(?<![\w.%-])(?P<name>[\w.%-]+)=(?P<value>[^&#\s]*)")


def is_secret(name: str) -> bool:
    """Return whether an option of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def hide_in_text(text: str) -> str:
    """Return `text` without user and password of an address, and without the values of secret options.

    It hides everything before the last `@`, because a password may itself hold `/`, `?`, `&` or `@`.
    """
    if "@" in text:
        scheme, mark, _ = text.partition("://")
        text = f"{scheme if mark else ''}{mark}{HIDDEN}@{text.rpartition('@')[2]}"
    return _SECRET_PAIR.sub(lambda pair: f"{pair['name']}={HIDDEN}" if is_secret(pair["name"]) else pair[0], text)


def hide(value: Any, name: str = "") -> Any:
    """Return `value` in the same shape, with secrets replaced. `name`: the option that holds it."""
    if is_secret(name):
        return HIDDEN
    if isinstance(value, str):
        return hide_in_text(value)
    if isinstance(value, Mapping):
        return {key: hide(each, str(key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(hide(each) for each in value) if type(value) in (list, tuple) else [hide(e) for e in value]
    return value


_LOGIN = re.compile(r"(?P<scheme>(?<![\w+.-])[a-z][\w+.-]*://)[^\s/@'\"…]+[@…]", re.I)
_BEARER = re.compile(r"\b(?P<kind>bearer|basic) [\w.~+/=-]{6,}", re.I)
_ASSIGNED = re.compile(
    r"""(?P<name>(?:(?<![\w-])(?P<bare>[\w-]+)\s*=|(?P<quote>['"])(?P<word>[\w-]+)(?P=quote)\s*[:=])\s*)"""
    r"""(?P<value>'[^'\n]*(?:'|$)|"[^"\n]*(?:"|$)|[^\s,;&)}\]'"]+)""",
    re.M,
)


def hide_in_prose(text: str) -> str:
    """Return free text, such as an error's, with everything that looks like a secret replaced.

    It hides the logins of addresses, the values of secret names (`token=abc`, `"token": "abc"`), and credentials after
    the words Bearer and Basic. Everything else stays: unlike in `hide_in_text`, an `@` alone is no sign of
    a password.
    """
    text = _LOGIN.sub(lambda login: f"{login['scheme']}{HIDDEN}@", text)
    text = _BEARER.sub(lambda found: f"{found['kind']} {HIDDEN}", text)
    return _ASSIGNED.sub(
        lambda pair: f"{pair['name']}{HIDDEN}" if is_secret(pair["bare"] or pair["word"]) else pair[0], text
    )
