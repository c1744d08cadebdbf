"""Public classes and functions name `prefect_anyrunner` as their module, wherever they are defined."""

from __future__ import annotations

import inspect
from typing import TypeVar

T = TypeVar("T")


def public(thing: T) -> T:
    """Make tracebacks and pickles name a class or function by its public place: `prefect_anyrunner.Report`.

    Pickles refer to that name, so files may move between releases. A decorator also works for code that imports the
    defining module first; a loop in `prefect_anyrunner/__init__.py` would not. Put it below `@dataclass`, and above
    every other decorator.
    """
    if isinstance(thing, type):
        # String annotations are evaluated in the module that the class names, which does not know the names in them.
        thing.__annotations__ = inspect.get_annotations(thing, eval_str=True)
    thing.__module__ = "prefect_anyrunner"
    return thing
