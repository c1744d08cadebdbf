"""The backends, and what a third party needs to add one: a `Backend` record behind an entry point."""

from __future__ import annotations

from ._base import Backend as Backend
from ._base import Capability as Capability
from ._base import Option as Option
