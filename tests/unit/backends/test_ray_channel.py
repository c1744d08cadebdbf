"""The flow's side of runs that are with Ray, without a Ray."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_anyrunner._driver.run import Phase

channel = pytest.importorskip("prefect_anyrunner.backends._ray.channel")


class EndsMeanwhile:
    """A run whose end drops its handle as soon as it was read."""

    phase = Phase.SENT
    claim = "claim"
    revoked = False

    def __init__(self, batch: object) -> None:
        self.handles: list[Any] = [batch]

    @property
    def handle(self) -> Any:
        return self.handles.pop() if self.handles else None


def test_batch_of_a_run_that_ends_while_it_is_revoked_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel.store, "revoke_claim", lambda _: True)
    batch = object()
    mine = channel.RayChannel(None, "prefix.", lambda: True, lambda: "lost")
    assert mine.revoke([EndsMeanwhile(batch)]) == [True]
    assert mine._revoked == {batch}
