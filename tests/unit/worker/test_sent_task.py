"""A task is kept from run to run only where no run can change what the next one sees."""

from __future__ import annotations

import logging
import math
import re
from typing import Any

import pytest
from prefect import task

from prefect_anyrunner._base.errors import CannotTravel
from prefect_anyrunner._serialization.values import dumps
from prefect_anyrunner._worker.sent_task import SentTask
from prefect_anyrunner.conformance import tasks

COUNT = {"runs": 0}
LIMIT = (3, "text")
PATTERN = re.compile("a+")
LOGGER = logging.getLogger("sent")
TOTAL = 0


def helper() -> int:
    COUNT["runs"] += 1
    return COUNT["runs"]


class Callback:
    runs = 0

    def __call__(self, *_: Any) -> None:
        self.runs += 1


def around() -> Any:
    runs = [0]

    def inner(number: int) -> int:
        runs[0] += 1
        return runs[0]

    return inner


def uses_what_is_fixed(number: int) -> float:
    LOGGER.info(PATTERN.pattern)
    return math.floor(number) + LIMIT[0] + helper()


def uses_dict(number: int) -> int:
    COUNT["runs"] += 1
    return COUNT["runs"]


def uses_dict_inside(number: int) -> Any:
    return [(lambda: COUNT)() for _ in range(number)]


def rebinds(number: int) -> int:
    global TOTAL
    TOTAL += 1
    return TOTAL


def has_default(number: int, seen: list[int] = []) -> int:  # noqa: B006  # the point of it
    seen.append(number)
    return len(seen)


def looks_around(number: int) -> Any:
    return globals().setdefault("seen", number)


def plain(number: int) -> int:
    return number


@task
def calls_itself(number: int) -> Any:
    calls_itself.tags.add(str(number))
    return calls_itself.tags


def sent(what: Any) -> tuple[SentTask, bytes]:
    data = dumps(what if hasattr(what, "fn") else task(what), what="it")
    return SentTask(data, "it"), data


def by_value(fn: Any) -> Any:
    """Return a task whose function is not found by its name, as that of a decorated one is not."""
    made = task(fn)
    made.fn.__qualname__ = f"decorated.{fn.__name__}"
    return made


@pytest.mark.parametrize("what", [uses_what_is_fixed, plain], ids=lambda each: each.__name__)
@pytest.mark.parametrize("made", [task, by_value])
def test_kept(what: Any, made: Any) -> None:
    source, data = sent(made(what))
    assert source.task(lambda: data, "it") is source.task(lambda: data, "it")


def test_kept_whatever_it_uses_when_it_is_found_by_its_name() -> None:
    source, data = sent(tasks.double)
    assert source.task(lambda: data, "it") is source.task(lambda: data, "it")
    source, data = sent(task(helper))
    assert source.task(lambda: data, "it") is source.task(lambda: data, "it")


@pytest.mark.parametrize(
    "what",
    [
        by_value(uses_dict),
        by_value(uses_dict_inside),
        by_value(rebinds),
        by_value(has_default),
        by_value(looks_around),
        task(around()),
        calls_itself,
        task(on_completion=[Callback()])(plain),
        task(cache_key_fn=lambda *_: str(COUNT))(plain),
    ],
    ids=lambda each: each.name,
)
def test_made_anew(what: Any) -> None:
    source, data = sent(what)
    first, second = source.task(lambda: data, "it"), source.task(lambda: data, "it")
    assert first is not second
    assert first.name == second.name == what.name


def test_what_counts_in_a_dict_counts_one() -> None:
    source, data = sent(by_value(uses_dict))
    assert [source.task(lambda: data, "it").fn(1) for _ in range(3)] == [1, 1, 1]
    assert COUNT == {"runs": 0}


def test_what_cannot_be_read_says_so() -> None:
    with pytest.raises(CannotTravel, match="the code of it cannot be rebuilt"):
        SentTask(b"no pickle", "the code of it")
