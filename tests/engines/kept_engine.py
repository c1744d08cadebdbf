"""A script that keeps one engine for its flow runs; it prints which worker each has used, and may wait then."""

from __future__ import annotations

import os
import sys
import time

from prefect import flow, task

from prefect_anyrunner import AnyTaskRunner, gather, use_runner


@task
def worker() -> int:
    return os.getpid()


@flow(task_runner=AnyTaskRunner())
def one() -> int:
    return int(gather(worker.submit()))


spec, then = sys.argv[1:]
with use_runner(spec, keep=True) as used:
    print(used.source, one(), one(), flush=True)
    if then == "wait":
        time.sleep(600)
