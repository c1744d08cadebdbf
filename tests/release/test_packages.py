"""Wheel and sdist as a user gets them: built, checked, installed into an empty environment, run and type-checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

USER_CODE = """
from prefect import flow, task

from prefect_anyrunner import AnyTaskRunner, FailurePolicy, Outcome, Report, TaskRunsFailed, gather, map_settled, settle


@task
def load(day: str) -> int:
    if day == "sunday":
        raise ValueError("no data")
    return len(day)


@flow(task_runner=AnyTaskRunner())
def nightly(days: list[str]) -> int:
    report: Report = settle(load.map(days), policy=FailurePolicy(tolerate="50%"), timeout=60)
    first: Outcome = report[0]
    assert first.error is None
    return sum(gather(load.map(days)))


@flow(task_runner=AnyTaskRunner("process://?max_workers=2"))
def wide(days: list[str]) -> Report:
    return map_settled(load, days, window=10)


def main() -> None:
    try:
        print(nightly(["mon", "tue"]))
        nightly(["mon", "sunday"])
    except TaskRunsFailed as failure:
        print(failure.message, len(failure.outcomes))


def wrong() -> None:
    settle([], timeout="soon")  # type: ignore[arg-type]
    FailurePolicy(tolerate=1, then="explode")  # type: ignore[arg-type]
    report: Report = gather  # type: ignore[assignment]


if __name__ == "__main__":
    main()
"""


def run(*command: str | Path, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("packages")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, folder=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(packages: Path) -> Path:
    return packages / f"prefect_anyrunner-{VERSION}-py3-none-any.whl"


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel and what it depends on, without extras."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, folder=folder)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, folder=folder)
    run(python, "-m", "pip", "check", folder=folder)
    return python


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "user.py"
    path.write_text(USER_CODE)
    return path


def test_the_wheel_has_the_package_alone(wheel: Path) -> None:
    run(Path(sys.executable).with_name("check-wheel-contents"), wheel, folder=wheel.parent)
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        metadata = opened.read(f"prefect_anyrunner-{VERSION}.dist-info/METADATA").decode()
    assert {name.split("/")[0] for name in names} == {"prefect_anyrunner", f"prefect_anyrunner-{VERSION}.dist-info"}
    assert "prefect_anyrunner/py.typed" in names
    assert f"prefect_anyrunner-{VERSION}.dist-info/licenses/LICENSE" in names
    assert "Description-Content-Type: text/markdown" in metadata


def test_the_sdist_has_what_a_packager_needs(packages: Path) -> None:
    with tarfile.open(packages / f"prefect_anyrunner-{VERSION}.tar.gz") as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "CITATION.cff"} <= names
    assert {"tests/conftest.py", "docs/index.md", "docs/site/mkdocs.yml", "examples/partial_results.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", "build/", "dist/"))]


def test_it_runs_in_an_empty_environment(environment: Path, user_file: Path, prefect_server: str) -> None:
    folder = user_file.parent
    command = environment.with_name("anyrunner")
    assert run(command, "--version", folder=folder) == f"prefect-anyrunner {VERSION}\n"
    shown = json.loads(run(command, "show", "--json", folder=folder))
    assert shown["backends"]["process"]["state"] == "installed"
    assert shown["backends"]["dask"] == {
        "state": "not installed",
        "detail": "pip install 'prefect-anyrunner[dask]'",
    }
    printed = run(environment, user_file, folder=folder)
    assert "6\n" in printed
    assert "1 of 2 task runs failed: 1 ValueError: no data (load[1]) 1" in printed


def test_code_of_a_user_type_checks_against_it(environment: Path, user_file: Path) -> None:
    """Without py.typed everything would be Any, and the three ignored errors would be none."""
    mypy = (
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file",
        os.devnull,
        "--python-executable",
        str(environment),
    )
    assert "Success: no issues found" in run(*mypy, user_file, folder=user_file.parent)
