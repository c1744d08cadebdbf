"""What runs on a Ray worker, and what it and the driver leave each other in Ray's store.

    claim   who runs a body, or that nobody ever will: the first to put it has it. Within a group it also holds the
            outcome of the run before, which has ended even if the worker dies now.
    word    of a group that takes its time: what has ended in it, and what the worker gives back.

What no word told, Ray brings when the group has ended.
"""

from __future__ import annotations

import pickle
import secrets
import threading
from typing import Any

import ray
from ray.experimental import internal_kv

from prefect_anyrunner._worker.batch import BATCH_BYTES, BATCH_PATIENCE, Group
from prefect_anyrunner._worker.messages import RunRequest, process_name
from prefect_anyrunner._worker.results import not_started
from prefect_anyrunner._worker.run import run_request
from prefect_anyrunner.backends._ray.store import _END_OF_NAME, NAMESPACE, End, Word, get, put_if_absent


class RayHost:
    backend = "ray"

    def __init__(self, kept: dict[str, list[Any]]) -> None:
        self._kept = kept
        self.held: list[End] = []  # what no claim has noted yet

    def name(self) -> str:
        return process_name()

    def fetch(self, digest: str) -> bytes:
        data: bytes = ray.get(self._kept[digest][0])
        return data

    def claim(self, key: str) -> str | None:
        mine = f"{process_name()} {secrets.token_hex(8)}".encode() + _END_OF_NAME
        held = pickle.dumps(self.held, pickle.HIGHEST_PROTOCOL) if self.held else b""
        if put_if_absent(key, mine + held):
            self.held = []
            return None
        found = get(key) or b"claimed"
        if found.startswith(mine):  # Ray sends a put again whose answer was lost: then it is our own
            self.held = []
            return None
        return found.partition(b" ")[0].decode()  # not noted there, so held for the next claim


class UpdateWriter:
    """What a group has to tell: by word, when it takes its time, and the rest at its end."""

    def __init__(self, group: Group, key: str) -> None:
        self._group = group
        self._key = key
        self._outcomes: list[End] = []
        self._returned: list[str] = []
        self._told = False
        self._lock = threading.Lock()
        self._later = threading.Timer(BATCH_PATIENCE, self._tell)
        self._later.daemon = True

    def start(self) -> None:
        self._later.start()

    def add(self, outcome: End) -> None:
        with self._lock:
            self._outcomes.append(outcome)

    def _tell(self) -> None:
        with self._lock:
            self._returned += self._group.take_back()
            word = Word(self._outcomes, self._returned)
            if not any(word):
                return
            internal_kv._internal_kv_put(self._key, pickle.dumps(word, pickle.HIGHEST_PROTOCOL), namespace=NAMESPACE)
            self._told, self._outcomes, self._returned = True, [], []  # not when that failed: then the end tells

    def end(self, *last: End) -> bytes:
        """Return the last word, for Ray to bring: as bytes, which it takes as they are."""
        with self._lock:
            word = Word([*self._outcomes, *last], [*self._returned, *self._group.take_back()], self._told)
            self._outcomes, self._returned = [], []
        return pickle.dumps(word, pickle.HIGHEST_PROTOCOL)

    def stop(self) -> None:
        self._later.cancel()


def run_here(word: str, work: bytes, kept: dict[str, list[Any]]) -> bytes:
    """Run the parcels in `work`, one after the other; return their outcomes, and what is for others to run."""
    parcels = [RunRequest(*fields) for fields in pickle.loads(work)]
    side = RayHost(kept)
    group = Group(parcels)
    telling = UpdateWriter(group, word)
    if len(parcels) > 1:
        telling.start()
    try:
        while (parcel := group.next()) is not None:
            try:
                packed = run_request(side, parcel)
            except Exception as exc:  # it could not be claimed; what ended before is told all the same
                return telling.end((parcel.claim, not_started(side, exc)))
            outcome = parcel.claim, packed
            if packed.value_size >= BATCH_BYTES or len(packed.error or b"") >= BATCH_BYTES:
                return telling.end(outcome)  # too much to note beside a claim
            telling.add(outcome)
            side.held.append(outcome)
        return telling.end()
    finally:
        telling.stop()
