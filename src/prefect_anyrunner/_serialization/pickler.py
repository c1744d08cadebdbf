"""The pickler everything travels by: cloudpickle, with exceptions, tracebacks and `__main__` classes made safe."""

import types
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle
from prefect.utilities.annotations import BaseAnnotation

from prefect_anyrunner._serialization.introspect import frames, names_of, traceback_from


class TravelPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler with the last word about exceptions, tracebacks and classes pickled by value.

    It decides these itself, before any reducer that other packages registered globally (tblib's, which come with
    distributed), so that what travels does not depend on what else is installed.
    """

    def reduce_error(self, exc: BaseException) -> tuple[Any, ...]:
        """Return how to pickle an exception met anywhere inside the value."""
        raise NotImplementedError

    def reducer_override(self, obj: Any) -> Any:
        """Return how to pickle `obj`, or NotImplemented for the usual way (the hook of `pickle.Pickler`)."""
        kind = type(obj)
        if issubclass(kind, BaseException):
            return self.reduce_error(obj)
        if issubclass(kind, BaseAnnotation):
            # Prefect's annotations are tuples that pickle as tuples do, and come back holding a tuple (rule U2).
            return kind, (obj.unwrap(),)
        if kind is types.TracebackType:
            return traceback_from, (frames(obj),)
        if issubclass(kind, type):
            return _keep_own_class(obj, super().reducer_override(obj))
        return super().reducer_override(obj)


# cloudpickle sends a class of `__main__` by value under an id, and gives the sender its own class back when it
# returns - but fills that class anew with what came back: its methods become copies, its counters are set back.
# So a process remembers the classes it sent first, and leaves those alone.
_own: "weakref.WeakSet[type]" = weakref.WeakSet()
_received: "weakref.WeakSet[type]" = weakref.WeakSet()


def _keep_own_class(cls: type, reduced: Any) -> Any:
    if not isinstance(reduced, tuple) or len(reduced) != 6:  # by reference
        return reduced
    if cls not in _received:
        _own.add(cls)
    make, args, state, items, pairs, fill = reduced
    return make, args, (fill, state, names_of(cls)[1]), items, pairs, _fill_class


def _fill_class(cls: type, state: tuple[Callable[[type, Any], Any], Any, str]) -> type:
    fill, contents, qualname = state
    if cls not in _own:
        _received.add(cls)
        fill(cls, contents)
        cls.__qualname__ = qualname  # cloudpickle leaves the bare name of a local class
    return cls
