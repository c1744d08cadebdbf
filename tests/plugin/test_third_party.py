"""A backend of a third party, installed as a distribution of its own, keeps the table of rules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "nice_backend"
RULES = ("O1", "F1", "V1", "L1")  # `anyrunner conform nice` runs all of them
COMMAND = "import sys; from prefect_anyrunner.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the example into a folder and return an environment that includes it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment.pop("ANYRUNNER", None)
    return environment


def anyrunner(*words: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *words], env=environment, cwd=folder, capture_output=True, text=True
    )


def test_it_is_known_and_checked(installed: dict[str, str], tmp_path: Path) -> None:
    shown = anyrunner("show", environment={**installed, "ANYRUNNER": "nice://?niceness=3"}, folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "niceness" in shown.stdout
    wrong = anyrunner("show", environment={**installed, "ANYRUNNER": "nice://?niceness=-3&colour=red"}, folder=tmp_path)
    assert wrong.returncode == 2
    assert "niceness" in wrong.stderr and "colour" in wrong.stderr


def test_it_keeps_the_rules(installed: dict[str, str], prefect_server: str, tmp_path: Path) -> None:
    rules = [word for rule in RULES for word in ("--rule", rule)]
    words = ["conform", "nice://?max_workers=2", *rules, "--json", "reports.json"]
    done = anyrunner(*words, environment=installed, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = json.loads((tmp_path / "reports.json").read_text())["reports"]
    assert {result["verdict"] for result in report["results"]} == {"pass"}
    assert {result["rule"] for result in report["results"]} == set(RULES)
    again = anyrunner(*words[:-2], "--compare", "reports.json", environment=installed, folder=tmp_path)
    assert again.returncode == 0
    assert "->" not in again.stdout
