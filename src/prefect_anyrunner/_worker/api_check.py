"""Whether the Prefect API can be reached from this process."""

from __future__ import annotations

from urllib.parse import urlsplit

from prefect_anyrunner._base.errors import ApiUnreachable
from prefect_anyrunner._worker import probe


def unreachable(where: str, api: str, why: str) -> ApiUnreachable:
    """Return the error of a worker that cannot reach the API."""
    return ApiUnreachable(
        f"{where} cannot reach the Prefect API at {api} ({why}): where the flow runs, set PREFECT_API_URL to an "
        "address that workers can reach."
    )


def api_problem(api: str) -> str | None:
    """Return why the API at this URL cannot be reached from this process, or None."""
    return probe.unreachable(_host_and_port(api))


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
