"""Hosts on one machine: network namespaces with an address each, joined by a bridge in a namespace of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from prefect_anyrunner._provisioning.server import guarded

LAPTOP = Path(__file__).parent / "laptop"
API_PORT = 4200
PREFIX = "anyrunner-test-"
ASK = """
import sys, time, urllib.request
for _ in range(600):
    try:
        sys.exit(urllib.request.urlopen(sys.argv[1], timeout=5).status != 200)
    except OSError:
        time.sleep(0.2)
sys.exit(1)
"""


def unavailable() -> str | None:
    """Return why this machine can have no hosts, or None."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        return "network namespaces need Linux and iproute2 (apt-get install iproute2)"
    name = f"{PREFIX}{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces need root: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return None


class Host:
    """A namespace with one address. Its processes see their own loopback and the other hosts."""

    def __init__(self, network: Network, name: str, address: str) -> None:
        self.network = network
        self.name = name
        self.address = address
        self.space = f"{network.prefix}{name}"

    def link(self, way: str) -> None:
        """Pull the plug (`"down"`) or put it back (`"up"`) at the switch. The host itself notices nothing."""
        _ip("-n", self.network.switch, "link", "set", f"to-{self.name}", way)

    def off(self) -> None:
        """Kill all processes of this host, as a power cut does."""
        _empty(self.space)

    def command(self, *words: str, **environment: str) -> list[str]:
        """Return the command that runs `words` on this host, without the folder of the tests on its path."""
        variables = [f"{name}={value}" for name, value in environment.items()]
        return ["ip", "netns", "exec", self.space, "env", "-u", "PYTHONPATH", "-C", "/", *variables, *words]

    def start(self, label: str, *words: str, **environment: str) -> Process:
        """Start a command here that runs until it is killed or the network ends."""
        return self.network.start(label, self.command(*words, **environment))


class Process:
    """A command in the background: `kill()` ends it at once, as a power cut does."""

    def __init__(self, pid_file: Path, log: Path) -> None:
        self._pid_file = pid_file
        self.log = log

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        os.kill(int(self._pid_file.read_text()), signal.SIGKILL)  # the group is that of the guard, too

    def until(self, what: str, within: float = 120.0) -> None:
        """Wait until the output of the command contains `what`."""
        end = time.monotonic() + within
        while what not in self.text:
            assert time.monotonic() < end, f"{self.log.name} did not say {what!r}:\n{self.text[-3000:]}"
            time.sleep(0.1)


class Network:
    """Some hosts and their processes, which all end with the block."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        _sweep()
        self.prefix = f"{PREFIX}{os.getpid()}-"
        self.switch = f"{self.prefix}switch"
        self.folder = folder
        self._stack = stack
        self._hosts = 0
        self._labels = 0
        self._space(self.switch)
        _ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self.switch, "link", "set", "bridge", "up")

    def _space(self, name: str) -> None:
        _ip("netns", "add", name)
        self._stack.callback(_ip, "netns", "delete", name)
        _ip("-n", name, "link", "set", "lo", "up")

    def host(self, name: str) -> Host:
        """Add a host."""
        self._hosts += 1
        host = Host(self, name, f"10.77.0.{self._hosts}")
        self._space(host.space)
        self._stack.callback(host.off)  # also processes that have left the group of their command
        port = f"to-{name}"
        _ip("-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.space)
        _ip("-n", self.switch, "link", "set", port, "master", "bridge", "up")
        _ip("-n", host.space, "address", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", host.space, "link", "set", "eth0", "up")
        return host

    def start(self, label: str, command: list[str]) -> Process:
        self._labels += 1
        log = self.folder / f"{self._labels}-{label}.log"
        pid_file = log.with_suffix(".pid")
        # The pid stays through each exec, down to the command itself.
        shell = ["sh", "-c", f'echo $$ > {pid_file}; exec "$@"', "sh", *command]
        self._stack.enter_context(guarded(shell, log))
        return Process(pid_file, log)


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """Give a network without hosts."""
    with ExitStack() as stack:
        yield Network(folder, stack)


def start_api(host: Host) -> str:
    """Start a Prefect server that listens on all addresses of a host; return its URL for other hosts."""
    server = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "0.0.0.0",
        "--port",
        str(API_PORT),
        "--no-ui",
    ]
    url = f"http://{host.address}:{API_PORT}/api"
    process = host.start("api", *server, PREFECT_HOME=str(host.network.folder / "prefect"), PREFECT_API_URL=url)
    asked = subprocess.run(host.command(sys.executable, "-c", ASK, f"{url}/health"), timeout=150)
    assert asked.returncode == 0, process.text
    return url


class Driver:
    """A run of `laptop/flow.py` on a host, which prints its end as a line of JSON."""

    def __init__(self, host: Host, scenario: str, spec: str, api: str, **environment: str) -> None:
        self.folder = host.network.folder / f"{scenario}-{time.monotonic_ns()}"
        self.folder.mkdir()
        home = str(host.network.folder / "laptop-home")
        words = [sys.executable, str(LAPTOP / "flow.py"), scenario, spec, str(self.folder)]
        self.process = host.start(scenario, *words, PREFECT_API_URL=api, PREFECT_HOME=home, **environment)

    def path(self, name: str) -> Path:
        """Return a file that tasks and test share."""
        return self.folder / name

    def times(self, name: str) -> int:
        """Return how many lines tasks have written to a file: that is how often the body has run."""
        path = self.path(name)
        return len(path.read_text().splitlines()) if path.exists() else 0

    def pause(self, seconds: float) -> None:
        """Let some time pass, because a test is about how long a host is cut off."""
        time.sleep(seconds)

    def until_ran(self, count: int, within: float = 120.0) -> None:
        """Wait until so many bodies have begun."""
        end = time.monotonic() + within
        while len(list(self.folder.glob("ran-*"))) < count:
            assert time.monotonic() < end and '"end"' not in self.process.text, self.process.text[-4000:]
            time.sleep(0.1)

    def until_there(self, name: str, within: float = 120.0) -> None:
        """Wait until tasks have made a file."""
        end = time.monotonic() + within
        while not self.path(name).exists():
            assert time.monotonic() < end and '"end"' not in self.process.text, self.process.text[-4000:]
            time.sleep(0.1)

    def end(self, within: float = 150.0) -> dict[str, Any]:
        """Wait until the flow has ended; return what the user saw and what the API shows."""
        self.process.until('{"end": ', within)
        line = next(line for line in self.process.text.splitlines() if line.startswith('{"end": '))
        end: dict[str, Any] = json.loads(line)["end"]
        return end


def _sweep() -> None:
    """Remove the hosts of test runs that were killed before they could."""
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    for space, pid in re.findall(rf"^({PREFIX}(\d+)-\S+)", listed, re.MULTILINE):
        if not Path("/proc", pid).exists():
            _empty(space)
            _ip("netns", "delete", space)


def _empty(space: str) -> None:
    found = subprocess.run(["ip", "netns", "pids", space], check=True, capture_output=True, text=True)
    for pid in map(int, found.stdout.split()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
