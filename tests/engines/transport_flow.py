"""A flow that fails in every way an exception can be hard to carry; prints as JSON what arrived.

    python transport_flow.py thread|process [with-dask]

With "with-dask" this process and its workers import prefect-dask first, which installs tblib's global reducers.
"""

from __future__ import annotations

import ast
import json
import sys
import threading
import traceback
from typing import Any

if "with-dask" in sys.argv:
    import prefect_dask  # noqa: F401

from prefect import flow, task

from prefect_anyrunner import Outcome, settle


class TwoArguments(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class KeywordOnly(Exception):
    def __init__(self, *, shard: int) -> None:
        super().__init__(f"shard {shard}")
        self.shard = shard


WAYS = ["two", "keyword", "syntax", "unicode", "lock", "recursion", "group", "cause", "exit", "result"]


def too_deep(depth: int) -> int:
    return too_deep(depth + 1) + 1


@task
def fail(way: str) -> Any:
    match way:
        case "two":
            raise TwoArguments(7, "why")
        case "keyword":
            raise KeywordOnly(shard=3)
        case "syntax":
            ast.parse("def (")
        case "unicode":
            b"\xff".decode()
        case "lock":
            error = ValueError("holds a lock")
            error.lock = threading.Lock()  # type: ignore[attr-defined]
            raise error
        case "recursion":
            too_deep(0)
        case "group":
            raise ExceptionGroup("several", [TwoArguments(1, "one"), KeywordOnly(shard=2)])
        case "cause":
            try:
                raise KeyError("inner")
            except KeyError as inner:
                raise TwoArguments(2, "outer") from inner
        case "exit":
            sys.exit(3)
    return TwoArguments(9, "returned")


def described(outcome: Outcome) -> dict[str, Any]:
    error = outcome.error if outcome.error is not None else outcome.value
    return {
        "status": outcome.status.value,
        "type": type(error).__name__,
        "text": str(error),
        "args": len(error.args),
        "holds": sorted(name for name in vars(error) if name in ("code", "shard", "lock")),
        "members": [repr(each) for each in getattr(error, "exceptions", [])],
        "cause": repr(error.__cause__),
        "own lines": [frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.name == "fail"],
    }


@flow
def failing() -> list[dict[str, Any]]:
    return [described(outcome) for outcome in settle(fail.map(WAYS))]


if __name__ == "__main__":
    from prefect_anyrunner import pick

    print(json.dumps(failing.with_options(task_runner=pick(f"{sys.argv[1]}://?max_workers=2"))()))
