"""Conformance reports as data and as tables, and the matrix of all runners."""

from __future__ import annotations

import json

import pytest

from prefect_anyrunner.conformance import CASES, RULES, CaseResult, ConformanceReport, changes
from prefect_anyrunner.pytest_plugin.side_by_side import side_by_side
from tests.conformance.write_matrix import BEGIN, END, markdown, merged, with_matrix


def report(spec: str, *results: CaseResult, prefect: str = "3.8.8") -> ConformanceReport:
    return ConformanceReport(spec, spec.partition("://")[0], results, {"prefect": prefect}, "Linux")


def result(case: str, verdict: str = "pass", detail: str = "") -> CaseResult:
    return CaseResult(case, case.partition("-")[0], verdict, detail)  # type: ignore[arg-type]


ORDER, GROUP, KILLED = result("O1-order"), result("O1-group"), result("C2-all-die")


def test_report_is_equal_after_a_round_trip_through_json() -> None:
    one = report("dask", ORDER, result("O1-group", "fail", "why"), result("V2-process", "skip", "reason"))
    assert ConformanceReport.from_dict(json.loads(json.dumps(one.as_dict()))) == one
    assert not one.ok
    assert one.counts == {"pass": 1, "fail": 1, "skip": 1}


@pytest.mark.parametrize("plain", [{}, {"format": 2}, {"format": 1, "results": 3}])
def test_data_that_is_no_report_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        ConformanceReport.from_dict(plain)


def test_results_of_other_cases_stay_on_the_same_versions() -> None:
    before = report("dask", ORDER, result("O1-group", "fail"), KILLED, result("O1-forgotten"))
    both = merged(before, report("dask", GROUP))
    assert both.results == (ORDER, GROUP, KILLED)
    assert merged(before, report("dask", GROUP, prefect="3.9")).results == (GROUP,)


def test_changes_name_each_difference() -> None:
    before = report("dask", ORDER, GROUP)
    after = report("dask", result("O1-order", "fail", "came late"), KILLED, prefect="3.8.9")
    assert changes(before, after) == [
        "O1-group: no longer in the table",
        "O1-order: pass -> fail (came late)",
        "C2-all-die: new, pass",
        "prefect: 3.8.8 -> 3.8.9",
    ]
    assert changes(before, before) == []


def test_markdown_has_a_cell_for_each_rule_and_runner() -> None:
    skipped = result("C2-all-die", "skip", "threads cannot")
    table = markdown(
        [report("stock+thread://", ORDER, result("O1-group", "fail"), skipped), report("thread", ORDER, GROUP, skipped)]
    )
    assert "| rule | | `stock+thread` | `thread` |" in table
    assert f"| O1 | {RULES['O1']} | no (1 of 2) | yes |" in table
    assert f"| C2 | {RULES['C2']} | - | - |" in table
    assert "- `stock+thread`, `thread`: threads cannot (C2-all-die)" in table


def test_matrix_replaces_the_text_between_its_markers() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_matrix(text, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="matrix: begin"):
        with_matrix("no markers", "new")


def test_every_case_has_a_rule_and_every_rule_a_case() -> None:
    assert {case.rule for case in CASES} == set(RULES)


def test_texts_are_side_by_side_if_they_fit() -> None:
    texts = {"thread": "{'a': 1,\n 'b': 2}", "process": "{'a': 1,\n 'b': 2}", "dask": "{'a': 1,\n 'b': 3}"}
    assert side_by_side(texts, 80) == [
        "  thread, process   dask",
        "  {'a': 1,          {'a': 1,",
        ">  'b': 2}           'b': 3}",
    ]
    assert side_by_side(texts, 20)[:3] == ["thread, process:", "    {'a': 1,", "     'b': 2}"]
