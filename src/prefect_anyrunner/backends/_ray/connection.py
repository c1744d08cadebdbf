"""To which Ray this process is connected, and the token of one that starts here."""

from __future__ import annotations

import os
import re
import secrets
import socket
from pathlib import Path

import ray

from prefect_anyrunner._base.addresses import host_and_port
from prefect_anyrunner._base.errors import VersionSkew


def _skew(where: str, text: str) -> VersionSkew | None:
    """Return the error that tells what Ray says of versions in several lines, or None if that is not what it says."""
    found = re.search(r"Ray: (\S+)\s+Python: (\S+)\s.*?Ray: (\S+)\s+Python: (\S+)", text, re.DOTALL)
    if "Version mismatch" not in text or found is None:
        return None
    ray_there, python_there, ray_here, python_here = found.groups()
    pairs = (("ray", ray_there, ray_here), ("python", python_there, python_here))
    return VersionSkew(where, [pair for pair in pairs if pair[1] != pair[2]])


_TOKEN_VARIABLE = "RAY_AUTH_TOKEN"
_token = ""


def connected_to() -> str:
    """Return the address of the Ray that this process is connected to, as one would ask for it."""
    client = ray.util.client.ray.get_context()  # type: ignore[no-untyped-call]
    if client.is_connected():
        return f"ray://{client.client_worker._conn_str}"
    address: str = ray.get_runtime_context().gcs_address
    return address


def is_same(one: str, other: str) -> bool:
    """Tell whether two addresses stand for one Ray."""
    if one.startswith("ray://") != other.startswith("ray://"):
        return False  # a client server tells nobody whose it is
    (host, port), (other_host, other_port) = host_and_port_of_ray(one), host_and_port_of_ray(other)
    return port == other_port and (host == other_host or bool(_numbers(host) & _numbers(other_host)))


def host_and_port_of_ray(address: str) -> tuple[str, int]:
    """Return where the Ray at `address` listens."""
    return host_and_port(address, 10001 if address.startswith("ray://") else 6379)


def _numbers(host: str) -> set[str]:
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
    except OSError:
        return set()
    if any(number.startswith("127.") or number == "::1" for number in found):
        found |= {"127.0.0.1", str(ray.util.get_node_ip_address())}  # type: ignore[no-untyped-call]
    return found


def set_token() -> bool:
    """Give a Ray that is about to start here a token of this process, unless there is one; tell whether that was so.

    Ray would otherwise write one into the user's home folder, and leave it there.
    """
    global _token
    given = ("RAY_AUTH_MODE", _TOKEN_VARIABLE, "RAY_AUTH_TOKEN_PATH")
    ours = bool(_token)  # Ray itself sets the mode at the first start, and reads the token once per process
    if (not ours and any(name in os.environ for name in given)) or Path("~/.ray/auth_token").expanduser().exists():
        return False
    _token = _token or secrets.token_hex(32)
    os.environ[_TOKEN_VARIABLE] = _token
    return True


def unset_token() -> None:
    """Undo what `set_token` did to the environment."""
    os.environ.pop(_TOKEN_VARIABLE, None)
