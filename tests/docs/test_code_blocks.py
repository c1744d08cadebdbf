"""Every code block of the documents runs, or at least parses, and shows what really comes out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.code_blocks import run_page

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_of(page: Path, prefect_server: str, folder: Path) -> None:
    run_page(page)


def test_the_test_of_the_page_about_testing_passes(prefect_server: str, pytester: pytest.Pytester) -> None:
    code = (ROOT / "docs" / "testing.md").read_text().partition("```python\n")[2].partition("```")[0]
    pytester.makepyfile(test_nightly=code)
    pytester.runpytest_inprocess("--anyrunner=thread", "-p", "no:cacheprovider").assert_outcomes(passed=1)
