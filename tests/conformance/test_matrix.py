"""The matrix beside this file agrees with the stored reports, and these with the table as it is now."""

from __future__ import annotations

import json

import pytest

from prefect_anyrunner import RunnerSpec
from prefect_anyrunner.conformance import ConformanceReport, cases_for
from tests.conformance.write_matrix import PAGE, REPORTS, markdown, with_matrix

AGAIN = "run `make matrix`"
OURS = ("thread://", "process://", "dask://", "ray://")


@pytest.fixture(scope="module")
def reports() -> list[ConformanceReport]:
    return [ConformanceReport.from_dict(each) for each in json.loads(REPORTS.read_text())["reports"]]


def test_page_shows_the_stored_reports(reports: list[ConformanceReport]) -> None:
    text = PAGE.read_text()
    assert with_matrix(text, markdown(reports)) == text, f"{PAGE} is stale: {AGAIN}"


def test_reports_cover_the_table_as_it_is_now(reports: list[ConformanceReport]) -> None:
    for report in reports:
        cases = {case.id for case in cases_for(RunnerSpec.parse(report.spec))}
        stored = {result.case for result in report.results}
        assert stored == cases, f"{report.spec}: {AGAIN} (different: {sorted(stored ^ cases)})"


def test_ours_keep_all_rules(reports: list[ConformanceReport]) -> None:
    assert {report.spec for report in reports} >= set(OURS)
    for report in reports:
        if report.spec in OURS:
            assert report.ok, [f"{report.spec}: {result.case}: {result.detail}" for result in report.failures]


def test_reports_name_no_folder_of_a_machine() -> None:
    text = REPORTS.read_text()
    for word in ("/tmp", "/home", "/root", "\\\\Users"):
        assert word not in text, word
