"""Shared bytes: stored once where every worker can fetch them, and deleted when they have no users left."""

from __future__ import annotations

import hashlib
import logging
import math
import threading
from collections.abc import Callable

Digest = str


class BlobStore:
    """The bytes that one started runner has stored for its workers, by digest.

    `store(digest, data)` and `delete(digests)` are the backend's. All methods may be called from any thread.
    """

    def __init__(
        self,
        store: Callable[[Digest, bytes], None],
        delete: Callable[[list[Digest]], None],
        logger: logging.Logger,
    ) -> None:
        self._store = store
        self._delete = delete
        self._logger = logger
        self._users: dict[Digest, float] = {}
        # Two locks, because storing may need the very thread that is ending a run and holds the users' lock.
        self._users_lock = threading.Lock()
        self._store_lock = threading.Lock()

    def add(self, data: bytes, users: float = math.inf) -> Digest:
        """Store `data` once and return its digest; it stays until it has been released once for each of its users."""
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        with self._store_lock:
            with self._users_lock:
                known = digest in self._users
                if known:
                    self._users[digest] += users
            if not known:
                self._store(digest, data)
                with self._users_lock:
                    self._users[digest] = users
        return digest

    def add_user(self, digest: Digest) -> bool:
        """Count one more user of bytes; return False if they are not stored any more."""
        with self._users_lock:
            stored = digest in self._users
            if stored:
                self._users[digest] += 1
            return stored

    def release(self, digests: list[Digest]) -> None:
        """Remove one user from each of these; delete those that have none left. Never raises."""
        with self._users_lock:
            unused = []
            for digest in digests:
                self._users[digest] -= 1
                if not self._users[digest]:
                    del self._users[digest]
                    unused.append(digest)
            try:
                if unused:
                    self._delete(unused)
            except Exception:  # the run has ended anyway, and the end of the flow deletes everything
                self._logger.exception("Could not delete shared arguments that no task run needs any more.")
