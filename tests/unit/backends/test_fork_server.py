"""Workers that are forked from a template."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from prefect_anyrunner.backends import _fork_server
from prefect_anyrunner.backends._fork_server import IS_SAFE
from prefect_anyrunner.backends._worker_process import POOL_CONTEXT

pytestmark = pytest.mark.skipif(not IS_SAFE, reason="workers are not forked here")


@pytest.fixture(autouse=True)
def many_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test that changes the environment has a template of its own."""
    monkeypatch.setattr(_fork_server, "_MOST", 100)


def describe(to: Connection) -> None:
    to.send((os.getppid(), os.environ.get("TEMPLATES"), "prefect.flow_engine" in sys.modules, sorted(sys.modules)))


def stay(to: Connection) -> None:
    describe(to)
    threading.Event().wait()


def started(target: Callable[[Connection], None]) -> tuple[Any, Any]:
    context: Any = POOL_CONTEXT
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(theirs,))
    process.start()
    theirs.close()
    return process, mine.recv()


def install_collection(folder: Path, module: str) -> None:
    metadata = folder / f"{module}-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[prefect.collections]\n{module} = {module}\n")


def worker() -> Any:
    process, described = started(describe)
    process.join()
    assert process.exitcode == 0
    return described


def test_workers_have_one_template_which_has_imported_prefect() -> None:
    first, second = worker(), worker()
    assert first[0] == second[0] != os.getpid()
    assert first[2]


def test_another_environment_has_another_template(monkeypatch: pytest.MonkeyPatch) -> None:
    before = worker()
    monkeypatch.setenv("TEMPLATES", "another")
    after = worker()
    assert after[0] != before[0]
    assert (before[1], after[1]) == (None, "another")


def test_a_template_that_was_killed_is_replaced_and_no_worker_outlives_it() -> None:
    process, (template, *_) = started(stay)
    watched = os.pidfd_open(process.pid)
    os.kill(template, signal.SIGKILL)
    select.select([watched], [], [])
    process.join()
    assert process.exitcode == 255
    assert worker()[0] != template


def test_a_signal_to_all_processes_leaves_the_template() -> None:
    before = worker()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(before[0], number)
    assert worker()[0] == before[0]


def test_a_worker_says_how_it_ended_although_the_environment_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    process, _ = started(stay)
    monkeypatch.setenv("TEMPLATES", "a third one")
    worker()
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.fixture
def few_templates(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    templates: dict[Any, Any] = {}
    monkeypatch.setattr(_fork_server, "_templates", templates)
    monkeypatch.setattr(_fork_server, "_MOST", 2)
    yield
    for template in templates.values():
        template.end()


@pytest.mark.usefixtures("few_templates")
def test_a_new_template_replaces_the_one_whose_last_use_is_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    templates: dict[str, int] = {}
    for name in ("first", "second", "first", "third", "first"):
        monkeypatch.setenv("TEMPLATES", name)
        template, *_ = worker()
        assert templates.setdefault(name, template) == template != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(templates["second"], 0)


@pytest.mark.usefixtures("few_templates")
def test_a_template_with_a_worker_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = []
    for name in ("one", "two"):
        monkeypatch.setenv("TEMPLATES", name)
        processes.append(started(stay)[0])
    monkeypatch.setenv("TEMPLATES", "one too many")
    assert worker()[:2] == (os.getpid(), "one too many")
    assert all(process.is_alive() for process in processes)
    processes[1].kill()
    processes[1].join()
    assert worker()[0] != os.getpid()
    processes[0].kill()
    processes[0].join()
    assert [process.exitcode for process in processes] == [-signal.SIGKILL] * 2


def test_a_long_path_of_temporary_files_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert worker()[0] != os.getpid()


def test_a_worker_that_has_just_started_can_be_terminated() -> None:
    context: Any = POOL_CONTEXT
    process = context.Process(target=signal.pause)
    process.start()
    process.terminate()
    process.join()
    assert process.exitcode == -signal.SIGTERM


def test_a_worker_can_be_terminated() -> None:
    process, _ = started(stay)
    process.terminate()
    process.join()
    assert process.exitcode == -signal.SIGTERM


def test_a_template_has_one_thread_whatever_the_installed_collections_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    install_collection(tmp_path, "starts_a_thread")
    monkeypatch.syspath_prepend(str(tmp_path))
    described = worker()
    assert described[2]
    assert "starts_a_thread" not in described[3]


def test_a_template_that_cannot_fork_keeps_its_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "limits_processes.py").write_text(
        "import os\n"
        "stock, calls = os.fork, []\n"
        "def fork():\n"
        "    calls.append(None)\n"
        "    if len(calls) == 2:\n"
        "        raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
        "    return stock()\n"
        "os.fork = fork\n"
    )
    install_collection(tmp_path, "limits_processes")
    monkeypatch.syspath_prepend(str(tmp_path))
    first, (template, *_) = started(stay)
    assert worker()[0] == os.getpid()
    assert worker()[0] == template
    assert first.is_alive()
    first.kill()
    first.join()
    assert first.exitcode == -signal.SIGKILL


def test_no_start_method_is_chosen_for_the_script() -> None:
    worker()
    assert multiprocessing.get_start_method(allow_none=True) is None
