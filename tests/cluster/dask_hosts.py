"""A Dask cluster on several hosts."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.cluster.hosts import Host, Process

PORT = 8786
_DASK = str(Path(sys.executable).with_name("dask"))


def start_scheduler(host: Host, label: str) -> Process:
    """Start a scheduler, which listens when this returns."""
    process = host.start(label, _DASK, "scheduler", "--host", host.address, "--port", str(PORT), "--no-dashboard")
    process.until("Scheduler at:")
    return process


def start_worker(head: Host, name: str, *, threads: int) -> Process:
    """Start a worker of the scheduler on `head`, on a host of its own; it is ready when this returns."""
    host = head.network.host(name)
    words = ["worker", f"tcp://{head.address}:{PORT}", "--host", host.address, "--name", name]
    process = host.start(name, _DASK, *words, "--nthreads", str(threads), "--no-nanny", "--no-dashboard")
    process.until("Registered to")
    return process
