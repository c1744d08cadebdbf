"""The files that choose a runner: the nearest `anyrunner.toml`, or `[tool.anyrunner]` in `pyproject.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from prefect_anyrunner._base.errors import SpecError
from prefect_anyrunner._choosing.suggest import did_you_mean
from prefect_anyrunner.backends import _builtin, _registry

OWN_FILE = "anyrunner.toml"
PROJECT_FILE = "pyproject.toml"
FOR_ALL = tuple(_builtin.SHARED)
"""Options that may appear next to `runner`; they then apply to every runner that has them."""


@dataclass(frozen=True)
class Entry:
    """A value that describes a runner, the place it was read from, and the folder that its relative paths start from.

    `folder` is None if the value was not read from a file.
    """

    value: Any
    place: str
    folder: Path | None = None


@dataclass(frozen=True)
class RunnerFile:
    """The content of the nearest folder with a runner file: `runner` is its default, `runners` are its named tables.

    `options` apply to every runner that has them, unless the runner's own description sets them.
    """

    runner: Entry | None = None
    options: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))
    runners: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))


def read_nearest(folder: Path) -> RunnerFile:
    """Return the content of the nearest folder at or above `folder` that chooses runners; empty if none does.

    Within one folder `anyrunner.toml` comes before `pyproject.toml`, and both may define named runners. Raises
    SpecError with every problem found: a file that is not TOML, an unknown key, two runners of the same name, a runner
    with the name of a backend.
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
    # A project file that does not mention us is not ours to check, even if it is broken.
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
        # TOML forbids defining a table twice, but the parser's message names neither the table nor a remedy.
        hint = " (are two runners named the same?)" if "Cannot declare" in str(error) else ""
        raise SpecError(f"{path}: is not valid TOML: {error}{hint}") from error


def _merge(found: list[tuple[Path, dict[str, Any]]]) -> RunnerFile:
    problems: list[str] = []
    runner: Entry | None = None
    for_all: dict[str, Entry] = {}
    runners: dict[str, Entry] = {}
    for path, table in found:
        prefix = "tool.anyrunner." if path.name == PROJECT_FILE else ""
        for key, value in table.items():
            if key == "runner":
                runner = runner or Entry(value, f"{path}: {prefix}runner", path.parent)
            elif key in FOR_ALL:
                for_all.setdefault(key, Entry(value, f"{path}: {prefix}{key}", path.parent))
            elif key != "runners":
                known = ["runner", "runners", *FOR_ALL]
                hint = did_you_mean(key, known, f"; known keys are {', '.join(map(repr, known))}")
                problems.append(f"{path}: unknown key {prefix}{key}{hint}")
            elif not isinstance(value, dict):
                problems.append(f"{path}: {prefix}runners is not a table of runners")
            else:
                for name, entry in value.items():
                    place = f"{path} [{prefix}runners.{name}]"
                    if _registry.knows(name):
                        problems.append(
                            f"{place}: {name!r} is the name of a backend, so that nobody could choose this runner"
                        )
                    elif name in runners:
                        problems.append(f"two runners are named {name!r}: {runners[name].place} and {place}")
                    else:
                        runners[name] = Entry(entry, place, path.parent)
    if problems:
        raise SpecError(problems)
    return RunnerFile(runner, MappingProxyType(for_all), MappingProxyType(runners))
