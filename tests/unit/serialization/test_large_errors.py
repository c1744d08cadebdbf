"""The parts of an exception that are too large, or that cannot travel, do not cost it the others."""

import threading

import pytest

from prefect_anyrunner._serialization import pack
from prefect_anyrunner._serialization.unpack import unpack_error


def arrived(error: BaseException) -> BaseException:
    return unpack_error(pack.pack_error(error))


def test_a_part_that_cannot_travel_does_not_cost_the_others_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MAX_TOTAL", 100_000)
    large = b"x" * 60_000
    assert arrived(ValueError(large, threading.Lock())).args[0] == large


def test_parts_that_are_too_large_together_travel_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MAX_PART", 100_000)
    large = b"x" * 60_000
    first, second, small = arrived(ValueError(large, large[1:], large[:30_000])).args
    assert (first, small) == (large, large[:30_000])
    assert isinstance(second, str)
