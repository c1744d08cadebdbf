"""The folder of claims."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_anyrunner.backends._process.claims import ClaimFolder


@pytest.fixture
def folder() -> Iterator[ClaimFolder]:
    made = ClaimFolder.create()
    yield made
    made.remove()


def test_a_claim_has_one_owner(folder: ClaimFolder) -> None:
    assert folder.claim("a run", "first") is None
    assert folder.claim("a run", "second") == "first"
    assert not folder.revoke("a run")


def test_a_claim_that_is_forgotten_while_it_is_read_had_an_owner(
    folder: ClaimFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.claim("a run", "first")
    read = Path.read_text

    def read_too_late(path: Path) -> str:
        folder.forget("a run")
        return read(path)

    monkeypatch.setattr(Path, "read_text", read_too_late)
    assert not folder.revoke("a run")
