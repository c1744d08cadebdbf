"""Messages of the flow's process and of Ray workers in Ray's key-value store, which has no public interface.

    claim    the owner of a body, or a mark that no one may ever run it: the first to put it owns it. In a batch it also
             holds the results of the runs before, which have ended even if the worker dies now.
    update   the results of a batch that takes long, and the runs that its worker returns.

Ray itself delivers the results that no update contained, when the batch has ended.
"""

from __future__ import annotations

import pickle
from typing import NamedTuple

from ray.experimental import internal_kv

from prefect_anyrunner._base.claims import REVOKED
from prefect_anyrunner._worker.messages import RunResult

_NAMESPACE = b"prefect_anyrunner"
_END_OF_OWNER = b"\n"

ClaimedResult = tuple[str, RunResult]
"""A claim, and the result of the run that was sent under it."""


class BatchUpdate(NamedTuple):
    """A worker's message about a batch; `followed`: whether the store already holds an earlier update."""

    results: list[ClaimedResult]
    withdrawn: list[str]
    followed: bool = False


def put_claim(claim: str, owner: str, results: list[ClaimedResult] | None = None) -> bool:
    """Claim a body, and note results beside the claim; return False if the claim has an owner already."""
    noted = pickle.dumps(results, pickle.HIGHEST_PROTOCOL) if results else b""
    data = owner.encode() + _END_OF_OWNER + noted
    return not internal_kv._internal_kv_put(claim, data, overwrite=False, namespace=_NAMESPACE)


def revoke_claim(claim: str) -> bool:
    """Make sure that no worker gets a claim; return False if the claim has an owner already."""
    return put_claim(claim, REVOKED)


def read_claim(claim: str) -> tuple[str, list[ClaimedResult]]:
    """Return the owner of a claim, empty if it has none, and the results that the owner noted beside it."""
    owner, _, noted = (_get(claim) or b"").partition(_END_OF_OWNER)
    return owner.decode(), pickle.loads(noted) if noted else []


def put_update(key: str, update: BatchUpdate) -> None:
    """Leave an update for the flow's process."""
    internal_kv._internal_kv_put(key, pickle.dumps(update, pickle.HIGHEST_PROTOCOL), namespace=_NAMESPACE)


def read_update(key: str) -> BatchUpdate | None:
    """Return the update that a worker left under `key`, or None."""
    found = _get(key)
    if found is None:
        return None
    update: BatchUpdate = pickle.loads(found)
    return update


def keys(prefix: str) -> set[str]:
    """Return the keys that begin with `prefix`."""
    return {key.decode() for key in internal_kv._internal_kv_list(prefix, namespace=_NAMESPACE)}


def delete(key: str) -> None:
    """Delete the entry under `key`."""
    internal_kv._internal_kv_del(key, namespace=_NAMESPACE)


def delete_all(prefix: str) -> None:
    """Delete everything whose key begins with `prefix`."""
    internal_kv._internal_kv_del(prefix, del_by_prefix=True, namespace=_NAMESPACE)


def _get(key: str) -> bytes | None:
    found: bytes | None = internal_kv._internal_kv_get(key, namespace=_NAMESPACE)
    return found
