"""Which lines of captured output are left out when a combined failure is shown."""

from __future__ import annotations

from prefect_anyrunner.pytest_plugin.captured import without_failures

CONSOLE = """\
08:06:08.454 | INFO    | Flow run 'russet-mastodon' - Beginning flow run 'russet-mastodon' for flow 'f'
08:06:08.508 | ERROR   | Task run 'mine-cda' - my own words
printed
08:06:08.509 | ERROR   | Task run 'mine-cda' - Task run failed with exception: KeyError('k') - Retries are exhausted
Traceback (most recent call last):
  File "flow.py", line 9, in mine
    raise ValueError(n)
ValueError: bad 0

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "flow.py", line 10, in mine
    raise KeyError
KeyError: 'k'
printed later

08:06:08.525 | ERROR   | Task run 'mine-cda' - Finished in state Failed('Task run encountered an exception')
08:06:08.600 | ERROR   | Flow run 'russet-mastodon' - Encountered exception during execution: TaskRunsFailed('1 of 1')
  + Exception Group Traceback (most recent call last):
  |   File "flow.py", line 20, in f
  +-+---------------- 1 ----------------
    | KeyError: 'k'
    +------------------------------------
Traceback (most recent call last):
  of my own
"""
RECORDS = """\
INFO     prefect.flow_runs:flow_engine.py:1166 Beginning flow run 'russet-mastodon' for flow 'f'
ERROR    prefect.task_runs:flow.py:7 my own words
ERROR    prefect.task_runs:task_engine.py:709 Task run failed with exception: ValueError('bad 0')
Traceback (most recent call last):
  File "flow.py", line 9, in mine
ValueError: bad 0
ERROR    prefect.task_runs:task_engine.py:742 Finished in state Failed('...')
"""


def test_own_words_stay() -> None:
    text, left_out = without_failures(CONSOLE)
    assert text.splitlines() == [
        "08:06:08.454 | INFO    | Flow run 'russet-mastodon' - Beginning flow run 'russet-mastodon' for flow 'f'",
        "08:06:08.508 | ERROR   | Task run 'mine-cda' - my own words",
        "printed",
        "printed later",
        "",
        "Traceback (most recent call last):",
        "  of my own",
    ]
    assert left_out == len(CONSOLE.splitlines()) - 7


def test_records_are_read_as_pytest_writes_them() -> None:
    assert without_failures(RECORDS) == ("".join(RECORDS.splitlines(keepends=True)[:2]), 5)


def test_other_output_is_not_changed() -> None:
    for text in ("", "one\ntwo", "Traceback (most recent call last):\n  File\nKeyError: 'k'\n"):
        assert without_failures(text) == (text, 0)
