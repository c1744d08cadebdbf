"""The command `anyrunner`: wrong input ends in one sentence and exit code 2; `show` hides only secrets."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_anyrunner import cli

FLOWS = """
from prefect import flow, task

@task
def one() -> int:
    return 1

@flow
def takes(day: int, name: str = "") -> None:
    raise AssertionError("must not run")
"""


ANY_FLOW = """
from prefect import flow
from prefect_anyrunner import AnyTaskRunner

@flow(task_runner=AnyTaskRunner())
def anywhere() -> None:
    raise AssertionError("must not run")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANYRUNNER", raising=False)
    (tmp_path / "some_flows.py").write_text(FLOWS)
    (tmp_path / "broken_flows.py").write_text("import nowhere_at_all")
    (tmp_path / "leaving_flows.py").write_text("raise SystemExit(0)")
    (tmp_path / "notes.txt").touch()
    yield tmp_path


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("run some_flows.py", "'some_flows.py' is not FILE:FLOW, such as nightly.py:nightly"),
        ("run :takes", "':takes' is not FILE:FLOW, such as nightly.py:nightly"),
        ("run none.py:takes", "the file 'none.py' does not exist"),
        ("run ./notes.txt:takes", "'./notes.txt' is not a Python file: its name must end in .py"),
        ("run some_flows.py:none", "'none' in some_flows.py does not exist"),
        ("run some_flows.py:one", "'one' in some_flows.py is not a flow: decorate it with @flow"),
        ("run no_such_module:takes", "no_such_module cannot be imported: ModuleNotFoundError"),
        ("run broken_flows.py:takes", "broken_flows.py cannot be imported: ModuleNotFoundError: No module named"),
        ("run leaving_flows.py:takes", "leaving_flows.py cannot be imported: SystemExit: 0"),
        ("run some_flows.py:takes", "flow 'takes' does not take these parameters: missing a required argument: 'day'"),
        ("run some_flows.py:takes -p day=x", "flow 'takes' does not take these parameters: day: Input should be a"),
        (
            "run some_flows.py:takes -p dy=1",
            "flow 'takes' has no parameter 'dy'; did you mean 'day'? (its parameters: day",
        ),
        ("run some_flows.py:takes -p day", "parameter 'day' is not name=value"),
        ("run some_flows.py:takes -p day=1 -p day=2", "parameter 'day' is given twice"),
        ("run some_flows.py:takes -p day=1 --runner daks", "--runner: unknown runner 'daks'; did you mean 'dask'?"),
        (
            "run some_flows.py:takes --runner thread://?max_workers=x",
            "option 'max_workers' = 'x' is not a whole number",
        ),
        ("compare some_flows.py:takes -p day=1 --on thread,daks", "--on: unknown runner 'daks'; did you mean 'dask'?"),
        ("compare some_flows.py:takes -p day=1 --on ,", "--on names no runner"),
        ("compare none.py:takes --on thread", "the file 'none.py' does not exist"),
    ],
)
def test_wrong_input_is_one_sentence(arguments: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith("anyrunner: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert out == ""


def test_wrong_environment_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ANYRUNNER", "dask://me:hunter2@host:1")
    assert cli.main(["show"]) == 2
    err = capsys.readouterr().err
    assert "environment variable ANYRUNNER (dask://***@host:1)" in err
    assert "hunter2" not in err


@pytest.mark.parametrize("command", ["run some_flows.py:takes -p day=1 --runner", "compare some_flows.py:takes --on"])
def test_dead_address_is_reported_before_anything_runs(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("prefect_dask")
    with socket.socket() as taken:  # the port is bound but not listening, so nothing answers there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert cli.main([*command.split(), f"dask://127.0.0.1:{port}?connect_timeout=5"]) == 2
    err = capsys.readouterr().err
    assert f"no dask answers at tcp://127.0.0.1:{port} (tried for at most 5 s)" in err
    assert err.count("\n") == 1


def test_show_prints_runner_and_backends(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "anyrunner.toml").write_text(
        '[runners.cluster]\nbackend = "dask"\ncluster_class = "distributed.LocalCluster"\n'
        'cluster_kwargs = { password = "hunter2", n = 3 }'
    )
    pytest.importorskip("prefect_dask")
    monkeypatch.setenv("ANYRUNNER", "cluster")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(["show"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "chosen by environment variable ANYRUNNER" in out
    assert f"backend dask from {folder}/anyrunner.toml [runners.cluster]" in out
    assert "hunter2" not in out
    assert "'n': 3" in out
    assert "ray not installed pip install 'prefect-anyrunner[ray]'" in out
    assert "thread installed prefect 3." in out
    assert cli.main(["show", "--json"]) == 0
    out = capsys.readouterr().out
    shown = json.loads(out)
    assert shown["chosen_by"] == "environment variable ANYRUNNER"
    assert shown["settings"]["cluster_kwargs"]["value"] == {"password": "***", "n": 3}
    assert shown["named_runners"]["cluster"] == {"place": f"{folder}/anyrunner.toml [runners.cluster]", "problem": ""}
    assert shown["backends"]["ray"]["state"] == "not installed"
    assert {"python", "prefect", "prefect-anyrunner", "distributed"} <= set(shown["versions"])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("dask_yarn.YarnCluster", "dask_yarn is not installed; install it with: pip install dask-yarn"),
        ("distributed.nowhere.LocalCluster", "cannot be imported: ModuleNotFoundError: No module named"),
        ("distributed.LokalCluster", "distributed has no class 'LokalCluster'"),
    ],
)
def test_a_cluster_class_that_cannot_be_imported_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, sentence: str
) -> None:
    pytest.importorskip("prefect_dask")
    (folder / "anyrunner.toml").write_text(f'[runners.cluster]\nbackend = "dask"\ncluster_class = "{name}"')
    assert cli.main(["show"]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if "[runners.cluster]" in line]
    assert len(shown) == 1 and "cannot be used: " in shown[0] and sentence in shown[0]
    monkeypatch.setenv("ANYRUNNER", "cluster")
    (folder / "any_flows.py").write_text(ANY_FLOW)
    for command in ("show", "run any_flows.py:anywhere", "run some_flows.py:takes -p day=1 --runner cluster"):
        assert cli.main(command.split()) == 2
        err = capsys.readouterr().err
        assert sentence in err and err.count("\n") == 1


def test_show_checks_a_runner_that_is_not_in_effect(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "thread://?max_workers=3&events=all", "--check"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["runner", "thread://?max_workers=3&events=all", "chosen", "by", "argument", "SPEC"]
    assert any(row.split()[:2] == ["stop_timeout", "20.0"] for row in rows)
    assert rows[-1] == "it starts: 3 threads of this process"
    assert "backends" not in rows


ENGINES = [
    ("process://?max_workers=2", "2 processes, of one thread each"),
    pytest.param("dask", "2 workers with 2 threads in all, whose versions fit", marks=pytest.mark.dask),
    pytest.param("ray", "2 CPUs, of which each runs a task, and workers whose versions fit", marks=pytest.mark.ray),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "workers"), ENGINES)
def test_show_starts_an_engine(spec: str, workers: str) -> None:
    local = {"dask": "dask://?n_workers=2&threads_per_worker=1", "ray": "ray://?num_cpus=2"}
    main = "import sys; from prefect_anyrunner.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", main, "show", local.get(spec, spec), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.stdout.endswith(f"it starts: {workers}\n"), done.stdout + done.stderr


WITHOUT_PREFECT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "prefect":
            raise AssertionError("Prefect was imported")

sys.meta_path.insert(0, Refuse())
from prefect_anyrunner.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ("--version", 0, "prefect-anyrunner 0"),
        ("--help", 0, "usage: anyrunner"),
        ("compare --help", 0, "--on SPEC,SPEC"),
        ("conform", 2, "the following arguments are required: SPEC"),
    ],
)
def test_help_and_usage_errors_do_not_import_prefect(arguments: str, code: int, text: str) -> None:
    command = [sys.executable, "-c", WITHOUT_PREFECT, *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert text in done.stdout + done.stderr
