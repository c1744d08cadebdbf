"""Public names say `prefect_anyrunner`, wherever in the package they are defined."""

from __future__ import annotations

import inspect
from typing import TypeVar

T = TypeVar("T")


def public(thing: T) -> T:
    """Make tracebacks and pickles name a class or function by its public place: `prefect_anyrunner.Report`.

    Pickles refer to that name, so files may move between releases. A decorator holds also for code that imports the
    defining module first, which a loop in `prefect_anyrunner/__init__.py` would not. Put it below `@dataclass`, and
    above every other decorator.
    """
    if isinstance(thing, type):
        # Annotations that are text are read in the module that the class names, where their names are not known.
        thing.__annotations__ = inspect.get_annotations(thing, eval_str=True)
    thing.__module__ = "prefect_anyrunner"
    return thing
