"""PostgreSQL is restarted under the Prefect server in the middle of a flow run: the API has every end (rule S2)."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefect_anyrunner._provisioning.server import free_port
from tests.engines.own_server import OwnServer
from tests.engines.published import RUNNERS, check_both_halves

_PROGRAMS = Path(shutil.which("pg_ctl") or max(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), default=""))


class PostgreSQL:
    """A database server on a loopback port, with its data in a folder."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._log = folder / "log"
        self._port = free_port()
        self._user = None if os.getuid() else "postgres"  # it refuses to run as root
        if self._user:
            shutil.chown(folder, self._user)
        self._run("initdb", "--username=prefect", "--auth=trust", "--no-sync", "-D", str(self._data))
        self.url = f"postgresql+asyncpg://prefect@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start it, on the data that it had, and wait until it answers."""
        options = f"-p {self._port} -k {self._data} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "start", "-w", "-D", str(self._data), "-l", str(self._log), "-o", options)

    def stop(self) -> None:
        """End it without goodbyes: open connections break, and transactions are lost."""
        self._run("pg_ctl", "stop", "-m", "immediate", "-D", str(self._data))

    @contextmanager
    def away(self) -> Iterator[None]:
        """Have it end before a block and come back after it."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(_PROGRAMS.with_name(program)), *arguments]
        subprocess.run(command, check=True, user=self._user, cwd="/", stdout=subprocess.DEVNULL)


@pytest.fixture
def postgresql() -> Iterator[PostgreSQL]:
    if not _PROGRAMS.name:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with tempfile.TemporaryDirectory(prefix="anyrunner-") as folder:  # only root may enter the folders of pytest
        database = PostgreSQL(Path(folder))
        database.start()
        try:
            yield database
        finally:
            database.stop()


@pytest.mark.slow
@pytest.mark.timeout(400, func_only=True)
@pytest.mark.parametrize("spec", RUNNERS)
def test_a_restarted_database_loses_nothing(postgresql: PostgreSQL, tmp_path: Path, spec: str) -> None:
    # With batches of 1, Prefect's recorder tries again one message each five seconds: 200 runs would take minutes.
    batches = {"PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "50"}
    server = OwnServer(tmp_path, PREFECT_API_DATABASE_CONNECTION_URL=postgresql.url, **batches)
    server.start()
    try:
        check_both_halves(server, spec, postgresql.away())
    finally:
        server.stop()
