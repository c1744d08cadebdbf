"""Environment variables that an engine has changed in this process."""

from __future__ import annotations

import os


def restore_environment(before: dict[str, str | None]) -> None:
    """Give each variable in `before` its value there, remove those whose value is None, and empty `before`."""
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    before.clear()
