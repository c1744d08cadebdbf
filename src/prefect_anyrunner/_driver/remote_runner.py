"""The flow's side of backends whose workers are other processes: a run travels to its worker as a small request."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from prefect_anyrunner._base.errors import CannotTravel, EngineUnreachable
from prefect_anyrunner._driver import ends
from prefect_anyrunner._driver.blobs import BlobStore
from prefect_anyrunner._driver.map_scope import MapScope
from prefect_anyrunner._driver.requests import RequestBuilder
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner._driver.tracked_runner import Parts, TrackedRunner


@dataclass(frozen=True)
class RemoteParts(Parts):
    """The parts of a started runner whose workers are other processes."""

    blobs: BlobStore
    requests: RequestBuilder


class RemoteRunner(TrackedRunner):
    """A tracked runner whose workers are other processes."""

    both_sides: tuple[str, ...] = ()
    """Modules of the engine whose release must be the same on workers."""
    sends_environment: bool = False
    """Whether bodies get the environment variables of the flow's process; the changes of a body end with it."""

    _parts: RemoteParts | None = None

    def store_blob(self, digest: str, data: bytes) -> None:
        """Keep `data` where every worker of this runner can fetch it by `digest`."""
        raise NotImplementedError

    def delete_blobs(self, digests: list[str]) -> None:
        """Delete the data stored under `digests`, because no open run needs it."""
        raise NotImplementedError

    def _make_parts(self) -> RemoteParts:
        blobs = BlobStore(self.store_blob, self.delete_blobs, self.logger)
        requests = RequestBuilder(blobs, self.both_sides, self.sends_environment)
        return RemoteParts(**vars(super()._make_parts()), blobs=blobs, requests=requests)

    def _started_parts(self) -> RemoteParts:
        parts = super()._started_parts()
        assert isinstance(parts, RemoteParts)
        return parts

    def prepare(self, run: Run, scope: MapScope | None) -> bool:
        """Build the request of `run`; return False if that ended the run."""
        try:
            request = run.context.run(self._started_parts().requests.build, run, scope)
            run.request = request._replace(events=self.run_events.for_workers())
        except CannotTravel as exc:
            self.end_failed(run, exc)
            return False
        except EngineUnreachable as exc:
            self.end(run, ends.crashed(run, str(exc), exc))
            return False
        finally:
            if run.phase is Phase.ENDED:  # another thread has cancelled the run while its request was built
                self.release(run)
        return True

    def release(self, run: Run) -> None:
        """Remove `run` from the users of its blobs."""
        digests = []
        with suppress(KeyError):  # until it is empty: `prepare` releases what is added meanwhile
            while True:
                digests.append(run.blobs.popitem()[1])
        self._started_parts().blobs.release(digests)

    def is_waiting(self) -> bool:
        """Return whether the engine has a run that has not ended."""
        return any(run.phase is Phase.SENT for run in self.ledger.open_runs())

    def on_no_workers(self, why: str) -> None:
        """End the runs that wait for a worker, because the engine has had none for too long."""
        sent = [run for run in self.ledger.open_runs() if run.phase is Phase.SENT]
        for run, never_starts in zip(sent, self.revoke(sent), strict=True):
            if never_starts:
                self.end(run, ends.crashed(run, why, EngineUnreachable(f"{why}.")))

    def end_map(self, scope: MapScope) -> None:
        """Remove the `map` call itself from the users of the blobs that its runs share."""
        self._started_parts().blobs.release(scope.held)
