"""Stand-ins: exceptions that take the place of those that cannot travel (rule F4)."""

import weakref
from collections.abc import Sequence
from typing import Any

from ._anatomy import attributes, can_be_made_bare, make_bare, mro, put


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

    def __reduce__(self) -> tuple[Any, ...]:
        from ._transport import pack_error, unpack_error

        assert isinstance(self, BaseException)
        return unpack_error, (pack_error(self),)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()


class _GroupStandIn(StandIn):
    def derive(self, excs: Sequence[BaseException]) -> BaseExceptionGroup[BaseException]:
        assert isinstance(self, BaseExceptionGroup)
        made = BaseExceptionGroup(self.message, excs)
        return made


# Keyed by the ids of the bases: a metaclass may make classes unhashable, and a stand-in class keeps its bases alive.
_classes: "weakref.WeakValueDictionary[tuple[Any, ...], type[BaseException]]" = weakref.WeakValueDictionary()


def stand_in_class(names: tuple[str, str, str], bases: tuple[type[BaseException], ...]) -> type[BaseException]:
    """Return the stand-in class for `(name, qualname, module)` over `bases`, the same object every time."""
    key = (*names, *map(id, bases))
    found = _classes.get(key)
    if found is None:
        name, qualname, module = names
        mixin: type = _GroupStandIn if issubclass(bases[0], BaseExceptionGroup) else StandIn
        body = {"__qualname__": qualname, "__module__": module, "__doc__": f"Stand-in for {module}.{qualname}."}
        # type.__new__ and not the metaclass: it may refuse, count or register new classes.
        made: Any = type.__new__(type(bases[0]), name, (mixin, *bases), body)
        found = _classes.setdefault(key, made)
    return found


def bases_of(candidates: Sequence[type]) -> list[tuple[type[BaseException], ...]]:
    """Return the sets of bases to try, nearest first, from the classes of the original in MRO order."""
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
    """Return an empty stand-in over the nearest classes that allow it; `Exception` allows it always."""
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
        except Exception:  # a base that cannot be subclassed or made: the next one stands nearer to builtin
            continue
    raise AssertionError("Exception can always be subclassed")
