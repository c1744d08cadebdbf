"""A module beside the flow, which no worker can import."""

from __future__ import annotations


class Refused(ValueError):
    """Raised by a task of the flow beside."""


FACTOR = 2


def twice(number: int) -> int:
    """Return twice `number`; 13 is refused."""
    if number == 13:
        raise Refused("unlucky", number)
    return number * FACTOR
