"""Exceptions to bytes (rules F1 to F5).

An exception, its causes and contexts, the members of groups and the exceptions found in args and attributes become
one flat table of nodes that refer to each other by number, so that chains may be long and may have cycles.
Each node is plain data, with pickles only where a part needs one. If a class, an argument or an attribute cannot
travel, only that part is lost, and a stand-in takes the exception's place (see `unpack`).

The packing side tries these methods of rebuilding an exception, and takes the first that gives an equal one:

    reduce    call the `__reduce__`, `__getstate__` ... that the class defines, if it defines any
    bare      make the instance without running any code of the class, then set args, attributes, slots, C fields
    reduce    call `cls(*args)`, which is the default `__reduce__`, for classes in C that cannot be made bare
    stand-in  none of these works here
"""

import functools
import io
import pickle
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle

from prefect_anyrunner._base import safe_text
from prefect_anyrunner._serialization import introspect
from prefect_anyrunner._serialization.nodes import Node, Parts, StandIn, exception_ref, load_part, rebuild, same_text
from prefect_anyrunner._serialization.pickler import SafePickler

MAX_PART = 10_000_000
"""Bytes that the args, or the attributes, of one exception may take."""
MAX_TOTAL = 50_000_000
"""Bytes that the args and attributes of all exceptions that are packed together may take."""
MAX_PLAIN = 20_000
"""Bytes of args or attributes that travel as plain data; larger ones are pickled."""
MAX_CHAIN = 100
"""Maximum number of causes and contexts in one chain."""
MAX_NODES = 5_000
"""Maximum number of exceptions packed together, including those in groups, args and attributes."""
MAX_NOTES = 100
"""Maximum number of notes of one exception."""


def pack_error(exc: BaseException) -> bytes:
    """Return `exc` as bytes for `unpack_error`.

    Never raises. At most 100 exceptions of a chain, 100 frames of a traceback and 10 MB of args or attributes of
    each exception travel (50 MB in all). The text mentions the rest, or a stand-in holds its `repr`.
    """
    try:
        return _Packing(exc).run()
    except BaseException as problem:  # any access to an object inside may raise anything
        return pickle.dumps([_last_resort(exc, problem)], protocol=pickle.HIGHEST_PROTOCOL)


class _BoundedFile(io.BytesIO):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def write(self, data: Any) -> int:
        if self.tell() + memoryview(data).nbytes > self.limit:
            raise OverflowError("larger than an exception may be")
        return super().write(data)


class _PartPickler(SafePickler):
    def __init__(self, file: io.BytesIO, number_of: Callable[[BaseException], int]) -> None:
        super().__init__(file)
        self.number_of = number_of

    def reduce_error(self, exc: BaseException) -> tuple[Any, ...]:
        return exception_ref, (self.number_of(exc),)


class _Packing:
    def __init__(self, exc: BaseException) -> None:
        self.budget = MAX_TOTAL
        self.errors: list[BaseException] = []
        self.numbers: dict[int, int] = {}
        self.depths: list[int] = []
        self.depth = 0
        self.found_classes: dict[int, list[Any]] = {}
        self.number(exc)

    def run(self) -> bytes:
        nodes: list[Node] = []
        for exc in self.errors:  # the list grows in this loop
            self.depth = self.depths[len(nodes)]
            try:
                nodes.append(self.node(exc))
            except BaseException as problem:  # one failure must not cost the others
                nodes.append(_last_resort(exc, problem))
        return pickle.dumps(nodes, protocol=pickle.HIGHEST_PROTOCOL)

    def number(self, exc: BaseException, steps: int = 0) -> int:
        found = self.numbers.get(id(exc))
        if found is None:
            if len(self.errors) >= MAX_NODES:
                exc = RuntimeError(f"left out: more than {MAX_NODES} exceptions in one")
                if len(self.errors) > MAX_NODES:
                    return MAX_NODES
            found = self.numbers[id(exc)] = len(self.errors)
            self.errors.append(exc)
            self.depths.append(self.depth + steps)
        return found

    def link(self, name: str, exc: BaseException) -> int | None:
        other = introspect.get(name, exc)
        if other is None or (self.depth >= MAX_CHAIN and id(other) not in self.numbers):
            return None
        return self.number(other, 1)

    def node(self, exc: BaseException) -> Node:
        cls = type(exc)
        # Text does not count against the budget: an exception that does not fit is still named.
        node = _empty_node(exc, safe_text.MAX_TEXT if self.budget > 0 else 1_000)
        state = {key: value for key, value in introspect.attributes(exc).items() if type(key) is str}
        node["notes"] = _notes(state.pop("__notes__", []))
        if issubclass(cls, BaseExceptionGroup):
            message, members = introspect.group_parts(exc)
            node["group"] = (safe_text.cut(message), [self.number(member) for member in members])
        node["cause"] = self.link("__cause__", exc)
        node["context"] = self.link("__context__", exc)
        node["suppress"] = introspect.get("__suppress_context__", exc)
        node["frames"] = introspect.frames(introspect.get("__traceback__", exc))
        again = issubclass(cls, StandIn)
        if again:
            node["text"] = state.pop("_standin_text")
            node["original_type"] = state.pop("original_type")
        node["classes"] = self.classes(cls)
        node["args"] = self.parts(dict(enumerate(introspect.get("args", exc))))
        node["attributes"] = self.parts(state)
        node["fields"] = self.parts(introspect.field_values(exc))
        if issubclass(cls, AttributeError):  # `obj`, the object without the attribute, is not part of the error
            node["fields"][2].pop("obj", None)
        if not again:
            node["method"], node["reason"] = self.method(exc, node)
        return node

    def method(self, exc: BaseException, node: Node) -> tuple[str, str | None]:
        """Return the method of rebuilding, and the reason for a stand-in unless that is an argument or attribute."""
        cls = type(exc)
        if node["classes"][0] is None:
            return "stand-in", "its class cannot travel"
        lost = any(node[key][2] for key in ("args", "attributes", "fields"))
        accepted = False
        own = introspect.has_own_reduce(cls)
        if own and self.reduced(exc, node):
            accepted, equal = self.trial(exc, node, "reduce")
            if equal:
                return "reduce", None
        if not lost and introspect.can_be_made_bare(cls) and self.trial(exc, node, "bare")[1]:
            return "bare", None
        if not own and self.reduced(exc, node):
            accepted, _ = self.trial(exc, node, "reduce")
        if accepted:  # the class itself leaves out the part that cannot travel
            return "reduce", None
        return "stand-in", None if lost else "it cannot be rebuilt from its parts"

    def trial(self, exc: BaseException, node: Node, method: str) -> tuple[bool, bool]:
        """Rebuild `exc` here; return whether class and text are the same, and whether the parts are equal, too."""
        try:
            resolve = self.errors.__getitem__
            made = rebuild(type(exc), {**node, "method": method}, resolve)
            accepted = type(made) is type(exc) and same_text(safe_text.text_of(made), node["text"])
            return accepted, accepted and _alike(_parts_of(exc), _parts_of(made))
        except BaseException:  # code of the class runs here, and may raise anything
            return False, False

    def reduced(self, exc: BaseException, node: Node) -> bool:
        """Put the result of the class's `__reduce_ex__` into the node; return whether it can travel."""
        try:
            made = type(exc).__reduce_ex__(exc, 4)
        except BaseException:  # see trial
            return False
        if not isinstance(made, tuple) or len(made) < 2 or any(part is not None for part in made[3:]):
            return False
        state = made[2] if len(made) > 2 else None
        node["reduced"] = self.pickled((made[0], tuple(made[1]), state))
        return node["reduced"] is not None

    def classes(self, cls: type) -> list[Any]:
        """Return references to a class and its bases: `(module, qualname)`, a pickle, or None if one cannot travel."""
        found = self.found_classes.get(id(cls))
        if found is None:
            found = self.found_classes[id(cls)] = []
            for owner in introspect.mro(cls):
                if issubclass(owner, BaseException) and not issubclass(owner, StandIn):
                    none_yet = not any(found)
                    found.append(_reference(owner) or (self.pickled(owner) if none_yet else None))
        return found

    def parts(self, values: dict[Any, Any]) -> Parts:
        """Return `values` as `Parts`."""
        plain, rich = {}, {}
        room = min(MAX_PLAIN, self.budget)
        for key, value in values.items():
            size = _plain_size(value)
            if size <= room:
                plain[key] = value
                room -= size
                self.budget -= size
            else:
                rich[key] = value
        if not rich:
            return plain, None, {}
        data = self.pickled(rich)
        if data is not None:
            return plain, data, {}
        budget = self.budget
        self.budget = min(MAX_PART, budget)  # what the good ones may take together
        good = {key: value for key, value in rich.items() if self.pickled({key: value}) is not None}
        self.budget = budget  # these pickles only were a trial
        data = self.pickled(good) if good else None
        lost = {key: safe_text.short_repr(value) for key, value in rich.items() if data is None or key not in good}
        return plain, data, lost

    def pickled(self, value: Any) -> bytes | None:
        """Return the pickle of a part, or None if it cannot be pickled, or cannot be loaded even here."""
        file = _BoundedFile(min(MAX_PART, self.budget))
        try:
            _PartPickler(file, self.number).dump(value)
            data = file.getvalue()
            load_part(data, self.errors.__getitem__)
        except BaseException:  # see trial
            return None
        self.budget -= len(data)
        return data


def _is_scalar(kind: type) -> bool:
    # By identity, because a metaclass may have an __eq__ of its own.
    return kind is str or kind is int or kind is type(None) or kind is float or kind is bool or kind is bytes


def _plain_size(value: Any, depth: int = 3) -> int:
    """Return the approximate bytes of builtin scalars, lists, tuples and dicts; for others, more than `MAX_PLAIN`."""
    kind = type(value)
    if kind is str or kind is bytes:
        return 10 + len(value)
    if kind is int:
        return 10 + int(value.bit_length()) // 8
    if _is_scalar(kind):
        return 10
    if depth and (kind is list or kind is tuple or kind is dict) and len(value) <= 100:
        items = [*value, *value.values()] if kind is dict else value
        return 10 + sum(_plain_size(item, depth - 1) for item in items)
    return MAX_PLAIN + 1


def _notes(notes: Any) -> list[str]:
    if not isinstance(notes, list | tuple):
        return [safe_text.short_repr(notes)]
    kept = notes[:MAX_NOTES]
    return [safe_text.cut(note) if isinstance(note, str) else safe_text.short_repr(note) for note in kept]


def _reference(cls: type) -> tuple[str, str] | None:
    """Return `(module, qualname)` of a class that any other process can import."""
    _, qualname, module = introspect.names_of(cls)
    if module == "__main__" or module not in sys.modules:
        return None
    for name in cloudpickle.list_registry_pickle_by_value():
        if module == name or module.startswith(f"{name}."):
            return None
    try:
        found: Any = functools.reduce(getattr, qualname.split("."), sys.modules[module])
    except Exception:  # local, or a module with a __getattr__ of its own
        return None
    return (module, qualname) if found is cls else None


def _parts_of(exc: BaseException) -> tuple[Any, ...]:
    attributes = {key: value for key, value in introspect.attributes(exc).items() if key != "__notes__"}
    fields = introspect.field_values(exc)
    if issubclass(type(exc), AttributeError):
        fields.pop("obj", None)
    return introspect.get("args", exc), attributes, fields


def _alike(one: Any, other: Any, depth: int = 6) -> bool:
    """Return whether two values are equal without running a user's `__eq__`: builtin values, else only the type."""
    kind = type(one)
    if one is other or depth == 0:
        return True
    if kind is not type(other):
        return False
    if _is_scalar(kind):
        return bool(one == other) or (one != one and other != other)
    if kind is list or kind is tuple:
        return len(one) == len(other) and all(map(functools.partial(_alike, depth=depth - 1), one, other))
    if kind is dict:
        return len(one) == len(other) and all(key in other and _alike(one[key], other[key], depth - 1) for key in one)
    return True


def _empty_node(exc: BaseException, max_text: int) -> Node:
    """Return a node with the facts that any exception has: type, text and builtin bases."""
    builtin = [cls for cls in introspect.mro(type(exc)) if introspect.is_static(cls) and issubclass(cls, BaseException)]
    no_parts: Parts = ({}, None, {})
    return {
        "names": introspect.names_of(type(exc)),
        "classes": [(cls.__module__, cls.__name__) for cls in builtin],
        "text": safe_text.text_of(exc, max_text),
        "method": "stand-in",
        "reason": None,
        "notes": [],
        "group": None,
        "cause": None,
        "context": None,
        "suppress": False,
        "frames": [],
        "args": no_parts,
        "attributes": no_parts,
        "fields": no_parts,
        "original_type": None,
    }


def _last_resort(exc: BaseException, problem: BaseException) -> Node:
    return {**_empty_node(exc, 1_000), "reason": f"it could not be packed: {safe_text.short_repr(problem)}"}
