"""`anyrunner report`: what became of the task runs of a past flow run, from the Prefect API."""

from __future__ import annotations

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from prefect_anyrunner._reports.files import FORMATS
from prefect_anyrunner._reports.past import report_of
from prefect_anyrunner.cli.flow_run_id import flow_run_id
from prefect_anyrunner.cli.report_files import report_path, save
from prefect_anyrunner.cli.usage_error import UsageError


def report(flow_run: str, *, style: str, file: str | None) -> int:
    """Print the report of a flow run in one of `FORMATS`, or write it to a file; return the exit code."""
    path = report_path(file, "-o") if file is not None else None
    wanted = flow_run_id(flow_run)
    try:
        with get_client(sync_client=True) as client:
            found = report_of(client, client.read_flow_run(wanted))
    except ObjectNotFound:
        raise UsageError(f"the API does not know flow run {wanted}") from None
    except httpx.HTTPError as error:
        raise UsageError(f"the API does not answer: {error}") from error
    if path is None:
        print(FORMATS[style](found), end="")
    else:
        save(found, path)
        print(f"the report of flow run {wanted} is in {path}")
    return 0
