"""Errors with a traceback, and reports of fake futures."""

from __future__ import annotations

from prefect_anyrunner import Report, settle
from tests.unit.fake_future import FakeFuture


def failed(text: str) -> ValueError:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def settled(*futures: FakeFuture) -> Report:
    return settle(list(futures))
