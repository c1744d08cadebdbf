"""Conformance reports as data and as tables."""

from __future__ import annotations

import pytest

from prefect_anyrunner.conformance import CASES, RULES, CaseResult, ConformanceReport, changes, merged
from prefect_anyrunner.conformance.matrix import BEGIN, END, markdown, placed
from prefect_anyrunner.pytest_plugin.side_by_side import beside


def report(spec: str, *results: CaseResult, prefect: str = "3.8.8") -> ConformanceReport:
    return ConformanceReport(spec, spec.partition("://")[0], results, {"prefect": prefect}, "Linux")


def result(case: str, verdict: str = "pass", detail: str = "") -> CaseResult:
    return CaseResult(case, case.partition("-")[0], verdict, detail)  # type: ignore[arg-type]


ORDER, GROUP, KILLED = result("O1-order"), result("O1-group"), result("C2-all-die")


def test_report_comes_back_from_json() -> None:
    one = report("dask", ORDER, result("O1-group", "fail", "why"), result("V2-process", "skip", "reason"))
    assert ConformanceReport.from_json(one.to_json()) == one
    assert not one.ok
    assert one.counts == {"pass": 1, "fail": 1, "skip": 1}


@pytest.mark.parametrize("text", ["{}", '{"format": 2}', "[1]", "nonsense"])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ConformanceReport.from_json(text)


def test_results_of_other_cases_stay_on_the_same_versions() -> None:
    before = report("dask", ORDER, result("O1-group", "fail"), KILLED, result("O1-forgotten"))
    both = merged(before, report("dask", GROUP))
    assert both.results == (ORDER, GROUP, KILLED)
    assert merged(before, report("dask", GROUP, prefect="3.9")).results == (GROUP,)


def test_changes_tell_what_is_different() -> None:
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


def test_table_goes_between_its_markers() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert placed(text, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="matrix: begin"):
        placed("no markers", "new")


def test_every_case_has_a_rule_that_is_told() -> None:
    assert {case.rule for case in CASES} == set(RULES)


def test_texts_stand_side_by_side_where_there_is_room() -> None:
    texts = {"thread": "{'a': 1,\n 'b': 2}", "process": "{'a': 1,\n 'b': 2}", "dask": "{'a': 1,\n 'b': 3}"}
    assert beside(texts, 80) == [
        "  thread, process   dask",
        "  {'a': 1,          {'a': 1,",
        ">  'b': 2}           'b': 3}",
    ]
    assert beside(texts, 20)[:3] == ["thread, process:", "    {'a': 1,", "     'b': 2}"]
