"""The names that users import: one that is here stays, and a new one is added here with thought."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import prefect_anyrunner
from prefect_anyrunner import backends, conformance

ROOT = Path(__file__).parents[2]
PUBLIC = {
    prefect_anyrunner: {
        *("AnyTaskRunner", "RunnerSpec", "pick", "use_runner"),
        *("agather", "as_settled", "asettle", "gather", "map_settled", "settle", "FailurePolicy"),
        *("Outcome", "Report", "Status", "TaskRunsFailed"),
        *("AnyRunnerError", "ApiUnreachable", "BackendUnavailable", "CannotTravel", "EngineUnreachable"),
        *("SpecError", "VersionSkew"),
    },
    backends: {"Backend", "Capability", "Option", "SharedEngine"},
    conformance: {
        *("CASES", "RULES", "Case", "Subject", "OpenFlow", "SharedFlow", "cases_for", "conform"),
        *("CaseResult", "ConformanceReport", "changes"),
    },
}


def names_of(module: ModuleType) -> set[str]:
    """Return the names that a module offers: those of its `dir()` that are neither private nor modules of ours."""
    found = {name: getattr(module, name) for name in dir(module) if not name.startswith("_") and name != "annotations"}
    return {name for name, value in found.items() if not isinstance(value, ModuleType)}


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_a_module_has_these_public_names(module: ModuleType) -> None:
    assert sorted(names_of(module)) == sorted(PUBLIC[module])


def test_the_version_stands_in_one_place() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert prefect_anyrunner.__version__ == version
    copies = [
        path for path in (ROOT / "src").rglob("*.py") if re.search(rf"{re.escape(version)}(?![\d.])", path.read_text())
    ]
    assert copies == []


def test_the_changelog_has_the_version_and_its_date() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if not heading.endswith("unreleased")]
    assert re.fullmatch(rf"{re.escape(prefect_anyrunner.__version__)} - \d{{4}}-\d\d-\d\d", released[0])
    assert re.fullmatch(r"0\.1\.0 - \d{4}-\d\d-\d\d", headings[-1]), "the first release ends the page"
