"""The form in which an exception travels, and how to build an exception from it."""

import pickle
import re
import threading
from collections.abc import Callable
from typing import Any, cast

from prefect_anyrunner._base import safe_text
from prefect_anyrunner._serialization import introspect


class StandIn:
    """What every stand-in adds to the classes it derives from.

    A stand-in is an instance of the nearest classes of the original that exist on this side, prints the original's
    text, and carries its args, attributes, notes, chain and traceback as far as they could travel.

    Attributes:
        original_type: the dotted name of the class the exception had where it was raised.
    """

    original_type: str
    _standin_text: str | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep the original's own `__init_subclass__` from running: nobody defines a class here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: everything is set from what was packed."""

    def __str__(self) -> str:
        text: str = vars(self)["_standin_text"]
        return text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


Node = dict[str, Any]
Parts = tuple[dict[Any, Any], bytes | None, dict[Any, str]]
Resolve = Callable[[int], BaseException]
Group = tuple[str, tuple[BaseException, ...]]


# What pickles inside a packed error refer to as "exception number N": the packed table while packing, the rebuilt
# exceptions while unpacking.
class _Resolvers(threading.local):
    def __init__(self) -> None:
        self.stack: list[Resolve] = []


_resolvers = _Resolvers()


def numbered(number: int) -> BaseException:
    """Return exception `number` of the table that is being packed or unpacked in this thread."""
    return _resolvers.stack[-1](number)


def load_part(data: bytes, resolve: Resolve) -> Any:
    """Load a pickle from inside a packed error."""
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
    """Rebuild; `announce` hears of the exception before its parts are loaded, for they may refer to it."""
    if node["way"] == "bare":
        made = introspect.make_bare(cls, _group(node, resolve))
        announce(made)
        _fill(made, node, resolve)
        return made
    maker, args, state = load_part(node["reduced"], resolve)
    found: Any = maker(*args)
    if not issubclass(type(found), BaseException):
        raise TypeError(f"{maker!r} made no exception")
    made = cast(BaseException, found)
    if state is not None:
        found.__setstate__(state)
    announce(made)
    if not node["args"][2]:  # pydantic's, for one, gets its constructor's arguments for args this way
        introspect.put("args", made, _args(_loaded(node["args"], resolve)))
    return made


def _fill(exc: BaseException, node: Node, resolve: Resolve) -> list[str]:
    """Set args, attributes and fields; return the names of those that are only their `repr`."""
    lost: list[str] = []
    found: dict[str, dict[Any, Any]] = {}
    for key, label in {"args": "argument {}", "attributes": "attribute {!r}", "fields": "attribute {!r}"}.items():
        plain, _, unsent = node[key]
        lost += [label.format(name) for name in unsent]
        try:
            found[key] = _loaded(node[key], resolve)
        except BaseException as problem:  # what refuses to be unpickled here must not cost the rest
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


def _group(node: Node, resolve: Resolve) -> Group | None:
    if node["group"] is None:
        return None
    message, members = node["group"]
    return message, tuple(resolve(number) for number in members)


_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")


def same_text(here: str | None, there: str | None) -> bool:
    """Compare two texts; the memory addresses in them differ by nature."""
    if here is None or there is None or here == there:
        return here == there
    return _ADDRESS.sub("", here) == _ADDRESS.sub("", there)
