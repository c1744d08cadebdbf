"""Messages of the flow's process and of Ray workers in Ray's key-value store, which has no public interface.

    claim    the owner of a body, or a mark that no one may ever run it: the first to put it owns it. In a batch it also
             holds the results of the runs before, which have ended even if the worker dies now.
    update   the results of a batch that takes long, and the runs that its worker returns.
    address  where a worker waits for the request to send its logs and events.

Ray itself delivers the results that no update contained, when the batch has ended.
"""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

from ray.experimental import internal_kv
from ray.runtime_context import get_runtime_context

from prefect_anyrunner._base.claims import REVOKED
from prefect_anyrunner._worker.messages import RunResult

# Ray keeps the functions of a job here, and deletes all keys with their beginning when the job has ended. So what a
# killed process leaves behind goes away as well.
_NAMESPACE = b"fun"
_END_OF_OWNER = b"\n"

ClaimedResult = tuple[str, RunResult]
"""A claim, and the result of the run that was sent under it."""


class BatchUpdate(NamedTuple):
    """A worker's message about a batch; `followed`: whether the store already holds an earlier update."""

    results: list[ClaimedResult]
    withdrawn: list[str]
    followed: bool = False


def job_prefix() -> str:
    """Return the beginning of the keys that Ray deletes when the job of this process has ended, however it has ended.

    A process that connects to Ray is a job, and the workers that run its tasks belong to it.
    """
    return f"RemoteFunction:{get_runtime_context().get_job_id()}:anyrunner."


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


def put(key: str, value: Any) -> None:
    """Keep a value that can be pickled under `key`."""
    internal_kv._internal_kv_put(key, pickle.dumps(value, pickle.HIGHEST_PROTOCOL), namespace=_NAMESPACE)


def read(key: str) -> Any:
    """Return the value under `key`, or None."""
    found = _get(key)
    return None if found is None else pickle.loads(found)


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
