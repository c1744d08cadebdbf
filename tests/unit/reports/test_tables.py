"""Reports for other programs: CSV, JUnit XML, JSON."""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from pathlib import Path
from xml.etree import ElementTree

import pytest

from prefect_anyrunner import Report
from prefect_anyrunner._reports.files import FORMATS, SUFFIXES, write_report
from prefect_anyrunner._reports.origin import Origin
from prefect_anyrunner._reports.tables import csv_text, junit_text
from tests.unit.fake_future import FakeFuture
from tests.unit.reports.raised import failed, settled


def report() -> Report:
    root = FakeFuture().fails(failed("=1+1 \x00 token=hunter2"))
    again = FakeFuture().fails(failed("another text"))
    return settled(FakeFuture().ends(1), root, again, FakeFuture().crashes("lost"), FakeFuture().is_blocked_by(root))


def test_csv_has_a_row_for_each_run_and_no_formulas() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(report()))))
    assert [row["status"] for row in rows] == ["completed", "failed", "failed", "crashed", "blocked"]
    assert rows[1]["error"] == "ValueError"
    assert rows[1]["text"].startswith("'=1+1")
    assert "hunter2" not in rows[1]["text"]


def test_junit_has_a_case_for_each_run() -> None:
    suite = ElementTree.fromstring(junit_text(report())).find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "2",
        "errors": "1",
        "skipped": "1",
    }
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == ["load[0]", "load[1]", "load[2]", "load[3]", "load[4]"]
    assert [[child.tag for child in case] for case in cases] == [[], ["failure"], ["failure"], ["error"], ["skipped"]]
    assert "raise ValueError(text)" in (cases[1][0].text or "")
    assert cases[2][0].text == "ValueError: another text\n(as load[1])"


def test_json_has_the_flow_run_and_one_traceback_for_each_group() -> None:
    made = Report(report(), origin=Origin(uuid.UUID(int=1), "brave-otter", "nightly"), notes=["Something is missing."])
    data = json.loads(made.to_json())
    assert (data["flow_run"]["id"], data["flow_run"]["flow"]) == (str(uuid.UUID(int=1)), "nightly")
    assert data["notes"] == ["Something is missing."]
    (group,) = [group for group in data["groups"] if group["kind"] == "ValueError"]
    assert group["indexes"] == [1, 2]
    assert group["where"].startswith("raised.py:")
    assert "raise ValueError(text)" in group["traceback"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_suffix_decides_the_format(suffix: str, tmp_path: Path) -> None:
    made = report()
    write_report(made, tmp_path / f"report{suffix}")
    assert (tmp_path / f"report{suffix}").read_text() == FORMATS[SUFFIXES[suffix]](made)


ODD = {
    "colors": "\x1b[31mred\x1b[0m",
    "lone surrogate": "bad file \udc80",
    "end of CDATA": "a ]]> b",
    "NUL": "a \x00 b",
    "a megabyte": "x" * 1_000_000,
    "many lines": "x\n" * 100_000,
    "formula": '=HYPERLINK("http://x")',
    "markup": "</script><b>",
    "line ends": "\r\n\x0b\x85\u2028",
}
"""Texts that a file must hold all the same."""


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_odd_texts_and_names_make_valid_files(odd: str, tmp_path: Path) -> None:
    kind = type("=Odd", (ValueError,), {})
    made = settled(FakeFuture(odd[:50]).fails(kind(odd)), FakeFuture("load").ends(1))
    texts = {}
    for suffix in SUFFIXES:
        path = tmp_path / f"report{suffix}"
        write_report(made, path)
        texts[suffix] = path.read_bytes().decode()
        assert re.findall(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]", texts[suffix]) == []
    rows = list(csv.DictReader(io.StringIO(texts[".csv"], newline="")))
    assert [row["status"] for row in rows] == ["failed", "completed"]
    assert not any(row[cell].startswith("=") for row in rows for cell in ("task", "error", "text"))
    assert [run["status"] for run in json.loads(texts[".json"])["outcomes"]] == ["failed", "completed"]
    assert len(ElementTree.fromstring(texts[".xml"]).findall("*/testcase")) == 2
    assert made.to_html().encode().count(b"<script") == 2
