"""Caches of this process: blobs that it fetched, and objects that it made from them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from prefect_anyrunner._worker.messages import WorkerHost

T = TypeVar("T")

_MOST_BYTES = 128 * 2**20
"""Maximum bytes of a worker's memory that blobs may take. The newest blob is kept, whatever its size."""
_MOST_OBJECTS = 256
"""Maximum number of objects that one cache keeps."""


class BlobCache:
    """Bytes that were fetched once for this process. Above the limit, the oldest are dropped first."""

    def __init__(self) -> None:
        self._bytes: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._fetching: WeakValueDictionary[str, _Fetching] = WeakValueDictionary()

    def get(self, host: WorkerHost, digest: str) -> bytes:
        """Return the bytes under `digest`, fetched by the first call."""
        with self._lock:
            if (data := self._bytes.get(digest)) is not None:
                self._bytes.move_to_end(digest)
                return data
            fetching = self._fetching.setdefault(digest, _Fetching())
        with fetching.lock:  # threads that need the bytes at the same time fetch them once
            with self._lock:
                if (data := self._bytes.get(digest)) is not None:
                    return data
            data = host.fetch(digest)
            with self._lock:
                self._bytes[digest] = data
                self._size += len(data)
                while self._size > _MOST_BYTES and len(self._bytes) > 1:
                    self._size -= len(self._bytes.popitem(last=False)[1])
            return data


class _Fetching:
    """The lock of the threads that fetch the same bytes. It exists as long as one of them does."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class ObjectCache(Generic[T]):
    """Objects made from blobs, by digest. Above the limit, the oldest are dropped first."""

    def __init__(self) -> None:
        self._objects: OrderedDict[str, T] = OrderedDict()

    def get(self, digest: str, make: Callable[[], T]) -> T:
        """Return the object under `digest`, made by the first call."""
        found = self._objects.get(digest)
        if found is None:
            found = self._objects[digest] = make()
            while len(self._objects) > _MOST_OBJECTS:
                self._objects.popitem(last=False)
        return found


blobs = BlobCache()
