"""A runner specification: read from a URL or a mapping, checked whole, printed without secrets."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from prefect_anyrunner import RunnerSpec, SpecError


def problems(spec: Any) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        RunnerSpec.load(spec)
    return caught.value.problems


@pytest.mark.parametrize(
    ("url", "backend", "address", "options"),
    [
        ("thread", "thread", None, {}),
        ("thread://", "thread", None, {}),
        ("THREAD://?max_workers=8&portable=yes", "thread", None, {"max_workers": 8, "portable": True}),
        ("process://?max_workers=4&rerun_lost=0", "process", None, {"max_workers": 4, "rerun_lost": 0}),
        ("dask://?n_workers=4&memory_limit=2GiB", "dask", None, {"n_workers": 4, "memory_limit": "2GiB"}),
        ("dask://host:8786?connect_timeout=2.5", "dask", "tcp://host:8786", {"connect_timeout": 2.5}),
        ("dask+tls://host:8786", "dask", "tls://host:8786", {}),
        ("dask://[::1]:8786/", "dask", "tcp://[::1]:8786", {}),
        ("ray://?num_cpus=4", "ray", None, {"num_cpus": 4}),
        ("ray://host:10001", "ray", "ray://host:10001", {}),
        ("ray://auto", "ray", "auto", {}),
    ],
)
def test_a_url_is_parsed(url: str, backend: str, address: str | None, options: dict[str, Any]) -> None:
    spec = RunnerSpec.parse(url)
    assert (spec.backend, spec.address, dict(spec.options)) == (backend, address, options)
    assert RunnerSpec.parse(str(spec)) == spec


def test_a_mapping_and_a_url_give_equal_specs() -> None:
    written_out = {"backend": "dask", "address": "tcp://host:8786", "connect_timeout": 3}
    assert RunnerSpec.load(written_out) == RunnerSpec.parse("dask://host:8786?connect_timeout=3")
    assert RunnerSpec.load({"backend": "dask", "address": "dask+tls://h:1"}).address == "tls://h:1"
    assert RunnerSpec("dask", address="h:1").address == "tcp://h:1"


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("daks", "unknown runner 'daks'; did you mean 'dask'?"),
        ("slurm://host:1", "unknown backend 'slurm' (known: thread, process, dask, ray)"),
        ("dask+ssl://host:1", "unknown backend 'dask+ssl'; did you mean 'dask+tls'?"),
        ("dask+tls://", "dask+tls:// needs an address"),
        ("", "no runner is named"),
        (5, "a runner is a URL, a mapping or a name, not int"),
        ({}, "'backend' is missing"),
        ({"backend": 3}, "'backend' is not a name"),
        ({"backend": "dask", "address": 3}, "'address' is not text"),
        ("thread://host:1", "thread takes no address"),
        ("dask://host", "address 'host' has no port"),
        ("dask://host:99999", "port 99999 is not between 1 and 65535"),
        ("dask://host/path:1", "is not host:port"),
        ({"backend": "dask", "address": "http://host:1"}, "does not begin with one of dask://, dask+tls://"),
        ("ray://anywhere", "nor the word 'auto'"),
        ("thread://?max_workers=8#9", "no #fragment"),
        ("thread://?max_workers=8&max_workers=9", "option 'max_workers' is given twice"),
        ("thread://?max_workers", "option 'max_workers' has no value"),
        ("thread://?max_workers=", "option 'max_workers' = '' is not a whole number"),
        ("thread://?max_workers=many", "option 'max_workers' = 'many' is not a whole number"),
        ("thread://?max_workers=1e3", "option 'max_workers' = '1e3' is not a whole number"),
        ("thread://?max_workers=0", "option 'max_workers' = '0' must be at least 1"),
        ({"backend": "thread", "max_workers": True}, "option 'max_workers' = True is not a whole number"),
        ({"backend": "thread", "max_workers": "8"}, "option 'max_workers' = '8' is not a whole number"),
        ("dask://host:1?connect_timeout=0", "must be above 0"),
        ("dask://host:1?connect_timeout=nan", "is not a number"),
        ({"backend": "dask", "address": "host:1", "connect_timeout": float("inf")}, "is not a number"),
        ("thread://?portable=perhaps", "is neither true nor false"),
        ("dask://?memory_limit=lots", "is not a size such as 2GiB"),
        ("thread://?max_worker=8", "thread has no option 'max_worker'; did you mean 'max_workers'?"),
        ("thread://?n_workers=8", "option 'n_workers' belongs to dask; thread does not have it"),
        ("thread://?rerun_lost=1", "option 'rerun_lost' belongs to process and dask and ray; thread does not have it"),
        ("dask://host:1?n_workers=3", "option 'n_workers' is for a dask that the flow starts"),
        ("dask://?connect_timeout=3", "option 'connect_timeout' is for an existing dask; it needs an address"),
        ("dask://host:1?cert=a.pem", "option 'cert' needs dask+tls://"),
        ("dask+tls://host:1?cert=no/such.pem", "is not a file (looked for no/such.pem)"),
        ("dask://?cluster_kwargs=x", "a URL, which cannot hold a table"),
        ({"backend": "dask", "cluster_kwargs": [1]}, "option 'cluster_kwargs' = [1] is not a table"),
        ({"backend": "dask", "cluster_class": "a.B", "n_workers": 2}, "option 'cluster_class' excludes 'n_workers'"),
        (
            {"backend": "dask", "cluster_class": "dask_yarn.YarnCluster"},
            "option 'cluster_class' = 'dask_yarn.YarnCluster' cannot be imported, because dask_yarn is not installed; "
            "install it with: pip install dask-yarn",
        ),
        (
            {"backend": "dask", "cluster_class": "nowhere.Cluster"},
            "cannot be imported, because nowhere is not installed",
        ),
        ({"backend": "dask", "cluster_class": "YarnCluster"}, "'YarnCluster' is not the dotted name of a class"),
        ({"backend": "dask", "cluster_class": "a..B"}, "'a..B' is not the dotted name of a class"),
        ({"backend": "dask", "cluster_class": 3}, "option 'cluster_class' = 3 is not a text"),
    ],
)
def test_a_bad_spec_raises_one_problem_with_its_place(spec: Any, what: str) -> None:
    (problem,) = problems(spec)
    assert problem.startswith("argument spec")
    assert what in problem


def test_all_problems_of_a_spec_are_reported_at_once() -> None:
    found = problems("dask://user:pw@host?n_workers=x&max_workers=3&conect_timeout=1&rerun_lost=-1#there")
    assert [text.partition("): ")[2].partition(";")[0] for text in found] == [
        "a runner URL has no #fragment",
        "dask understands no user and password in an address: '***@host'",
        "address '***@host' has no port",
        "option 'n_workers' is for a dask that the flow starts",
        "option 'max_workers' belongs to thread and process",
        "dask has no option 'conect_timeout'",
        "option 'rerun_lost' = '-1' must be at least 0",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "dask://user:hunter2@host:8786",
        "dask://hunter2@host",
        "dask://us/er:hun?ter2:hunter2@host:1?n_workers=1",
        "slurm://user:hunter2@host:1",
        "user:hunter2@host:8786",
        "dask://host:8786?token=hunter2",
        "dask://host:8786?api_key=hunter2&password=hunter2",
        "thread://?secret=hunter2&max_workers=x",
    ],
)
def test_errors_hide_secrets(url: str) -> None:
    with pytest.raises(SpecError) as caught:
        RunnerSpec.load(url)
    assert "hunter2" not in str(caught.value) + repr(caught.value)
    assert "***" in str(caught.value)


def test_printed_specs_hide_secrets() -> None:
    spec = RunnerSpec(
        "ray",
        options={
            "init_kwargs": {
                "_redis_password": "hunter2",
                "runtime_env": {"env_vars": {"API_TOKEN": "hunter2", "URL": "http://me:hunter2@there/", "N": "3"}},
            }
        },
    )
    for text in (str(spec), repr(spec)):
        assert "hunter2" not in text
        assert "'N': '3'" in text
    assert spec.options["init_kwargs"]["_redis_password"] == "hunter2"


def test_a_spec_is_frozen_and_equal_by_backend_address_and_options() -> None:
    spec = RunnerSpec.parse("thread://?max_workers=2", place="here")
    assert spec == RunnerSpec("thread", options={"max_workers": 2})
    assert spec != RunnerSpec.parse("thread://?max_workers=3")
    assert len({spec, RunnerSpec("thread", options={"max_workers": 2})}) == 1
    with pytest.raises(AttributeError):
        spec.backend = "dask"  # type: ignore[misc]
    with pytest.raises(TypeError):
        spec.options["max_workers"] = 3  # type: ignore[index]


def test_an_unpickled_spec_is_not_checked_again(tmp_path: Path) -> None:
    certificate = tmp_path / "own.pem"
    certificate.touch()
    spec = RunnerSpec.parse(f"dask+tls://host:1?cert={certificate}")
    data = pickle.dumps(spec)
    certificate.unlink()  # a worker does not have the file
    again = pickle.loads(data)
    assert again == spec
    assert (again.source, again.origins) == (spec.source, spec.origins)


def test_the_summary_of_a_spec_hides_secrets_and_tables() -> None:
    assert RunnerSpec.parse("process://?max_workers=2").summary() == "process, max_workers=2"
    kwargs = {"_redis_password": "hunter2"}
    assert RunnerSpec("ray", "ray://h:1", {"init_kwargs": kwargs}).summary() == "ray, ray://h:1, init_kwargs"
