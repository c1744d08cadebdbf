"""Whether the Prefect API can be reached from this process."""

from __future__ import annotations

from prefect_anyrunner._base.addresses import host_and_port
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
    return probe.unreachable(host_and_port_of_api(api))


def host_and_port_of_api(url: str) -> tuple[str, int]:
    """Return the host and the port at which the Prefect API at `url` listens."""
    return host_and_port(url, 443 if url.startswith("https://") else 80)
