"""Exceptions from bytes, and the stand-ins for those that cannot travel (rules F1 to F5)."""

import functools
import importlib
import pickle
import sys
import weakref
from collections.abc import Sequence
from typing import Any

from prefect_anyrunner._base import safe_text
from prefect_anyrunner._serialization import introspect
from prefect_anyrunner._serialization.introspect import attributes, can_be_made_bare, make_bare, mro, put
from prefect_anyrunner._serialization.nodes import Node, Resolve, StandIn, fill, group_of, load_part, rebuild, same_text
from prefect_anyrunner._serialization.pack import pack_error
from prefect_anyrunner._serialization.pickler import HeldError


class PortableError(HeldError):
    """Holds an exception so that any pickler can pickle it. Unpickling returns the exception, or a stand-in for it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return unpack_error, (pack_error(self.error),)


class _PicklableStandIn(StandIn):
    def __reduce__(self) -> tuple[Any, ...]:
        assert isinstance(self, BaseException)
        return unpack_error, (pack_error(self),)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()


class _GroupStandIn(_PicklableStandIn):
    def derive(self, excs: Sequence[BaseException]) -> BaseExceptionGroup[BaseException]:
        assert isinstance(self, BaseExceptionGroup)
        return BaseExceptionGroup(self.message, excs)


# The keys hold ids of the bases, because classes may be unhashable. A stand-in class keeps its bases alive.
_classes: "weakref.WeakValueDictionary[tuple[Any, ...], type[BaseException]]" = weakref.WeakValueDictionary()


def stand_in_class(names: tuple[str, str, str], bases: tuple[type[BaseException], ...]) -> type[BaseException]:
    """Return the stand-in class for `(name, qualname, module)` over `bases`: one class for equal arguments."""
    key = (*names, *map(id, bases))
    found = _classes.get(key)
    if found is None:
        name, qualname, module = names
        mixin: type = _GroupStandIn if issubclass(bases[0], BaseExceptionGroup) else _PicklableStandIn
        body = {"__qualname__": qualname, "__module__": module, "__doc__": f"Stand-in for {module}.{qualname}."}
        # Not the metaclass, because it may refuse, count or register new classes.
        made: Any = type.__new__(type(bases[0]), name, (mixin, *bases), body)
        found = _classes.setdefault(key, made)
    return found


def bases_of(candidates: Sequence[type]) -> list[tuple[type[BaseException], ...]]:
    """Return the bases to try for a stand-in, the nearest first. `candidates`: the original's classes in MRO order."""
    usable = [cls for cls in candidates if issubclass(cls, BaseException) and can_be_made_bare(cls)]
    nearest: list[type[BaseException]] = []
    for cls in usable:
        if not any(cls is base for taken in nearest for base in mro(taken)):
            nearest.append(cls)
    tries = [tuple(nearest)] if len(nearest) > 1 else []
    return [*tries, *((cls,) for cls in usable)]


def make_stand_in(
    names: tuple[str, str, str],
    candidates: Sequence[type],
    text: str,
    group: tuple[str, tuple[BaseException, ...]] | None,
) -> BaseException:
    """Return an empty stand-in over the nearest classes that can be subclassed and made; `Exception` always can."""
    tries: list[tuple[type[BaseException], ...]] = [*bases_of(candidates), (Exception,)]
    for bases in tries:
        is_group = issubclass(bases[0], BaseExceptionGroup)
        if is_group and group is None:
            continue
        try:
            exc = make_bare(stand_in_class(names, bases), group if is_group else None)
            state = {"_standin_text": text, "original_type": f"{names[2]}.{names[1]}"}
            attributes(exc).update(state)
            if str(exc) == text and isinstance(repr(exc), str):
                put("args", exc, ())
                return exc
        except Exception:  # these bases cannot be subclassed or made: the next ones are nearer to a builtin
            continue
    raise AssertionError("Exception can always be subclassed")


def unpack_error(data: bytes) -> BaseException:
    """Return the exception that `pack_error` packed, or a stand-in for it. Never raises."""
    try:
        return _Unpacking(pickle.loads(data)).run()
    except BaseException as problem:  # code of a class may raise anything; so may the import of its module
        return RuntimeError(f"an exception arrived that cannot be rebuilt here: {problem!r}")


class _Unpacking:
    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.built: dict[int, BaseException] = {}
        self.building: set[int] = set()
        self.classes: dict[Any, type[BaseException]] = {}

    def run(self) -> BaseException:
        # Members and arguments have higher numbers than their holder: backwards, little recursion is needed.
        for number in reversed(range(len(self.nodes))):
            self.get(number)
        for number, node in enumerate(self.nodes):
            exc = self.built[number]
            for name, key in (("__cause__", "cause"), ("__context__", "context")):
                if node[key] is not None:
                    introspect.put(name, exc, self.built[node[key]])
            introspect.put("__suppress_context__", exc, node["suppress"])
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
        introspect.put("__traceback__", exc, _traceback(node["frames"]))
        return exc

    def rebuilt(self, number: int, node: Node) -> BaseException:
        reason = node["reason"]
        if node["method"] != "stand-in":
            try:
                cls = self.find_class(node["classes"][0])
                exc = rebuild(cls, node, self.get, lambda made: self.built.__setitem__(number, made))
                if node["notes"]:
                    introspect.attributes(exc)["__notes__"] = list(node["notes"])
                if same_text(safe_text.text_of(exc), node["text"]):
                    return exc
                reason = "it prints another text here"
            except BaseException as problem:  # see unpack_error
                reason = f"it cannot be rebuilt here: {safe_text.short_repr(problem)}"
        exc = self.built[number] = self.stand_in(node)
        lost = fill(exc, node, self.get)
        notes = list(node["notes"])
        if lost:
            unsent = f"{', '.join(lost)} could not travel, the repr stands instead"
            reason = f"{reason}; {unsent}" if reason else unsent
        if reason:
            notes.append(f"Stand-in for {node['names'][2]}.{node['names'][1]}: {reason}.")
        if notes:
            introspect.attributes(exc)["__notes__"] = notes
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
            except BaseException:  # this class is not on this side
                continue
        text = node["text"]
        if text is None:
            text = f"<{node['names'][0]}: its __str__ raises>"
        exc = make_stand_in(node["names"], candidates, text, group_of(node, self.get))
        if node["original_type"]:
            introspect.attributes(exc)["original_type"] = node["original_type"]
        return exc


def _traceback(frames: list[introspect.FrameFacts]) -> Any:
    try:
        return introspect.traceback_from(frames)
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
