"""The matrix beside this file shows the stored reports, and these are about the table as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefect_anyrunner import RunnerSpec
from prefect_anyrunner.conformance import ConformanceReport, cases_for
from prefect_anyrunner.conformance.matrix import markdown, placed

PAGE = Path(__file__).with_name("README.md")
STORED = Path(__file__).with_name("reports.json")
AGAIN = "run `make matrix`"
OURS = ("thread://", "process://", "dask://", "ray://")


@pytest.fixture(scope="module")
def reports() -> list[ConformanceReport]:
    return [ConformanceReport.from_dict(each) for each in json.loads(STORED.read_text())["reports"]]


def test_the_page_shows_the_stored_reports(reports: list[ConformanceReport]) -> None:
    text = PAGE.read_text()
    assert placed(text, markdown(reports)) == text, f"{PAGE} is stale: {AGAIN}"


def test_reports_are_of_the_table_as_it_is(reports: list[ConformanceReport]) -> None:
    for report in reports:
        cases = {case.id for case in cases_for(RunnerSpec.parse(report.spec))}
        told = {result.case for result in report.results}
        assert told == cases, f"{report.spec}: {AGAIN} (different: {sorted(told ^ cases)})"


def test_ours_keep_all_rules(reports: list[ConformanceReport]) -> None:
    assert {report.spec for report in reports} >= set(OURS)
    for report in reports:
        if report.spec in OURS:
            assert report.ok, [f"{report.spec}: {result.case}: {result.detail}" for result in report.failures]


def test_reports_name_no_place_of_the_machine_that_made_them() -> None:
    text = STORED.read_text()
    for word in ("/tmp", "/home", "/root", "\\\\Users"):
        assert word not in text, word
