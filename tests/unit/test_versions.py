"""Versions that differ in a way that matters, told in one sentence; what a cluster is asked before it gets work."""

from __future__ import annotations

import pickle
import socket
import sys
from types import ModuleType
from typing import Any

import pytest

from prefect_anyrunner import ApiUnreachable, VersionSkew
from prefect_anyrunner._base.versions import refuse_skew, running
from prefect_anyrunner._driver.modules import note_missing_module, pickled_by_value
from prefect_anyrunner._driver.preflight import check_answer, probe_expression
from prefect_anyrunner._serialization.pack import pack_error
from prefect_anyrunner._serialization.unpack import unpack_error

HERE = {"python": "3.11.7", "prefect": "3.8.8", "prefect-anyrunner": "0.1.0", "distributed": "2026.8.0"}


@pytest.mark.parametrize(
    "other",
    [{}, {"python": "3.11.9"}, {"distributed": "2026.8.1"}, {"numpy": "9"}],
    ids=["nothing", "python-patch", "distributed-patch", "something-else"],
)
def test_what_does_not_matter(other: dict[str, str]) -> None:
    refuse_skew("A worker", {**HERE, **other}, HERE)


@pytest.mark.parametrize(
    ("other", "there", "here"),
    [
        ({"python": "3.12.1"}, "python 3.12.1", "python 3.11.7"),
        ({"prefect": "3.8.9"}, "prefect 3.8.9", "prefect 3.8.8"),
        ({"distributed": "2026.7.2"}, "distributed 2026.7.2", "distributed 2026.8.0"),
        (
            {"prefect-anyrunner": None, "python": "3.13.0"},
            "python 3.13.0 and no prefect-anyrunner",
            "python 3.11.7 and prefect-anyrunner 0.1.0",
        ),
    ],
    ids=["python", "prefect", "distributed", "two"],
)
def test_what_matters_is_one_sentence(other: dict[str, str | None], there: str, here: str) -> None:
    found = {name: version for name, version in {**HERE, **other}.items() if version is not None}
    with pytest.raises(VersionSkew) as raised:
        refuse_skew("Dask worker tcp://10.0.0.2:1", found, HERE)
    assert str(raised.value) == (
        f"Dask worker tcp://10.0.0.2:1 has {there}, this flow runs {here}: install the same on both."
    )
    again: Any
    for again in (pickle.loads(pickle.dumps(raised.value)), unpack_error(pack_error(raised.value))):
        assert (type(again), str(again), again.differing) == (VersionSkew, str(raised.value), raised.value.differing)


def test_the_question_needs_nothing_but_python() -> None:
    answer = eval(probe_expression(running(), modules=("json", "no_such_module")), {})
    assert answer == {"versions": dict(running()), "api": None, "missing": ["no_such_module"]}
    assert check_answer("A worker", answer, running()) == {"no_such_module"}


def test_an_api_that_nobody_answers_at(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        api = f"http://127.0.0.1:{unused.getsockname()[1]}/api"
        answer = eval(probe_expression(running(), api=api), {})
        with pytest.raises(ApiUnreachable, match=f"^A worker cannot reach the Prefect API at {api} .*refused"):
            check_answer("A worker", answer, running(), api=api)


def test_shipped_modules_are_by_value_until_the_last_runner_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    import cloudpickle

    module = ModuleType("beside")
    monkeypatch.setitem(sys.modules, "beside", module)
    with pickled_by_value({"beside": module}):
        with pickled_by_value({"beside": module}):
            pass
        assert "beside" in cloudpickle.list_registry_pickle_by_value()
    assert "beside" not in cloudpickle.list_registry_pickle_by_value()
    cloudpickle.register_pickle_by_value(module)
    try:
        with pickled_by_value({"beside": module}):
            pass
        assert "beside" in cloudpickle.list_registry_pickle_by_value()  # the user's own wish
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_a_module_that_is_nowhere_gets_no_note() -> None:
    here, nowhere = ModuleNotFoundError(name="json.decoder"), ModuleNotFoundError(name="no_such_module")
    note_missing_module(here)
    note_missing_module(nowhere)
    assert len(here.__notes__) == 1 and "Module 'json' is where the flow runs" in here.__notes__[0]
    assert not hasattr(nowhere, "__notes__")
