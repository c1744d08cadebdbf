"""`RunnerSpec`: which runner, with which options, and who said so."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from prefect.task_runners import TaskRunner

from prefect_anyrunner._base.errors import SpecError
from prefect_anyrunner._base.public import public
from prefect_anyrunner._base.secrets import hide, hide_in_text
from prefect_anyrunner._choosing.files import RunnerFile, read_nearest
from prefect_anyrunner._choosing.parse import Draft, _draft_of_mapping, parse_url
from prefect_anyrunner._choosing.validate import check
from prefect_anyrunner.backends import _builtin, _registry

ENVIRONMENT_VARIABLE = "ANYRUNNER"


@dataclass(frozen=True, repr=False)
@public
class RunnerSpec:
    """Says which task runner a flow runs on: validated, frozen, picklable, comparable.

    `backend`: "thread", "process", "dask", "ray", or the name of one that a package added.
    `address`: where an existing engine is, as the engine writes it (`tcp://host:8786`), or None.
    `options`: the backend's options, of their proper types.
    `source`: what chose this runner. `origins`: for "backend", "address" and each option, the place it was read from.
    Two specs are equal when they ask for the same runner, wherever they were read.
    Raises SpecError, with every problem, when the backend is unknown or an option is wrong. Its text, like `repr` and
    `str` of a spec, never holds a password.
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
        """Return the spec that a URL or the bare name of a backend stands for; reads no file.

        `place`: how an error names where the text came from. Raises SpecError.
        """
        return cls._of(url, place, RunnerFile)

    @classmethod
    def load(
        cls,
        spec: str | Mapping[str, Any] | RunnerSpec | None = None,
        *,
        default: str | Mapping[str, Any] | RunnerSpec | None = None,
        folder: str | os.PathLike[str] | None = None,
        place: str = "argument spec",
    ) -> RunnerSpec:
        """Return the runner that configuration asks for.

        The first of these that says anything: `spec`; the environment variable ANYRUNNER (empty is unset); `runner` in
        `anyrunner.toml`, then in `[tool.anyrunner]` of `pyproject.toml`, of the nearest folder at or above `folder`
        (the working directory) that has one; `default`; "thread". Each may be a URL, a mapping, or the name of a
        `[runners.NAME]` table of that folder; `spec` and `default` also a `RunnerSpec`.
        Raises SpecError with every problem of the one that was asked for.
        """
        files: list[RunnerFile] = []

        def file() -> RunnerFile:
            if not files:
                files.append(read_nearest(Path(folder or Path.cwd()).absolute()))
            return files[0]

        if spec is not None:
            return cls._of(spec, place, file)
        if from_environment := os.environ.get(ENVIRONMENT_VARIABLE, "").strip():
            return cls._of(from_environment, f"environment variable {ENVIRONMENT_VARIABLE}", file)
        if (entry := file().runner) is not None:
            return cls._of(entry.value, entry.place, file, folder=entry.folder)
        if default is not None:
            return cls._of(default, "argument default", file)
        return cls._of("thread", "built-in default", file)

    @classmethod
    def _of(
        cls,
        spec: object,
        place: str,
        file: Any,
        *,
        folder: Path | None = None,
        source: str | None = None,
    ) -> Self:
        """Return the spec of a text, a mapping or a spec; `file()` returns the file that named runners stand in."""
        if isinstance(spec, cls):
            return spec
        if isinstance(spec, Mapping):
            draft = _draft_of_mapping(spec, place, folder)
        elif not isinstance(spec, str):
            raise SpecError(f"{place}: a runner is a URL, a mapping or a name, not {type(spec).__name__}")
        elif "://" in spec:
            draft = parse_url(spec.strip(), place)
        elif _registry.knows(name := spec.strip()):
            draft = Draft(name, place)
        elif (entry := file().runners.get(name)) is not None:
            if isinstance(entry.value, str) and "://" not in entry.value and not _registry.knows(entry.value):
                raise SpecError(f"{entry.place}: {hide_in_text(entry.value)!r} is neither a URL nor a backend")
            return cls._of(entry.value, entry.place, file, folder=entry.folder, source=source or place)
        else:
            raise SpecError(f"{place}: {_unknown(name, file().runners)}")
        made = cls.__new__(cls)
        made._fill(*check(draft), source or place, draft.places())
        return made

    def runner(self) -> TaskRunner[Any]:
        """Return the backend's task runner, not started.

        Raises BackendUnavailable, with the install line, when what the backend needs is not installed.
        """
        backend = _registry.get(self.backend)
        if backend is None:  # a spec that was pickled where the backend is installed
            raise SpecError(f"{self.source}: {_unknown(self.backend, ())}")
        return _registry.build(backend, self.address, dict(self.options))

    def __str__(self) -> str:
        """Return the spec as a URL for people to read: secrets hidden, tables written out."""
        prefix, mark, rest = (self.address or "").rpartition("://")
        own = {**_builtin.BUILT_IN, **_builtin.STOCK}
        schemes = own[self.backend].schemes if self.backend in own else {}
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


def _unknown(name: str, named: Iterable[str]) -> str:
    known = [*_registry.names(), *named]
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    what = f"unknown runner {hide_in_text(name)!r}" if name else "no runner is named"
    return f"{what}{hint} (there are {', '.join(known)})"
