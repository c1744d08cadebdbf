"""What every runner promises, as a table that can be run against any of them.

    CASES     the table: one `Case` per promise, each with its rule and one English sentence
    RULES     what each rule says, in a few words
    Subject   the runner that a case's body is called with
    tasks     the tasks that the cases run
    conform   runs the table on any runner, each case in a child process, and returns a `ConformanceReport`

A body uses public names only and raises AssertionError where the promise is broken, so any test tool can run it.
"""

from __future__ import annotations

from . import _ending as _ending
from . import _failing as _failing
from . import _losing as _losing
from . import _nasty as _nasty
from . import _passing as _passing
from . import _settling as _settling
from . import _surrounding as _surrounding
from ._conform import cases_for as cases_for
from ._conform import conform as conform
from ._report import CaseResult as CaseResult
from ._report import ConformanceReport as ConformanceReport
from ._report import changes as changes
from ._report import merged as merged
from ._subject import OpenFlow as OpenFlow
from ._subject import SharedFlow as SharedFlow
from ._subject import Subject as Subject
from ._table import CASES as CASES
from ._table import RULES as RULES
from ._table import Case as Case

CASES.sort(key=lambda case: list(RULES).index(case.rule))  # they came file by file
