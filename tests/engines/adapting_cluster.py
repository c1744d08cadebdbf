"""A Dask cluster whose `adapt` is a coroutine, as that of some cloud providers."""

from __future__ import annotations

from typing import Any

import distributed

Local: Any = distributed.LocalCluster


class AdaptingCluster(Local):  # type: ignore[misc]  # its base is Any
    """A local cluster that scales once the coroutine of `adapt` has run."""

    async def adapt(self, **kwargs: Any) -> Any:
        return super().adapt(**kwargs)
