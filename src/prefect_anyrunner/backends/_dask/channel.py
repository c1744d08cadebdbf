"""Results on their way from Dask workers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect.exceptions import MissingResult

_FETCH_WITHIN = 300.0


def _error_of(future: Any) -> BaseException | None:
    if future.status != "error":
        return None
    error = future.exception(timeout=10)
    return error if isinstance(error, BaseException) else None


class _Fetch:
    """Brings a result that stayed on its worker; holds the Dask future, without which Dask would drop it."""

    def __init__(self, future: Any, task_run_id: UUID) -> None:
        self._future = future
        self._task_run_id = task_run_id

    def __call__(self) -> bytes:
        data: Any = None
        problem: Exception | None = None
        try:
            data = self._future.result(timeout=_FETCH_WITHIN)
        except TimeoutError as exc:
            raise TimeoutError(
                f"The result of task run {self._task_run_id} did not come within {_FETCH_WITHIN:g} seconds from the "
                "Dask worker that keeps it."
            ) from exc
        except Exception as exc:
            problem = exc
        if not isinstance(data, bytes):  # Dask asked for it to be computed again, which no worker does (rule C3)
            raise MissingResult(
                f"The result of task run {self._task_run_id} was lost with the Dask worker that kept it."
            ) from problem
        self._future = None
        return data
