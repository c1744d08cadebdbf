"""What the flow's process and Ray workers leave each other in Ray's key-value store."""

from __future__ import annotations

import pickle
from typing import NamedTuple

from ray.experimental import internal_kv

from prefect_anyrunner._worker.messages import RunResult

NAMESPACE = b"prefect_anyrunner"
REVOKED = b"revoked"
_END_OF_NAME = b"\n"


End = tuple[str, RunResult]
"""A claim, and what became of its run."""


class Word(NamedTuple):
    """What a worker says of a group; `told`: whether it has put another one into the store before."""

    outcomes: list[End]
    returned: list[str]
    told: bool = False


def put_if_absent(key: str, value: bytes) -> bool:
    """Put `value` under `key` in the cluster's store unless something is there; tell whether it is ours now."""
    return not internal_kv._internal_kv_put(key, value, overwrite=False, namespace=NAMESPACE)


def get(key: str) -> bytes | None:
    """Return what the cluster's store has under `key`."""
    found: bytes | None = internal_kv._internal_kv_get(key, namespace=NAMESPACE)
    return found


def outcomes_before(claimed: bytes) -> list[End]:
    """Return what a worker that claimed a run of a group noted there of those before."""
    held = claimed.partition(_END_OF_NAME)[2]
    outcomes: list[End] = pickle.loads(held) if held else []
    return outcomes
