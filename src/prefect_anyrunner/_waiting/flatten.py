"""The futures in a nested argument, and results in the same shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture

from prefect_anyrunner._prefect.states import data_of
from prefect_anyrunner._waiting.stock.state_future import StateFuture


class Place(NamedTuple):
    """A future and where it stood in the argument."""

    path: tuple[int | str, ...]
    future: Any


Rebuild = Callable[[list[Any]], Any]
"""Makes the shape of an argument again, from one entry per place."""


def is_future(item: object) -> bool:
    """Tell whether `item` can be waited for: a Prefect future, or anything that tells its outcome as ours do."""
    return isinstance(item, PrefectFuture | StateFuture) or callable(getattr(type(item), "outcome", None))


def laid_out(futures: Any) -> tuple[list[Place], Rebuild]:
    """Return every future in `futures` in order, and how to put results in their places.

    Args:
        futures: a future; an iterable of futures; or lists, tuples, sets and dicts of them, nested. A generator is read
            to its end. Rebuilt, a list, tuple, named tuple or dict is what it was, any other iterable is a list.
            A final state stands for its run: Prefect hands a flow's caller states where the flow returned futures
            (rule E2). The state of a flow run stands for the states that it holds.

    Raises:
        TypeError: something in it is neither a future nor a container; the text says what and where.
    """
    places: list[Place] = []
    shape = _walk(futures, (), places, {})
    return places, lambda entries: _fill(shape, entries)


class _Leaf(NamedTuple):
    position: int


class _Node(NamedTuple):
    make: Callable[[list[Any]], Any]
    parts: list[Any]


def _walk(item: Any, path: tuple[int | str, ...], places: list[Place], states: dict[int, StateFuture]) -> _Leaf | _Node:
    if isinstance(item, State):
        if (held := _states_in(item)) is not None:
            return _walk(held, path, places, states)
        if not (item.is_final() or item.name == "NotReady"):
            raise TypeError(f"{_where(path)} is a state that is not final ({item.name}): pass the future of the run")
        item = states.setdefault(id(item), StateFuture(item))
    if is_future(item):
        places.append(Place(path, item))
        return _Leaf(len(places) - 1)
    if isinstance(item, Mapping):
        keys = list(item)
        names = [key if isinstance(key, int | str) else str(key) for key in keys]
        parts = [_walk(item[key], (*path, name), places, states) for key, name in zip(keys, names, strict=True)]
        return _Node(lambda values: dict(zip(keys, values, strict=True)), parts)
    if isinstance(item, str | bytes | bytearray) or not isinstance(item, Iterable):
        raise TypeError(_refusal(item, path))
    make: Callable[[list[Any]], Any] = list
    if isinstance(item, tuple):
        made = type(item)
        make = (lambda values: made(*values)) if hasattr(made, "_fields") else tuple
    return _Node(make, [_walk(part, (*path, number), places, states) for number, part in enumerate(item)])


def _states_in(state: State[Any]) -> Any:
    """Return the states that the state of a flow run holds, in their shape; None where it holds something else."""
    data = data_of(state)
    return data if isinstance(data, State) or _holds_states_only(data) else None


def _holds_states_only(data: Any) -> bool:
    parts = list(data.values()) if isinstance(data, Mapping) else data if isinstance(data, list | tuple | set) else []
    return bool(parts) and all(isinstance(part, State) or _holds_states_only(part) for part in parts)


def _fill(shape: _Leaf | _Node, entries: list[Any]) -> Any:
    if isinstance(shape, _Leaf):
        return entries[shape.position]
    return shape.make([_fill(part, entries) for part in shape.parts])


def _refusal(item: object, path: tuple[int | str, ...]) -> str:
    hint = "pass what `.submit()` or `.map()` returned, or a list, tuple or dict of such futures"
    if hasattr(item, "__await__"):
        hint = f"it has to be awaited first; {hint}"
    return f"{_where(path)} is a {type(item).__name__}, not a future: {hint}"


def _where(path: tuple[int | str, ...]) -> str:
    return "futures" + "".join(f"[{step!r}]" for step in path)
