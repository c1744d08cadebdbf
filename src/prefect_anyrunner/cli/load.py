"""The flow and its parameters, from the command line."""

from __future__ import annotations

import inspect
import json
import os
import socket
import sys
from collections.abc import Iterable
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
from prefect_anyrunner.cli.run import _one_line, _silent

CONNECT_SECONDS = 10.0
"""How long an address may take to answer when the spec does not say."""


class BadInput(Exception):
    """The command cannot begin; its text is the one sentence to print, and the exit code is 2."""


def load_flow(spec: str) -> Flow[..., Any]:
    """Return the flow of `FILE.py:FLOW` or `package.module:FLOW`. Raises BadInput in one sentence."""
    where, colon, name = spec.rpartition(":")
    if not (colon and where and name):
        raise BadInput(f"{spec!r} is not FILE:FLOW, such as nightly.py:nightly")
    is_file = where.endswith(".py") or os.sep in where
    if is_file and not Path(where).is_file():
        raise BadInput(f"there is no file {where!r}")
    if is_file and not where.endswith(".py"):
        raise BadInput(f"{where!r} is not a Python file: its name must end in .py")
    try:
        flow: Any = load_flow_from_entrypoint(spec, use_placeholder_flow=False)
    except MissingFlowError as error:
        what = "is not a flow: decorate it with @flow" if "is not a flow" in str(error) else "is not there"
        raise BadInput(f"{name!r} in {where} {what}") from error
    except ScriptError as error:
        raise BadInput(f"{where} does not import: {_one_line(error.user_exc)}") from error
    except (Exception, SystemExit) as error:
        raise BadInput(f"{where} does not import: {_one_line(error)}") from error
    if is_file:
        # As `python FILE` would: its functions travel themselves, for workers may not have the file.
        module = sys.modules.get(flow.fn.__module__)
        if module is not None and Path(getattr(module, "__file__", None) or "").resolve() == Path(where).resolve():
            cloudpickle.register_pickle_by_value(module)
    return flow  # type: ignore[no-any-return]


def read_parameters(flow: Flow[..., Any], pairs: Iterable[str]) -> dict[str, Any]:
    """Return the parameters of `name=value` texts; a value is JSON, or else text. Raises BadInput."""
    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadInput(f"parameter {pair!r} is not name=value")
        if name in parameters:
            raise BadInput(f"parameter {name!r} is given twice")
        try:
            parameters[name] = json.loads(value)
        except ValueError:
            parameters[name] = value
    try:
        inspect.signature(flow.fn).bind(**parameters)
        if flow.should_validate_parameters:
            with _silent("prefect.flows"):  # it logs what the error says anyway
                flow.validate_parameters(get_call_parameters(flow.fn, (), parameters))
    except (TypeError, ParameterTypeError) as error:
        raise BadInput(f"flow {flow.name!r} does not take these parameters: {_one_line(error)}") from error
    return parameters


def check_reachable(spec: RunnerSpec) -> None:
    """Fail now, before a flow run exists, if the backend is not installed or nobody listens at the address.

    Raises BackendUnavailable, EngineUnreachable within the spec's connect timeout.
    """
    runner = spec.runner()
    if spec.address is None:
        return
    host, port = host_and_port(spec.address, 0)
    if not port:  # a word such as "auto": only the engine knows where that is
        with runner:
            return
    seconds = spec.options.get("connect_timeout", CONNECT_SECONDS)
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        raise EngineUnreachable(
            f"no {spec.backend} answers at {hide_in_text(spec.address)} (tried for {seconds:g} s at most): {error}",
            address=spec.address,
        ) from error
