"""Texts side by side, so that a person can see the differences."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest


def side_by_side(texts: Mapping[str, str], width: int) -> list[str]:
    """Return lines that show texts in columns, each under its names, with a `>` before each line that differs.

    Equal texts share a column. `width`: the number of characters in a line; if the columns do not fit, the texts
    follow one below the other.
    """
    columns: dict[str, list[str]] = {}
    for name, text in texts.items():
        columns.setdefault(text, []).append(name)
    headings = [", ".join(names) for names in columns.values()]
    bodies = [text.splitlines() or [""] for text in columns]
    widths = [max(map(len, [heading, *body])) for heading, body in zip(headings, bodies, strict=True)]
    if 2 + sum(widths) + 3 * (len(widths) - 1) > width:
        return [
            line
            for heading, body in zip(headings, bodies, strict=True)
            for line in (f"{heading}:", *(f"    {each}" for each in body))
        ]
    rows = [("  ", headings)]
    for parts in zip_longest(*bodies, fillvalue=""):
        rows.append(("  " if len(set(parts)) == 1 else "> ", list(parts)))
    return [
        (mark + "   ".join(part.ljust(size) for part, size in zip(parts, widths, strict=True))).rstrip()
        for mark, parts in rows
    ]
