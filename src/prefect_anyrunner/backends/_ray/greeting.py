"""A check that a Ray answers at an address: Ray itself tries for half a minute or more if something else answers."""

from __future__ import annotations

import os
import socket
import time

from prefect_anyrunner._base.errors import EngineUnreachable
from prefect_anyrunner.backends._ray.addresses import ray_host_and_port

_CALL = "/ray.rpc.RayletDriver/ClusterInfo"
"""A call that the server behind `ray://` knows, and the head's own server does not."""
_PORTS = "a Ray listens on port 10001 for ray:// and on 6379 for an address without it, unless it was told otherwise"


def greet(address: str, seconds: float) -> None:
    """Return if a Ray may be at `address`.

    Raises OSError if nothing listens there, EngineUnreachable if something else does; both within `seconds`.
    """
    until = time.monotonic() + seconds
    host, port = ray_host_and_port(address)
    with socket.create_connection((host, port), seconds):
        pass
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return  # because only Ray knows the certificates
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    found = _problem(where, until - time.monotonic(), client=address.startswith("ray://"))
    if found is not None:
        raise EngineUnreachable(f"{address} {found.format(seconds=seconds)}; {_PORTS}.", address=address)


def _problem(where: str, left: float, *, client: bool) -> str | None:
    """Return what is wrong with the server, or None; `client`: whether it should be the one behind `ray://`."""
    try:
        import grpc  # here, because a Ray without its extras has none
    except ImportError:
        return None
    # As Ray itself does, which uses a proxy only for `ray://`.
    with grpc.insecure_channel(where, options=[("grpc.enable_http_proxy", int(client))]) as channel:
        try:
            channel.unary_unary(_CALL)(b"", timeout=max(left, 0.1))
        except grpc.RpcError as exc:
            code = exc.code()
        else:
            code = grpc.StatusCode.OK
    if code is grpc.StatusCode.UNAVAILABLE:
        return "answers, but is no Ray"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "accepts connections, but no Ray answered there within {seconds:g} seconds"
    if client and code is grpc.StatusCode.UNIMPLEMENTED:
        return "answers, but is no server for clients of Ray"
    if not client and code is not grpc.StatusCode.UNIMPLEMENTED:
        return f"is a server for clients of Ray: write ray://{where}"
    return None
