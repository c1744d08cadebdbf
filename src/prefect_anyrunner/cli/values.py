"""Values as text that people can compare: bounded, the same in another process, with a diff of long ones."""

from __future__ import annotations

import difflib
import pprint
import re
from typing import Any

from prefect_anyrunner._base.safe_text import cut, short_repr

MAX_VALUE = 2000
"""Maximum number of characters of one value that are kept for people."""
MAX_INLINE = 100
"""Maximum number of characters of a value that is shown in the sentence that names it."""
MAX_LINES = 20
"""Maximum number of lines of one diff."""

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+")


def value_text(value: Any) -> str:
    """Return a value as `pprint` prints it, cut after `MAX_VALUE` characters and without memory addresses."""
    try:
        text = pprint.pformat(value, width=100)
    except BaseException:  # a user's __repr__ may raise anything, SystemExit too
        text = short_repr(value)
    return cut(_ADDRESS.sub("0x…", text), MAX_VALUE)


def both(what: str, one: str, two: str, names: tuple[str, str]) -> str:
    """Return a sentence with two values that differ, or with a diff of them: `{what} 1 on thread, 2 on process`."""
    first, other = names
    if one == two:
        return f"{what} values that differ, but look alike, on {first} and on {other}: {_inline(one)}"
    if max(len(one), len(two)) <= MAX_INLINE and "\n" not in one + two:
        return f"{what} {one} on {first}, {two} on {other}"
    lines = list(difflib.unified_diff(one.splitlines(), two.splitlines(), first, other, n=1, lineterm=""))
    shown = [f"    {_inline(line)}" for line in lines[:MAX_LINES]]
    if len(lines) > MAX_LINES:
        shown.append(f"    … and {len(lines) - MAX_LINES} more lines")
    return "\n".join([f"{what} different values on {first} and on {other}:", *shown])


def _inline(text: str) -> str:
    line = " ".join(text.split("\n"))
    return line if len(line) <= 2 * MAX_INLINE else f"{line[: 2 * MAX_INLINE - 1]}…"
