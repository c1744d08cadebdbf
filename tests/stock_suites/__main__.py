r"""Run the tests that prefect, prefect-dask and prefect-ray ship for their own runners, with ours in their place.

    python tests/stock_suites [dask] [ray] [prefect] [--prefect CHECKOUT] [--stop-ray] [-- PYTEST OPTIONS]

The tests of prefect-dask and prefect-ray come in their sdists, which pip fetches for the versions that are installed,
into a temporary folder. Those of prefect itself are in its repository only: `--prefect` is a checkout of the tag that
is installed. Exit code 0 if all pass but those that `expected.toml` says must fail, which all do fail.

prefect-ray's tests against an existing cluster run `ray stop --force`, which ends every Ray of this machine. They are
left out without `--stop-ray`. In a PID namespace, with a mount of its own over /tmp/ray, it ends only what it has
started (ports 6379 and 10001 must be free):

    unshare --pid --mount --fork --mount-proc --kill-child bash -c \
        'mount -t tmpfs tmpfs /tmp/ray; python tests/stock_suites ray --stop-ray; exit $?'
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
SDISTS = {"dask": "prefect-dask", "ray": "prefect-ray"}
STOPS_RAY = "existing_cluster"


def fetched(distribution: str, folder: Path) -> Path:
    """Return a folder with the tests of an installed distribution, from its sdist, and its settings for pytest."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
    wanted = f"{distribution}=={version(distribution)}"
    subprocess.run([*command, "--no-binary", distribution, "--dest", str(folder), wanted], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        sdist.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    alone = folder / "alone"  # without the package itself, which would hide the installed one
    alone.mkdir()
    shutil.copytree(unpacked / "tests", alone / "tests")
    shutil.copy(unpacked / "pyproject.toml", alone)
    return alone


def environment(home: Path) -> dict[str, str]:
    """Return variables that keep a suite to itself."""
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        **os.environ,
        "PATH": os.pathsep.join(paths),  # their server is started as `uvicorn`
        "PYTHONPATH": str(HERE),
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def run(suite: str, folder: Path, chosen: list[str]) -> int:
    """Run one suite's tests of its runners and return pytest's exit code."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "swap_runners",
        "--suite",
        suite,
        "--timeout",
        "300",
        "-ra",
        "-q",
        "--tb",
        "native",
    ]
    home = Path(tempfile.mkdtemp(prefix="anyrunner-"))
    try:
        done = subprocess.run([*command, *chosen], cwd=folder, env=environment(home))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return done.returncode


def main() -> int:
    """Run the suites that were asked for, all that can be had without it."""
    parser = argparse.ArgumentParser(description="The stock runners' own tests, with this package's runners.")
    parser.add_argument("suites", nargs="*", metavar="dask|ray|prefect", default=[])
    parser.add_argument("--prefect", type=Path, help="a checkout of Prefect's repository, for the suite 'prefect'")
    parser.add_argument("--stop-ray", action="store_true", help="also what ends every Ray of this machine")
    own = sys.argv[1:]
    options: list[str] = []
    if "--" in own:
        own, options = own[: own.index("--")], own[own.index("--") + 1 :]
    asked = parser.parse_args(own)
    suites = asked.suites or [*SDISTS, *(["prefect"] if asked.prefect else [])]
    if unknown := set(suites) - {*SDISTS, "prefect"}:
        parser.error(f"there is no suite {sorted(unknown)[0]!r}")
    if "prefect" in suites and not (asked.prefect and (asked.prefect / "tests" / "test_task_runners.py").is_file()):
        parser.error("the suite 'prefect' needs --prefect, a checkout that has tests/test_task_runners.py")
    codes = {}
    with tempfile.TemporaryDirectory(prefix="anyrunner-") as temporary:
        for suite in suites:
            print(f"== {suite}: {SDISTS.get(suite, 'prefect')} {version(SDISTS.get(suite, 'prefect'))}", flush=True)
            if suite == "prefect":
                folder, chosen = asked.prefect, ["tests/test_task_runners.py", "-k", "ThreadPool or ProcessPool"]
            else:
                folder = Path(temporary, suite)
                folder.mkdir()
                folder, chosen = fetched(SDISTS[suite], folder), ["tests/test_task_runners.py"]
            if suite == "ray" and not asked.stop_ray:
                chosen += ["--leave-out", STOPS_RAY]
            codes[suite] = run(suite, folder, [*chosen, *options])
    print("; ".join(f"{suite}: {'as expected' if code == 0 else f'exit code {code}'}" for suite, code in codes.items()))
    return 1 if any(codes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
