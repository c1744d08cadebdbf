"""The folder that the flow's process and its worker processes share: claims and blobs are files in it."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from prefect_anyrunner._base.claims import REVOKED

_UNKNOWN = "another process"
"""Owner of a claim whose file does not say who owns it."""


class ClaimFolder:
    """Claims and blobs as files: the first process to create the file of a claim owns the claim."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._claims = Path(path) / "claims"
        self._blobs = Path(path) / "blobs"

    @classmethod
    def create(cls) -> ClaimFolder:
        """Return a new folder in the system's place for temporary files; it lasts until `remove`."""
        folder = cls(tempfile.mkdtemp(prefix="anyrunner-"))
        folder._claims.mkdir()
        folder._blobs.mkdir()
        return folder

    def remove(self) -> None:
        """Delete the folder with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def claim(self, claim: str, owner: str) -> str | None:
        """Make `owner` the owner of a claim; return None, or the owner that the claim has already."""
        path = self._claims / claim
        try:
            with open(path, "x") as file:
                file.write(owner)
        except FileExistsError:
            with suppress(FileNotFoundError):  # its run has just ended
                return path.read_text() or _UNKNOWN
            return _UNKNOWN
        return None

    def revoke(self, claim: str) -> bool:
        """Make sure that no worker gets a claim any more; return False if one already has it."""
        return self.claim(claim, REVOKED) is None

    def forget(self, claim: str) -> None:
        """Delete the file of a claim whose run has ended."""
        _delete(self._claims / claim)

    def store(self, digest: str, data: bytes) -> None:
        """Keep `data` for the workers; they never see a file that is half written."""
        part = self._blobs / f"{digest}.part"
        part.write_bytes(data)
        part.replace(part.with_suffix(""))

    def fetch(self, digest: str) -> bytes:
        """Return the bytes that are kept under `digest`."""
        return (self._blobs / digest).read_bytes()

    def delete(self, digests: list[str]) -> None:
        """Drop bytes that no run needs any more."""
        for digest in digests:
            _delete(self._blobs / digest)


def _delete(path: Path) -> None:
    with suppress(PermissionError):  # Windows keeps a file that a worker is reading; `remove` deletes it later
        path.unlink(missing_ok=True)
