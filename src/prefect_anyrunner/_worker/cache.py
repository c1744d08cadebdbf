"""Bytes that this process fetched once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from weakref import WeakValueDictionary

from prefect_anyrunner._worker.messages import WorkerHost

_MAX_BYTES_KEPT = 128 * 2**20  # of a worker's memory; the newest is kept, whatever its size


class BlobCache:
    """Bytes that were fetched once for this process; the oldest go first when there are too many."""

    def __init__(self) -> None:
        self._bytes: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._fetching: WeakValueDictionary[str, _Fetching] = WeakValueDictionary()

    def get(self, host: WorkerHost, digest: str) -> bytes:
        with self._lock:
            if (data := self._bytes.get(digest)) is not None:
                self._bytes.move_to_end(digest)
                return data
            fetching = self._fetching.setdefault(digest, _Fetching())
        with fetching.lock:  # threads that begin together fetch it once
            with self._lock:
                if (data := self._bytes.get(digest)) is not None:
                    return data
            data = host.fetch(digest)
            with self._lock:
                self._bytes[digest] = data
                self._size += len(data)
                while self._size > _MAX_BYTES_KEPT and len(self._bytes) > 1:
                    self._size -= len(self._bytes.popitem(last=False)[1])
            return data


class _Fetching:
    """The lock of those who fetch the same bytes, as long as somebody does."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


_kept = BlobCache()
