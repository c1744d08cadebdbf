"""Task runners that break one promise each, which prove that the table of rules catches the broken promise.

    BROKEN_RUNNERS   one `BrokenRunner` each: its class, and the cases that must fail on it

Each is our thread or process runner with one thing wrong, in the place where a real runner would have it wrong.
"""

from __future__ import annotations

from tests.conformance.broken_runners import arguments as arguments
from tests.conformance.broken_runners import context as context
from tests.conformance.broken_runners import crashes as crashes
from tests.conformance.broken_runners import flow_ends as flow_ends
from tests.conformance.broken_runners import futures as futures
from tests.conformance.broken_runners import order_and_failures as order_and_failures
from tests.conformance.broken_runners.base import BROKEN_RUNNERS as BROKEN_RUNNERS
from tests.conformance.broken_runners.base import WORKERS as WORKERS
from tests.conformance.broken_runners.base import BrokenRunner as BrokenRunner
from tests.conformance.broken_runners.base import Threads as Threads
