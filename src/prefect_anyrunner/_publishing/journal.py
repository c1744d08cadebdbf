"""A file in which a flow run's process records its task runs, for `anyrunner audit` (option `events_journal`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State, StateType, TaskRun

from prefect_anyrunner._publishing.unsent_file import kept_files

_LONGEST_MESSAGE = 1_000
"""Characters of a state's message in a journal."""


@dataclass(frozen=True, slots=True)
class KnownRun:
    """The record of one task run in a journal: its name, and its end if it had one.

    `published` is false if the option `events` leaves the end out of the API.
    """

    name: str
    end: State[Any] | None = None
    published: bool = True


def write_journal(run: TaskRun, end: State[Any] | None = None, *, published: bool = True) -> None:
    """Add a line about a task run that was submitted or has ended. A task run outside of a flow run gets none.

    Each line is written at once, so that it survives if the process is killed. Raises OSError.
    """
    if run.flow_run_id is None:
        return
    line: dict[str, object] = {"id": str(run.id), "name": run.name}
    if end is not None:
        line |= {"type": end.type.value, "state": end.name, "message": (end.message or "")[:_LONGEST_MESSAGE]}
    if not published:
        line["published"] = False
    path = kept_files() / f"journal-{run.flow_run_id}-{os.getpid()}.jsonl"
    try:
        file = path.open("ab", buffering=0)  # threads of one process write whole lines
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
    with file:
        file.write(json.dumps(line).encode() + b"\n")


def journal_files(flow_run_id: UUID) -> list[Path]:
    """Return the journals of a flow run on this machine: one for each process that submitted task runs of it."""
    return sorted(kept_files().glob(f"journal-{flow_run_id}-*.jsonl"))


def read_journals(files: Iterable[Path]) -> dict[UUID, KnownRun]:
    """Return the records in journals of one flow run, by the id of the task run. Raises OSError."""
    known: dict[UUID, KnownRun] = {}
    for path in files:
        for line in path.read_bytes().splitlines():
            try:
                said = json.loads(line)
            except ValueError:  # the process was killed while it wrote the last line
                continue
            run_id, end = UUID(said["id"]), None
            if "type" in said:
                end = State[Any](type=StateType(said["type"]), name=said["state"], message=said["message"] or None)
            elif run_id in known:  # another process, which submitted the run, may have written that it has ended
                continue
            known[run_id] = KnownRun(said["name"], end, said.get("published", True))
    return known
