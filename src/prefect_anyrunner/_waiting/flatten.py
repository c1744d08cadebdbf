"""The futures in a nested argument, and results put back into the same shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture

from prefect_anyrunner._prefect.states import data_of
from prefect_anyrunner._waiting.runs import has_outcome
from prefect_anyrunner._waiting.stock.state_future import StateFuture


class Position(NamedTuple):
    """A future and its position in the argument: its number in order, and the path to it."""

    number: int
    path: tuple[int | str, ...]
    future: Any


Unflatten = Callable[[list[Any]], Any]
"""A function that rebuilds the shape of an argument from one entry per position."""


def flatten(futures: Any) -> tuple[list[Position], Unflatten]:
    """Return every future in `futures` in order, and the function that puts results back into its shape.

    Args:
        futures: a future; an iterable of futures; or lists, tuples, sets and dicts of them, nested. A generator is read
            to its end. A list, tuple, named tuple or dict gets its own type back; any other iterable becomes a list.
            A final state stands for its run, because Prefect hands a flow's caller states where the flow returned
            futures (rule E2). The state of a flow run stands for the states that it holds.

    Raises:
        TypeError: an item is neither a future nor a container; the text names the item and its position.
    """
    positions: list[Position] = []
    shape = _walk(futures, (), positions, {})
    return positions, lambda entries: _fill(shape, entries)


class _Leaf(NamedTuple):
    number: int


class _Node(NamedTuple):
    build: Callable[[list[Any]], Any]
    parts: list[Any]


def _walk(
    item: Any, path: tuple[int | str, ...], positions: list[Position], states: dict[int, StateFuture]
) -> _Leaf | _Node:
    if isinstance(item, State):
        if (held := _states_in(item)) is not None:
            return _walk(held, path, positions, states)
        if not (item.is_final() or item.name == "NotReady"):
            raise TypeError(f"{_name(path)} is a state that is not final ({item.name}): pass the future of the run")
        item = states.setdefault(id(item), StateFuture(item))
    if isinstance(item, PrefectFuture | StateFuture) or has_outcome(item):
        positions.append(Position(len(positions), path, item))
        return _Leaf(len(positions) - 1)
    if isinstance(item, Mapping):
        keys = list(item)
        steps = [key if isinstance(key, int | str) else str(key) for key in keys]
        parts = [_walk(item[key], (*path, step), positions, states) for key, step in zip(keys, steps, strict=True)]
        return _Node(lambda entries: dict(zip(keys, entries, strict=True)), parts)
    if isinstance(item, str | bytes | bytearray) or not isinstance(item, Iterable):
        raise TypeError(_refusal(item, path))
    build: Callable[[list[Any]], Any] = list
    if isinstance(item, tuple):
        own_type = type(item)
        build = (lambda entries: own_type(*entries)) if hasattr(own_type, "_fields") else tuple
    return _Node(build, [_walk(part, (*path, number), positions, states) for number, part in enumerate(item)])


def _states_in(state: State[Any]) -> Any:
    """Return the states that the state of a flow run holds, in their shape; None if it holds anything else."""
    data = data_of(state)
    return data if isinstance(data, State) or _holds_states_only(data) else None


def _holds_states_only(data: Any) -> bool:
    parts = list(data.values()) if isinstance(data, Mapping) else data if isinstance(data, list | tuple | set) else []
    return bool(parts) and all(isinstance(part, State) or _holds_states_only(part) for part in parts)


def _fill(shape: _Leaf | _Node, entries: list[Any]) -> Any:
    if isinstance(shape, _Leaf):
        return entries[shape.number]
    return shape.build([_fill(part, entries) for part in shape.parts])


def _refusal(item: object, path: tuple[int | str, ...]) -> str:
    hint = "pass what `.submit()` or `.map()` returned, or a list, tuple or dict of such futures"
    if hasattr(item, "__await__"):
        hint = f"it has to be awaited first; {hint}"
    return f"{_name(path)} is a {type(item).__name__}, not a future: {hint}"


def _name(path: tuple[int | str, ...]) -> str:
    return "futures" + "".join(f"[{step!r}]" for step in path)
