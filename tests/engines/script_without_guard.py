"""The text of a script that calls its flow at the top, in two parts.

The environment variable `MARKS` names a file, in which the top leaves a mark each time it runs.
"""

from __future__ import annotations

TOP = """
import os
from dataclasses import dataclass

from prefect import flow, task

from prefect_anyrunner import AnyTaskRunner, TaskRunsFailed, gather

with open(os.environ["MARKS"], "a") as file:
    print(os.getpid(), file=file)


class Refused(Exception):
    pass


@dataclass
class Day:
    name: str


@task
def load(day):
    if day.name == "sun":
        raise Refused(day)
    return day, os.getpid(), os.getcwd()


@flow(task_runner=AnyTaskRunner())
def nightly(days):
    return gather(load.map(days))
"""

CALL = """
(mon, pid, folder), (tue, _, _) = nightly([Day("mon"), Day("tue")])
assert type(mon) is type(tue) is Day
assert [mon, tue] == [Day("mon"), Day("tue")]
assert folder == os.getcwd()
assert (pid == os.getpid()) == (os.environ["ANYRUNNER"] == "thread")
try:
    nightly([Day("sun")])
except* Refused as failed:
    (refused,) = failed.exceptions
    assert type(refused) is Refused
    assert refused.args == (Day("sun"),)
    print("done")
"""

INITIALIZER = """
from prefect_anyrunner.backends.process import ProcessPoolTaskRunner


class Licence:
    def __init__(self, number):
        self.number = number


def start(licence):
    import builtins

    builtins.licence = licence


@task
def read_licence():
    import builtins

    return builtins.licence


@flow(task_runner=ProcessPoolTaskRunner(max_workers=1, initializer=start, initargs=(Licence(7),)))
def licensed():
    return read_licence.submit().result()


licence = licensed()
assert type(licence) is Licence
assert licence.number == 7
print("done")
"""

WORKER_DIES = """
import signal

from prefect_anyrunner import settle


@task
def die():
    os.kill(os.getpid(), signal.SIGKILL)


@flow(task_runner=AnyTaskRunner())
def surviving():
    (died,) = settle([die.submit()])
    (ran,) = gather([load.submit(Day("mon"))])
    return [died.status, ran[0]]


assert surviving() == ["crashed", Day("mon")]
print("done")
"""
