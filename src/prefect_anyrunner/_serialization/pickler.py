"""The pickler of everything that crosses to another process. Only this file relies on cloudpickle's internals.

`tests/unit/serialization/test_cloudpickle_names.py` fails with a clear message when a release changes them.
"""

import threading
import types
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import cloudpickle
from prefect.utilities.annotations import BaseAnnotation

from prefect_anyrunner._serialization.introspect import frames, names_of, traceback_from


class HeldError:
    """Holds an exception inside a value: our picklers pickle the exception itself in its place.

    So an exception that is held by a value and by the exception around it is packed once, even if it is its cause.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error


class SafePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler, with rules of ours for exceptions, tracebacks, code and classes pickled by value.

    These rules come before the reducers that other packages register globally (distributed registers tblib's), so that
    the bytes do not depend on which other packages are installed.
    """

    def reduce_error(self, exc: BaseException) -> tuple[Any, ...]:
        """Return how to pickle an exception that stands anywhere inside the value."""
        raise NotImplementedError

    def reducer_override(self, obj: Any) -> Any:
        """Return how to pickle `obj`, or NotImplemented for the usual way (the hook of `pickle.Pickler`)."""
        kind = type(obj)
        if issubclass(kind, BaseException):
            return self.reduce_error(obj)
        if issubclass(kind, HeldError):
            return self.reduce_error(obj.error)
        if issubclass(kind, BaseAnnotation):
            # Prefect's annotations pickle as the tuples that they are, and so would hold a tuple afterwards (rule U2).
            return kind, (obj.unwrap(),)
        if kind is types.TracebackType:
            return traceback_from, (frames(obj),)
        if kind is types.CodeType:
            make, arguments = self.dispatch_table[types.CodeType](obj)
            return code_of_file, (obj.co_filename, make, arguments)
        if issubclass(kind, type):
            return _keep_own_class(obj, super().reducer_override(obj))
        return super().reducer_override(obj)


def code_of_file(file: str, make: Callable[..., types.CodeType], arguments: tuple[Any, ...]) -> types.CodeType:
    """Return the code object that `make` makes from `arguments`, with `file` as the name of its file.

    cloudpickle 3.1.3 replaces that name by `<dynamic-code>`, so that tracebacks would show no source lines (rule F1).
    """
    return make(*arguments).replace(co_filename=file)


# cloudpickle pickles a class of `__main__` by value, under an id. When the class comes back, cloudpickle finds the
# sender's own class by that id, but fills it anew: methods are replaced by copies, and counters are set back. So a
# process remembers the classes that it was the first to send, and does not fill those.
_own: "weakref.WeakSet[type]" = weakref.WeakSet()
_received: "weakref.WeakKeyDictionary[type, frozenset[str]]" = weakref.WeakKeyDictionary()
"""The classes that came first from other processes, each with the names of the attributes that it came with."""
_received_lock = threading.Lock()


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
        fill(cls, contents)
        cls.__qualname__ = qualname  # because cloudpickle gives a local class its bare name
        with _received_lock:
            _received.setdefault(cls, frozenset(vars(cls)))
    return cls


def forget_additions() -> None:
    """Remove what this process added to classes that other processes sent, so that the next run does not see it.

    An attribute that a class came with, and that a run changed, is restored when the class comes again with a task.
    """
    with _received_lock:
        received = list(_received.items())
    for cls, came in received:
        for name in vars(cls).keys() - came:
            with suppress(AttributeError, TypeError):  # its metaclass may refuse
                delattr(cls, name)
