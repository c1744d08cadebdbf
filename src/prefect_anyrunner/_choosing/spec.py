"""`RunnerSpec`: the runner that a flow runs on, its options, and the sources of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from prefect_anyrunner._base.errors import SpecError
from prefect_anyrunner._base.public import public
from prefect_anyrunner._base.secrets import hide, hide_in_text
from prefect_anyrunner._choosing.files import Entry, RunnerFile, read_nearest
from prefect_anyrunner._choosing.parse import Draft
from prefect_anyrunner._choosing.sources import draft_of, first_source, unknown_runner
from prefect_anyrunner._choosing.validate import check, options_for_all
from prefect_anyrunner.backends import _builtin, _registry

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner


@dataclass(frozen=True, repr=False)
@public
class RunnerSpec:
    """The choice of a task runner: validated, frozen, picklable, comparable.

    `backend`: "thread", "process", "dask", "ray", or the name of a backend that a package added.
    `address`: the address of an existing engine, as the engine writes it (`tcp://host:8786`), or None.
    `options`: the backend's options, converted to their types.
    `source`: the source that chose this runner. `origins`: for "backend", "address" and each option, the place that it
    was read from.
    Two specs are equal if they ask for the same runner, wherever they were read.
    Raises SpecError, with every problem, if the backend is unknown or an option is wrong. Its text, and `repr` and
    `str` of a spec, never contain a password.
    """

    backend: str
    address: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    source: str = field(default="RunnerSpec", compare=False)
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False)

    def __post_init__(self) -> None:
        draft = Draft(self.backend, self.source, address=self.address, options=dict(self.options))
        self._fill(*check(draft), self.source, draft.places() | dict(self.origins))

    def _fill(
        self, backend: str, address: str | None, options: Mapping[str, Any], source: str, origins: Mapping[str, str]
    ) -> None:
        for name, value in (
            ("backend", backend),
            ("address", address),
            ("options", MappingProxyType(dict(options))),
            ("source", source),
            ("origins", MappingProxyType(dict(origins))),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, url: str, *, place: str = "spec") -> Self:
        """Return the spec that a URL or the bare name of a backend describes; reads no file.

        `place`: the name that errors give to the source of the text. Raises SpecError.
        """
        return cls._of(Entry(url, place), RunnerFile)

    @classmethod
    def load(
        cls,
        spec: str | Mapping[str, Any] | RunnerSpec | None = None,
        *,
        default: str | Mapping[str, Any] | RunnerSpec | None = None,
        folder: str | os.PathLike[str] | None = None,
        place: str = "argument spec",
    ) -> RunnerSpec:
        """Return the spec of the runner that configuration asks for.

        The first of these sources that names a runner decides: `spec`; the environment variable ANYRUNNER, unless it is
        empty; `runner` in `anyrunner.toml`, then in `[tool.anyrunner]` of `pyproject.toml`, of the nearest folder at or
        above `folder` (the working directory) that has either; `default`; "thread". Each may be a URL, a mapping, or
        the name of a `[runners.NAME]` table of that folder; `spec` and `default` may also be a `RunnerSpec`.
        Raises SpecError with every problem of the source that decides.
        """
        file = cache(lambda: _nearest_file(folder))
        return cls._of(first_source(spec, default, place, file), file)

    @classmethod
    def _of(cls, entry: Entry, file: Callable[[], RunnerFile]) -> Self:
        """Return the spec that an entry describes; `file()` returns the file that defines named runners."""
        if isinstance(entry.value, cls):
            return entry.value
        draft = draft_of(entry, file)
        backend, address, options = check(draft)
        shared, places = options_for_all(backend, file().options)
        made = cls.__new__(cls)
        made._fill(backend, address, {**shared, **options}, entry.place, {**places, **draft.places()})
        return made

    def runner(self) -> TaskRunner[Any]:
        """Return the backend's task runner, not started.

        Raises BackendUnavailable, with the install line, if a package that the backend needs is not installed.
        """
        backend = _registry.get(self.backend)
        if backend is None:  # the spec was pickled where the backend is installed
            raise SpecError(f"{self.source}: {unknown_runner(self.backend, ())}")
        return _registry.build(backend, self.address, dict(self.options))

    def summary(self) -> str:
        """Return backend, address and options as readable words; secrets are hidden, and tables are only named."""
        options = (
            name if isinstance(value, Mapping) else f"{name}={hide(value, name)}"
            for name, value in self.options.items()
        )
        address = [hide_in_text(self.address)] if self.address else []
        return ", ".join([self.backend, *address, *options])

    def __str__(self) -> str:
        """Return the spec as a URL for people to read: secrets are hidden, tables are written out."""
        prefix, mark, rest = (self.address or "").rpartition("://")
        schemes = _builtin.OWN[self.backend].schemes if self.backend in _builtin.OWN else {}
        scheme = next((url for url, start in schemes.items() if start == prefix + mark), self.backend)
        options = "&".join(f"{name}={hide(value, name)}" for name, value in self.options.items())
        return f"{scheme}://{hide_in_text(rest)}{'?' if options else ''}{options}"

    def __repr__(self) -> str:
        address = f", address={hide_in_text(self.address)!r}" if self.address else ""
        options = f", options={hide(self.options)!r}" if self.options else ""
        return f"RunnerSpec({self.backend!r}{address}{options})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Not checked again: a worker need not have the files, variables and packages that the spec was checked with.
        return _rebuild, (
            self.backend,
            self.address,
            dict(self.options),
            self.source,
            dict(self.origins),
        )


def _rebuild(*values: Any) -> RunnerSpec:
    made = RunnerSpec.__new__(RunnerSpec)
    made._fill(*values)
    return made


def _nearest_file(folder: str | os.PathLike[str] | None) -> RunnerFile:
    try:
        start = Path(folder or Path.cwd()).absolute()
    except FileNotFoundError:  # the working directory was deleted, so that no file is in it
        return RunnerFile()
    return read_nearest(start)
