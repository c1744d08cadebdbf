"""A Prefect server that a test may kill, stop for a while and start again on its database, and what it has recorded."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil

from prefect_anyrunner._provisioning.server import api_url, free_port, prefect_server


class OwnServer:
    """A server with a home folder of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        self._port = free_port()
        self._stack = ExitStack()
        self.url = api_url(self._port)
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_PROFILES_PATH": str(folder / "profiles.toml"),
            "PREFECT_API_URL": self.url,
            "PREFECT_LOGGING_LEVEL": "WARNING",
            **settings,
        }
        self._process: psutil.Process | None = None

    def start(self) -> None:
        """Start it, on the database that it had."""
        guard = self._stack.enter_context(prefect_server(self._port, self._folder / "server.log", self.environment))
        (self._process,) = psutil.Process(guard.pid).children()

    def kill(self) -> None:
        """End it by SIGKILL: what it had in memory is lost."""
        assert self._process is not None
        self._process.kill()
        self._stack.close()

    def stop(self) -> None:
        """End it as usual."""
        self._stack.close()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Have it killed before a block, and started again, on its database, after it."""
        self.kill()
        yield
        self.start()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Have it stopped by SIGSTOP in a block: connections to it stay open, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def unavailable(self) -> Iterator[threading.Event]:
        """Have every request answered with 503 in a block, as a proxy does before a server that is gone.

        The event is set once something was refused. The server starts again, on its database, at the end of the block.
        """
        refused = threading.Event()

        class Refusing(BaseHTTPRequestHandler):
            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self._refuse
                raise AttributeError(name)

            def _refuse(self) -> None:
                self.send_error(503)
                refused.set()

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        with self.away(), ThreadingHTTPServer(("127.0.0.1", self._port), Refusing) as proxy:
            thread = threading.Thread(target=proxy.serve_forever)
            thread.start()
            try:
                yield refused
            finally:
                proxy.shutdown()
                thread.join()

    def states(self, flow_run_id: str) -> Counter[str]:
        """Return how many task runs of a flow run are in which state, by its name."""
        return Counter(run["state_name"] for run in self.task_runs(flow_run_id))

    def task_runs(self, flow_run_id: str) -> list[dict[str, Any]]:
        """Return the task runs of a flow run."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.ask(
                "/task_runs/filter",
                {"flow_runs": {"id": {"any_": [flow_run_id]}}, "limit": 200, "offset": len(found)},
            )
            found += page
            if len(page) < 200:
                return found

    def history(self, task_run_id: str) -> list[str]:
        """Return the names of the states that a task run had, in their order."""
        answer = httpx.get(f"{self.url}/task_run_states/", params={"task_run_id": task_run_id}, timeout=60)
        answer.raise_for_status()
        return [state["name"] for state in sorted(answer.json(), key=lambda state: state["timestamp"])]

    def flow_run_state(self, flow_run_id: str) -> str:
        """Return the name of the state of a flow run."""
        answer = httpx.get(f"{self.url}/flow_runs/{flow_run_id}", timeout=60)
        return str(answer.raise_for_status().json()["state"]["name"])

    def cancel(self, flow_run_id: str) -> None:
        """Cancel a flow run as the UI does."""
        answer = httpx.post(
            f"{self.url}/flow_runs/{flow_run_id}/set_state",
            json={"state": {"type": "CANCELLING", "name": "Cancelling"}},
            timeout=60,
        )
        answer.raise_for_status()

    def artifacts(self, flow_run_id: str) -> list[tuple[str, Any, str]]:
        """Return type, data and description of the artifacts of a flow run."""
        found = self.ask("/artifacts/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}})
        return [(each["type"], each["data"], each["description"]) for each in found]

    def ask(self, path: str, question: dict[str, Any]) -> Any:
        """Return the answer to a question to the API."""
        answer = httpx.post(f"{self.url}{path}", json=question, timeout=60)
        answer.raise_for_status()
        return answer.json()
