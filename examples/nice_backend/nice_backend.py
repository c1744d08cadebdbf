"""A backend of one's own: `nice://?niceness=10` runs tasks in processes that leave the processor to others.

Installed beside prefect-anyrunner it is found by its entry point, and put to the table of rules by

    anyrunner conform 'nice://?max_workers=2'
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from prefect_anyrunner.backends import Backend, Option
from prefect_anyrunner.backends.process import ProcessPoolTaskRunner


def build(address: str | None, options: Mapping[str, Any]) -> ProcessPoolTaskRunner:
    """Return the task runner of a `nice://` spec, whose options have been checked."""
    settings = {"niceness": 10, **options}
    return ProcessPoolTaskRunner(initializer=os.nice, initargs=(settings.pop("niceness"),), **settings)


BACKEND = Backend(
    name="nice",
    build="nice_backend:build",  # as text: known without being imported
    schemes={"nice": ""},
    options={
        "max_workers": Option("int", "how many task runs at a time", minimum=1),
        "niceness": Option("int", "how much to leave to others, 0 to 19; 10 by default", minimum=0),
        "rerun_lost": Option("int", "how often a run lost with its worker is executed again", minimum=0),
    },
)
