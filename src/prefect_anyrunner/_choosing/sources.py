"""The sources of a runner in their order: the first one that names a runner decides."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from prefect_anyrunner._base.errors import SpecError
from prefect_anyrunner._base.secrets import hide_in_text
from prefect_anyrunner._choosing.files import Entry, RunnerFile
from prefect_anyrunner._choosing.parse import Draft, draft_of_mapping, parse_url
from prefect_anyrunner._choosing.suggest import did_you_mean
from prefect_anyrunner.backends import _registry

ENVIRONMENT_VARIABLE = "ANYRUNNER"


def first_source(spec: object, default: object, place: str, file: Callable[[], RunnerFile]) -> Entry:
    """Return the first entry that names a runner: argument, environment, file, default, or else "thread".

    `place`: the name of the argument `spec` in errors. `file()` is called only if the file has to be read.
    """
    if spec is not None:
        return Entry(spec, place)
    if from_environment := os.environ.get(ENVIRONMENT_VARIABLE, "").strip():
        return Entry(from_environment, f"environment variable {ENVIRONMENT_VARIABLE}")
    if (entry := file().runner) is not None:
        return entry
    if default is not None:
        return Entry(default, "argument default")
    return Entry("thread", "built-in default")


def draft_of(entry: Entry, file: Callable[[], RunnerFile]) -> Draft:
    """Return the draft that an entry describes: a mapping, a URL, a backend, or the name of a runner in the file.

    Raises SpecError, with the place of the entry.
    """
    value, place = entry.value, entry.place
    if isinstance(value, Mapping):
        return draft_of_mapping(value, place, entry.folder)
    if not isinstance(value, str):
        raise SpecError(f"{place}: a runner is a URL, a mapping or a name, not {type(value).__name__}")
    if "://" in value:
        return parse_url(value.strip(), place)
    name = value.strip()
    if _registry.knows(name):
        return Draft(name, place)
    named = file().runners.get(name)
    if named is None:
        raise SpecError(f"{place}: {unknown_runner(name, file().runners)}")
    if isinstance(named.value, str) and "://" not in named.value and not _registry.knows(named.value):
        raise SpecError(f"{named.place}: {hide_in_text(named.value)!r} is neither a URL nor a backend")
    return draft_of(named, file)


def unknown_runner(name: str, named: Iterable[str]) -> str:
    """Return the text of the problem that `name` is neither a backend nor one of the `named` runners."""
    known = [*_registry.names(), *named]
    problem = f"unknown runner {hide_in_text(name)!r}" if name else "no runner is named"
    return f"{problem}{did_you_mean(name, known)} (known: {', '.join(known)})"
