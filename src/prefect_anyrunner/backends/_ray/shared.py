"""A Ray that is started in this process for many flow runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray

from prefect_anyrunner.backends import _registry
from prefect_anyrunner.backends._builtin import BUILT_IN, SHARED
from prefect_anyrunner.backends._ray.addresses import OWN
from prefect_anyrunner.backends._ray.connection import join, leave
from prefect_anyrunner.backends._record import SharedEngine

_KEPT = ("rerun_lost", "worker_timeout", *SHARED)
"""Options that are about a runner, not about the Ray."""


@contextmanager
def share(options: Mapping[str, Any], workers: int) -> Iterator[SharedEngine]:
    """Start the Ray that the options of a `ray://` spec describe, yield it, and stop it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    wanted = {"num_cpus": workers, **options}
    # The runner knows which arguments of `ray.init` its options stand for.
    runner: Any = _registry.build(BUILT_IN["ray"], None, wanted)
    # The path is short, because Ray puts sockets there.
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:
        ours = {"address": OWN, "_temp_dir": folder, "log_to_driver": False, "logging_level": "CRITICAL"}
        connection = join(OWN, lambda: ray.init(**{**ours, **runner.init_kwargs}))
        try:
            # Runners of this process find the Ray of this process without an address.
            yield SharedEngine(
                workers=runner.init_kwargs["num_cpus"] or workers,
                options={name: value for name, value in options.items() if name in _KEPT},
            )
        finally:
            leave(connection)
