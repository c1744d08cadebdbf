"""The documents name files that exist, and CONTRIBUTING.md names every file of the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "prefect_anyrunner"
PAGES = [
    *ROOT.glob("*.md"),
    *(page for name in ("docs", "tests", "benchmarks", "docker") for page in (ROOT / name).rglob("*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_the_tree_names_every_file_of_the_package() -> None:
    tree = (ROOT / "CONTRIBUTING.md").read_text().partition("    prefect_anyrunner/\n")[2].partition("\n\n")[0]
    named: set[str] = set()
    folders: list[str] = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2 - 3
        name = line.split()[0]
        folders[depth:] = [name]
        if not name.endswith("/"):
            named.add("".join(folders))
    files = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.*")
        if path.suffix in (".py", ".js", ".css") and (path.name != "__init__.py" or path.stat().st_size > 0)
    }
    assert sorted(named ^ files) == []
