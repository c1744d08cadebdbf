"""Bytes of a packed exception to the exception, or to its stand-in.

What a node of the packed table holds is said in `_pack`, which also uses `rebuild` and `same_text` for its trials.
"""

import functools
import importlib
import pickle
import re
import sys
import threading
from collections.abc import Callable
from typing import Any, cast

from . import _anatomy as anatomy
from ._standin import StandIn, make_stand_in

Node = dict[str, Any]
Parts = tuple[dict[Any, Any], bytes | None, dict[Any, str]]
Resolve = Callable[[int], BaseException]
Group = tuple[str, tuple[BaseException, ...]]


def unpack_error(data: bytes) -> BaseException:
    """Return the exception that `pack_error` packed, or its stand-in. Never raises."""
    try:
        return _Unpacking(pickle.loads(data)).run()
    except BaseException as problem:  # see pack_error; e.g. a module whose import exits
        return RuntimeError(f"an exception arrived that cannot be rebuilt here: {problem!r}")


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


class _Unpacking:
    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.built: dict[int, BaseException] = {}
        self.building: set[int] = set()
        self.classes: dict[Any, type[BaseException]] = {}

    def run(self) -> BaseException:
        # Members and arguments were numbered after what holds them: from the end, little recursion is needed.
        for number in reversed(range(len(self.nodes))):
            self.get(number)
        for number, node in enumerate(self.nodes):
            exc = self.built[number]
            for name, key in (("__cause__", "cause"), ("__context__", "context")):
                if node[key] is not None:
                    anatomy.put(name, exc, self.built[node[key]])
            anatomy.put("__suppress_context__", exc, node["suppress"])
        return self.built[0]

    def get(self, number: int) -> BaseException:
        found = self.built.get(number)
        if found is not None:
            return found
        node = self.nodes[number]
        if number in self.building:
            return RuntimeError(f"<{node['names'][0]} that contains itself>")
        self.building.add(number)
        exc = self.rebuilt(number, node)
        anatomy.put("__traceback__", exc, _traceback(node["frames"]))
        return exc

    def rebuilt(self, number: int, node: Node) -> BaseException:
        why = node["why"]
        if node["way"] != "stand-in":
            try:
                cls = self.find_class(node["classes"][0])
                exc = rebuild(cls, node, self.get, lambda made: self.built.__setitem__(number, made))
                if node["notes"]:
                    anatomy.attributes(exc)["__notes__"] = list(node["notes"])
                if same_text(anatomy.text_of(exc), node["text"]):
                    return exc
                why = "it prints another text here"
            except BaseException as problem:  # importing a module and any code of the class may raise anything
                why = f"it cannot be rebuilt here: {anatomy.short_repr(problem)}"
        exc = self.built[number] = self.stand_in(node)
        lost = _fill(exc, node, self.get)
        notes = list(node["notes"])
        if lost:
            why = "; ".join([*([why] if why else []), f"{', '.join(lost)} could not travel, the repr stands instead"])
        if why:
            notes.append(f"Stand-in for {node['names'][2]}.{node['names'][1]}: {why}.")
        if notes:
            anatomy.attributes(exc)["__notes__"] = notes
        return exc

    def find_class(self, reference: Any) -> type[BaseException]:
        found = self.classes.get(reference)
        if found is None:
            found = self.classes[reference] = _class(reference, self.get)
        return found

    def stand_in(self, node: Node) -> BaseException:
        candidates = []
        for reference in node["classes"]:
            try:
                candidates.append(self.find_class(reference))
            except BaseException:  # not on this side: the next one
                continue
        text = node["text"]
        if text is None:
            text = f"<{node['names'][0]}: its __str__ raises>"
        exc = make_stand_in(node["names"], candidates, text, _group(node, self.get))
        if node["original_type"]:
            anatomy.attributes(exc)["original_type"] = node["original_type"]
        return exc


def rebuild(
    cls: type[BaseException],
    node: Node,
    resolve: Resolve,
    announce: Callable[[BaseException], None] = lambda made: None,
) -> BaseException:
    """Rebuild; `announce` hears of the exception before its parts are loaded, for they may refer to it."""
    if node["way"] == "bare":
        made = anatomy.make_bare(cls, _group(node, resolve))
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
        anatomy.put("args", made, _args(_loaded(node["args"], resolve)))
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
            lost.append(f"some {key} ({anatomy.short_repr(problem)})")
    anatomy.put("args", exc, _args(found["args"]))
    anatomy.set_fields(exc, found["fields"])
    anatomy.attributes(exc).update(found["attributes"])
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


def _traceback(frames: list[anatomy.FrameFacts]) -> Any:
    try:
        return anatomy.traceback_from(frames)
    except Exception:  # e.g. a file name that no code object can have
        return None


def _class(reference: tuple[str, str] | bytes | None, resolve: Resolve) -> type[BaseException]:
    if reference is None:
        raise LookupError("the class did not travel")
    if isinstance(reference, bytes):
        found = load_part(reference, resolve)
    else:
        module, qualname = reference
        owner: Any = sys.modules.get(module) or importlib.import_module(module)
        found = functools.reduce(getattr, qualname.split("."), owner)
    if not isinstance(found, type) or not issubclass(found, BaseException):
        raise TypeError(f"{reference!r} is no exception class here")
    return found


_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")


def same_text(here: str | None, there: str | None) -> bool:
    """Compare two texts; the memory addresses in them differ by nature."""
    if here is None or there is None or here == there:
        return here == there
    return _ADDRESS.sub("", here) == _ADDRESS.sub("", there)
