"""The pytest plugin as its users run it: each test of theirs in a fresh pytest process."""

from __future__ import annotations

import pytest

FLOWS = """
import os
import pytest
from prefect import flow, task
from prefect.context import FlowRunContext
from prefect_anyrunner import AnyTaskRunner, gather

@task
def double(number):
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * 2

@flow(task_runner=AnyTaskRunner())
def doubles(numbers):
    return gather(double.map(numbers))

@flow(task_runner=AnyTaskRunner())
def parent(numbers):
    return doubles(numbers), FlowRunContext.get().task_runner.name

@flow
def of_its_own():
    return FlowRunContext.get().task_runner.name
"""


@pytest.fixture(autouse=True)
def flows(pytester: pytest.Pytester, prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANYRUNNER", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(flows=FLOWS)


def test_a_test_runs_once_per_runner(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from flows import doubles, of_its_own, parent

        def test_etl(any_runner):
            assert doubles([1, 2]) == [2, 4]
            assert parent([3]) == ([6], {"thread": "threadpool", "process": "processpool"}[any_runner.name])

        def test_other(any_runner):
            assert any_runner.flow(of_its_own)().startswith(any_runner.name)

        def test_without():
            pass
        """
    )
    result = pytester.runpytest_subprocess("-v", "--anyrunner=thread,process://?max_workers=1")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["anyrunner: thread (prefect *), process://?max_workers=1 (prefect *)"])
    result.stdout.fnmatch_lines_random(["*::test_etl[[]thread[]] PASSED*", "*::test_etl[[]process[]] PASSED*"])


@pytest.mark.timeout(400, func_only=True)  # it starts a Dask cluster and a Ray
def test_all_four_runners_by_default(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from flows import doubles

        def test_etl(any_runner):
            any_runner.record("doubles", doubles([1, 2, 3]))
        """
    )
    pytester.runpytest_subprocess("-v").assert_outcomes(passed=4)


def test_different_answers_fail_the_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("size", [1, 2])
        def test_where(size, any_runner):
            any_runner.record("size", {"is": size})
            any_runner.record("name", [any_runner.name])
        """
    )
    for more in ([], ["-n", "2"]):
        result = pytester.runpytest_subprocess("--anyrunner=thread,process", *more)
        result.assert_outcomes(passed=4)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines_random(
            [
                "*test_where[[]1[]]: 'name' differs between runners*",
                "thread   [[]'thread'[]]",
                "process  [[]'process'[]]",
            ]
        )
        result.stdout.no_fnmatch_line("*'size' differs*")


def test_runner_that_is_not_installed_is_a_visible_skip(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("import sys; sys.modules['ray'] = None")
    pytester.makepyfile("def test_etl(any_runner): pass")
    result = pytester.runpytest_subprocess("-rs", "--anyrunner=thread,ray")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*pip install 'prefect-anyrunner[[]ray[]]'*"])
    strict = pytester.runpytest_subprocess("--anyrunner=thread,ray", "--anyrunner-strict")
    strict.assert_outcomes(passed=1, errors=1)
    strict.stdout.fnmatch_lines(["*pip install 'prefect-anyrunner[[]ray[]]'*"])


def test_marker_picks_runners_and_capabilities(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.anyrunner("process")
        def test_there(any_runner):
            assert any_runner.name == "process"

        @pytest.mark.anyrunner(needs="SURVIVE_WORKER_DEATH")
        def test_mortal(any_runner):
            assert any_runner.name == "process"

        @pytest.mark.anyrunner(needs="FLY")
        def test_typo(any_runner):
            pass
        """
    )
    result = pytester.runpytest_subprocess("-rs", "--anyrunner=thread,process")
    result.assert_outcomes(passed=2, skipped=1, errors=2)
    result.stdout.fnmatch_lines(["*no capability is called 'FLY'*"])
    result.stdout.fnmatch_lines(["SKIPPED*thread: what ends the process of a thread ends the flow with it"])


def test_combined_failure_is_shown_by_its_groups(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from flows import doubles

        def test_etl(any_runner):
            doubles([1, -2, 3, -4])
        """
    )
    result = pytester.runpytest_subprocess("--anyrunner=thread")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "test_combined_failure_is_shown_by_its_groups.py:4: doubles([[]1, -2, 3, -4[]])",
            "TaskRunsFailed: 2 of 4 task runs failed: 2 ValueError (double[[]1[]], double[[]3[]])",
            "  2 x ValueError: -2 is negative (flows.py:10 in double): double[[]1, 3[]]",
        ]
    )
    result.stdout.no_fnmatch_line("*prefect/task_engine.py*")


def test_named_runners_and_the_ini_setting(pytester: pytest.Pytester) -> None:
    pytester.makefile(".toml", anyrunner="[runners.small]\nbackend = 'thread'\nmax_workers = 3\n")
    pytester.makeini("[pytest]\nanyrunner = small")
    pytester.makepyfile(
        """
        def test_etl(any_runner):
            assert any_runner.spec.options["max_workers"] == 3
        """
    )
    pytester.runpytest_subprocess("-v").stdout.fnmatch_lines(["*::test_etl[[]small[]] PASSED*"])


def test_misspelt_runner_is_one_sentence(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_etl(any_runner): pass")
    result = pytester.runpytest_subprocess("--anyrunner=thraed")
    result.stdout.fnmatch_lines(["*--anyrunner*thraed*thread*"])
    assert result.ret != 0


def test_loading_the_plugin_imports_no_prefect(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing():
            assert "prefect" not in sys.modules
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_table_runs_on_any_runner(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(
        "--pyargs", "prefect_anyrunner.conformance", "--anyrunner=thread", "-k", "O1 or V2", "-rs"
    )
    result.assert_outcomes(passed=3, skipped=1)
