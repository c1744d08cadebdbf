"""Shared bytes are stored once, and as long as somebody needs them."""

from __future__ import annotations

import logging

from prefect_anyrunner._driver.blobs import BlobStore


def test_bytes_go_with_their_last_user_and_cannot_get_another_one() -> None:
    stored: dict[str, bytes] = {}

    def delete(digests: list[str]) -> None:
        for digest in digests:
            del stored[digest]

    blobs = BlobStore(stored.__setitem__, delete, logging.getLogger(__name__))
    digest = blobs.add(b"large", users=1)
    assert blobs.add_user(digest)
    blobs.release([digest])
    assert stored == {digest: b"large"}
    blobs.release([digest])
    assert stored == {}
    assert not blobs.add_user(digest)  # the run has ended before its next argument was prepared
