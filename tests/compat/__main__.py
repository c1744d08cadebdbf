"""Run units, the table of rules and the demo on the oldest, the pinned and the newest packages.

    python tests/compat [--packages oldest,newest] [--python 3.11,3.13] [--runs units,demo]

It needs uv and nothing else: each pair of packages and Python gets an environment of its own in `.venv-compat`. A
Python that this machine does not have is left out. `docs/compatibility.md` keeps the last result of each pair, with its
date. Exit code 0 if all runs succeed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

PACKAGES = {
    "oldest": ["--resolution", "lowest-direct"],
    "pinned": ["--constraints", "constraints.txt"],
    "newest": [],
    # Prefect as it will be; it takes the network to its repository.
    "main": ["prefect @ git+https://github.com/PrefectHQ/prefect"],
}
"""What uv installs, beside this package with all its extras."""
PYTEST = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadgroup"]
CENSUS = "examples/stdlib_census.py:census"
COMMAND = "import sys; from prefect_anyrunner.cli import main; sys.exit(main())"
RUNS = {
    "units": [*PYTEST, "tests/unit"],
    "table": [*PYTEST, "tests/conformance/test_rules.py"],
    "demo": ["-c", COMMAND, "compare", CENSUS, "-p", "most=300", "--on", "thread,dask,ray"],
}
"""What Python runs in each environment."""
SHOWN = ("prefect", "distributed", "ray")
"""Distributions whose versions have a column."""
HEADER = ("packages", "Python", *SHOWN, *RUNS, "date")


def out(*command: str | Path) -> str:
    """Return what a command prints, or nothing if it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def interpreter(python: str) -> str:
    """Return the path of a Python of this minor version, of uv's choice or of pyenv, or nothing if there is none."""
    assert UV is not None
    versions = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser() / "versions"
    ours = [str(path) for path in sorted(versions.glob(f"{python}.*/bin/python"))]
    return out(UV, "python", "find", "--no-python-downloads", python) or (ours[-1] if ours else "")


def environment(packages: str, python: str) -> Path:
    """Make an environment and return its Python. Raises CalledProcessError."""
    assert UV is not None
    folder = ROOT / ".venv-compat" / f"{packages}-{python}"
    binary = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([UV, "venv", "--quiet", "--clear", "--python", interpreter(python), folder], check=True, cwd=ROOT)
    install = [UV, "pip", "install", "--quiet", "--python", str(binary), *PACKAGES[packages], "-e", ".[all,test]"]
    subprocess.run(install, check=True, cwd=ROOT)
    return binary


def result(binary: Path, what: str) -> str:
    """Run one of RUNS and return its result in a few words, which begin with `failed` if it failed."""
    quiet = {"DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [str(binary), *RUNS[what]]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **quiet}, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?|xfailed)", (done.stdout.splitlines() or [""])[-1])
    return ("failed" if done.returncode else "ok") + (f": {', '.join(counts)}" if counts else "")


def row(packages: str, python: str, runs: list[str]) -> tuple[str, ...]:
    """Return one row: `-` for a run that was not asked for, `failed` for packages that cannot be installed."""
    today = datetime.now(UTC).date().isoformat()
    try:
        binary = environment(packages, python)
    except subprocess.CalledProcessError:
        return (packages, python, *["failed" for _ in SHOWN], *["-" for _ in RUNS], today)
    facts = [out(binary, "-c", f"import importlib.metadata as found; print(found.version({name!r}))") for name in SHOWN]
    exact = out(binary, "-c", "import platform; print(platform.python_version())")
    return (packages, exact, *facts, *[result(binary, what) if what in runs else "-" for what in RUNS], today)


def known() -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the rows that the page has, by packages and minor version of Python."""
    lines = PAGE.read_text().splitlines() if PAGE.exists() else []
    rows = [tuple(cell.strip() for cell in line.strip("| ").split("|")) for line in lines if line.startswith("| ")]
    return {key(each): each for each in rows if each[0] in PACKAGES}


def key(cells: tuple[str, ...]) -> tuple[str, str]:
    """Return packages and minor version of Python of a row."""
    return cells[0], ".".join(cells[1].split(".")[:2])


def table(rows: list[tuple[str, ...]]) -> str:
    """Return rows as a table in Markdown."""
    lines = [HEADER, tuple("---" for _ in HEADER), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def write(rows: dict[tuple[str, str], tuple[str, ...]]) -> str:
    """Put the rows into the page and return them as a table."""
    order = list(PACKAGES)
    found = table([rows[each] for each in sorted(rows, key=lambda each: (order.index(each[0]), each[1]))])
    before = PAGE.read_text().partition("| packages |")[0]
    PAGE.write_text(f"{before}{found}\n")
    return found


def main() -> int:
    """Run what was asked for, and write each row as soon as it is there."""
    parser = argparse.ArgumentParser(prog="tests/compat", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--packages", default="oldest,pinned,newest", help=f"some of {', '.join(PACKAGES)}")
    parser.add_argument("--python", default="3.11,3.12,3.13", help="minor versions of Python")
    parser.add_argument("--runs", default=",".join(RUNS), help=f"some of {', '.join(RUNS)}")
    asked = parser.parse_args()
    for given, choices in ((asked.packages, PACKAGES), (asked.runs, RUNS)):
        if unknown := sorted(set(given.split(",")) - set(choices)):
            parser.error(f"there is no {unknown[0]!r}; choose from {', '.join(choices)}")
    if UV is None:
        parser.error("uv is needed to install the oldest versions: pip install uv")
    rows = known()
    failed = False
    for python in asked.python.split(","):
        if not interpreter(python):
            print(f"Python {python} is not here, and is left out.", flush=True)
            continue
        for packages in asked.packages.split(","):
            print(f"== {packages} packages, Python {python}", flush=True)
            new = row(packages, python, asked.runs.split(","))
            rows[key(new)] = new
            failed = failed or any(cell.startswith("failed") for cell in new)
            print(write(rows), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
