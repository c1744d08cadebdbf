"""Dask's log of a cluster that runs in this process: some thirty lines of INFO, which say nothing about the flow."""

from __future__ import annotations

import logging

import dask.config
from prefect.settings import get_current_settings

_LOGGER = logging.getLogger("distributed")
_DASKS_OWN = logging.INFO
"""Level that Dask gives its logger unless its configuration says otherwise."""
_QUIET = logging.WARNING


def be_quiet() -> None:
    """Log only warnings and errors of Dask, unless somebody has asked for a level or for these lines."""
    if _LOGGER.level == _DASKS_OWN and not _asked_for():
        _LOGGER.setLevel(_QUIET)


def be_as_before() -> None:
    """Undo `be_quiet`."""
    if _LOGGER.level == _QUIET and not _asked_for():
        _LOGGER.setLevel(_DASKS_OWN)


def _asked_for() -> bool:
    places = ("logging", "logging-file-config", "distributed.logging", "distributed.logging-file-config")
    extra = get_current_settings().logging.extra_loggers or ()
    return any(map(dask.config.get, places, [None] * len(places))) or "distributed" in extra
