"""The frozen record of a backend: its name, its options, its addresses and the capabilities that it lacks."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefect_anyrunner.backends._classes import why_not

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    Build = Callable[[str | None, Mapping[str, Any]], TaskRunner[Any]]
    Share = Callable[[Mapping[str, Any], int], AbstractContextManager["SharedEngine"]]


_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
_BYTES = re.compile(r"\d+(\.\d+)?\s*([kmgtp]i?)?b?", re.IGNORECASE | re.ASCII)


class Capability(StrEnum):
    """An ability of a runner that not every engine allows. The value is its name in the generated matrix."""

    SEPARATE_PROCESS = "run tasks outside the flow's process"
    SURVIVE_WORKER_DEATH = "lose a worker without losing the flow's process"
    INTERRUPT_BLOCKING = "interrupt a blocking C call"
    ROLL_BACK_IN_TASK = "roll back what a task has submitted when the task fails"
    ROLL_BACK_IN_FLOW = "roll back what a flow has submitted in a transaction that fails"


Kind = Literal["int", "float", "bool", "text", "class", "bytes", "file", "table"]


@dataclass(frozen=True)
class Option:
    """One option of a backend.

    `kind`: "int", "float" (finite), "bool", "text", "class" (the dotted name of one whose package is installed),
    "bytes" (a size such as "2GiB", a number of bytes, or "auto"), "file" (a path that must exist), "table" (a mapping
    with text keys: never in a URL).
    `minimum`: the smallest number allowed; with `above=True` the number must be larger than it.
    `when`: "temporary" for an option of an engine that the backend starts, "address" for one of an existing engine.
    `scheme`: the one URL scheme that knows the option. `excludes`: options that cannot stand beside it.
    `choices`: the texts that are allowed; all are if it is empty.
    """

    kind: Kind
    help: str
    minimum: float | None = None
    above: bool = False
    when: Literal["always", "temporary", "address"] = "always"
    scheme: str | None = None
    excludes: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()

    def convert(self, value: Any, *, text: bool, folder: Path | None = None) -> Any:
        """Return `value` as this option's type.

        `text`: whether the value comes from a URL, so that numbers and booleans are read from text. `folder`: where a
        relative path of kind "file" starts, by default the working directory. Raises ValueError with what was expected
        instead; its message continues a sentence that begins with the value.
        """
        match self.kind:
            case "int" | "float":
                return self._number(value, text=text)
            case "bool":
                if text and str(value).lower() in _TRUE | _FALSE:
                    return str(value).lower() in _TRUE
                if isinstance(value, bool):
                    return value
                raise ValueError("is neither true nor false")
            case "text" if self.choices and value not in self.choices:
                raise ValueError(f"is not one of {', '.join(self.choices)}")
            case "text" | "class":
                if not isinstance(value, str) or not value:
                    raise ValueError("is not a text" if value else "is empty")
                if self.kind == "class" and (problem := why_not(value)) is not None:
                    raise ValueError(problem)
                return value
            case "bytes":
                if isinstance(value, str) and (value == "auto" or _BYTES.fullmatch(value)):
                    return value
                if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                    return value
                raise ValueError("is not a size such as 2GiB, nor auto")
            case "file":
                if not isinstance(value, str | Path) or not str(value):
                    raise ValueError("is not a path")
                path = (folder or Path()) / Path(value).expanduser()
                if not path.is_file():
                    raise ValueError(f"is not a file (looked for {path})")
                return str(path)
            case "table":
                if text:
                    raise ValueError("stands in a URL, which cannot hold a table: write it in a file or a mapping")
                if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
                    return dict(value)
                raise ValueError("is not a table")

    def _number(self, value: Any, *, text: bool) -> int | float:
        whole = self.kind == "int"
        expected = "a whole number" if whole else "a number"
        number: int | float
        if text:
            pattern = r"[+-]?\d{1,18}" if whole else r"[+-]?(\d{1,18}(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?"
            if not re.fullmatch(pattern, str(value), re.ASCII | re.IGNORECASE):
                raise ValueError(f"is not {expected}")
            number = int(value) if whole else float(value)
        elif isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise ValueError(f"is not {expected}")
        else:
            number = value
        if not math.isfinite(number):
            raise ValueError(f"is not {expected}")
        if self.minimum is not None and (number < self.minimum or (self.above and number == self.minimum)):
            raise ValueError(f"must be {'above' if self.above else 'at least'} {self.minimum:g}")
        return number


@dataclass(frozen=True)
class SharedEngine:
    """A running engine that many flow runs can use, as a backend's `share` yields it.

    `workers`: the number of task runs that it executes at a time. `address`: its address, or None when runners of this
    process find it without one. `options`: the options that a runner still needs to use it.
    """

    workers: int
    address: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Backend:
    """A way to run tasks, described without importing it.

    `name`: how a spec asks for it. A third party registers its record as an entry point of the same name in the group
    `prefect_anyrunner.backends`.
    `build`: a function that takes the address (None for an engine of its own) and the checked options, and returns the
    Prefect task runner, not started; or its name as `"module:function"`, imported when it is first needed.
    `requires`: modules that must be importable; `install`: the command that makes them so.
    `schemes`: URL scheme to the prefix of the engine's own address, `{"dask+tls": "tls://"}`; each scheme is the
    backend's name, alone or followed by `+` and more. Empty: the backend takes no address.
    `words`: addresses that are a word instead of host and port, passed on as they are.
    `credentials`: whether the engine understands `user:password@` in an address.
    `lacks`: the capabilities that the backend truly lacks, each with the reason.
    `share`: a function that starts an engine for many flow runs, for commands and tests, or its name, as for `build`.
    It takes the checked options and the number of workers to start unless the options say otherwise. It returns a
    context manager that yields a `SharedEngine`. None: every runner starts what it needs by itself.
    """

    name: str
    build: str | Build
    requires: tuple[str, ...] = ()
    install: str = ""
    schemes: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    credentials: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)
    lacks: Mapping[Capability, str] = field(default_factory=dict)
    share: str | Share | None = None

    def missing(self) -> tuple[str, ...]:
        """Return the required modules that are not installed; imports none of them."""
        return tuple(name for name in self.requires if importlib.util.find_spec(name) is None)
