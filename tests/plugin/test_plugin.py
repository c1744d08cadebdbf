"""The pytest plugin as its users run it: each example in a fresh pytest process."""

from __future__ import annotations

import re
import signal

import pytest

from prefect_anyrunner.conformance import CASES
from tests.plugin.watching import Watched, interrupt

pytestmark = pytest.mark.usefixtures("flows")


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


def test_different_answers_fail_the_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("size", [1, 2])
        def test_where(size, any_runner):
            any_runner.record("size", {"is": size})
            any_runner.record("name", [any_runner.name])

        def test_returned(any_runner):
            return {"sum": 3, "on": any_runner.name}

        def test_same(any_runner):
            return 42
        """
    )
    for more in ([], ["-n", "2"]):
        result = pytester.runpytest_subprocess("--anyrunner=thread,process", *more)
        result.assert_outcomes(passed=8)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines_random(
            [
                "*test_where[[]1[]]: 'name' differs between runners*",
                "*test_where[[]2[]]: 'name' differs between runners*",
                "*test_returned: 'the returned value' differs between runners*",
            ]
        )
        shown = result.stdout.str()
        for word in ("{}", "['{}']", "'on': '{}'"):
            one, other = (re.escape(word.format(name)) for name in ("thread", "process"))
            assert re.search(rf"{one}.*{other}|{other}.*{one}", shown), shown
        result.stdout.no_fnmatch_line("*'size' differs*")
        result.stdout.no_fnmatch_line("*test_same*differs*")


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
    result.stdout.fnmatch_lines(["*unknown capability 'FLY'*"])
    result.stdout.fnmatch_lines(["SKIPPED*thread: what ends the process of a thread ends the flow with it"])


def test_combined_failure_is_shown_by_its_groups(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
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
            "TaskRunsFailed: 2 of 4 task runs failed: 2 ValueError: -2 is negative (double[[]1[]], double[[]3[]])",
            "test_combined_failure_is_shown_by_its_groups.py:4: doubles([[]1, -2, 3, -4[]])",
            "  2 x ValueError: -2 is negative (flows.py:10 in double): double[[]1, 3[]]",
            "      double[[]1[]] number=-2 (double-*)*",
            "      double[[]3[]] number=-4 (double-*): -4 is negative*",
            "FAILED * - TaskRunsFailed: 2 of 4 task runs failed: *",
        ]
    )
    result.stdout.no_fnmatch_line("*prefect/task_engine.py*")


def test_prefects_log_of_the_failures_is_left_out(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "INFO")
    pytester.makepyfile(
        """
        import sys
        from flows import AnyTaskRunner, flow, gather, task
        from prefect import get_run_logger

        @task
        def odd(number):
            get_run_logger().error("my log line %s", number)
            sys.stderr.write(f"my printed line {number}\\n")  # at once: `print` lets other threads write in between
            try:
                int("x")
            except ValueError as error:
                raise KeyError(number) from error

        @flow(task_runner=AnyTaskRunner())
        def odds():
            gather(odd.map(range(4)))

        def test_etl(any_runner):
            odds()
        """
    )
    result = pytester.runpytest_subprocess("--anyrunner=thread,process")
    result.assert_outcomes(failed=2)
    shown = result.stdout.str()
    assert "my log line 3" in shown and "my printed line 3" in shown
    assert "Beginning flow run" in shown
    assert "Traceback" not in shown and "Encountered exception" not in shown and "Finished in state" not in shown
    result.stdout.fnmatch_lines(
        ["* lines of Prefect's log about it are left out; ANYRUNNER_TRACEBACKS=all shows them."]
    )
    assert len(result.stdout.lines) < 90
    monkeypatch.setenv("ANYRUNNER_TRACEBACKS", "all")
    assert "Traceback" in pytester.runpytest_subprocess("--anyrunner=thread").stdout.str()


def test_named_runners_and_the_ini_setting(pytester: pytest.Pytester) -> None:
    pytester.makefile(".toml", anyrunner="[runners.small]\nbackend = 'thread'\nmax_workers = 3\n")
    pytester.makeini("[pytest]\nanyrunner = small")
    pytester.makepyfile(
        """
        def test_etl(any_runner):
            assert any_runner.spec.options["max_workers"] == 3
        """
    )
    result = pytester.runpytest_subprocess("-v")
    result.stdout.fnmatch_lines(["anyrunner: small (thread, prefect *)", "*::test_etl[[]small[]] PASSED*"])


def test_ids_may_have_dashes_in_their_parts(pytester: pytest.Pytester) -> None:
    pytester.makefile(".toml", anyrunner="[runners.three-threads]\nbackend = 'thread'\nmax_workers = 3\n")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.anyrunner("thread")
        @pytest.mark.parametrize("a,b", [(1, 2), (1, "x-y")])
        def test_etl(any_runner, a, b):
            return str(any_runner.spec)
        """
    )
    result = pytester.runpytest_subprocess("--anyrunner=thread,three-threads,process")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines_random(["*test_etl[[]1-2[]]: *", "*test_etl[[]1-x-y[]]: *"])
    result.stdout.fnmatch_lines(["  thread * three-threads*"])


def test_misspelt_runner_is_one_usage_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_etl(any_runner): pass\ndef test_two(any_runner): pass")
    for more in ([], ["-n", "2"]):
        result = pytester.runpytest_subprocess("--anyrunner=thraed", *more)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert [line for line in result.stderr.lines if line] == [
            "ERROR: --anyrunner: unknown runner 'thraed'; did you mean 'thread'? (known: thread, process, dask, ray)"
        ]
        result.stdout.no_fnmatch_line("*Error*")


def test_server_of_its_own_and_nothing_left_behind(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, watched: Watched
) -> None:
    monkeypatch.delenv("PREFECT_API_URL")
    pytester.makepyfile(
        """
        from flows import doubles
        from prefect import get_client
        from prefect.settings import PREFECT_API_URL
        from prefect.utilities.urls import url_for

        urls = set()

        def test_etl(any_runner):
            assert doubles([1, 2]) == [2, 4]
            urls.add(PREFECT_API_URL.value())
            with get_client(sync_client=True) as client:
                runs = client.read_flow_runs()
            assert runs
            assert url_for(runs[0]) is None, "no page is named of a server that has none and ends with the tests"

        def test_one_server_for_all(any_runner):
            assert len(urls) == 1
            assert urls == {PREFECT_API_URL.value()}
        """
    )
    pytester.runpytest_subprocess("--anyrunner=thread,process").assert_outcomes(passed=4)
    watched.nothing_left()


def test_ctrl_c_leaves_nothing_behind(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, watched: Watched
) -> None:
    monkeypatch.delenv("PREFECT_API_URL")
    interrupt(pytester, "--anyrunner=process")
    watched.nothing_left()


def test_server_ends_with_a_run_that_is_killed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, watched: Watched
) -> None:
    monkeypatch.delenv("PREFECT_API_URL")
    interrupt(pytester, "--anyrunner=thread", by=signal.SIGKILL)  # as pytest-timeout does
    watched.no_process_left()


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
    chosen = [case for case in CASES if case.rule in ("O1", "V2")]
    result.assert_outcomes(passed=len(chosen) - 1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*threads are part of the flow's process"])
