"""Addresses of Rays, and the token of a Ray that starts in this process."""

from __future__ import annotations

import os
import re
import secrets
import socket
from pathlib import Path

import ray

from prefect_anyrunner._base.addresses import host_and_port
from prefect_anyrunner._base.errors import VersionSkew

OWN = "local"
"""Ray's own word for the address of a Ray that is started for its caller."""
_TOKEN_VARIABLE = "RAY_AUTH_TOKEN"
_token = ""


def connected_to() -> str:
    """Return the address of the Ray that this process is connected to, in the form in which a user gives it."""
    client = ray.util.client.ray.get_context()  # type: ignore[no-untyped-call]
    if client.is_connected():
        return f"ray://{client.client_worker._conn_str}"
    address: str = ray.get_runtime_context().gcs_address
    return address


def is_same(one: str, other: str) -> bool:
    """Return whether two addresses stand for one Ray."""
    if one.startswith("ray://") != other.startswith("ray://"):
        return False  # a client server does not report which Ray it belongs to
    (host, port), (other_host, other_port) = ray_host_and_port(one), ray_host_and_port(other)
    return port == other_port and (host == other_host or bool(_numbers(host) & _numbers(other_host)))


def ray_host_and_port(address: str) -> tuple[str, int]:
    """Return the host and the port of an address of a Ray."""
    return host_and_port(address, 10001 if address.startswith("ray://") else 6379)


def _numbers(host: str) -> set[str]:
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
    except OSError:
        return set()
    if any(number.startswith("127.") or number == "::1" for number in found):
        found |= {"127.0.0.1", str(ray.util.get_node_ip_address())}  # type: ignore[no-untyped-call]
    return found


def set_token() -> None:
    """Put a token for a Ray that is about to start here into the environment, unless the user gave one.

    Without it, Ray would write a token into the user's home folder and leave it there.
    """
    global _token
    given = ("RAY_AUTH_MODE", _TOKEN_VARIABLE, "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS")
    if any(name in os.environ for name in given) or Path("~/.ray/auth_token").expanduser().exists():
        return
    _token = _token or secrets.token_hex(32)  # Ray reads it once per process
    os.environ[_TOKEN_VARIABLE] = _token


def version_skew(where: str, text: str) -> VersionSkew | None:
    """Return the error for Ray's message about differing versions, or None if `text` is another message."""
    found = re.search(r"Ray: (\S+)\s+Python: (\S+)\s.*?Ray: (\S+)\s+Python: (\S+)", text, re.DOTALL)
    if "Version mismatch" not in text or found is None:
        return None
    ray_there, python_there, ray_here, python_here = found.groups()
    pairs = (("ray", ray_there, ray_here), ("python", python_there, python_here))
    return VersionSkew(where, [pair for pair in pairs if pair[1] != pair[2]])
