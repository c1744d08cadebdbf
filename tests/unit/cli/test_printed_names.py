"""`anyrunner compare` and `anyrunner conform` print the names of runners as they are, but without secrets."""

from __future__ import annotations

import pytest

from prefect_anyrunner.cli import conform
from prefect_anyrunner.cli.compare_table import print_table
from prefect_anyrunner.cli.facts import FlowRecord
from prefect_anyrunner.conformance import CaseResult, ConformanceReport

SHOWN = "dask://***@[fe80::1]:8786"
OTHER = "dask://[fe80::2]:8786"


def test_a_comparison_shows_addresses_in_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    record = FlowRecord(runner=OTHER, seconds=0.0, runs=[], value="", value_text="", error="", failure="", crashed="")
    print_table([record, record], [[], []])
    assert capsys.readouterr().out.count("[fe80::2]") == 3


def test_rules_are_reported_for_an_address_in_brackets_and_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def checked(spec: str, **options: object) -> ConformanceReport:
        return ConformanceReport(spec.replace("me:hunter2", "***"), "dask", (CaseResult("O1-order", "O1", "pass"),))

    monkeypatch.setattr(conform, "conform", checked)
    specs = [SHOWN.replace("***", "me:hunter2"), OTHER]
    assert conform.run(specs, rules=(), seconds=1.0, json_file=None, compare_file=None) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert (out.count(SHOWN), out.count(OTHER)) == (3, 3)
