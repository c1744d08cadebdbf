"""`anyrunner events send`: sends a file of changes that a flow run could not bring into the Prefect API."""

from __future__ import annotations

from pathlib import Path

import httpx
from prefect.exceptions import ObjectNotFound

from prefect_anyrunner._publishing.options import EventOptions
from prefect_anyrunner._publishing.send_file import send_changes
from prefect_anyrunner._publishing.unsent_file import read_unsent
from prefect_anyrunner.cli.usage_error import UsageError


def send(file: str) -> int:
    """Send the changes in a file, delete the file once the API has recorded them all, and return the exit code."""
    path = Path(file)
    try:
        changes = read_unsent(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        left = send_changes(changes, EventOptions().events_timeout)
    except ObjectNotFound as error:
        raise UsageError(
            f"{path}: the API does not know its flow run: is this the API that the flow ran with?"
        ) from error
    except httpx.HTTPError as error:
        raise UsageError(f"the API does not answer: {error}") from error
    if left:
        print(f"The API has not recorded {left:,} of {len(changes):,} task runs. {path} is kept: send it again later.")
        return 1
    path.unlink()
    print(f"The API has recorded {len(changes):,} task runs. {path} is not needed any more and was deleted.")
    return 0
