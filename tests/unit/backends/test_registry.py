"""Backends: built in and registered by others, known without being imported."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from prefect_anyrunner import BackendUnavailable, RunnerSpec, SpecError, pick
from prefect_anyrunner._choosing.engine import shared_engine
from prefect_anyrunner.backends import _builtin, _registry
from prefect_anyrunner.backends._record import Backend, Option

Register = Callable[..., None]


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Register:
    """Install a distribution that registers backends, for one test."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(package: str, module: str, source: str, **points: str) -> None:
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {module}:{target}" for name, target in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{_registry.GROUP}]", *lines]))
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


BATCH = """
    from prefect.task_runners import ThreadPoolTaskRunner
    from prefect_anyrunner.backends._record import Backend
    from prefect_anyrunner.backends._record import Option

    class BatchRunner(ThreadPoolTaskRunner):
        def __init__(self, address, options):
            super().__init__(max_workers=options.get("lanes"))
            self.address = address

    backend = Backend(
        name="batch",
        build=BatchRunner,
        schemes={"batch": "ssh://", "batch+tls": "tls://"},
        credentials=True,
        options={"lanes": Option("int", "how many at a time", minimum=1)},
    )
"""


def test_backend_of_another_package(register: Register) -> None:
    register("batch-runner", "batch_one", BATCH, batch="backend")
    assert _registry.names()[-1] == "batch"
    runner: Any = pick("batch://me:hunter2@host:22?lanes=3")
    assert (type(runner).__name__, runner.address, runner._max_workers) == (
        "BatchRunner",
        "ssh://me:hunter2@host:22",
        3,
    )
    spec = RunnerSpec.parse("batch+tls://me:hunter2@host:22")
    assert spec.address == "tls://me:hunter2@host:22"
    assert "hunter2" not in str(spec) + repr(spec)
    with pytest.raises(SpecError, match="batch has no option 'lane'; did you mean 'lanes'"):
        RunnerSpec.parse("batch://?lane=3")


def test_same_name_twice_is_refused_with_both_owners(register: Register) -> None:
    register("one", "batch_one", BATCH, batch="backend")
    register("two", "batch_two", BATCH, batch="backend", thread="backend")
    with pytest.raises(SpecError, match=r"'batch' is registered by several packages: (one, two|two, one)"):
        RunnerSpec.parse("batch://")
    with pytest.raises(SpecError, match="'thread' is registered by several packages: prefect-anyrunner, two"):
        RunnerSpec.parse("thread://")
    assert RunnerSpec.parse("dask://").backend == "dask"


def test_broken_records_are_told_when_they_are_asked_for(register: Register) -> None:
    register("three", "batch_three", "import nowhere_at_all", lost="backend")
    register("four", "batch_four", "backend = 4", four="backend")
    with pytest.raises(BackendUnavailable, match=r"'lost' of package three cannot be imported .*nowhere_at_all"):
        RunnerSpec.parse("lost")
    with pytest.raises(SpecError, match=r"'four' of package four .* is not a Backend record"):
        RunnerSpec.parse("four")
    assert RunnerSpec.parse("thread").backend == "thread"


def build_threads(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    return ThreadPoolTaskRunner(**options)


def test_not_installed_and_unknown_are_two_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendUnavailable) as caught:
        pick("ray")
    assert str(caught.value) == (
        "backend 'ray' is not installed (ray missing); install it with: pip install 'prefect-anyrunner[ray]'"
    )
    with pytest.raises(SpecError, match="unknown runner 'rya'; did you mean 'ray'"):
        pick("rya")


def test_requirement_without_install_line_is_installed_by_its_own_name() -> None:
    backend = Backend("b", build_threads, requires=("no_such_thing",))
    with pytest.raises(BackendUnavailable, match="pip install no-such-thing"):
        _registry.build(backend, None, {})


def test_module_that_does_not_import_names_the_install_line() -> None:
    backend = Backend("b", "prefect_anyrunner.no_such_module:build", install="pip install b")
    with pytest.raises(BackendUnavailable, match=r"cannot be imported: .*pip install b"):
        _registry.build(backend, None, {})


@pytest.mark.parametrize("backend", _builtin.BUILT_IN.values(), ids=lambda backend: backend.name)
def test_built_in_records_hold_together(backend: Backend) -> None:
    assert all(scheme.partition("+")[0] == backend.name for scheme in backend.schemes)
    for option in backend.options.values():
        assert option.help
        assert option.scheme is None or option.scheme in backend.schemes
        assert set(option.excludes) <= backend.options.keys()
        assert option.when == "always" or backend.schemes
    assert bool(backend.requires) == bool(backend.install)


def test_size_of_memory() -> None:
    option = Option("bytes", "")
    assert [option.convert(value, text=False) for value in ("auto", "1.5 GB", 100)] == ["auto", "1.5 GB", 100]


def test_importing_the_package_imports_no_engine() -> None:
    # Prefect itself imports installed collections only when blocks or workers are looked up, not on import.
    code = """
        import sys

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {"dask", "distributed", "ray", "prefect_dask", "prefect_ray"}:
                    raise AssertionError(f"{name} was imported")

        sys.meta_path.insert(0, Refuse())
        import prefect
        before = set(sys.modules)
        import prefect_anyrunner
        from prefect_anyrunner import *
        from prefect_anyrunner import AnyTaskRunner
        from prefect_anyrunner import RunnerSpec
        from prefect_anyrunner import gather
        from prefect_anyrunner import pick
        from prefect_anyrunner import settle
        from prefect_anyrunner import use_runner
        import prefect_anyrunner.cli
        RunnerSpec.parse("dask://?n_workers=2"), RunnerSpec.parse("ray://auto"), AnyTaskRunner("dask")
        pick("thread")
        heavy = {"pebble"} & {name.partition(".")[0] for name in set(sys.modules) - before}
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120)


SHARING = """
    from contextlib import contextmanager
    from pathlib import Path
    from prefect.task_runners import ThreadPoolTaskRunner
    from prefect_anyrunner.backends import Backend, Option, SharedEngine

    def build(address, options):
        return ThreadPoolTaskRunner(max_workers=1)

    @contextmanager
    def share(options, workers):
        log = Path(options["log"])
        log.write_text("started")
        yield SharedEngine(workers=workers + 1, address="ssh://here:1", options={"keep": options["keep"]})
        log.write_text("stopped")

    backend = Backend(
        name="sharing",
        build=build,
        share="sharing_backend:share",
        schemes={"sharing": "ssh://"},
        options={"log": Option("text", "a file", when="temporary"), "keep": Option("int", "a number")},
    )
"""


def test_engine_of_a_third_party_is_shared(register: Register, tmp_path: Path) -> None:
    register("sharing", "sharing_backend", SHARING, sharing="backend")
    log = tmp_path / "log"
    with shared_engine(RunnerSpec.parse(f"sharing://?log={log}&keep=3")) as engine:
        assert log.read_text() == "started"
        assert (engine.spec.address, dict(engine.spec.options), engine.workers) == ("ssh://here:1", {"keep": 3}, 3)
    assert log.read_text() == "stopped"


def test_engine_that_exists_is_not_started(register: Register, tmp_path: Path) -> None:
    register("sharing", "sharing_backend", SHARING, sharing="backend")
    spec = RunnerSpec.parse("sharing://host:1?keep=3")
    with shared_engine(spec) as engine:
        assert engine.spec == spec


def test_options_of_stock_runners_share_the_same_engines() -> None:
    for name, backend in _builtin.BUILT_IN.items():
        assert _builtin.STOCK[f"stock+{name}"].share == backend.share
