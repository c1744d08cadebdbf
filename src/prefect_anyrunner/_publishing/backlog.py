"""Changes that wait until the server has room: small in memory, and beyond a certain number in a file."""

from __future__ import annotations

import contextvars
import errno
import os
import struct
import tempfile
from collections import deque
from collections.abc import Iterator
from typing import IO, Generic, NamedTuple, TypeVar

from prefect.settings import get_current_settings

from prefect_anyrunner._publishing.change import Change

S = TypeVar("S")

AS_THEY_ARE = 200
"""Number of changes that wait unpacked. Later ones are packed, because more of them will wait longer."""
IN_MEMORY = 10_000
"""Number of changes that wait in memory, about half a kilobyte each. Later ones wait in a temporary file."""
_HEAD = struct.Struct("<QQI")
"""Header of each change in the file: its number, the number of its source, and its length in bytes."""


class Waiting(NamedTuple, Generic[S]):
    """A change that waits, perhaps packed.

    `number` counts all changes of the process, `source` is where the change comes from, `context` where it is emitted.
    """

    number: int
    source: S
    content: Change | bytes
    context: contextvars.Context | None = None

    @property
    def change(self) -> Change:
        """The change itself."""
        return Change.unpack(self.content) if isinstance(self.content, bytes) else self.content

    @property
    def packed(self) -> bytes:
        """The change in less than a kilobyte."""
        return self.content if isinstance(self.content, bytes) else self.content.pack()


class Backlog(Generic[S]):
    """Changes in the order in which they came. It is not thread-safe."""

    def __init__(self) -> None:
        self._memory: deque[Waiting[S]] = deque()
        self._file: IO[bytes] | None = None
        self._in_file = 0
        self._read_at = 0
        self._sources: dict[int, S] = {}

    def __len__(self) -> int:
        return len(self._memory) + self._in_file

    @property
    def next_number(self) -> int | None:
        """The number of the change that comes next, None if there is none."""
        self._refill()
        return self._memory[0].number if self._memory else None

    def append(self, waiting: Waiting[S]) -> None:
        """Add a change at the end."""
        if len(self) >= AS_THEY_ARE:
            waiting = waiting._replace(content=waiting.packed, context=None)
        if not self._in_file and len(self._memory) < IN_MEMORY:
            self._memory.append(waiting)
            return
        try:
            self._write(waiting)
        except OSError:  # the disk is full, and the end of a run must not be lost
            self._memory.append(waiting)

    def _write(self, waiting: Waiting[S]) -> None:
        if self._file is None:
            home = get_current_settings().home
            home.mkdir(parents=True, exist_ok=True)
            # It is closed when it is empty. Without a buffer, an error belongs to the change that is written.
            self._file = tempfile.TemporaryFile(dir=home, prefix="anyrunner-", buffering=0)  # noqa: SIM115
        end = self._file.seek(0, 2)
        packed = waiting.packed
        data = _HEAD.pack(waiting.number, id(waiting.source), len(packed)) + packed
        if self._file.write(data) < len(data):
            self._file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sources[id(waiting.source)] = waiting.source
        self._in_file += 1

    def popleft(self) -> Waiting[S]:
        """Remove and return the change that came first. Raises IndexError if there is none."""
        self._refill()
        return self._memory.popleft()

    def take(self, source: S) -> list[Waiting[S]]:
        """Remove and return all changes of one source."""
        everything = list(self._drain())
        for waiting in everything:
            if waiting.source is not source:
                self.append(waiting)
        return [waiting for waiting in everything if waiting.source is source]

    def _drain(self) -> Iterator[Waiting[S]]:
        while len(self):
            yield self.popleft()

    def _refill(self) -> None:
        if self._memory or not self._in_file:
            return
        assert self._file is not None
        self._file.seek(self._read_at)
        for _ in range(min(self._in_file, IN_MEMORY // 2)):
            number, source, length = _HEAD.unpack(self._file.read(_HEAD.size))
            self._memory.append(Waiting(number, self._sources[source], self._file.read(length)))
            self._in_file -= 1
        self._read_at = self._file.tell()
        if not self._in_file:  # the file starts anew, so that it does not grow while the flow runs
            self._file.close()
            self._file, self._read_at = None, 0
            self._sources.clear()
