"""A check that a Dask scheduler answers at an address; Dask's own client would wait for ever for anything else."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import dask.config
import distributed
import distributed.comm
from dask.utils import parse_timedelta

from prefect_anyrunner._base.errors import EngineUnreachable, SpecError

_comm: Any = distributed.comm
_CONNECTING = 0.9
"""Part of the time in which a connection must be made. The rest is for the answer, so that it is known which failed."""
_PORTS = "a scheduler usually listens on port 8786, and 8787 is usually its dashboard."


def greet(address: str, timeout: float | str, security: Any) -> None:
    """Return if a Dask scheduler answers at `address`; `security` is that of a `distributed.Client`.

    Raises EngineUnreachable within `timeout` seconds, SpecError for TLS without certificates, ValueError for an address
    that Dask cannot read.
    """
    scheme, where = _comm.parse_address(address)
    if scheme not in ("tcp", "tls"):
        return  # because another way to a scheduler may need more than an address
    if security is None and dask.config.get("distributed.client.security-loader", None):
        return  # because only the client calls the loader that knows the certificates
    _comm.parse_host_port(where)  # raises ValueError, which would be taken for a wrong answer below
    seconds = parse_timedelta(timeout)
    try:
        answer = _in_thread(address, seconds, _connection_args(security))
    except TimeoutError as exc:
        text = (
            f"{address} accepts connections, but no Dask scheduler answered there within {seconds:g} seconds; {_PORTS}"
        )
        raise EngineUnreachable(text, address=address) from exc
    except OSError as exc:
        # Dask raises exactly this one when it was connected and the other side went away.
        text = _other(address) if type(exc) is _comm.CommClosedError else unreachable(address, seconds, exc)
        raise EngineUnreachable(text, address=address) from exc
    except TypeError as exc:
        if address.startswith("tls://") and "ssl_context" in str(exc):
            raise SpecError(
                f"{address} speaks TLS: give ca_file, cert and key, or set distributed.comm.tls in Dask's configuration"
            ) from exc
        raise EngineUnreachable(_other(address), address=address) from exc
    except (MemoryError, ValueError, OverflowError, LookupError, AttributeError) as exc:
        # Dask raises these for bytes that are not its own, because it reads the first eight as a length.
        raise EngineUnreachable(_other(address), address=address) from exc
    if not (isinstance(answer, dict) and "workers" in answer):
        raise EngineUnreachable(_other(address, answer), address=address)


def _in_thread(address: str, seconds: float, connection_args: dict[str, Any]) -> Any:
    """Return the answer from an event loop of its own, because the calling thread may be running one."""
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(asyncio.run(asyncio.wait_for(_ask(address, seconds, connection_args), seconds)))
        except BaseException as exc:
            answer.set_exception(exc)

    threading.Thread(target=run, name="anyrunner-greet", daemon=True).start()
    return answer.result()


async def _ask(address: str, seconds: float, connection_args: dict[str, Any]) -> Any:
    comm = await _comm.connect(address, timeout=seconds * _CONNECTING, **connection_args)
    try:
        await comm.write({"op": "identity", "reply": True})
        return await comm.read()
    finally:
        comm.abort()


def _connection_args(security: Any) -> dict[str, Any]:
    made: Any = distributed.Security
    if not isinstance(security, distributed.Security):
        security = made(**(security if isinstance(security, dict) else {}))  # or from Dask's configuration
    found: dict[str, Any] = security.get_connection_args("client")
    return found


def _other(address: str, answer: Any = None) -> str:
    if isinstance(answer, dict) and "scheduler" in answer:
        kind = str(answer.get("type", "worker")).lower()
        return f"{address} is a Dask {kind}, not the scheduler, which is at {answer['scheduler']}."
    return f"{address} answers, but is no Dask scheduler; {_PORTS}"


def unreachable(address: str, seconds: float, exc: BaseException) -> str:
    """Return the sentence about a scheduler that cannot be reached; Dask gives the reason in the first cause."""
    timed_out = isinstance(exc, TimeoutError) or "Timed out" in str(exc)
    first = exc
    while first.__cause__ is not None:
        first = first.__cause__
    why = str(first).strip().partition("\n")[0]
    text = f"No Dask scheduler answered at {address}" + (f" within {seconds:g} seconds" if timed_out else "")
    return f"{text}: {why}" if why and not (first is exc and timed_out) else f"{text}."
