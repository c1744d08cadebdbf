"""Files with the ends of runs that the API has not recorded: one line of JSON for each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from prefect.settings import get_current_settings

from prefect_anyrunner._publishing.change import Change


def write_unsent(changes: Sequence[Change]) -> Path:
    """Write changes to a new file in Prefect's home folder and return its path."""
    folder = kept_files()
    folder.mkdir(parents=True, exist_ok=True)
    flow_run_id = changes[0].task_run.flow_run_id if changes else None
    number = 0
    while True:
        path = folder / f"unsent-{flow_run_id}-{os.getpid()}-{number}.jsonl"
        try:
            file = path.open("x", encoding="utf-8")
        except FileExistsError:
            number += 1
            continue
        try:
            with file:
                file.writelines(change.to_json() + "\n" for change in changes)
        except OSError:
            path.unlink()
            raise
        return path


def unsent_files(flow_run_id: UUID) -> list[Path]:
    """Return the files of this machine that keep ends of a flow run."""
    return sorted(kept_files().glob(f"unsent-{flow_run_id}-*.jsonl"))


def kept_files() -> Path:
    """Return the folder of this machine with the files that flow runs leave."""
    return get_current_settings().home / "anyrunner"


def read_unsent(path: Path) -> list[Change]:
    """Return the changes of a file. Raises OSError if it cannot be read, ValueError if a line is not a change."""
    changes = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                changes.append(Change.from_json(line))
            except (ValueError, KeyError, TypeError, AttributeError) as exc:
                if not line.endswith("\n"):  # the process was killed while it wrote this last line
                    break
                raise ValueError(f"{path}: line {number} is not the end of a task run: {exc}") from exc
    return changes
