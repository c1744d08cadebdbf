"""A cluster is asked for its versions, its way to the API and its modules before it gets work."""

from __future__ import annotations

import socket
import sys
from types import ModuleType

import pytest

from prefect_anyrunner import ApiUnreachable
from prefect_anyrunner._base.versions import running
from prefect_anyrunner._driver.modules import note_missing_module, pickled_by_value
from prefect_anyrunner._driver.preflight import check_answer, probe_expression


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
    assert len(here.__notes__) == 1 and "Module 'json' exists where the flow runs" in here.__notes__[0]
    assert not hasattr(nowhere, "__notes__")
