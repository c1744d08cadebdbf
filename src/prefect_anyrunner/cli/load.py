"""The flow and its parameters, as the command line names them; a check that the address of a runner answers."""

from __future__ import annotations

import inspect
import json
import logging
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
from prefect import Flow
from prefect.exceptions import MissingFlowError, ParameterTypeError, ScriptError
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import get_call_parameters

from prefect_anyrunner._base.addresses import host_and_port
from prefect_anyrunner._base.errors import EngineUnreachable
from prefect_anyrunner._base.secrets import hide_in_text
from prefect_anyrunner._choosing.spec import RunnerSpec
from prefect_anyrunner._choosing.suggest import did_you_mean
from prefect_anyrunner.cli.usage_error import UsageError

CONNECT_SECONDS = 10.0
"""Seconds that an address gets to answer unless the spec says otherwise."""


def load_flow(spec: str) -> Flow[..., Any]:
    """Return the flow of `FILE.py:FLOW` or `package.module:FLOW`. Raises UsageError."""
    where, colon, name = spec.rpartition(":")
    if not (colon and where and name):
        raise UsageError(f"{spec!r} is not FILE:FLOW, such as nightly.py:nightly")
    is_file = where.endswith(".py") or os.sep in where
    if is_file and not Path(where).is_file():
        raise UsageError(f"the file {where!r} does not exist")
    if is_file and not where.endswith(".py"):
        raise UsageError(f"{where!r} is not a Python file: its name must end in .py")
    flow = _load(spec, where, name)
    if is_file:
        # Pickle its functions by value, as `python FILE` would, because workers may not have the file.
        module = sys.modules.get(flow.fn.__module__)
        if module is not None and Path(getattr(module, "__file__", None) or "").resolve() == Path(where).resolve():
            cloudpickle.register_pickle_by_value(module)
    return flow


def _load(spec: str, where: str, name: str) -> Flow[..., Any]:
    try:
        with _flow_runs_reported(where):
            flow: Any = load_flow_from_entrypoint(spec, use_placeholder_flow=False)
    except MissingFlowError as error:
        problem = "is not a flow: decorate it with @flow" if "is not a flow" in str(error) else "does not exist"
        raise UsageError(f"{name!r} in {where} {problem}") from error
    except ScriptError as error:
        raise UsageError(f"{where} cannot be imported: {_one_line(error.user_exc)}") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{where} cannot be imported: {_one_line(error)}") from error
    return flow  # type: ignore[no-any-return]


def read_parameters(flow: Flow[..., Any], pairs: Iterable[str]) -> dict[str, Any]:
    """Return the parameters of `name=value` texts; a value is read as JSON, or else as text. Raises UsageError."""
    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"parameter {pair!r} is not name=value")
        if name in parameters:
            raise UsageError(f"parameter {name!r} is given twice")
        try:
            parameters[name] = json.loads(value)
        except ValueError:
            parameters[name] = value
    _check_names(flow, parameters)
    try:
        inspect.signature(flow.fn).bind(**parameters)
        if flow.should_validate_parameters:
            with _silenced("prefect.flows"):  # its log repeats the error
                flow.validate_parameters(get_call_parameters(flow.fn, (), parameters))
    except ParameterTypeError as error:
        raise UsageError(f"flow {flow.name!r} does not take these parameters: {_problems(error)}") from error
    except TypeError as error:
        raise UsageError(f"flow {flow.name!r} does not take these parameters: {error}") from error
    return parameters


def _check_names(flow: Flow[..., Any], names: Iterable[str]) -> None:
    """Raise UsageError for the first of `names` that is no parameter of the flow."""
    taken = inspect.signature(flow.fn).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in taken):
        return
    known = [each.name for each in taken if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    for name in names:
        if name not in known:
            parameters = f"its parameters: {', '.join(known)}" if known else "it has none"
            raise UsageError(f"flow {flow.name!r} has no parameter {name!r}{did_you_mean(name, known)} ({parameters})")


def check_reachable(spec: RunnerSpec) -> None:
    """Fail now, before a flow run exists, if the backend is not installed or its address does not answer.

    Raises BackendUnavailable, EngineUnreachable within the spec's connect timeout.
    """
    runner = spec.runner()
    if spec.address is None:
        return
    host, port = host_and_port(spec.address, 0)
    if not port:  # only the engine knows where a word such as "auto" points to
        with runner:
            return
    seconds = spec.options.get("connect_timeout", CONNECT_SECONDS)
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        raise EngineUnreachable(
            f"no {spec.backend} answers at {hide_in_text(spec.address)} (tried for at most {seconds:g} s): {error}",
            address=spec.address,
        ) from error


@contextmanager
def _flow_runs_reported(where: str) -> Iterator[None]:
    """Print a line for each flow that runs in the block, because the import of a file should run none."""
    logger = logging.getLogger("prefect.flow_runs")
    level, wanted = logger.level, logger.getEffectiveLevel()
    found: set[str] = set()

    def note(record: logging.LogRecord) -> bool:
        found.add(getattr(record, "flow_name", "unnamed"))
        return record.levelno >= wanted

    logger.addFilter(note)
    logger.setLevel(logging.INFO if wanted > logging.INFO else level)
    try:
        yield
    finally:
        logger.removeFilter(note)
        logger.setLevel(level)
        for name in sorted(found):
            print(
                f"anyrunner: the import of {where} has run flow {name!r}; put its call under "
                '`if __name__ == "__main__":`, because every import runs it once more',
                file=sys.stderr,
            )


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _problems(error: Exception) -> str:
    lines = _lines(error)
    return "; ".join(lines[1:] or lines)  # the first line repeats which flow it is


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {'; '.join(_lines(error))}".rstrip(": ")


def _lines(error: BaseException) -> list[str]:
    return [line.strip(" -") for line in str(error).splitlines() if line.strip()]
