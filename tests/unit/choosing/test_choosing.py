"""The choice of a runner: the order of sources, named runners, and the origin of each value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_anyrunner import RunnerSpec, SpecError, pick, use_runner
from prefect_anyrunner._choosing.runner import resolve


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANYRUNNER", raising=False)
    yield tmp_path


def write(folder: Path, own: str = "", project: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if own:
        (folder / "anyrunner.toml").write_text(own)
    if project:
        (folder / "pyproject.toml").write_text(project)


def test_the_first_source_in_order_decides(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def workers() -> object:
        return resolve("thread://?max_workers=2" if spec else None, "thread://?max_workers=6").options.get(
            "max_workers"
        )

    spec = False
    assert resolve() == RunnerSpec("thread")
    assert workers() == 6
    write(project, project='[tool.anyrunner]\nrunner = "thread://?max_workers=5"')
    assert workers() == 5
    write(project, own='runner = "thread://?max_workers=4"')
    assert workers() == 4
    monkeypatch.setenv("ANYRUNNER", "thread://?max_workers=3")
    assert workers() == 3
    spec = True
    assert workers() == 2
    with use_runner("thread://?max_workers=1"):
        assert workers() == 1
        with use_runner("thread://?max_workers=9"):
            assert workers() == 9
        assert workers() == 1
    assert workers() == 2


def test_an_empty_environment_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRUNNER", "  ")
    assert resolve(default="process").backend == "process"


def test_only_the_nearest_folder_is_read(project: Path) -> None:
    write(project, own='runner = "ray"\n[runners.far]\nbackend = "ray"')
    write(project / "a", project='[tool.anyrunner]\nrunner = "dask"')
    write(project / "a/b", project="[tool.other]")
    assert RunnerSpec.load(folder=project / "a/b").backend == "dask"
    assert RunnerSpec.load(folder=project).backend == "ray"
    with pytest.raises(SpecError, match="unknown runner 'far'"):
        RunnerSpec.load("far", folder=project / "a/b")


def test_a_named_runner_keeps_its_source_and_origins(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        project,
        own='[runners.cluster]\nbackend = "dask"\ncluster_class = "abc.ABC"\ncluster_kwargs = { name = "etl" }',
        project='[tool.anyrunner.runners]\nsmall = "thread://?max_workers=1"',
    )
    monkeypatch.setenv("ANYRUNNER", "cluster")
    spec = RunnerSpec.load()
    assert spec == RunnerSpec("dask", options={"cluster_class": "abc.ABC", "cluster_kwargs": {"name": "etl"}})
    assert spec.source == "environment variable ANYRUNNER"
    assert spec.origins["cluster_class"] == f"{project}/anyrunner.toml [runners.cluster]"
    small = RunnerSpec.load("small")
    assert small.options == {"max_workers": 1}
    assert small.origins["max_workers"].startswith(f"{project}/pyproject.toml [tool.anyrunner.runners.small]")


def test_a_path_is_relative_to_the_file_that_contains_it(project: Path) -> None:
    (project / "ca.pem").touch()
    write(project, own='runner = { backend = "dask", address = "dask+tls://host:1", ca_file = "ca.pem" }')
    (project / "below").mkdir()
    assert RunnerSpec.load(folder=project / "below").options["ca_file"] == str(project / "ca.pem")


@pytest.mark.parametrize(
    ("own", "project_file", "what"),
    [
        ('[runners.a]\nbackend = "ray"\n[runners.a]\nbackend = "dask"', "", "are two runners named the same?"),
        (
            '[runners.a]\nbackend = "ray"',
            '[tool.anyrunner.runners.a]\nbackend = "ray"',
            "two runners are named 'a': {project}/anyrunner.toml [runners.a] and "
            "{project}/pyproject.toml [tool.anyrunner.runners.a]",
        ),
        (
            '[runners.dask]\nbackend = "ray"',
            "",
            "{project}/anyrunner.toml [runners.dask]: 'dask' is the name of a backend",
        ),
        ("runner = ", "", "{project}/anyrunner.toml: is not valid TOML"),
        ('runer = "ray"', "", "unknown key runer; did you mean 'runner'?"),
        ("", "[tool.anyrunner]\nx = 1", "unknown key tool.anyrunner.x; known keys are 'runner', 'runners', "),
        ("", "[tool]\nanyrunner = 1", "{project}/pyproject.toml [tool.anyrunner]: is not a table"),
        ("runners = 1", "", "runners is not a table of runners"),
        ("runner = 1", "", "{project}/anyrunner.toml: runner: a runner is a URL, a mapping or a name, not int"),
        ('runner = "none"', "", "{project}/anyrunner.toml: runner: unknown runner 'none'"),
        ('runner = "a"\n[runners]\na = "b"\nb = "ray"', "", "[runners.a]: 'b' is neither a URL nor a backend"),
        ('runner = "a"\n[runners.a]\nbackend = "ray"\nnum_cpu = 3', "", "[runners.a]: ray has no option 'num_cpu'"),
    ],
)
def test_a_bad_file_raises_one_problem_with_its_place(project: Path, own: str, project_file: str, what: str) -> None:
    write(project, own, project_file)
    with pytest.raises(SpecError) as caught:
        RunnerSpec.load()
    assert what.format(project=project) in str(caught.value)
    assert len(caught.value.problems) == 1


def test_a_broken_project_file_that_does_not_mention_us_is_ignored(project: Path) -> None:
    write(project, project="[tool.other\n")
    assert resolve().backend == "thread"


def test_events_in_a_file_hold_for_every_runner_that_does_not_say_otherwise(project: Path) -> None:
    write(project, own='events = "final"\nevents_timeout = 5\nrunner = "process"')
    assert resolve().options == {"events": "final", "events_timeout": 5}
    assert resolve().origins["events"] == f"{project}/anyrunner.toml: events"
    assert resolve("ray://?num_cpus=1").options == {"events": "final", "events_timeout": 5, "num_cpus": 1}
    assert resolve("thread://?events=all").options == {"events": "all", "events_timeout": 5}
    assert resolve("stock+thread").options == {}


def test_wrong_events_in_a_file_are_one_error_with_all_problems(project: Path) -> None:
    write(project, own='events = "none"\nevents_timeout = -1')
    with pytest.raises(SpecError) as raised:
        resolve("thread")
    assert "events = 'none' is not one of auto, all, final, failures" in str(raised.value)
    assert "events_timeout = -1 must be at least 0" in str(raised.value)


def test_a_broken_file_is_an_error_whichever_runner_is_asked_for(project: Path) -> None:
    write(project, own="broken [")
    with pytest.raises(SpecError, match="is not valid TOML"):
        resolve("ray://?num_cpus=1")


def test_a_bad_use_runner_raises_when_it_is_entered() -> None:
    with pytest.raises(SpecError, match="use_runner: unknown runner 'no'"), use_runner("no"):
        raise AssertionError("entered")
    with pytest.raises(SpecError), use_runner(None):  # type: ignore[arg-type]
        raise AssertionError("entered")


def test_pick_returns_the_runner_of_the_backend() -> None:
    from prefect_anyrunner.backends.process import ProcessPoolTaskRunner
    from prefect_anyrunner.backends.thread import ThreadPoolTaskRunner

    picked = pick("thread://?max_workers=3&portable=true")
    assert isinstance(picked, ThreadPoolTaskRunner)
    assert picked == ThreadPoolTaskRunner(max_workers=3, portable=True)
    with use_runner("process://?max_workers=2"):
        assert isinstance(pick("thread"), ProcessPoolTaskRunner)
