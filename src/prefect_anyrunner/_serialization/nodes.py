"""The form in which an exception travels, and how to rebuild an exception from it."""

import pickle
import re
import threading
from collections.abc import Callable
from typing import Any, cast

from prefect_anyrunner._base import safe_text
from prefect_anyrunner._serialization import introspect


class StandIn:
    """The part of a stand-in that is ours; the rest are the classes that it derives from.

    A stand-in is an instance of the nearest classes of the original that exist on this side, prints the original's
    text, and carries its args, attributes, notes, chain and traceback as far as they could travel.

    Attributes:
        original_type: the dotted name of the class the exception had where it was raised.
    """

    original_type: str
    _standin_text: str | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Do nothing: the original's own `__init_subclass__` must not run, because no user defines a class here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: all that a stand-in holds is set from the packed node."""

    def __str__(self) -> str:
        text: str = vars(self)["_standin_text"]
        return text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


Node = dict[str, Any]
"""One exception as plain data, with pickles only where a part needs one. Nodes refer to each other by number."""
Parts = tuple[dict[Any, Any], bytes | None, dict[Any, str]]
"""Values by name: those that are plain data, a pickle of those that need one, and the `repr` of the rest."""
Resolve = Callable[[int], BaseException]
"""A function that returns the exception with this number."""
Group = tuple[str, tuple[BaseException, ...]]
"""Message and members of an exception group."""


class _Resolvers(threading.local):
    """The lookups of `exception_ref`: the exceptions being packed, or those rebuilt so far."""

    def __init__(self) -> None:
        self.stack: list[Resolve] = []


_resolvers = _Resolvers()


def exception_ref(number: int) -> BaseException:
    """Return exception `number` of those that this thread is packing or unpacking. Pickles inside a node call it."""
    return _resolvers.stack[-1](number)


def load_part(data: bytes, resolve: Resolve) -> Any:
    """Load a pickle from inside a node."""
    _resolvers.stack.append(resolve)
    try:
        return pickle.loads(data)
    finally:
        _resolvers.stack.pop()


def rebuild(
    cls: type[BaseException],
    node: Node,
    resolve: Resolve,
    announce: Callable[[BaseException], None] = lambda made: None,
) -> BaseException:
    """Return the exception of `node`, made by the node's method "bare" or "reduce".

    `announce` is called with the exception before its parts are loaded, because they may refer to it.
    Raises anything that code of the exception's class raises.
    """
    if node["method"] == "bare":
        made = introspect.make_bare(cls, group_of(node, resolve))
        announce(made)
        fill(made, node, resolve)
        return made
    maker, args, state = load_part(node["reduced"], resolve)
    found: Any = maker(*args)
    if not issubclass(type(found), BaseException):
        raise TypeError(f"{maker!r} made no exception")
    made = cast(BaseException, found)
    if state is not None:
        found.__setstate__(state)
    announce(made)
    if not node["args"][2]:  # its own way of pickling may have left other args, as pydantic's ValidationError does
        introspect.put("args", made, _args(_loaded(node["args"], resolve)))
    return made


def fill(exc: BaseException, node: Node, resolve: Resolve) -> list[str]:
    """Set args, attributes and fields of `exc`, and return the names of those that hold only a `repr`."""
    lost: list[str] = []
    found: dict[str, dict[Any, Any]] = {}
    for key, label in {"args": "argument {}", "attributes": "attribute {!r}", "fields": "attribute {!r}"}.items():
        plain, _, unsent = node[key]
        lost += [label.format(name) for name in unsent]
        try:
            found[key] = _loaded(node[key], resolve)
        except BaseException as problem:  # one value that refuses to be unpickled must not cost the others
            if not issubclass(type(exc), StandIn):
                raise
            found[key] = {**plain, **unsent}
            lost.append(f"some {key} ({safe_text.short_repr(problem)})")
    introspect.put("args", exc, _args(found["args"]))
    introspect.set_fields(exc, found["fields"])
    introspect.attributes(exc).update(found["attributes"])
    return lost


def _loaded(parts: Parts, resolve: Resolve) -> dict[Any, Any]:
    plain, data, unsent = parts
    return {**plain, **unsent, **(load_part(data, resolve) if data is not None else {})}


def _args(found: dict[int, Any]) -> tuple[Any, ...]:
    return tuple(found[position] for position in sorted(found))


def group_of(node: Node, resolve: Resolve) -> Group | None:
    """Return message and members of the group that `node` describes, or None if it is no group."""
    if node["group"] is None:
        return None
    message, members = node["group"]
    return message, tuple(resolve(number) for number in members)


_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")


def same_text(here: str | None, there: str | None) -> bool:
    """Return whether two texts are equal except for memory addresses, which differ between processes."""
    if here is None or there is None or here == there:
        return here == there
    return _ADDRESS.sub("", here) == _ADDRESS.sub("", there)
