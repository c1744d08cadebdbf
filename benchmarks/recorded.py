"""One flow of no-ops, for a server that is measured from outside: prints one line of JSON.

`python -m benchmarks.recorded RUNNER VARIANT WORKERS SIZE`; the variant is stock, or a value of our option `events`.
"""

from __future__ import annotations

import json
import sys
import time

from prefect import flow, runtime

from benchmarks.engines import engine, make
from benchmarks.tasks import noop


def main() -> None:
    """Run the flow that the arguments name."""
    runner, variant, workers, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with engine(runner, workers) as address:
        if variant == "stock":
            task_runner = make(runner, "stock", workers, address)
        else:
            task_runner = make(runner, "ours", workers, address)
            task_runner.use_shared(events=variant)

        @flow(task_runner=task_runner)
        def many() -> tuple[str, float]:
            began = time.perf_counter()
            for future in noop.map(range(size)):
                future.result()
            return str(runtime.flow_run.id), time.perf_counter() - began

        flow_run_id, in_flow = many()
    print(json.dumps({"flow_run": flow_run_id, "in_flow_s": in_flow}))


if __name__ == "__main__":
    main()
