"""The files a runner is chosen in: `anyrunner.toml`, or `[tool.anyrunner]` in `pyproject.toml`, the nearest upwards."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from prefect_anyrunner._base.errors import SpecError

OWN_FILE = "anyrunner.toml"
PROJECT_FILE = "pyproject.toml"


@dataclass(frozen=True)
class Entry:
    """One value of a file: what stands there, where that is, and the folder that relative paths start from."""

    value: Any
    place: str
    folder: Path


@dataclass(frozen=True)
class RunnerFile:
    """What the nearest folder with a runner file says: `runner` is its default, `runners` its named tables."""

    runner: Entry | None = None
    runners: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))


def read_nearest(folder: Path) -> RunnerFile:
    """Return what the nearest folder at or above `folder` says; nothing there is an empty `RunnerFile`.

    Within one folder `anyrunner.toml` comes before `pyproject.toml`, and both may define named runners. Raises
    SpecError with every problem found: a file that is not TOML, an unknown key, two runners of the same name.
    """
    for each in (folder, *folder.parents):
        found = [
            (path, table)
            for path, table in ((each / OWN_FILE, _own(each / OWN_FILE)), _project(each / PROJECT_FILE))
            if table is not None
        ]
        if found:
            return _merge(found)
    return RunnerFile()


def _own(path: Path) -> dict[str, Any] | None:
    raw = _bytes(path)
    return None if raw is None else _toml(path, raw)


def _project(path: Path) -> tuple[Path, dict[str, Any] | None]:
    raw = _bytes(path)
    # A project file that never speaks of us is none of our business, not even when it is broken.
    if raw is None or b"anyrunner" not in raw:
        return path, None
    tool = _toml(path, raw).get("tool")
    table = tool.get("anyrunner") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise SpecError(f"{path} [tool.anyrunner]: is not a table")
    return path, table


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from error


def _toml(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # TOML itself forbids a table twice; its message then names neither the table nor what to do.
        hint = " (are two runners named the same?)" if "Cannot declare" in str(error) else ""
        raise SpecError(f"{path}: is not valid TOML: {error}{hint}") from error


def _merge(found: list[tuple[Path, dict[str, Any]]]) -> RunnerFile:
    problems: list[str] = []
    runner: Entry | None = None
    runners: dict[str, Entry] = {}
    for path, table in found:
        prefix = "tool.anyrunner." if path.name == PROJECT_FILE else ""
        for key, value in table.items():
            if key == "runner":
                runner = runner or Entry(value, f"{path}: {prefix}runner", path.parent)
            elif key != "runners":
                close = get_close_matches(key, ["runner", "runners"], n=1)
                hint = f"; did you mean {close[0]!r}?" if close else "; there are 'runner' and 'runners'"
                problems.append(f"{path}: unknown key {prefix}{key}{hint}")
            elif not isinstance(value, dict):
                problems.append(f"{path}: {prefix}runners is not a table of runners")
            else:
                for name, entry in value.items():
                    place = f"{path} [{prefix}runners.{name}]"
                    if name in runners:
                        problems.append(f"two runners are named {name!r}: {runners[name].place} and {place}")
                    else:
                        runners[name] = Entry(entry, place, path.parent)
    if problems:
        raise SpecError(problems)
    return RunnerFile(runner, MappingProxyType(runners))
