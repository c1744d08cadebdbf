"""Environment variables for child processes: quiet logs, and a token for a Ray that starts there."""

from __future__ import annotations

import os
import secrets

from prefect_anyrunner._choosing.spec import RunnerSpec


def ray_token() -> dict[str, str]:
    """Return the variables that give Ray a new token; without one, Ray writes one into the user's home folder."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def child_environment(spec: RunnerSpec, *, quiet: bool = True) -> dict[str, str]:
    """Return the environment for a child process that runs flows on `spec`.

    It is the environment of this process, with defaults for quiet logs, because the log of each failed task would bury
    a report; the Prefect API has the states anyway. A Ray that starts in the child gets a token.
    """
    defaults = {"RAY_USAGE_STATS_ENABLED": "0"}
    if quiet:
        defaults["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    if spec.address is None and "RAY_AUTH_MODE" not in os.environ:
        defaults |= ray_token()
    return {**defaults, **os.environ}
