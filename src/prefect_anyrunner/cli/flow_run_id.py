"""The id of a flow run on the command line."""

from __future__ import annotations

import re
from uuid import UUID

from prefect_anyrunner.cli.usage_error import UsageError

_ID = re.compile("[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.I)


def flow_run_id(text: str) -> UUID:
    """Return the id that `text` is, or that the address of a flow run's page ends with. Raises UsageError."""
    found = _ID.findall(text.partition("?")[0])
    if not found:
        raise UsageError(f"{text!r} is not the id of a flow run")
    return UUID(found[-1])
