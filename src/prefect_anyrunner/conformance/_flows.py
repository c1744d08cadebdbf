"""The flows that cases run in; workers import this module, so they hold nothing that cannot travel."""

from __future__ import annotations

from prefect import flow


@flow(name="conformance")
def serving_flow(key: str) -> None:
    """Do what is handed to the open flow `key`."""
    from prefect_anyrunner.conformance._subject import serve

    serve(key)


@flow(name="conformance-async")
async def serving_flow_async(key: str) -> None:
    """Do what is handed to the open flow `key`."""
    from prefect_anyrunner.conformance._subject import serve_async

    await serve_async(key)
