"""The promises that every runner makes, as a table that can be run against any runner.

    CASES     the table: one `Case` per promise, each with its rule and one English sentence
    RULES     the rules in a few words each
    Subject   the runner that a case's body is called with
    tasks     the tasks that the cases run
    conform   runs the table on a runner, in a child process, and returns a `ConformanceReport`

A body uses public names only and raises AssertionError when the promise is broken, so any test tool can run it.
"""

from __future__ import annotations

from prefect_anyrunner.conformance._harness.conform import cases_for as cases_for
from prefect_anyrunner.conformance._harness.conform import conform as conform
from prefect_anyrunner.conformance.cases import arguments as arguments
from prefect_anyrunner.conformance.cases import exceptions as exceptions
from prefect_anyrunner.conformance.cases import hostile as hostile
from prefect_anyrunner.conformance.cases import lifecycle as lifecycle
from prefect_anyrunner.conformance.cases import prefect_features as prefect_features
from prefect_anyrunner.conformance.cases import settling as settling
from prefect_anyrunner.conformance.cases import waiting as waiting
from prefect_anyrunner.conformance.cases import worker_death as worker_death
from prefect_anyrunner.conformance.open_flow import OpenFlow as OpenFlow
from prefect_anyrunner.conformance.open_flow import SharedFlow as SharedFlow
from prefect_anyrunner.conformance.report import CaseResult as CaseResult
from prefect_anyrunner.conformance.report import ConformanceReport as ConformanceReport
from prefect_anyrunner.conformance.report import changes as changes
from prefect_anyrunner.conformance.subject import Subject as Subject
from prefect_anyrunner.conformance.table import CASES as CASES
from prefect_anyrunner.conformance.table import RULES as RULES
from prefect_anyrunner.conformance.table import Case as Case

CASES.sort(key=lambda case: list(RULES).index(case.rule))  # importing the cases has added them file by file
