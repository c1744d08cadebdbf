"""Host and port of an address."""

from __future__ import annotations

from urllib.parse import urlsplit


def host_and_port(address: str, default_port: int) -> tuple[str, int]:
    """Return host and port of `host:port`, `tcp://user:password@host:port` or `http://host:port/path`.

    Args:
        address: with or without a scheme; everything before the last `@` is left out, as in `secrets.hide_in_text`,
            because a password may itself hold `/` or `@`.
        default_port: the port of an address that names none.

    Raises:
        ValueError: the port is no number between 0 and 65535.
    """
    parts = urlsplit("//" + address.rpartition("://")[2].rpartition("@")[2])
    return parts.hostname or "", default_port if parts.port is None else parts.port
