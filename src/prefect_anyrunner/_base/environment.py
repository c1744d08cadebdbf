"""Environment variables that an engine or a body has changed in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def restore_environment(before: dict[str, str | None]) -> None:
    """Set each variable in `before` to its value there, remove those whose value is None, and clear `before`."""
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    before.clear()


@contextmanager
def temporary_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables to these values inside the block; afterwards, every variable is as it was before the block."""
    before = dict(os.environ)
    os.environ.update({name: value for name, value in variables.items() if before.get(name) != value})
    try:
        yield
    finally:
        now = dict(os.environ)
        restore_environment({name: before.get(name) for name in before | now if before.get(name) != now.get(name)})
