"""The backends, and what a third party needs to add one: a `Backend` record behind an entry point."""

from __future__ import annotations

from prefect_anyrunner.backends._record import Backend as Backend
from prefect_anyrunner.backends._record import Capability as Capability
from prefect_anyrunner.backends._record import Option as Option
from prefect_anyrunner.backends._record import SharedEngine as SharedEngine
