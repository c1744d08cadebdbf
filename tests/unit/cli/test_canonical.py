"""The texts of values are equal for equal values, in any process, and differ for values that differ."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from prefect_anyrunner.cli.canonical import canonical, fingerprint

NAMES = ("red", "green", "blue", "white", "black")


@dataclass
class Point:
    name: str
    label: str = "name"
    made: float = field(default=0.0, compare=False)


class Tags(set[str]):
    pass


class Node:
    def __init__(self, *children: Any) -> None:
        self.children = list(children)
        self.lock = threading.Lock()
        for child in children:
            child.parent = self


def adds(number: int) -> Callable[[int], int]:
    return lambda other: number + other


def values() -> list[Any]:
    """Return values that each process makes anew."""
    names = set(NAMES)
    return [
        Point("name"),
        Tags(names),
        [Node(), Node(Node(), Node())],
        defaultdict(list, {name: [name] for name in names}),
        Counter(names),
        [adds(3), Point, threading.Lock(), functools.partial(adds, 4), len],
        [datetime(2024, 1, 31, tzinfo=UTC), Path("a/b"), bytes(1000)],
        {Point: frozenset(names)},
    ]


PAIRS = [
    (Point("a"), Point("b")),
    (Tags("ab"), Tags("ac")),
    (Node(Node()), Node(Node(), Node())),
    (defaultdict(int, a=1), defaultdict(int, a=2)),
    (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
    (adds(1), adds(2)),
    (adds(1), Point),
    (functools.partial(adds, 1), functools.partial(adds, 2)),
    (datetime(2024, 1, 31), datetime(2024, 1, 30)),
    (bytes(1000), bytes(1001)),
    (1, 1.0),
    ([1, 2], (1, 2)),
]


def test_equal_values_have_one_text_in_all_processes() -> None:
    code = (
        "import cloudpickle; from tests.unit.cli import test_canonical as module;"
        "cloudpickle.register_pickle_by_value(module);"
        "print(*map(module.fingerprint, module.values()))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        )
        for seed in ("1", "2")
    ]
    assert [run.stderr for run in runs] == ["", ""]
    first, second = (run.stdout.split() for run in runs)
    assert len(first) == len(values())
    assert [one == two for one, two in zip(first, second, strict=True)] == [True] * len(values())


def test_a_value_that_has_travelled_keeps_its_text() -> None:
    # Strings that are one object here are several objects afterwards.
    assert [canonical(value) for value in (Point("name"), Tags(NAMES))] == [
        canonical(cloudpickle.loads(cloudpickle.dumps(value))) for value in (Point("name"), Tags(NAMES))
    ]


def test_parts_that_equality_leaves_out_are_left_out() -> None:
    assert Point("a", made=1.0) == Point("a", made=2.0)
    assert fingerprint(Point("a", made=1.0)) == fingerprint(Point("a", made=2.0))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_values_that_differ_have_different_texts(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_values_without_an_end_have_a_text() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert canonical(endless) == "list[^0]"
    chain = None
    for _ in range(5_000):
        chain = Point(chain)  # type: ignore[arg-type]
    assert canonical(chain) == f"{__name__}.Point"


def test_many_nodes_that_know_each_other_are_written_once() -> None:
    nodes = [Node() for _ in range(40)]
    for node in nodes:
        node.children = nodes
    assert fingerprint(nodes) == fingerprint(nodes)
